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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Request;
    use tokio::sync::{Notify, broadcast, mpsc, watch};
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;
    use tower::ServiceExt as _;

    use super::*;
    use crate::store::Store;

    /// The status and the body of an answer.
    async fn ask(shared: &Shared, path: &str) -> (u16, String) {
        let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
        let response = super::super::guarded(shared.clone()).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_loop_that_stands_is_not_alive_and_a_database_that_fails_is_not_ready() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("device.db")).await.unwrap();
        let config = serde_json::json!({ "uid": "uid-1", "key": "default/billing" });
        let config = watch::Sender::new(serde_json::from_value(config).unwrap());
        let beat = watch::Sender::new(Instant::now());
        let shared = Shared {
            store: store.clone(),
            commands: mpsc::channel(1).0,
            config: config.subscribe(),
            state: watch::channel(Default::default()).1,
            newest: watch::channel(0).1,
            reserve: crate::volume::Reserve::new(directory.path(), watch::channel(0).1),
            online: watch::channel(None).1,
            beat: beat.subscribe(),
            changes: broadcast::Sender::new(1),
            queued: Arc::new(Notify::new()),
            stop: CancellationToken::new(),
        };
        assert_eq!(ask(&shared, "/livez").await, (200, "ok\n".into()));
        assert_eq!(ask(&shared, "/readyz").await, (200, "ok\n".into()));

        beat.send_replace(Instant::now().checked_sub(LIVE).unwrap());
        let (status, body) = ask(&shared, "/livez").await;
        assert!(status == 503 && body.contains("NotAlive"), "{status} {body}");
        assert_eq!(ask(&shared, "/readyz").await.0, 200, "the one is not the other");

        beat.send_replace(Instant::now());
        store.close().await;
        let (status, body) = ask(&shared, "/readyz").await;
        assert!(status == 503 && body.contains("StoreFailed"), "{status} {body}");
        assert_eq!(ask(&shared, "/livez").await.0, 200);
    }
}
