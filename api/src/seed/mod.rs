//! The compatible API (Spanish billing integrations): the routes under `/api` of the system that Enlace can take the place of, with its
//! names, texts and status codes, on the devices of this one. `docs/compatibility.md` says what is compatible and what was decided.
//!
//! * [`router`]: the routes, [`settings`]: what an installation may set,
//! * [`accounts`]: registration, login, `me`; [`devices`]: adding, renaming, closing and deleting devices; [`status`]: health, states,
//!   connections; [`qr`]: codes to scan,
//! * [`sending`]: messages, files and invoices, which go out through a device's outbox,
//! * [`instances`]: devices by the identifiers that callers know, among the caller's own only,
//! * [`live`]: live events over Socket.IO, [`environment`]: configuration by the names that were in use before, `dotenv`: the file they stand in,
//!   `log`: log lines that scripts look for,
//! * `express`: paths and bodies as Express takes them,
//! * [`states`]: from a phase to `INIT`, `QR`, `CONNECTED` …, pure,
//! * [`extract`]: what a handler takes ([`SeedUser`], fields of a query or a body), [`answers`]: JSON and errors in Spanish.
//!
//! Nothing is kept here that the directory and the database do not have.

pub mod accounts;
pub mod answers;
pub mod devices;
mod dotenv;
pub mod environment;
pub(crate) mod express;
pub mod extract;
pub mod instances;
pub mod live;
pub(crate) mod log;
pub mod qr;
pub mod sending;
pub mod settings;
pub mod states;
pub mod status;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::{MethodRouter, get, post};
use http::{HeaderName, StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::{App, Held};

pub use answers::unknown_route;
pub use extract::SeedUser;
pub use instances::Instance;
pub use settings::Settings;

/// Bodies with files that are read at a time: each may be 25 MB, and twice that while it is parsed.
const LARGE_BODIES: usize = 8;

/// Room for a large body: among all, and among the user's own.
pub(crate) type Room = (Held, OwnedSemaphorePermit);

/// What the routes share beside the [`App`]'s own.
#[derive(Debug)]
pub struct Shared {
    started: Instant,
    large_bodies: Arc<Semaphore>,
    /// Made when the first file is fetched.
    pub(crate) fetcher: OnceLock<sending::Fetcher>,
    /// For [`log`]: room for requests whose messages are followed.
    followed: Arc<Semaphore>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            large_bodies: Arc::new(Semaphore::new(LARGE_BODIES)),
            fetcher: OnceLock::new(),
            followed: Arc::new(Semaphore::new(log::MAX_FOLLOWED)),
        }
    }
}

impl Shared {
    /// For how long this has run.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The routes.
pub fn router() -> Router<App> {
    Router::new()
        .route("/api/health", listed(get(status::health), "GET, HEAD"))
        .route("/health", listed(get(status::health), "GET, HEAD"))
        .route("/api/system-status", listed(get(status::system), "GET, HEAD"))
        .route("/system-status", listed(get(status::system), "GET, HEAD"))
        .route("/api/registro", listed(post(accounts::register), "POST"))
        .route("/api/login", listed(post(accounts::log_in), "POST"))
        .route("/api/forgot-password", listed(post(accounts::forgot_password), "POST"))
        .route("/api/me", listed(get(accounts::me), "GET, HEAD"))
        .route("/api/qr", listed(get(qr::of_query), "GET, HEAD"))
        .route("/api/qr/{numero}", listed(get(qr::of_path), "GET, HEAD"))
        .route("/api/status", listed(get(status::of_query), "GET, HEAD"))
        .route("/api/status/{numero}", listed(get(status::of_path), "GET, HEAD"))
        .route("/api/connections", listed(get(status::connections), "GET, HEAD"))
        .route("/api/add-device", listed(post(devices::add), "POST"))
        .route("/api/disconnect", listed(post(devices::disconnect), "POST"))
        .route("/api/delete-device", listed(post(devices::delete), "POST"))
        .route("/api/update-device", listed(post(devices::update), "POST"))
        .route("/api/update-instance", listed(post(devices::update_instance), "POST"))
        .route(
            "/api/generate-instance",
            listed(get(devices::generate).post(devices::generate), "GET, HEAD, POST"),
        )
        .merge(sending::router())
        .route("/favicon.ico", get(async || StatusCode::NO_CONTENT))
        .route_layer(from_fn(express::readable))
        .route_layer(express::opened())
}

/// A route that tells its methods when it is asked for its options.
pub fn listed(route: MethodRouter<App>, methods: &'static str) -> MethodRouter<App> {
    const TEXT: (HeaderName, &str) = (header::CONTENT_TYPE, "text/plain");
    route.options(async move || ([(header::ALLOW, methods), TEXT], methods))
}
