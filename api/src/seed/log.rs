//! The log lines that people and scripts look for who know the system that this API is compatible with. They have numbers in them, as they
//! had there: that is why an installation must ask for them (`--compatible-log`). They have no code and no text of a message.
//!
//! Devices are told of as the directory sees them, requests as they are answered, and messages as a device stores them and as they go out.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use enlace_contract::client::DeviceClient;
use enlace_contract::messages::{MAX_WAIT_SECONDS, Message, MessageState};
use enlace_contract::name::DeviceKey;
use enlace_contract::state::Phase;
use enlace_crds::rules::conditions::{CONNECTED, PAIRED};
use futures::StreamExt as _;

use crate::directory::{Device, DeviceChange};
use crate::http::{App, Reason};

/// Why a request is refused whose message a device has stored and could not send: whoever follows the message tells of it.
const NOT_SENT: [&str; 2] = ["NotSent", "NotOnWhatsApp"];
/// Between two looks at whether the devices are known.
const LOOK: Duration = Duration::from_millis(250);
/// For how long one question waits for what becomes of a message.
const WAIT: Duration = Duration::from_secs(MAX_WAIT_SECONDS);
/// Requests whose messages are followed at a time: each holds a request to its device. Of others the outcome is not told.
pub(super) const MAX_FOLLOWED: usize = 256;

/// Tells of the start and of every device, until the server stops.
pub(crate) async fn run(app: App, port: u16) {
    if !app.compatible().log {
        return;
    }
    tracing::info!("API escuchando en puerto {port}");
    tokio::select! {
        () = devices(&app) => {}
        () = app.stopping() => {}
    }
}

async fn devices(app: &App) {
    // In a cluster they are not known at once: a list would be an empty one.
    while !app.directory().ready().await {
        tokio::time::sleep(LOOK).await;
    }
    tracing::info!("Sistema iniciado correctamente");
    if let Ok(devices) = app.directory().list().await {
        let running = devices.iter().filter(|device| device.phase() != Phase::Suspended);
        let names: Vec<_> = running.map(|device| name(device)).collect();
        tracing::info!("📂 Estado de sesiones cargado: {names:?}");
        tracing::info!("📱 Inicializando WhatsApp para {} dispositivo(s)...", names.len());
    }
    let mut known: HashMap<DeviceKey, Standing> = HashMap::new();
    let mut changes = app.directory().watch();
    while let Some(change) = changes.next().await {
        let device = change.device();
        if matches!(change, DeviceChange::Deleted(_)) {
            known.remove(&device.key);
            continue;
        }
        let now = Standing::of(device);
        let before = known.insert(device.key.clone(), now);
        for line in lines(before, now, &name(device), &reason(device)) {
            tracing::info!("{line}");
        }
    }
}

/// What of a device is told when it changes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Standing {
    phase: Phase,
    /// Whether there is a session; the device says so once it is stored.
    linked: bool,
}

impl Standing {
    fn of(device: &Device) -> Self {
        let status = device.resource.status.as_ref();
        Self { phase: device.phase(), linked: status.is_some_and(|status| status.is_true(PAIRED)) }
    }
}

/// What is told of a change.
fn lines(before: Option<Standing>, now: Standing, name: &str, reason: &str) -> Vec<String> {
    let mut lines = Vec::new();
    if before.is_some_and(|before| before.linked != now.linked) {
        lines.push("💾 Estado de sesiones guardado".to_owned());
    }
    let (before, now) = (before.map(|before| before.phase), now.phase);
    if before == Some(now) {
        return lines;
    }
    if before == Some(Phase::Connected) {
        lines.push(format!("⚠️ Cliente {name} desconectado: {reason}"));
    }
    match now {
        Phase::Starting => lines.push(format!("🔗 Conectando WhatsApp para: {name}")),
        Phase::Reconnecting => lines.push(format!("🔄 Intentando reconectar cliente {name}...")),
        Phase::Connected => {
            lines.push(format!("✅ WhatsApp inicializado para: {name}"));
            lines.push(format!("✅ Cliente {name} conectado exitosamente a WhatsApp"));
        }
        _ => {}
    }
    lines
}

/// Tells of requests to send.
pub(crate) async fn requests(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if !app.compatible().log || !path.starts_with("/api/send") {
        return next.run(request).await;
    }
    let document = matches!(path, "/api/send-whatsap" | "/api/send-whatsap-legacy" | "/api/send-receipt");
    if document {
        tracing::info!("📥 Recibiendo solicitud de envío de documento");
    }
    let response = next.run(request).await;
    let stored = response.extensions().get::<Reason>().is_some_and(|reason| NOT_SENT.contains(&&*reason.0));
    if !response.status().is_success() && !stored {
        tracing::info!("❌ Error al enviar mensaje: {}", response.status().as_u16());
    }
    response
}

/// Tells of messages that a device has stored, and later of what becomes of them.
pub(super) fn stored(app: &App, client: &DeviceClient, device: &Device, to: &str, messages: &[Message]) {
    if !app.compatible().log {
        return;
    }
    let from = name(device);
    if messages.iter().any(is_file) {
        tracing::info!("📱 Usando dispositivo: {from}");
    }
    for file in messages.iter().filter(|message| is_file(message)) {
        tracing::info!("📤 Enviando {} desde {from} a {to}", file.kind);
    }
    let Ok(room) = app.seed().followed.clone().try_acquire_owned() else {
        tracing::debug!("too many messages are followed: what becomes of others is not told");
        return;
    };
    let (app, client, messages) = (app.clone(), client.clone(), messages.to_vec());
    tokio::spawn(async move {
        let _room = room;
        tokio::select! {
            () = outcomes(&client, messages) => {}
            () = app.stopping() => {}
        }
    });
}

async fn outcomes(client: &DeviceClient, messages: Vec<Message>) {
    for message in messages {
        let settled = loop {
            match client.settled(&message.id, WAIT).await {
                Ok(now) if matches!(now.state, MessageState::Queued | MessageState::Sending) => {}
                Ok(now) => break now,
                // The device went away, or has forgotten it.
                Err(_) => return,
            }
        };
        match (settled.state, settled.error) {
            (MessageState::Failed, error) => {
                let reason = error.map_or_else(|| "Failed".to_owned(), |error| error.reason);
                tracing::info!("❌ Error al enviar mensaje: {reason}");
            }
            _ if is_file(&message) => tracing::info!("✅ Documento enviado exitosamente"),
            _ => {}
        }
    }
}

fn is_file(message: &Message) -> bool {
    message.kind != "text"
}

/// The number of a device, else its name.
fn name(device: &Device) -> String {
    super::instances::number(device).unwrap_or_else(|| device.key.name()).to_owned()
}

fn reason(device: &Device) -> String {
    let status = device.resource.status.as_ref();
    let condition = status.and_then(|status| status.condition(CONNECTED));
    condition.map_or_else(|| device.phase().to_string(), |condition| condition.reason.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_that_scripts_look_for() {
        let of = |phase| Standing { phase, linked: true };
        let told =
            |before: Option<Phase>, now| lines(before.map(of), of(now), "525550000001", "ConnectionLost");
        assert_eq!(told(None, Phase::Starting), ["🔗 Conectando WhatsApp para: 525550000001"]);
        assert_eq!(
            told(Some(Phase::Starting), Phase::Connected),
            [
                "✅ WhatsApp inicializado para: 525550000001",
                "✅ Cliente 525550000001 conectado exitosamente a WhatsApp"
            ]
        );
        assert_eq!(
            told(Some(Phase::Connected), Phase::Reconnecting),
            [
                "⚠️ Cliente 525550000001 desconectado: ConnectionLost",
                "🔄 Intentando reconectar cliente 525550000001..."
            ]
        );
        assert!(told(Some(Phase::Connected), Phase::Connected).is_empty());
    }

    #[test]
    fn a_session_that_comes_or_goes_is_saved() {
        let of = |linked| Standing { phase: Phase::Connected, linked };
        let told = |before, now| lines(before, now, "525550000001", "");
        let saved = ["💾 Estado de sesiones guardado"];
        assert_eq!(told(Some(of(false)), of(true)), saved);
        assert_eq!(told(Some(of(true)), of(false)), saved);
        // What was there at the start was loaded.
        assert!(!told(None, of(true)).iter().any(|line| line == saved[0]));
    }
}
