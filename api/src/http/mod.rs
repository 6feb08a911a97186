//! The routes, and what guards them.
//!
//! * [`App`]: what the routes share, and the router,
//! * `session`: login and who one is, `users`, `tokens`,
//! * `devices`: the devices themselves, `new_device`: what may be said of a new one, `forward`: what is passed on to one, `events`: streams,
//! * [`seed`](crate::seed): the compatible API under `/api`, with answers and errors of its own,
//! * `health`: probes, [`openapi`]: the description of all this,
//! * `front`: replicas, proxies and origins in front of the API,
//! * `authenticate`: from a request to a [`Principal`](crate::auth::Principal), `limits`: how often, `shares`: how much at a time, `observe`: request ids, log lines,
//!   measurements and the headers of every answer, `failure`: errors, `extract`: what a handler takes, `parameters`: which query parameters
//!   a route knows.
//!
//! Every error is `application/problem+json`. What a handler does is preceded by what it needs: a device is reached only through
//! `extract::Caller::device`, which asks for an action.

mod authenticate;
mod devices;
mod events;
mod extract;
mod failure;
mod forward;
mod front;
mod health;
mod limits;
mod new_device;
mod observe;
pub mod openapi;
mod parameters;
mod session;
mod shares;
mod tokens;
mod users;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, OriginalUri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use enlace_contract::problem::Problem;
use enlace_contract::program;
use http::{StatusCode, Uri, header};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tower::Layer as _;
use tower::util::MapRequestLayer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;

use crate::auth::Passwords;
use crate::database::Database;
use crate::directory::DeviceDirectory;
use crate::seed;

pub use front::Front;
pub use limits::{Quotas, Rate};
pub(crate) use {
    extract::Address, failure::Reason, failure::log_panic, front::peer, limits::Limits, limits::TooMany,
    shares::Held, shares::Shares,
};

/// The largest body of a request that is not a message, in bytes.
pub const MAX_BODY: usize = 64 * 1024;
/// Open event streams: each holds a connection and a task.
const MAX_STREAMS: usize = 1024;

/// What an installation may set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often callers may call.
    pub quotas: Quotas,
    /// For how long a login is good.
    pub login_lifetime: Duration,
    /// Where `/metrics` comes from; without it the route is not there (another listener may serve [`metrics_router`](program::metrics_router)).
    pub metrics: Option<PrometheusHandle>,
    /// The compatible API.
    pub compatible: seed::Settings,
    /// What stands in front.
    pub front: Front,
}

/// What the routes share.
#[derive(Clone)]
pub struct App {
    directory: Arc<dyn DeviceDirectory>,
    database: Database,
    passwords: Passwords,
    limits: Arc<Limits>,
    settings: Arc<Settings>,
    streams: Arc<Semaphore>,
    shares: Arc<Shares>,
    seed: Arc<seed::Shared>,
    /// How often tokens ended here: streams look at theirs then.
    ended: Arc<watch::Sender<u64>>,
    /// Ends event streams, which would otherwise hold up a stop.
    stopping: CancellationToken,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            quotas: Quotas::default(),
            login_lifetime: Duration::from_secs(12 * 3600),
            metrics: None,
            compatible: seed::Settings::default(),
            front: Front::default(),
        }
    }
}

impl App {
    /// The API of a directory's devices.
    pub fn new(directory: Arc<dyn DeviceDirectory>, database: Database, settings: Settings) -> Self {
        Self {
            directory,
            database,
            passwords: Passwords::default(),
            limits: Arc::new(Limits::new(&settings.quotas)),
            settings: Arc::new(settings),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            shares: Arc::default(),
            seed: Arc::default(),
            ended: Arc::default(),
            stopping: CancellationToken::new(),
        }
    }

    /// The routes.
    pub fn router(&self) -> Router {
        let (guarded, _) = openapi::guarded().split_for_parts();
        let (open, _) = openapi::open().split_for_parts();
        // The last layer is asked first: who calls comes before what is asked.
        let guarded = guarded
            .route_layer(from_fn(parameters::known))
            .route_layer(from_fn_with_state(self.clone(), authenticate::authenticate));
        let open = open.route_layer(from_fn(parameters::known));
        let mut router = guarded
            .merge(open)
            .merge(
                seed::router()
                    .route_layer(CatchPanicLayer::custom(seed::answers::panicked))
                    .route_layer(from_fn_with_state(self.clone(), seed::log::requests)),
            )
            .merge(seed::live::router(self))
            .route("/v1/openapi.json", get(openapi::document))
            .fallback(unknown_route)
            .method_not_allowed_fallback(unknown_method)
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(self.clone());
        if let Some(recorder) = self.settings.metrics.clone() {
            router = router.merge(program::metrics_router(recorder));
        }
        router = router.layer(CatchPanicLayer::custom(failure::panicked));
        if let Some(cors) = self.settings.front.cors() {
            router = router.layer(cors);
        }
        let router = router
            .layer(from_fn(observe::observe))
            .layer(from_fn_with_state(self.clone(), front::client_address))
            .layer(SetSensitiveRequestHeadersLayer::new([header::AUTHORIZATION, header::COOKIE]));
        // The layers of a router come after the choice of the route.
        Router::new().fallback_service(MapRequestLayer::new(seed::express::routed).layer(router))
    }

    pub(crate) fn directory(&self) -> &dyn DeviceDirectory {
        &*self.directory
    }

    pub(crate) const fn database(&self) -> &Database {
        &self.database
    }

    pub(crate) const fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn shares(&self) -> &Shares {
        &self.shares
    }

    /// What an installation may set of the compatible API.
    pub(crate) fn compatible(&self) -> &seed::Settings {
        &self.settings.compatible
    }

    /// What stands in front.
    pub(crate) fn front(&self) -> &Front {
        &self.settings.front
    }

    /// What the routes of the compatible API share beside.
    pub(crate) fn seed(&self) -> &seed::Shared {
        &self.seed
    }

    /// Tokens were ended, or may have been: open event streams look at once whether theirs was among them.
    pub fn tokens_ended(&self) {
        self.ended.send_modify(|times| *times = times.wrapping_add(1));
    }

    /// Ends event streams: a stop begins.
    pub fn begin_stop(&self) {
        self.stopping.cancel();
    }
}

async fn unknown_route(OriginalUri(uri): OriginalUri) -> Response {
    if !is_native(&uri) {
        return seed::unknown_route(&uri);
    }
    let detail = "there is no such route; /v1/openapi.json lists them";
    Problem::new(StatusCode::NOT_FOUND, "UnknownRoute", detail).into_response()
}

async fn unknown_method(OriginalUri(uri): OriginalUri) -> Response {
    if !is_native(&uri) {
        return seed::unknown_route(&uri);
    }
    let detail = "this route does not have this method";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "UnknownMethod", detail).into_response()
}

/// Whether a path is one of the native API: everything else answers as the compatible one.
fn is_native(uri: &Uri) -> bool {
    uri.path().starts_with("/v1/") || matches!(uri.path(), "/v1" | "/healthz" | "/readyz" | "/metrics")
}
