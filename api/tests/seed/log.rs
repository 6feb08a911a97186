//! The log lines that people and scripts look for, each where it happens.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use enlace_api::server::serve;
use enlace_contract::state::{DeviceState, Phase};
use http::StatusCode;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tracing_subscriber::fmt::MakeWriter;

use crate::fixture::{Api, in_time, settings};
use crate::person::{PASSWORD, Person};
use crate::sending::{OWN, PDF, TO, base64};

/// What a test waits for comes within this time, or never.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was logged on this thread.
#[derive(Clone)]
struct Log(Arc<watch::Sender<String>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send_modify(|text| text.push_str(std::str::from_utf8(bytes).unwrap()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// How often a line, or its beginning, is in a text, after what stands before it for its request.
fn count(text: &str, line: &str) -> usize {
    let told = text.lines().map(|line| line.rsplit_once("}: ").map_or(line, |(_, told)| told));
    told.filter(|told| told.starts_with(line)).count()
}

impl Log {
    fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self(Arc::new(watch::Sender::new(String::new())));
        let lines = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_target(false)
            .without_time()
            .with_level(false)
            .with_max_level(tracing::Level::INFO)
            .with_writer(log.clone());
        (log, tracing::subscriber::set_default(lines.finish()))
    }

    fn text(&self) -> String {
        self.0.borrow().clone()
    }

    fn count(&self, line: &str) -> usize {
        count(&self.0.borrow(), line)
    }

    /// Waits until a line was told so often.
    async fn times(&self, line: &str, times: usize) {
        let mut text = self.0.subscribe();
        let told = tokio::time::timeout(PATIENCE, text.wait_for(|text| count(text, line) >= times)).await;
        assert!(told.is_ok(), "{line:?} is not there {times} times:\n{}", self.text());
    }

    async fn line(&self, line: &str) {
        self.times(line, 1).await;
    }
}

#[tokio::test]
async fn every_line_is_told_when_it_happens_and_none_has_a_text_a_token_or_a_code() {
    let (log, _guard) = Log::begin();
    let api = Api::start_with(&[], settings(|settings| settings.compatible.log = true)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, api.app.clone(), async { drop(stopped.await) }));
    log.line(&format!("API escuchando en puerto {port}")).await;
    log.line("Sistema iniciado correctamente").await;
    log.line("📂 Estado de sesiones cargado: []").await;
    log.line("📱 Inicializando WhatsApp para 0 dispositivo(s)...").await;

    let ana = Person::register(&api, OWN).await;
    let id = ana.add(json!({ "numero": OWN })).await;
    log.line(&format!("🔗 Conectando WhatsApp para: {OWN}")).await;
    let device = ana.device(&id).await;
    device.shows_code();
    api.until_phase(&ana.key(&id).await, "AwaitingScan").await;
    let saved = "💾 Estado de sesiones guardado";
    assert_eq!(log.count(saved), 0);
    ana.linked(&id, OWN).await;
    log.line(&format!("✅ WhatsApp inicializado para: {OWN}")).await;
    log.line(&format!("✅ Cliente {OWN} conectado exitosamente a WhatsApp")).await;
    log.line(saved).await;

    let (sent, wrong) = ("✅ Documento enviado exitosamente", "❌ Error al enviar mensaje");
    let document = |wait: bool| {
        json!({
            "number": TO, "mediatype": "document", "media": base64(PDF), "filename": "f.pdf", "caption": "SECRETO",
            "wait": wait,
        })
    };
    device.fates.lock().unwrap().push(json!({ "state": "sent" }));
    assert_eq!(ana.post("/api/send-whatsap", document(false)).await.status, StatusCode::OK);
    for line in [
        "📥 Recibiendo solicitud de envío de documento",
        &format!("📱 Usando dispositivo: {OWN}"),
        &format!("📤 Enviando document desde {OWN} a {TO}"),
        sent,
    ] {
        log.line(line).await;
    }
    let failed =
        json!({ "state": "failed", "error": { "reason": "RefusedByWhatsApp", "message": "SECRETO" } });
    device.fates.lock().unwrap().push(failed);
    let refused = ana.post("/api/send-whatsap", document(true)).await;
    assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR, "{}", refused.text);
    log.line(&format!("{wrong}: RefusedByWhatsApp")).await;
    device.fates.lock().unwrap().push(json!({ "state": "delivered" }));
    let text = json!({ "number": TO, "message": "SECRETO", "wait": true });
    assert_eq!(ana.post("/api/send-message", text).await.status, StatusCode::OK);
    let nobody = json!({ "number": "x", "message": "SECRETO" });
    assert_eq!(ana.post("/api/send-message", nobody).await.status, StatusCode::BAD_REQUEST);
    log.line(&format!("{wrong}: 400")).await;

    device.says(|state| state.phase = Phase::Reconnecting);
    log.line(&format!("🔄 Intentando reconectar cliente {OWN}...")).await;
    log.line(&format!("⚠️ Cliente {OWN} desconectado: ")).await;
    device.says(|state| *state = DeviceState { phase: Phase::LoggedOut, ..DeviceState::default() });
    log.times(saved, 2).await;

    stop.send(()).unwrap();
    in_time(server).await.unwrap();
    // Each once: a failure that a caller waits for is not told twice, and a text is no document.
    assert_eq!(log.count(sent), 1, "{}", log.text());
    assert_eq!(log.count(wrong), 2, "{}", log.text());
    assert_eq!(log.count("📤"), 2, "{}", log.text());
    for secret in ["SECRETO", "SECRET-CODE", PASSWORD, &ana.token, &base64(PDF)] {
        assert!(!log.text().contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn nothing_of_it_is_told_unless_it_is_asked_for() {
    let (log, _guard) = Log::begin();
    let api = Api::start(&[]).await;
    let (ana, _, device) = crate::sending::linked(&api).await;
    device.fates.lock().unwrap().push(json!({ "state": "sent" }));
    let body = json!({ "number": TO, "mediatype": "document", "media": base64(PDF), "wait": true });
    assert_eq!(ana.post("/api/send-whatsap", body).await.status, StatusCode::OK);
    for told in ["📥", "📱", "📤", "✅", "💾", OWN, TO] {
        assert!(!log.text().contains(told), "{told}: {}", log.text());
    }
}
