//! Liveness, readiness and metrics.
//!
//! Being connected to WhatsApp is neither: a device must not be killed because WhatsApp is down.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use enlace_contract::problem::Problem;
use http::StatusCode;
use metrics_exporter_prometheus::PrometheusHandle;

use super::{Shared, ask, store_failed};
use crate::session::Command;

/// How long the supervisor may be busy with one thing: ending a client and unlinking have 8 s each.
const LIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// `GET /livez`: the session's loop runs.
pub(super) async fn live(State(shared): State<Shared>) -> Result<&'static str, Problem> {
    match tokio::time::timeout(LIVE_TIMEOUT, ask(&shared, Command::Ping)).await {
        Ok(answer) => answer.map(|()| "ok\n"),
        Err(_) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "NotAlive",
            "the session's loop does not answer",
        )),
    }
}

/// `GET /readyz`: the server answers and the database does.
pub(super) async fn ready(State(shared): State<Shared>) -> Result<&'static str, Problem> {
    shared.store.ping().await.map_err(store_failed)?;
    Ok("ok\n")
}

/// `GET /metrics`, for a port of its own.
pub fn metrics_router(recorder: PrometheusHandle) -> Router {
    Router::new().route("/metrics", get(move || std::future::ready(recorder.render())))
}
