//! Control over HTTP: the routes that play the people holding the phones and the operator of the server, the
//! types they speak, and the typed client.

pub mod client;
mod error;
mod phone_routes;
mod server_routes;
pub mod types;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use crate::connection;
use crate::connection::handle::Socket;
use crate::control::types::Uploaded;
use crate::state::Sim;

/// The largest file, and so the largest body: more than WhatsApp's own limit for media in chats.
const MAX_BODY: usize = 256 << 20;
/// The largest WebSocket message a client may send.
const MAX_FRAME: usize = 32 << 20;

/// All routes of a simulator: the WebSocket, the media store and the controls.
pub(crate) fn router(sim: Arc<Sim>) -> Router {
    Router::new()
        .route("/ws/chat", get(web_socket))
        .route("/mms/{kind}/{token}", post(upload))
        .route("/v/{id}", get(download))
        .merge(phone_routes::routes())
        .merge(server_routes::routes())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::map_response(error::in_words))
        .with_state(sim)
}

async fn web_socket(
    State(sim): State<Arc<Sim>>,
    ConnectInfo(socket): ConnectInfo<Socket>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    upgrade
        .max_message_size(MAX_FRAME)
        .max_frame_size(MAX_FRAME)
        .on_upgrade(move |ws| connection::serve(sim, ws, socket, host))
}

async fn upload(
    State(sim): State<Arc<Sim>>,
    Path((_kind, _token)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> axum::Json<Uploaded> {
    let direct_path = sim.state().media.put(body);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = sim.public.as_deref().unwrap_or(host);
    axum::Json(Uploaded { url: format!("https://{host}{direct_path}"), direct_path })
}

async fn download(State(sim): State<Arc<Sim>>, Path(id): Path<String>) -> Response {
    let blob = sim.state().media.get(&id);
    match blob {
        Some(blob) => blob.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
