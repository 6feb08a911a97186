//! Probes.

use axum::extract::State;
use http::StatusCode;

use super::App;
use super::failure::Failure;

/// Whether the server answers.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = OK, body = String, content_type = "text/plain")))]
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// Whether requests can be served: the database answers and the devices are known. That a device is not connected is no part of it.
#[utoipa::path(get, path = "/readyz", tag = "health", responses((status = OK, body = String, content_type = "text/plain")))]
pub(super) async fn ready(State(app): State<App>) -> Result<&'static str, Failure> {
    app.database.ping().await?;
    if app.stopping.is_cancelled() || !app.directory.ready().await {
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "NotReady", "the devices are not known"));
    }
    Ok("ok\n")
}
