//! Liveness and readiness.
//!
//! Liveness is that the runtime answers: what is missing outside (an API server, a definition) is not mended by a restart. Readiness lists
//! what is missing.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;

use crate::caches::Caches;

/// `/livez` and `/readyz`.
pub fn router(caches: Arc<Caches>) -> Router {
    Router::new().route("/livez", get(|| async { "ok\n" })).route("/readyz", get(ready)).with_state(caches)
}

async fn ready(State(caches): State<Arc<Caches>>) -> (StatusCode, String) {
    let missing = caches.missing();
    if missing.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, missing.into_iter().map(|line| line + "\n").collect())
}
