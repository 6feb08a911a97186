//! A device's pod that is played: a server on an address of this machine that checks device tokens as a device does.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use enlace_contract::problem::Problem;
use enlace_contract::token::TokenVerifier;
use http::{StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A pod on an address.
pub(crate) struct DevicePod {
    pub(crate) ip: IpAddr,
    asked: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<Vec<SocketAddr>>>,
    server: JoinHandle<()>,
}

#[derive(Clone)]
struct Door {
    verifier: TokenVerifier,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Drop for DevicePod {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl DevicePod {
    /// The pod of the device with this UID, which knows one public key. `port` 0 is any free one.
    pub(crate) async fn start(ip: &str, port: u16, uid: &str, key: &str, phase: &str) -> (Self, u16) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let verifier = TokenVerifier::new(uid, &[key.to_owned()]).unwrap();
        let door = Door { verifier, asked: Arc::clone(&asked) };
        let state = json!({ "phase": phase, "paired": true, "claim": "Granted", "reconnects": 0 });
        let router = Router::new()
            .route("/v1/status", get(move || std::future::ready(Json(state))))
            .route("/v1/messages", post(accept))
            .layer(from_fn_with_state(door, check));
        let ip: IpAddr = ip.parse().unwrap();
        let listener = TcpListener::bind((ip, port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&connections);
        let listener =
            axum::serve::ListenerExt::tap_io(listener, move |stream: &mut tokio::net::TcpStream| {
                seen.lock().unwrap().push(stream.peer_addr().unwrap());
            });
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (Self { ip, asked, connections, server }, port)
    }

    /// What was asked for and let in.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// How many connections were opened.
    pub(crate) fn connections(&self) -> usize {
        self.connections.lock().unwrap().len()
    }
}

async fn accept(body: String) -> (StatusCode, Json<Value>) {
    let sent: Value = serde_json::from_str(&body).unwrap();
    (StatusCode::ACCEPTED, Json(json!({ "id": "3EB0", "echo": sent })))
}

async fn check(State(door): State<Door>, request: Request, next: Next) -> Response {
    let token = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    match door.verifier.verify(token) {
        Ok(issuer) => {
            door.asked.lock().unwrap().push(format!("{issuer}: {} {}", request.method(), request.uri()));
            next.run(request).await
        }
        Err(_) => {
            Problem::new(StatusCode::UNAUTHORIZED, "Unauthorized", "the token does not open this device")
                .into_response()
        }
    }
}
