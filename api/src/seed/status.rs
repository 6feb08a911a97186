//! Health, and the states of devices.

use std::time::Duration;

use axum::extract::{Path, State};
use jiff::Timestamp;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::{Value, json};

use super::answers::{INTERNAL, Json, Refusal, timestamp};
use super::extract::{Fields, Guest, Query, SeedUser};
use super::instances::{self, Instance};
use super::states::{Facts, Word, cause_of};
use crate::auth::Action;
use crate::directory::Device;
use crate::http::App;

/// What the database may take in a question about health: 2 s, and a little less than it gives itself, so that the answer says why.
const DATABASE: Duration = Duration::from_millis(1950);
/// `nodeVersion`: clients compare it. It is the version of the system that this API is compatible with; `version` is Enlace's own.
const NODE_VERSION: &str = "v20.20.2";

/// `GET /api/health`: 200 whatever the database does.
pub(super) async fn health(State(app): State<App>) -> Json<Value> {
    let answered = tokio::time::timeout(DATABASE, app.database().ping()).await;
    let mut answer = json!({
        "ok": true,
        "status": "ok",
        "db": matches!(answered, Ok(Ok(()))),
        "uptime": app.seed().uptime().as_secs_f64(),
        "memory": memory(),
        "timestamp": timestamp(Timestamp::now()),
    });
    if let Ok(Err(error)) = &answered {
        tracing::warn!(error = error as &dyn std::error::Error, "the database does not answer");
    }
    if !matches!(answered, Ok(Ok(()))) {
        answer["error"] = "base de datos no disponible".into();
    }
    // A server that is gone and one that stands still look alike: both give no answer in time.
    if answered.is_err() {
        answer["timeout"] = true.into();
    }
    Json(answer)
}

/// `GET /api/system-status`: the process, and how many devices run.
pub(super) async fn system(State(app): State<App>) -> Result<Json<Value>, Refusal> {
    let now = Timestamp::now();
    let devices = app.directory().list().await?;
    let clients = devices.iter().filter(|device| Facts::of(device).word(now) != Word::Offline).count();
    Ok(Json(json!({
        "uptime": app.seed().uptime().as_secs_f64(),
        "memory": memory(),
        "clients": clients,
        "nodeVersion": NODE_VERSION,
        "version": env!("CARGO_PKG_VERSION"),
        "platform": std::env::consts::OS,
        "timestamp": timestamp(now),
    })))
}

/// `GET /api/status?instancia_id=` or `?numero=`.
pub(super) async fn of_query(
    State(app): State<App>,
    Guest(user): Guest,
    Query(query): Query,
) -> Result<Json<Value>, Refusal> {
    match query.first_text(&["instancia_id", "numero"])? {
        Some(named) => answered(&app, user, named).await,
        None => Ok(Json(nobody(user.is_some()))),
    }
}

/// `GET /api/status/NUMERO`.
pub(super) async fn of_path(
    State(app): State<App>,
    Guest(user): Guest,
    Path(named): Path<String>,
) -> Result<Json<Value>, Refusal> {
    answered(&app, user, &named).await
}

/// The answer; a lost database is told as clients know it.
async fn answered(app: &App, user: Option<SeedUser>, named: &str) -> Result<Json<Value>, Refusal> {
    show(app, user, named).await.map_err(|refusal| refusal.database_said(INTERNAL))
}

async fn show(app: &App, user: Option<SeedUser>, named: &str) -> Result<Json<Value>, Refusal> {
    let now = Timestamp::now();
    let Some(user) = user else {
        // Whoever knows an identifier may know this much; of a number nobody is told anything.
        let device = instances::of_anybody(app, named).await?;
        let word = device.map_or(Word::None, |device| Facts::of(&device).word(now));
        return Ok(Json(json!({ "ready": word.ready(), "state": word })));
    };
    user.needs(Action::DevicesRead)?;
    let Some(instance) = instances::find(app, &user, named).await? else {
        return Ok(Json(nobody(true)));
    };
    let word = instance.word(now);
    let Times { connected_at, disconnected_at } = Times::of(&instance.device);
    let mut answer = json!({
        "ready": word.ready(),
        "hasQr": word.has_qr(),
        "state": word,
        "estado": word.estado(),
        "numero": instance.number(),
        "connectedAt": connected_at,
        "disconnectedAt": disconnected_at,
        "instancia_id": instance.id,
    });
    if let Some(cause) = cause_of(&instance.device) {
        answer["motivo"] = cause.into();
    }
    Ok(Json(answer))
}

/// What is said of an instance that is not there.
fn nobody(known_caller: bool) -> Value {
    let mut answer = json!({ "ready": false, "state": Word::None });
    if known_caller {
        answer["hasQr"] = false.into();
    }
    answer
}

/// `GET /api/connections`: the caller's devices, the newest activity first, by number (`?keys=instancia_id`: by identifier).
pub(super) async fn connections(
    State(app): State<App>,
    user: Option<SeedUser>,
    Query(query): Query,
) -> Result<Json<Connections>, Refusal> {
    let now = Timestamp::now();
    let Some(user) = user else { return anonymous(&app, now).await.map(Json) };
    user.needs(Action::DevicesRead)?;
    let by_id = wants_ids(&query)?;
    let mut all = instances::all(&app, &user).await?;
    all.sort_by_key(|instance| std::cmp::Reverse(instance.last_activity()));
    let mut connections = Entries::default();
    for instance in &all {
        connections.add(instance, by_id, now);
    }
    let connected = all.iter().filter(|instance| instance.word(now).ready()).count();
    Ok(Json(Connections { total_clients: all.len(), connected_clients: connected, connections }))
}

fn wants_ids(query: &Fields) -> Result<bool, Refusal> {
    match query.text("keys")? {
        None | Some("numero") => Ok(false),
        Some("instancia_id") => Ok(true),
        Some(_) => Err(Refusal::bad_request("keys debe ser numero o instancia_id")),
    }
}

/// Counts without numbers, where the installation allows it.
async fn anonymous(app: &App, now: Timestamp) -> Result<Connections, Refusal> {
    if !app.compatible().anonymous_counts {
        return Err(Refusal::no_token());
    }
    let devices = app.directory().list().await?;
    let ready = |device: &Device| Facts::of(device).word(now).ready();
    let connected = devices.iter().filter(|device| ready(device)).count();
    let connections = Entries::default();
    Ok(Connections { total_clients: devices.len(), connected_clients: connected, connections })
}

/// The answer of `/api/connections`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Connections {
    total_clients: usize,
    connected_clients: usize,
    connections: Entries,
}

/// Devices by key, in the order in which they were added.
#[derive(Default)]
struct Entries(Vec<(String, Entry)>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    number: Option<String>,
    name: String,
    ready: bool,
    state: Word,
    has_qr: bool,
    connected_at: Option<i64>,
    disconnected_at: Option<i64>,
    last_seen: Option<i64>,
    created_at: Option<String>,
    #[serde(flatten)]
    names_of_others: OtherNames,
}

/// What the same is called in other versions of that API.
#[derive(Serialize)]
struct OtherNames {
    instancia_id: String,
    numero: Option<String>,
    nombre: String,
    estado: super::states::Estado,
    fecha_conexion: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    motivo: Option<&'static str>,
}

impl Entries {
    fn add(&mut self, instance: &Instance, by_id: bool, now: Timestamp) {
        let Times { connected_at, disconnected_at } = Times::of(&instance.device);
        let word = instance.word(now);
        let number = instance.number().map(str::to_owned);
        let entry = Entry {
            number: number.clone(),
            name: instance.name().to_owned(),
            ready: word.ready(),
            state: word,
            has_qr: word.has_qr(),
            connected_at,
            disconnected_at,
            last_seen: if word.ready() { Some(now.as_millisecond()) } else { disconnected_at },
            created_at: instance.created().map(timestamp),
            names_of_others: OtherNames {
                instancia_id: instance.id.clone(),
                numero: number.clone(),
                nombre: instance.name().to_owned(),
                estado: word.estado(),
                fecha_conexion: connected_at.and_then(written),
                motivo: cause_of(&instance.device),
            },
        };
        // A number stands for one device only: another one that declares it is told by its identifier.
        let taken = |key: &String| self.0.iter().any(|(known, _)| known == key);
        let key = number.filter(|number| !by_id && !taken(number)).unwrap_or_else(|| instance.id.clone());
        self.0.push((key, entry));
    }
}

impl Serialize for Entries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, entry) in &self.0 {
            map.serialize_entry(key, entry)?;
        }
        map.end()
    }
}

/// Since when a device is connected or not, in milliseconds since 1970.
struct Times {
    connected_at: Option<i64>,
    disconnected_at: Option<i64>,
}

impl Times {
    fn of(device: &Device) -> Self {
        let status = device.resource.status.as_ref();
        let time = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
        Self {
            connected_at: time(status.and_then(|status| status.connected_at)),
            disconnected_at: time(status.and_then(|status| status.disconnected_at)),
        }
    }
}

fn written(milliseconds: i64) -> Option<String> {
    Timestamp::from_millisecond(milliseconds).ok().map(timestamp)
}

/// The memory of this process, in bytes, by the names that clients know. What a heap of JavaScript has beside is 0.
fn memory() -> Value {
    // In pages: all, resident, of them shared, code, libraries, data and stack (proc(5)).
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Vec<u64> = text.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    let bytes = |field: usize| pages.get(field).map_or(0, |pages| pages * rustix::param::page_size() as u64);
    json!({
        "rss": bytes(1),
        "heapTotal": bytes(5),
        "heapUsed": bytes(1).saturating_sub(bytes(2)),
        "external": 0,
        "arrayBuffers": 0,
    })
}
