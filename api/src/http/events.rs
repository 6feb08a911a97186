//! Streams of server-sent events: of one device, passed on from it, and of all devices that the caller may see.
//!
//! A stream ends with its token (at once when that is ended here or expires), with the device, and when the server stops. What is in it is what the caller's
//! other actions allow to read.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use enlace_contract::events::{DeviceEvent, KEEP_ALIVE, SILENCE};
use enlace_contract::problem::Problem;
use eventsource_stream::Eventsource as _;
use futures::stream::{self, Stream, StreamExt as _};
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;

use super::App;
use super::devices::{Shown, visible};
use super::extract::{Caller, DevicePath};
use super::failure::Failure;
use super::forward::pass_on;
use super::shares::{Held, STREAMS};
use crate::auth::Action;
use crate::database::TokenRecord;
use crate::directory::DeviceChange;

/// The time to the first byte of a device's stream.
const OPEN: Duration = Duration::from_secs(10);
/// How often it is checked that a stream's token still lives: another replica may have ended it.
const CHECK: Duration = Duration::from_secs(15);

/// After an end that has passed by this clock: the database may see it a moment later.
const PASSED: Duration = Duration::from_millis(10);

/// The events of a device: its state (`state`), what came in (`message`, with ids for `Last-Event-ID`), and changes of what goes out
/// (`messageState`). States come only with `devices:read`, messages with `inbox:read`, changes with `messages:read`, codes to link with
/// `devices:pair`.
#[utoipa::path(get, path = "/v1/devices/{namespace}/{name}/events", tag = "events", security(("token" = [])),
    params(("namespace" = String, Path), ("name" = String, Path),
        ("Last-Event-ID" = Option<i64>, Header, description = "Go on after this record of the inbox"),
        ("after" = Option<i64>, Query, description = "The same, for clients that cannot set a header"),
        ("kinds" = Option<String>, Query, description = "Only events of these kinds: state, message, messageState; separated by commas")),
    responses((status = OK, body = DeviceEvent, content_type = "text/event-stream")))]
pub(super) async fn of_device(
    State(app): State<App>,
    caller: Caller,
    path: DevicePath,
    request: Request,
) -> Result<Response, Failure> {
    let permit = permit(&app, &caller)?;
    let response = pass_on(&app, &caller, &path, Action::EventsRead, request, "/v1/events", OPEN).await?;
    if !response.status().is_success() {
        return Ok(response);
    }
    let whole = [Action::DevicesRead, Action::DevicesPair, Action::InboxRead, Action::MessagesRead];
    let (parts, body) = response.into_parts();
    let bytes = until_silent(body).take_until(ended(app, caller.clone(), permit));
    if whole.into_iter().all(|action| caller.may(action)) {
        return Ok(Response::from_parts(parts, Body::from_stream(bytes)));
    }
    let events = bytes.eventsource().filter_map(move |event| {
        // A device whose events cannot be read ends the stream by its silence.
        let event = event.ok().and_then(|event| DeviceEvent::parse(&event.event, &event.data).ok().flatten());
        let event = event.and_then(|event| allowed(&caller, event)).map(|event| event.to_sse());
        std::future::ready(event.map(Ok::<_, Infallible>))
    });
    Ok(sse(events))
}

/// What a caller may read of an event.
fn allowed(caller: &Caller, event: DeviceEvent) -> Option<DeviceEvent> {
    match event {
        // It says whose the device is: number, JID, name.
        DeviceEvent::State(state) => {
            caller.may(Action::DevicesRead).then(|| DeviceEvent::State(visible(caller, state)))
        }
        DeviceEvent::Message(_) => caller.may(Action::InboxRead).then_some(event),
        DeviceEvent::MessageState(_) => caller.may(Action::MessagesRead).then_some(event),
    }
}

/// The devices that the caller may see: `added` for each that is there, then `added`, `changed` and `deleted`, each with the resource. A slow
/// reader gets the newest of each device, not every step.
#[utoipa::path(get, path = "/v1/events", tag = "events", security(("token" = [])),
    responses((status = OK, body = Shown, content_type = "text/event-stream")))]
pub(super) async fn of_all(State(app): State<App>, caller: Caller) -> Result<Response, Failure> {
    caller.needs(Action::EventsRead)?;
    caller.needs(Action::DevicesRead)?;
    let permit = permit(&app, &caller)?;
    let changes = app.directory.watch().take_until(ended(app.clone(), caller.clone(), permit));
    let mut seen = BTreeSet::new();
    let events = changes.filter_map(move |change| {
        let device = change.device();
        let (before, now) = (seen.contains(&device.key), caller.sees(device));
        let name = match (&change, before, now) {
            (DeviceChange::Deleted(_), true, _) | (_, true, false) => "deleted",
            (DeviceChange::Deleted(_), false, _) | (_, false, false) => return std::future::ready(None),
            (_, false, true) => "added",
            (_, true, true) => "changed",
        };
        if name == "deleted" {
            seen.remove(&device.key);
        } else {
            seen.insert(device.key.clone());
        }
        let shown = Shown::to(&caller, device).ok();
        let event = shown.and_then(|shown| Event::default().event(name).json_data(shown).ok());
        std::future::ready(event.map(Ok::<_, Infallible>))
    });
    Ok(sse(events))
}

fn sse(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    // Proxies that buffer would hold events back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The place of a stream among all, and among the user's own.
type Permit = (Held, OwnedSemaphorePermit);

fn permit(app: &App, caller: &Caller) -> Result<Permit, Failure> {
    let own = app.shares.stream(&caller.user.id).ok_or_else(|| {
        let detail = format!("this user has {STREAMS} event streams open: close one first");
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "TooManyStreams", detail).retry_after(30)
    })?;
    let among_all = app.streams.clone().try_acquire_owned().map_err(|_| {
        let detail = "too many event streams are open";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "TooManyStreams", detail).retry_after(30)
    })?;
    Ok((own, among_all))
}

/// When a stream is over: its token has ended, or the server stops. It holds the stream's place among the open ones.
async fn ended(app: App, caller: Caller, permit: Permit) {
    let _permit = permit;
    tokio::select! {
        () = app.token_end(&caller.token) => {}
        () = app.stopping.cancelled() => {}
    }
}

impl App {
    /// When a token has ended: at once when that happens here, else within seconds.
    pub(crate) async fn token_end(&self, token: &TokenRecord) {
        let mut ended = self.ended.subscribe();
        // It may have ended between the request's own look and now.
        ended.mark_changed();
        loop {
            tokio::select! {
                // The sender is the app's, which is here.
                _ = ended.changed() => {}
                () = tokio::time::sleep(next_look(token, Timestamp::now())) => {}
            }
            // A database that fails for a moment ends no stream.
            if self.database.token_lives(&token.id, Timestamp::now()).await.is_ok_and(|lives| !lives) {
                return;
            }
        }
    }

    /// When a stop begins.
    pub(crate) async fn stopping(&self) {
        self.stopping.cancelled().await;
    }
}

/// How long until a token is looked at again: until it expires, or until the next check.
fn next_look(token: &TokenRecord, now: Timestamp) -> Duration {
    let left = token.expires_at.map(|end| Duration::try_from(now.duration_until(end)).unwrap_or(PASSED));
    left.map_or(CHECK, |left| left.clamp(PASSED, CHECK))
}

/// The bytes of a device's stream; one that is silent for too long is dead.
fn until_silent(body: Body) -> impl Stream<Item = Result<Bytes, axum::Error>> + Send + Unpin + 'static {
    stream::unfold(body.into_data_stream(), async |mut bytes| {
        let next = tokio::time::timeout(SILENCE, bytes.next()).await.ok()??;
        Some((next, bytes))
    })
    .boxed()
}
