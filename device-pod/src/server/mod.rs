//! The device's HTTP interface.
//!
//! * `state`: status, pairing, claim, logout,
//! * `qr`: the QR code in four forms,
//! * `messages`: what goes out, `inbox`: what came in,
//! * `events`: the event stream,
//! * `health`: liveness and readiness,
//! * `access`: device tokens.
//!
//! [`router`] has no access control: whoever holds it is in this process. [`guarded`] is what a port serves.

mod access;
mod events;
mod health;
mod inbox;
mod messages;
mod qr;
mod state;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::extract::rejection::BytesRejection;
use axum::routing::{get, post, put};
use enlace_contract::body::{self, Wrong};
use enlace_contract::messages::MAX_MESSAGE_BODY;
use enlace_contract::problem::Problem;
use enlace_contract::query;
use http::{StatusCode, header};
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use whatsapp_rust::client::Client;

use crate::session::Command;
use crate::store::{Store, StoreError};
use crate::volume::Reserve;
use enlace_contract::config::DeviceConfig;
use enlace_contract::messages::Message;
use enlace_contract::state::DeviceState;

/// The largest body of a request that is not a message, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) config: watch::Receiver<DeviceConfig>,
    pub(crate) state: watch::Receiver<DeviceState>,
    pub(crate) newest: watch::Receiver<i64>,
    /// What must stay free on the volume.
    pub(crate) reserve: Reserve,
    pub(crate) online: watch::Receiver<Option<Arc<Client>>>,
    pub(crate) beat: watch::Receiver<Instant>,
    pub(crate) changes: broadcast::Sender<Message>,
    pub(crate) queued: Arc<Notify>,
    /// Whoever waits for something gets what there is when the device stops.
    pub(crate) stop: CancellationToken,
}

/// The routes, without access control.
pub(crate) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/v1/status", get(state::status))
        .route("/v1/events", get(events::stream))
        .route("/v1/qr", get(qr::code))
        .route("/v1/pairing-code", get(qr::pairing_code))
        .route("/v1/pair", post(state::pair))
        .route("/v1/claim", put(state::claim))
        .route("/v1/logout", post(state::log_out))
        .route(
            "/v1/messages",
            get(messages::list).post(messages::send).layer(DefaultBodyLimit::max(MAX_MESSAGE_BODY)),
        )
        .route(
            "/v1/messages/batch",
            post(messages::send_batch).layer(DefaultBodyLimit::max(MAX_MESSAGE_BODY)),
        )
        .route("/v1/messages/{id}", get(messages::one))
        .route("/v1/inbox", get(inbox::list))
        .route("/v1/inbox/{sequence}/media", get(inbox::media))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(shared)
}

/// The routes as a port serves them: each but the probes needs a token for this device.
pub(crate) fn guarded(shared: Shared) -> Router {
    let guard = access::Guard::new(shared.config.clone());
    router(shared).layer(axum::middleware::from_fn_with_state(guard, access::check))
}

async fn unknown_route() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "UnknownRoute", "a device has no such route")
}

async fn unknown_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "UnknownMethod", "this route does not have this method")
}

/// The answer when the database failed; the log has the cause.
fn store_failed(error: StoreError) -> Problem {
    tracing::error!(error = &error as &dyn std::error::Error, "a request failed because the database did");
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "StoreFailed",
        "the device's database failed; nothing was stored",
    )
    .retry_after(5)
}

/// Gives the supervisor a command and waits for its answer.
async fn ask<T>(shared: &Shared, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Problem> {
    let (reply, answer) = oneshot::channel();
    let stopping = || {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Stopping",
            "the device is stopping; try again when it is back",
        )
        .retry_after(5)
    };
    shared.commands.send(command(reply)).await.map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())
}

/// JSON from a request's body, with an error a person understands.
struct Json<T>(T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> axum::extract::FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Problem> {
        if !request.headers().get(header::CONTENT_TYPE).is_some_and(body::is_json) {
            let detail = "the body must be JSON, with the header Content-Type: application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "NotJson", detail));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| unread(&rejection))?;
        read(&bytes).map(Self)
    }
}

/// A body that did not arrive whole.
fn unread(rejection: &BytesRejection) -> Problem {
    match rejection.status() {
        status @ StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(status, "BodyTooLarge", "the body is larger than this route takes")
        }
        status => Problem::new(status, "InvalidBody", "the body could not be read to its end"),
    }
}

fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let wrong = |Wrong { status, sentence }| Problem::new(status, "InvalidBody", sentence);
    body::read(bytes).map_err(wrong)
}

/// The query of a route that knows no parameters.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// A query string, with an error a person understands. A parameter that is not known is a mistake, which would otherwise look as if it had
/// been followed: each `T` refuses it.
struct Query<T>(T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> axum::extract::FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut http::request::Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(invalid_query(query::of_query(&rejection))),
        }
    }
}

/// Segments of a path, with an error a person understands.
struct Path<T>(T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned + Send> axum::extract::FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut http::request::Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) => {
                Err(Problem::new(rejection.status(), "InvalidPath", query::of_path(&rejection)))
            }
        }
    }
}

/// A parameter is not as it must be.
fn invalid_query(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "InvalidQuery", detail)
}
