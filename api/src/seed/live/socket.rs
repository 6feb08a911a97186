//! A connection, from its token to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use serde::Deserialize;
use serde_json::json;
use socketioxide::SocketIo;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::ConnectHandler as _;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::events::DEVICE_STATUS;
use super::hub::{Hub, Presence};
use super::rooms;
use crate::auth::Action;
use crate::http::App;
use crate::seed::SeedUser;
use crate::seed::answers::Refusal;

/// Who connects so soon after the start was connected before it, and has missed that everything begins anew.
const AFTER_START: Duration = Duration::from_secs(30);

/// What a client may bring in `auth`.
#[derive(Debug, Default, Deserialize)]
struct Auth {
    #[serde(default)]
    token: Option<String>,
}

/// What a connection that was let in takes along. Its handler takes it out.
#[derive(Clone)]
struct Admitted(Arc<Mutex<Option<(SeedUser, Presence)>>>);

/// Begins to listen.
pub(super) fn listen(io: &SocketIo, app: &App, hub: Hub) {
    let guard = {
        let app = app.clone();
        move |socket: SocketRef, TryData(auth): TryData<Auth>| {
            let (app, hub) = (app.clone(), hub.clone());
            async move { admit(&app, &hub, &socket, auth.unwrap_or_default()).await }
        }
    };
    let app = app.clone();
    let connected = move |socket: SocketRef, io: SocketIo| {
        let app = app.clone();
        async move { connected(app, io, socket).await }
    };
    io.ns("/", connected.with(guard));
}

/// Lets a connection in that shows a good token; else the client gets the text as `connect_error`.
async fn admit(app: &App, hub: &Hub, socket: &SocketRef, auth: Auth) -> Result<(), Refusal> {
    let parts = socket.req_parts();
    let address = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let user = match auth.token.filter(|token| !token.is_empty()).or_else(|| of_query(parts.uri.query())) {
        Some(token) => SeedUser::of_value(app, bare(&token), address).await?,
        None => SeedUser::of(app, &parts.headers, address).await?.ok_or_else(Refusal::no_token)?,
    };
    user.needs(Action::EventsRead)?;
    let presence = hub.arrive(user.id());
    let presence =
        presence.ok_or_else(|| Refusal::unavailable("Demasiadas conexiones de este usuario", 30))?;
    socket.extensions.insert(Admitted(Arc::new(Mutex::new(Some((user, presence))))));
    Ok(())
}

/// Holds a connection until it ends: by itself, with its token, or because the server stops.
async fn connected(app: App, io: SocketIo, socket: SocketRef) {
    let Some(Admitted(admitted)) = socket.extensions.remove::<Admitted>() else { return };
    let Some((user, _presence)) = admitted.lock().await.take() else { return };
    let gone = CancellationToken::new();
    let end = gone.clone();
    socket.on_disconnect(async move || end.cancel());
    if !socket.connected() {
        return;
    }
    socket.join(rooms::of_caller(user.principal()));
    if app.seed().uptime() < AFTER_START {
        // Full buffers are for the feed to count; this one is new.
        let _ = socket.emit(DEVICE_STATUS, &json!({ "action": "global_init", "status": "conectando" }));
    }
    tokio::select! {
        () = gone.cancelled() => {}
        () = app.token_end(&user.principal().token) => {
            let _ = socket.disconnect();
        }
        // Clients come back by themselves after this end, and not after the other one.
        () = app.stopping() => io.close().await,
    }
}

fn of_query(query: Option<&str>) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.find(|(name, value)| name == "token" && !value.is_empty()).map(|(_, value)| value.into_owned())
}

/// A token, also when the word before it was brought along.
fn bare(token: &str) -> &str {
    token.split_once(' ').map_or(token, |(_, token)| token)
}
