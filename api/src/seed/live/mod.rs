//! Live events over Socket.IO (Engine.IO 4) at `/socket.io/`: what the pages of the compatible API, and programs, listen to.
//!
//! * [`events`]: what is told, and when, pure,
//! * `admission`: who may open a connection, before anybody knows who it is,
//! * `socket`: a connection, from its token to its end,
//! * `rooms`: which connections hear what,
//! * `feed`: what happens on the devices of a user who is connected, `follow`: on one of them,
//! * `hub`: the users who are connected.
//!
//! A connection hears of its own user's devices only, and of these what its token allows to read. Clients send nothing but their token.

mod admission;
pub mod events;
mod feed;
mod follow;
mod hub;
mod rooms;
mod socket;

use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use http::{HeaderValue, header};
use socketioxide::{ParserConfig, SocketIo};

use crate::http::App;
use admission::Admission;
use hub::Hub;

/// The largest payload, in bytes; it is told to clients, who know this figure.
const MAX_PAYLOAD: u64 = 1_000_000;
/// The largest message of a client, in bytes: it has a token to send.
const MAX_INCOMING: usize = 16 * 1024;
/// Events that wait for a slow client; more are lost to it.
const BUFFER: usize = 256;
/// How long a connection may stay without a token.
const CONNECT: Duration = Duration::from_secs(10);

/// The client for browsers: `socket.io-client` 4.8.4, of its MIT licence (`client/LICENSE`).
const CLIENT: &str = include_str!("client/socket.io.min.js");

/// The routes.
pub fn router(app: &App) -> Router<App> {
    let parser = ParserConfig::common().max_incoming_binaries(1).max_incoming_binary_buf_size(MAX_INCOMING);
    let (service, io) = SocketIo::builder()
        .max_payload(MAX_PAYLOAD)
        .max_buffer_size(BUFFER)
        .ws_max_message_size(MAX_INCOMING)
        .ws_max_frame_size(MAX_INCOMING)
        .connect_timeout(CONNECT)
        .with_parser(parser)
        .build_svc();
    socket::listen(&io, app, Hub::new(app.clone(), io.clone()));
    let admission = Admission::new(app.clone());
    Router::new()
        .route_service("/socket.io/", service.clone())
        .route_service("/socket.io", service)
        .route_layer(from_fn_with_state(admission, admission::admit))
        .route("/socket.io/socket.io.js", get(client))
        .route("/socket.io/socket.io.min.js", get(client))
}

async fn client() -> ([(http::HeaderName, HeaderValue); 1], &'static str) {
    let kind = HeaderValue::from_static("application/javascript; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], CLIENT)
}
