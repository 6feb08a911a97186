//! Who may open a connection, before anybody knows who it is.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{Method, StatusCode};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::{App, Reason, peer};
use crate::seed::answers::{Json, Refusal};

/// Connections at a time, of all users; each has a buffer.
const MAX_CONNECTIONS: usize = 2048;
/// How long a client may take to send what it sends.
const BODY: Duration = Duration::from_secs(15);

/// What decides.
#[derive(Clone)]
pub(super) struct Admission {
    app: App,
    places: Arc<Semaphore>,
}

/// A connection's place: it goes with the request that opened it, which the connection keeps for its life.
#[derive(Clone)]
struct Place {
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Admission {
    pub(super) fn new(app: App) -> Self {
        Self { app, places: Arc::new(Semaphore::new(MAX_CONNECTIONS)) }
    }
}

/// Lets requests of connections pass, and those that open one while there is room.
pub(super) async fn admit(State(admission): State<Admission>, mut request: Request, next: Next) -> Response {
    let query = request.uri().query().unwrap_or_default();
    // Read as Engine.IO reads it: what it takes for an opening must be one here.
    let parameter = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    if admission.app.front().replicas > 1 && parameter("transport") == Some("polling") {
        return no_polling();
    }
    let opens = parameter("sid").is_none();
    if opens {
        if let Err(too_many) = admission.app.limits().opening(peer(&request)) {
            return Refusal::from(too_many).into_response();
        }
        let Ok(permit) = Arc::clone(&admission.places).try_acquire_owned() else {
            metrics::counter!("enlace_api_live_refused_total").increment(1);
            return Refusal::unavailable("Demasiadas conexiones abiertas, intente más tarde", 30)
                .into_response();
        };
        request.extensions_mut().insert(Place { _permit: Arc::new(permit) });
    }
    if request.method() != Method::POST {
        // It waits for events, or becomes a WebSocket.
        return next.run(request).await;
    }
    match tokio::time::timeout(BODY, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::new(StatusCode::REQUEST_TIMEOUT, "BodyTooSlow", "El cuerpo no llegó a tiempo")
            .into_response(),
    }
}

/// With several replicas each request of a polling client would come to another one, which does not know it. In the form of Engine.IO.
fn no_polling() -> Response {
    let message = "Esta instalación tiene varias réplicas: conecte con transports: [\"websocket\"]";
    let body = json!({ "code": 3, "message": message });
    let mut response = (StatusCode::BAD_REQUEST, Json(body)).into_response();
    response.extensions_mut().insert(Reason("PollingNeedsOneReplica".to_owned()));
    response
}
