//! Liveness and readiness.
//!
//! Being connected to WhatsApp is neither: a device must not be killed because WhatsApp is down.

use std::time::Duration;

use axum::extract::State;
use enlace_contract::problem::Problem;
use http::StatusCode;

use super::{Shared, store_failed};

/// How long the session's loop may be busy with one thing: unlinking, ending a client and a busy database have their own limits below this.
const LIVE: Duration = Duration::from_secs(60);

/// `GET /livez`: the session's loop came round lately.
pub(super) async fn live(State(shared): State<Shared>) -> Result<&'static str, Problem> {
    if shared.beat.borrow().elapsed() < LIVE {
        return Ok("ok\n");
    }
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "NotAlive", "the session's loop does not come round"))
}

/// `GET /readyz`: the server answers and the database does.
pub(super) async fn ready(State(shared): State<Shared>) -> Result<&'static str, Problem> {
    shared.store.ping().await.map_err(store_failed)?;
    Ok("ok\n")
}
