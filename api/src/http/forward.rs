//! What is passed on to a device, and its answer back, both as streams.
//!
//! The device's own routes are shorter: `/v1/devices/NAMESPACE/NAME/messages` is its `/v1/messages`. Only headers that mean something to a
//! device go there. A device that is away is answered for at once, and one that does not answer is not waited for.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use enlace_contract::client::ClientError;
use enlace_contract::inbox::InboxPage;
use enlace_contract::messages::{MAX_MESSAGE_BODY, Message, MessagePage, MessageState, SendMessage};
use enlace_contract::query::Wait;
use enlace_contract::state::PairingText;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};

use super::extract::{Caller, DevicePath, Path, Query};
use super::failure::{Failure, Reason};
use super::observe::REQUEST_ID;
use super::{App, MAX_BODY};
use crate::auth::Action;

/// The time to the first byte of an answer.
const ANSWER: Duration = Duration::from_secs(15);
/// The same where a file goes through: up from the caller, or down from WhatsApp.
const FILE: Duration = Duration::from_secs(60);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// What goes on to a device.
const ONWARD: [HeaderName; 7] = [
    header::ACCEPT,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::RANGE,
    IDEMPOTENCY_KEY,
    LAST_EVENT_ID,
    REQUEST_ID,
];
/// What is between two servers, and not for the caller (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 4] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::TRAILER];

/// The QR code that waits to be scanned.
#[utoipa::path(get, path = "/v1/devices/{namespace}/{name}/qr", tag = "linking", security(("token" = [])),
    params(("namespace" = String, Path), ("name" = String, Path),
        ("format" = Option<String>, Query, description = "`raw` (the default), `png`, `svg` or `terminal`")),
    responses((status = OK, content((String = "text/plain"), (Vec<u8> = "image/png"), (String = "image/svg+xml")))))]
pub(super) async fn qr(
    State(app): State<App>,
    caller: Caller,
    path: DevicePath,
    request: Request,
) -> Result<Response, Failure> {
    pass_on(&app, &caller, &path, Action::DevicesPair, request, "/v1/qr", ANSWER).await
}

/// The eight characters to type on the phone.
#[utoipa::path(get, path = "/v1/devices/{namespace}/{name}/pairing-code", tag = "linking", security(("token" = [])),
    params(("namespace" = String, Path), ("name" = String, Path)), responses((status = OK, body = PairingText)))]
pub(super) async fn pairing_code(
    State(app): State<App>,
    caller: Caller,
    path: DevicePath,
    request: Request,
) -> Result<Response, Failure> {
    pass_on(&app, &caller, &path, Action::DevicesPair, request, "/v1/pairing-code", ANSWER).await
}

/// Sends a message. The answer comes when it is stored, or with `wait` when it was sent.
#[utoipa::path(post, path = "/v1/devices/{namespace}/{name}/messages", tag = "messages", security(("token" = [])),
    request_body = SendMessage, params(("namespace" = String, Path), ("name" = String, Path),
        ("wait" = Option<String>, Query, description = "How long to wait for it to be sent, like `10s`; `60s` at most"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key is the same message, however often it is sent")),
    responses((status = ACCEPTED, body = Message, description = "Stored"), (status = OK, body = Message, description = "Sent, or stored before")))]
pub(super) async fn send(
    State(app): State<App>,
    caller: Caller,
    path: DevicePath,
    Query(wait): Query<Wait>,
    request: Request,
) -> Result<Response, Failure> {
    let patience = wait.patience().map_err(Failure::invalid_query)?;
    let request = without_query(request);
    let stored = pass_on(&app, &caller, &path, Action::MessagesSend, request, "/v1/messages", FILE).await?;
    settled(&app, &path, stored, patience).await
}

/// Lists messages that went out or wait to.
#[utoipa::path(get, path = "/v1/devices/{namespace}/{name}/messages", tag = "messages", security(("token" = [])),
    params(("namespace" = String, Path), ("name" = String, Path),
        ("after" = Option<i64>, Query, description = "The `next` of the page before"),
        ("limit" = Option<u32>, Query, description = "How many"),
        ("state" = Option<MessageState>, Query, description = "Only those that came this far")),
    responses((status = OK, body = MessagePage)))]
pub(super) async fn messages(
    State(app): State<App>,
    caller: Caller,
    path: DevicePath,
    request: Request,
) -> Result<Response, Failure> {
    pass_on(&app, &caller, &path, Action::MessagesRead, request, "/v1/messages", ANSWER).await
}

#[derive(serde::Deserialize)]
pub(super) struct MessageId {
    id: String,
}

/// Shows how far a message came; with `wait` once it was sent or failed.
#[utoipa::path(get, path = "/v1/devices/{namespace}/{name}/messages/{id}", tag = "messages", security(("token" = [])),
    params(("namespace" = String, Path), ("name" = String, Path), ("id" = String, Path),
        ("wait" = Option<String>, Query, description = "How long to wait for it to be sent, like `10s`; `60s` at most")),
    responses((status = OK, body = Message)))]
pub(super) async fn message(
    State(app): State<App>,
    caller: Caller,
    path: DevicePath,
    Path(MessageId { id }): Path<MessageId>,
    Query(wait): Query<Wait>,
    request: Request,
) -> Result<Response, Failure> {
    // What is no id must not become part of another path.
    if id.is_empty() || id.len() > 128 || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        caller.needs(Action::MessagesRead)?;
        return Err(Failure::new(StatusCode::NOT_FOUND, "NotFound", "there is no such message"));
    }
    let patience = wait.patience().map_err(Failure::invalid_query)?;
    let (to, request) = (format!("/v1/messages/{id}"), without_query(request));
    let known = pass_on(&app, &caller, &path, Action::MessagesRead, request, &to, ANSWER).await?;
    settled(&app, &path, known, patience).await
}

/// The same request without its query: what is waited for is not the first answer.
fn without_query(mut request: Request) -> Request {
    if let Ok(uri) = request.uri().path().parse() {
        *request.uri_mut() = uri;
    }
    request
}

/// A device's answer about a message, once that was sent or failed. It stays as it is when the caller's patience ends, when this server
/// stops or when the device goes away: the message is stored, and an error would have the caller send it again.
async fn settled(
    app: &App,
    path: &DevicePath,
    answer: Response,
    patience: Option<Duration>,
) -> Result<Response, Failure> {
    let Some(patience) = patience.filter(|_| answer.status().is_success()) else { return Ok(answer) };
    let (mut parts, body) = answer.into_parts();
    let body = Limited::new(body, MAX_BODY).collect().await.map_err(ClientError::Unreadable)?.to_bytes();
    let waits = |message: &Message| matches!(message.state, MessageState::Queued | MessageState::Sending);
    let known = serde_json::from_slice(&body).ok().filter(waits);
    let later = async {
        let Message { id, .. } = known?;
        let client = app.directory.client(&path.0).await.ok()?;
        client.settled(&id, patience).await.ok()
    };
    let later = tokio::select! {
        later = later => later,
        () = app.stopping() => None,
    };
    let later = later.and_then(|message| Some((!waits(&message), serde_json::to_vec(&message).ok()?)));
    let Some((is_settled, message)) = later else { return Ok(Response::from_parts(parts, body.into())) };
    if is_settled {
        parts.status = StatusCode::OK;
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(parts, message.into()))
}

/// Lists what came in.
#[utoipa::path(get, path = "/v1/devices/{namespace}/{name}/inbox", tag = "messages", security(("token" = [])),
    params(("namespace" = String, Path), ("name" = String, Path),
        ("after" = Option<i64>, Query, description = "The `next` of the page before"),
        ("limit" = Option<u32>, Query, description = "How many")),
    responses((status = OK, body = InboxPage)))]
pub(super) async fn inbox(
    State(app): State<App>,
    caller: Caller,
    path: DevicePath,
    request: Request,
) -> Result<Response, Failure> {
    pass_on(&app, &caller, &path, Action::InboxRead, request, "/v1/inbox", ANSWER).await
}

#[derive(serde::Deserialize)]
pub(super) struct Sequence {
    sequence: i64,
}

/// The file of a message that came in.
#[utoipa::path(get, path = "/v1/devices/{namespace}/{name}/inbox/{sequence}/media", tag = "messages",
    security(("token" = [])),
    params(("namespace" = String, Path), ("name" = String, Path), ("sequence" = i64, Path)),
    responses((status = OK, content((Vec<u8> = "application/octet-stream")))))]
pub(super) async fn media(
    State(app): State<App>,
    caller: Caller,
    path: DevicePath,
    Path(Sequence { sequence }): Path<Sequence>,
    request: Request,
) -> Result<Response, Failure> {
    let to = format!("/v1/inbox/{sequence}/media");
    let mut response = pass_on(&app, &caller, &path, Action::InboxRead, request, &to, FILE).await?;
    if response.status().is_success() {
        // The type is the sender's word: a page among them must not be opened as one of this server's.
        response
            .headers_mut()
            .entry(header::CONTENT_DISPOSITION)
            .or_insert(HeaderValue::from_static("attachment"));
    }
    Ok(response)
}

/// Passes a request on to a device that the caller may see, when it has the action.
pub(super) async fn pass_on(
    app: &App,
    caller: &Caller,
    path: &DevicePath,
    action: Action,
    request: Request,
    to: &str,
    limit: Duration,
) -> Result<Response, Failure> {
    let device = caller.device(app, path, action).await?;
    let client = caller.client(app, &device).await?;
    let request = onward(request, to)?;
    let answer = tokio::time::timeout(limit, client.forward(request)).await;
    let mut response = answer.map_err(|_| silent(device.phase()))??;
    if response.status() == StatusCode::UNAUTHORIZED {
        // It is about the API's token, not the caller's: another device answers at an address that is out of date.
        return Err(ClientError::Unauthorized.into());
    }
    if response.status().is_client_error() || response.status().is_server_error() {
        response.extensions_mut().insert(Reason("ByDevice".to_owned()));
    }
    for name in HOP_BY_HOP {
        response.headers_mut().remove(name);
    }
    Ok(response)
}

fn silent(phase: enlace_contract::state::Phase) -> Failure {
    let detail = "the device did not answer in time";
    let problem =
        enlace_contract::problem::Problem::new(StatusCode::SERVICE_UNAVAILABLE, "DeviceSilent", detail);
    problem.with_phase(phase).retry_after(5).into()
}

fn onward(request: Request, to: &str) -> Result<Request, Failure> {
    let (parts, body) = request.into_parts();
    let too_large = || {
        let detail = format!("the body is larger than {MAX_MESSAGE_BODY} bytes");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "BodyTooLarge", detail)
    };
    let length =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > MAX_MESSAGE_BODY as u64) {
        return Err(too_large());
    }
    let uri = match parts.uri.query() {
        Some(query) => format!("{to}?{query}"),
        None => to.to_owned(),
    };
    let mut headers = HeaderMap::new();
    for name in ONWARD {
        if let Some(value) = parts.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    let mut request = Request::new(Body::new(Limited::new(body, MAX_MESSAGE_BODY)));
    *request.method_mut() = parts.method;
    *request.uri_mut() = uri.parse().map_err(|_| Failure::invalid_query("the query cannot be passed on"))?;
    *request.headers_mut() = headers;
    Ok(request)
}
