//! The log lines that people and scripts look for who know the system that this API is compatible with. They have numbers in them, as they
//! had there: that is why an installation must ask for them (`--compatible-log`). They have no code and no text of a message.
//!
//! Devices are told of as the directory sees them, requests as they are answered. A session is stored at once with each change, so that there
//! is no line for it.

use std::collections::HashMap;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use enlace_contract::name::DeviceKey;
use enlace_contract::state::Phase;
use enlace_crds::rules::conditions::CONNECTED;
use futures::StreamExt as _;

use crate::directory::{Device, DeviceChange};
use crate::http::App;

/// Tells of the start and of every device, until the server stops.
pub(crate) async fn run(app: App, port: u16) {
    if !app.compatible().log {
        return;
    }
    tracing::info!("API escuchando en puerto {port}");
    tracing::info!("Sistema iniciado correctamente");
    if let Ok(devices) = app.directory().list().await {
        let running = devices.iter().filter(|device| device.phase() != Phase::Suspended);
        let names: Vec<_> = running.map(|device| name(device)).collect();
        tracing::info!("📂 Estado de sesiones cargado: {names:?}");
        tracing::info!("📱 Inicializando WhatsApp para {} dispositivo(s)...", names.len());
    }
    let mut phases: HashMap<DeviceKey, Phase> = HashMap::new();
    let mut changes = app.directory().watch();
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            () = app.stopping() => return,
        };
        let Some(change) = change else { return };
        let device = change.device();
        if matches!(change, DeviceChange::Deleted(_)) {
            phases.remove(&device.key);
            continue;
        }
        let before = phases.insert(device.key.clone(), device.phase());
        for line in lines(before, device.phase(), &name(device), &reason(device)) {
            tracing::info!("{line}");
        }
    }
}

/// What is told of a change.
fn lines(before: Option<Phase>, now: Phase, name: &str, reason: &str) -> Vec<String> {
    if before == Some(now) {
        return Vec::new();
    }
    let mut lines = Vec::new();
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
    if !response.status().is_success() {
        tracing::info!("❌ Error al enviar mensaje: {}", response.status().as_u16());
    } else if document {
        tracing::info!("✅ Documento enviado exitosamente");
    }
    response
}

/// The number of a device, else its name.
fn name(device: &Device) -> String {
    let status = device.resource.status.as_ref();
    let known = status.and_then(|status| status.phone_number.clone());
    known
        .or_else(|| device.resource.spec.phone_number.clone())
        .unwrap_or_else(|| device.key.name().to_owned())
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
        let told = |before, now| lines(before, now, "525550000001", "ConnectionLost");
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
}
