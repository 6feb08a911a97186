//! A host of played devices: each has the routes of a device, a state that a test sets, and a list of what it was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::extract::{Path, Query, Request, State};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use enlace_api::directory::{DeviceHost, RunningDevice, StartError};
use enlace_contract::client::DeviceClient;
use enlace_contract::config::DeviceConfig;
use enlace_contract::events::DeviceEvent;
use enlace_contract::problem::Problem;
use enlace_contract::query::Wait;
use enlace_contract::state::{Account, ClaimDecision, ClaimState, DeviceState, Phase, QrCode};
use futures::stream::{self, StreamExt as _};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::watch;

/// What a device was asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// A played device. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Played {
    pub(crate) uid: String,
    pub(crate) directory: PathBuf,
    pub(crate) state: watch::Sender<DeviceState>,
    pub(crate) config: watch::Sender<DeviceConfig>,
    pub(crate) running: watch::Sender<bool>,
    /// What becomes of each message of a batch, in their order, laid over the message; without one it waits.
    pub(crate) fates: Arc<Mutex<Vec<Value>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    pub(crate) outbox: Arc<Mutex<Vec<Value>>>,
    /// What was stored under each key of a caller.
    keys: Arc<Mutex<BTreeMap<String, Vec<Value>>>>,
}

/// Starts played devices.
#[derive(Default)]
pub(crate) struct Stage {
    /// Every device that ever ran, by key; the newest run of it.
    devices: watch::Sender<BTreeMap<String, Played>>,
    broken: Mutex<BTreeSet<String>>,
    pub(crate) starts: watch::Sender<Vec<String>>,
    /// While it is set, what is to start does not.
    pub(crate) held: watch::Sender<bool>,
}

impl Stage {
    /// The device of a key, when it runs.
    pub(crate) async fn device(&self, key: &str) -> Played {
        let mut devices = self.devices.subscribe();
        let there =
            devices.wait_for(|devices| devices.get(key).is_some_and(|device| *device.running.borrow()));
        let devices = crate::fixture::in_time(there).await.unwrap();
        devices[key].clone()
    }

    pub(crate) fn breaks(&self, key: &str) {
        self.broken.lock().unwrap().insert(key.to_owned());
    }

    pub(crate) fn repair(&self, key: &str) {
        self.broken.lock().unwrap().remove(key);
    }
}

#[async_trait]
impl DeviceHost for Stage {
    async fn start(
        &self,
        config: DeviceConfig,
        data_dir: PathBuf,
    ) -> Result<Box<dyn RunningDevice>, StartError> {
        let key = config.key.to_string();
        self.held.subscribe().wait_for(|held| !held).await.unwrap();
        if self.broken.lock().unwrap().contains(&key) {
            if key.ends_with("panics") {
                panic!("a device's own fault");
            }
            return Err(StartError("the volume is another's".into()));
        }
        std::fs::write(data_dir.join("session.db"), "the session").unwrap();
        let device = Played {
            uid: config.uid.clone(),
            directory: data_dir,
            state: watch::Sender::new(DeviceState { phase: Phase::Starting, ..DeviceState::default() }),
            config: watch::Sender::new(config),
            running: watch::Sender::new(true),
            fates: Arc::default(),
            asked: Arc::default(),
            outbox: Arc::default(),
            keys: Arc::default(),
        };
        self.devices.send_modify(|devices| drop(devices.insert(key.clone(), device.clone())));
        self.starts.send_modify(|starts| starts.push(key));
        Ok(Box::new(device))
    }
}

#[async_trait]
impl RunningDevice for Played {
    fn client(&self) -> DeviceClient {
        DeviceClient::in_process(self.router())
    }

    async fn apply(&self, config: DeviceConfig) {
        self.config.send_replace(config);
    }

    async fn stop(self: Box<Self>) {
        self.running.send_replace(false);
    }
}

impl Played {
    /// It says something of itself.
    pub(crate) fn says(&self, change: impl FnOnce(&mut DeviceState)) {
        self.state.send_modify(change);
    }

    /// A QR code waits.
    pub(crate) fn shows_code(&self) {
        self.says(|state| {
            state.phase = Phase::AwaitingScan;
            state.qr = Some(QrCode {
                code: "SECRET-CODE".into(),
                text: "▀".into(),
                expires_at: jiff::Timestamp::MAX,
            });
        });
    }

    /// A phone linked, and asks for its number.
    pub(crate) fn links(&self, number: &str) {
        self.is_linked(number, ClaimState::Pending);
    }

    /// A phone linked whose number the device refuses by itself.
    pub(crate) fn links_refused(&self, number: &str) {
        self.is_linked(number, ClaimState::Refused);
    }

    /// It restored a session whose number was granted once.
    pub(crate) fn links_granted(&self, number: &str) {
        self.is_linked(number, ClaimState::Granted);
    }

    fn is_linked(&self, number: &str, claim: ClaimState) {
        self.says(|state| {
            *state = DeviceState {
                phase: Phase::Connected,
                paired: true,
                account: Some(account(number)),
                claim,
                connected_at: Some(jiff::Timestamp::UNIX_EPOCH),
                ..DeviceState::default()
            };
        });
    }

    pub(crate) async fn stopped(&self) {
        crate::fixture::in_time(self.running.subscribe().wait_for(|running| !running)).await.unwrap();
    }

    pub(crate) async fn claim(&self, claim: ClaimState) {
        let mut state = self.state.subscribe();
        crate::fixture::in_time(state.wait_for(|state| state.claim == claim)).await.unwrap();
    }

    /// What it was asked, but for its events.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .filter(|asked| !asked.path.starts_with("/v1/events"))
            .cloned()
            .collect()
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/v1/status", get(async |State(device): State<Self>| Json(device.state.borrow().clone())))
            .route("/v1/events", get(events))
            .route("/v1/qr", get(async || ([(header::CONTENT_TYPE, "text/plain")], "SECRET-CODE")))
            .route(
                "/v1/pairing-code",
                get(async || Json(json!({"code": "ABCD1234", "expiresAt": "2030-01-01T00:00:00Z"}))),
            )
            .route("/v1/pair", post(async |State(device): State<Self>| Json(device.state.borrow().clone())))
            .route("/v1/logout", post(log_out))
            .route("/v1/claim", put(claim))
            .route("/v1/messages", get(async || Json(json!({"items": []}))).post(send))
            .route("/v1/messages/batch", post(send_batch))
            .route("/v1/messages/{id}", get(one))
            .route("/v1/inbox", get(async || Json(json!({"items": []}))))
            .route(
                "/v1/inbox/{sequence}/media",
                get(async || ([(header::CONTENT_TYPE, "text/html")], "<script>")),
            )
            .layer(axum::extract::DefaultBodyLimit::max(enlace_contract::messages::MAX_MESSAGE_BODY))
            .layer(axum::middleware::from_fn_with_state(self.clone(), note))
            .with_state(self.clone())
    }
}

/// Notes what was asked; the body goes on to the route.
async fn note(State(device): State<Played>, request: Request, next: axum::middleware::Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "BodyTooLarge", "too large").into_response();
    };
    let body = body.to_bytes();
    device.asked.lock().unwrap().push(Asked {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: parts.headers.clone(),
        body: body.to_vec(),
    });
    next.run(Request::from_parts(parts, body.into())).await
}

async fn log_out(State(device): State<Played>) -> Json<DeviceState> {
    device.says(|state| *state = DeviceState { phase: Phase::LoggedOut, ..DeviceState::default() });
    Json(device.state.borrow().clone())
}

async fn claim(State(device): State<Played>, Json(decision): Json<ClaimDecision>) -> Json<DeviceState> {
    device.says(|state| {
        if decision.granted {
            state.claim = ClaimState::Granted;
        } else {
            // A refused session is logged out.
            *state =
                DeviceState { phase: Phase::LoggedOut, claim: ClaimState::Refused, ..DeviceState::default() };
        }
    });
    Json(device.state.borrow().clone())
}

async fn send(Json(body): Json<Value>) -> Response {
    if body["to"] == "silent" {
        std::future::pending::<()>().await;
    }
    (StatusCode::ACCEPTED, Json(message(body["to"].as_str().unwrap()))).into_response()
}

/// Stores a batch, once for a key. Whoever asks for its messages hears of their fates.
async fn send_batch(State(device): State<Played>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    /// As with real devices, no other message has an identifier again, also after a restart.
    static SENT: AtomicU64 = AtomicU64::new(0);
    let mut keys = device.keys.lock().unwrap();
    let key = headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
    if let Some(stored) = key.as_ref().and_then(|key| keys.get(key)) {
        return (StatusCode::OK, Json(json!({ "items": stored }))).into_response();
    }
    let mut outbox = device.outbox.lock().unwrap();
    let mut fates = device.fates.lock().unwrap();
    let mut stored = Vec::new();
    for asked in body["messages"].as_array().unwrap() {
        let mut message = message(asked["to"].as_str().unwrap());
        message["id"] = format!("3EB0{}", SENT.fetch_add(1, Ordering::Relaxed)).into();
        message["type"] = asked["type"].clone();
        stored.push(message.clone());
        if !fates.is_empty() {
            message.as_object_mut().unwrap().extend(fates.remove(0).as_object().unwrap().clone());
        }
        outbox.push(message);
    }
    keys.extend(key.map(|key| (key, stored.clone())));
    (StatusCode::ACCEPTED, Json(json!({ "items": stored }))).into_response()
}

/// A message of a batch with its fate. Nothing becomes of any other: who waits for it does so in vain.
async fn one(State(device): State<Played>, Path(id): Path<String>, Query(wait): Query<Wait>) -> Json<Value> {
    let is_known = device.outbox.lock().unwrap().iter().any(|message| message["id"] == id);
    if let Some(patience) = wait.patience().unwrap().filter(|_| !is_known) {
        let _ = tokio::time::timeout(patience, std::future::pending::<()>()).await;
    }
    let outbox = device.outbox.lock().unwrap();
    Json(outbox.iter().find(|message| message["id"] == id).cloned().unwrap_or_else(|| json!({ "id": id })))
}

/// The state, the records after `Last-Event-ID` (there are three), one change of a message, then each state.
async fn events(State(device): State<Played>, headers: HeaderMap) -> Response {
    let after = headers.get("last-event-id").map(|value| value.to_str().unwrap().parse::<i64>().unwrap());
    let records = after
        .into_iter()
        .flat_map(|after| after + 1..=3)
        .map(|sequence| DeviceEvent::Message(serde_json::from_value(record(sequence)).unwrap()));
    let sent =
        after.map(|_| DeviceEvent::MessageState(serde_json::from_value(message("525550000001")).unwrap()));
    let mut state = device.state.subscribe();
    state.mark_changed();
    let running = device.running.subscribe();
    let states = stream::unfold((state, running), async |(mut state, mut running)| {
        tokio::select! {
            changed = state.changed() => changed.ok()?,
            _ = running.wait_for(|running| !running) => return None,
        }
        let now = state.borrow_and_update().clone();
        Some((DeviceEvent::State(now), (state, running)))
    });
    let mut states = Box::pin(states);
    let first = states.next().await;
    let events = stream::iter(first.into_iter().chain(records).chain(sent)).chain(states).map(|event| {
        let encoded = Event::default().event(event.name()).data(event.data().unwrap());
        Ok::<_, Infallible>(match event.id() {
            Some(id) => encoded.id(id.to_string()),
            None => encoded,
        })
    });
    Sse::new(events).into_response()
}

fn record(sequence: i64) -> Value {
    json!({
        "sequence": sequence, "id": format!("M{sequence}"), "chat": "c", "sender": "s", "fromMe": false, "group": false,
        "type": "text", "text": "SECRET-TEXT", "timestamp": "2030-01-01T00:00:00Z", "receivedAt": "2030-01-01T00:00:00Z",
    })
}

fn message(to: &str) -> Value {
    json!({
        "id": "3EB0", "sequence": 1, "to": to, "type": "text", "state": "queued",
        "createdAt": "2030-01-01T00:00:00Z", "updatedAt": "2030-01-01T00:00:00Z",
    })
}

pub(crate) fn account(number: &str) -> Account {
    let jid = format!("{number}:1@s.whatsapp.net");
    Account { phone_number: number.parse().unwrap(), jid, lid: None, push_name: None, platform: None }
}
