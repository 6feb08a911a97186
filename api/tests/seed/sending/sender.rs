//! Who sends: own devices only, and those that can.

use enlace_contract::state::Phase;
use http::StatusCode;
use serde_json::{Value, json};

use super::{OWN, PDF, TO, base64, linked, messages};
use crate::device::Stage;
use crate::fixture::Api;
use crate::person::{Person, error};

#[tokio::test]
async fn a_sender_is_named_by_identifier_number_or_its_base64_and_is_the_own_number_else() {
    let api = Api::start(&[]).await;
    let (ana, id, device) = linked(&api).await;
    for (named, from) in [
        (id.as_str(), id.as_str()),
        (OWN, OWN),
        ("NTI1NTUwMDAwMDAx", OWN),
        ("", OWN),
        ("+525550000001", "+525550000001"),
    ] {
        let body = json!({ "number": TO, "message": "x", "fromNumber": named });
        let answer = ana.post("/api/send-message", body).await;
        assert_eq!(answer.json()["from"], from, "{named}: {}", answer.text);
    }
    assert_eq!(messages(&device).len(), 5);
}

/// Defect 6: any user could send from any device.
#[tokio::test]
async fn nobody_sends_from_another_users_device() {
    let api = Api::start(&[]).await;
    let (_, id, device) = linked(&api).await;
    let beto = Person::register(&api, "525550000003").await;
    let missing = (404, "Dispositivo no encontrado para envío".to_owned());
    for named in [id.as_str(), OWN, "NTI1NTUwMDAwMDAx", "noexiste", ""] {
        for path in ["/api/send-message", "/api/send-media", "/api/send-whatsap", "/api/send"] {
            let body = json!({ "number": TO, "message": "x", "fromNumber": named });
            assert_eq!(error(&beto.post(path, body).await), missing, "{path} {named}");
        }
        let files = json!([{ "type": "base64", "media": base64(PDF), "filename": "a.pdf" }]);
        let body = json!({ "number": TO, "files": files, "instanceId": named });
        assert_eq!(error(&beto.post("/api/send-receipt", body).await), missing, "{named}");
    }
    let invoice =
        json!({ "numws": "5550000002", "codnumws": "52", "xml": "AA==", "pdf": "AA==", "fromNumber": OWN });
    let answer = beto.post("/api/send-whatsap-legacy", invoice).await;
    assert_eq!(error(&answer), (404, "Dispositivo no configurado".to_owned()));
    assert_eq!(messages(&device), Vec::<Value>::new());
}

#[tokio::test]
async fn a_token_that_may_not_send_does_not() {
    let api = Api::start(&[]).await;
    let person = Person { api: &api, token: api.token(json!({ "actions": ["devices:read"] })).await };
    let body = json!({ "number": TO, "message": "x" });
    for path in ["/api/send-message", "/api/send-whatsap-legacy", "/api/send-receipt"] {
        assert_eq!(person.post(path, body.clone()).await.status, StatusCode::FORBIDDEN, "{path}");
        let nobody = api.call("POST", path, "", Some(body.clone())).await;
        assert_eq!(error(&nobody), (401, "No autorizado".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn a_device_that_was_never_linked_or_is_closed_sends_nothing() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, OWN).await;
    let id = ana.add(json!({})).await;
    let device = ana.device(&id).await;
    let key = ana.key(&id).await;
    let body = json!({ "number": TO, "message": "x", "fromNumber": id, "wait": true });
    let refused = async |device: &str, state: &str| {
        let answer = ana.post("/api/send-message", body.clone()).await;
        let expected = json!({ "error": "Sesión de WhatsApp no lista", "device": device, "state": state });
        assert_eq!((answer.status, answer.json()), (StatusCode::BAD_REQUEST, expected));
    };
    refused(&id, "INIT").await;
    device.shows_code();
    api.until_phase(&key, "AwaitingScan").await;
    refused(&id, "QR").await;
    ana.linked(&id, OWN).await;
    for phase in [Phase::Banned, Phase::Conflict, Phase::LoggedOut] {
        device.says(|state| state.phase = phase);
        api.until_phase(&key, &phase.to_string()).await;
        let state = if phase == Phase::LoggedOut { "OFFLINE" } else { "DISCONNECTED" };
        refused(OWN, state).await;
    }
    let invoice = json!({ "numws": "5550000002", "codnumws": "52", "xml": "AA==", "pdf": "AA==" });
    let answer = ana.post("/api/send-whatsap-legacy", invoice).await;
    assert_eq!(error(&answer), (400, "Sesión de WhatsApp no lista".to_owned()));
    assert_eq!(messages(&device), Vec::<Value>::new());
}

#[tokio::test]
async fn a_message_waits_for_the_start_of_a_linked_device() {
    let api = Api::start(&[]).await;
    let (ana, id, _) = linked(&api).await;
    let (key, token) = (ana.key(&id).await, ana.token);
    let stage = Stage::default();
    stage.held.send_replace(true);
    let api = api.restart_on(stage, |_| ()).await;
    let ana = Person { api: &api, token };
    let sent = ana.post("/api/send-message", json!({ "number": TO, "message": "x" }));
    let started = async {
        api.until_phase(&key, "Starting").await;
        api.stage.held.send_replace(false);
    };
    let (answer, ()) = tokio::join!(sent, started);
    assert_eq!(answer.json()["message"], "Mensaje encolado", "{}", answer.text);
    assert_eq!(messages(&ana.device(&id).await).len(), 1);
}

#[tokio::test]
async fn while_a_linked_device_connects_again_its_messages_are_queued() {
    let api = Api::start(&[]).await;
    let (ana, id, device) = linked(&api).await;
    let key = ana.key(&id).await;
    for phase in [Phase::Reconnecting, Phase::Starting] {
        device.says(|state| state.phase = phase);
        api.until_phase(&key, &phase.to_string()).await;
        let answer = ana.post("/api/send-message", json!({ "number": TO, "message": "x" })).await;
        assert_eq!(answer.json()["message"], "Mensaje encolado", "{phase}: {}", answer.text);
    }
    assert_eq!(messages(&device).len(), 2);
}
