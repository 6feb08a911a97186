//! What becomes of a device: disconnected, expired, deleted, started again.

use std::path::Path;

use enlace_contract::state::{DeviceState, Phase, Reason};
use http::StatusCode;
use serde_json::{Value, json};

use crate::fixture::Api;
use crate::person::{Person, error, text};

const NUMBER: &str = "525550000001";

#[tokio::test]
async fn a_code_is_a_picture_for_the_owner() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let id = ana.add(json!({})).await;
    let device = ana.device(&id).await;
    let before = ana.get(&format!("/api/qr?instancia_id={id}")).await.json();
    assert_eq!((&before["qr"], &before["state"]), (&json!(null), &json!("INIT")));
    device.shows_code();
    api.until_phase(&ana.key(&id).await, "AwaitingScan").await;
    let shown = ana.get(&format!("/api/qr?instancia_id={id}&t=123")).await.json();
    assert!(text(&shown["qr"]).starts_with("data:image/png;base64,"), "{shown}");
    assert_eq!(
        (&shown["ready"], &shown["state"], &shown["hasQr"]),
        (&json!(false), &json!("QR"), &json!(true))
    );
    device.links("525550000009");
    device.claim(enlace_contract::state::ClaimState::Granted).await;
    let linked = ana.get(&format!("/api/qr?instancia_id={id}")).await.json();
    assert_eq!(
        (&linked["qr"], &linked["ready"], &linked["state"]),
        (&json!(null), &json!(true), &json!("CONNECTED"))
    );
}

#[tokio::test]
async fn a_running_device_is_not_started_again_however_often_its_code_is_asked_for() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let id = ana.add(json!({})).await;
    let device = ana.device(&id).await;
    device.shows_code();
    api.until_phase(&ana.key(&id).await, "AwaitingScan").await;
    for _ in 0..20 {
        assert_eq!(ana.get(&format!("/api/qr?instancia_id={id}")).await.status, StatusCode::OK);
    }
    assert_eq!(api.stage.starts.borrow().len(), 1);
    assert!(!device.asked().iter().any(|asked| asked.path == "/v1/pair"), "it was asked to pair");
}

#[tokio::test]
async fn a_disconnected_device_stays_off_over_a_restart_until_its_code_is_asked_for() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let id = ana.add(json!({ "nombre": "Ventas" })).await;
    let device = ana.linked(&id, "525550000009").await;
    let key = ana.key(&id).await;
    let answer = ana.post(&format!("/api/disconnect?instancia_id={id}"), json!({})).await.json();
    let message = "Dispositivo 525550000009 desconectado correctamente";
    assert_eq!(answer, json!({ "success": true, "message": message }));
    assert!(device.asked().iter().any(|asked| asked.path == "/v1/logout"), "it was not unlinked");
    device.stopped().await;
    assert_eq!(ana.state(&id).await, "OFFLINE");
    // Again, and by its body, as guides have it.
    let again = ana.post("/api/disconnect", json!({ "instancia_id": id })).await.json();
    assert_eq!(again["success"], true);
    let token = ana.token;

    let api = api.restart(|_| ()).await;
    let ana = Person { api: &api, token };
    assert_eq!(ana.state(&id).await, "OFFLINE");
    assert!(api.stage.starts.borrow().is_empty(), "it was started");
    let code = ana.get(&format!("/api/qr?instancia_id={id}")).await.json();
    assert_eq!((&code["qr"], &code["state"]), (&json!(null), &json!("INIT")));
    let device = api.stage.device(&key).await;
    device.shows_code();
    api.until_phase(&key, "AwaitingScan").await;
    assert_eq!(ana.state(&id).await, "QR");
}

#[tokio::test]
async fn a_suspended_device_runs_again_only_by_a_token_that_may_change_devices() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let id = ana.add(json!({})).await;
    let device = ana.device(&id).await;
    device.shows_code();
    ana.post("/api/disconnect", json!({ "instancia_id": id })).await;
    device.stopped().await;
    let narrowed = json!({ "name": "codes", "actions": ["devices:pair", "devices:read"] });
    let token = text(&ana.post("/v1/tokens", narrowed).await.json()["value"]);
    let codes = Person { api: &api, token };
    let path = format!("/api/qr?instancia_id={id}");
    let answer = codes.get(&path).await;
    assert_eq!((answer.status, &answer.json()["qr"]), (StatusCode::OK, &json!(null)));
    assert_eq!(answer.json()["state"], "OFFLINE");
    let headers = api.call("HEAD", &path, &ana.token, None).await;
    assert_eq!(headers.status, StatusCode::OK);
    assert_eq!(ana.state(&id).await, "OFFLINE", "it runs again");
    assert_eq!(api.stage.starts.borrow().len(), 1);
    assert_eq!(ana.get(&path).await.json()["state"], "INIT");
}

#[tokio::test]
async fn a_device_without_a_link_is_disconnected_as_well() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let id = ana.add(json!({})).await;
    let device = ana.device(&id).await;
    device.shows_code();
    let answer = ana.post("/api/disconnect", json!({ "numero": id })).await.json();
    assert_eq!(answer["success"], true, "{answer}");
    device.stopped().await;
    assert_eq!(ana.state(&id).await, "OFFLINE");
    let other = ana.post("/api/disconnect", json!({})).await;
    assert_eq!(error(&other), (404, "No encontrado".into()));
}

#[tokio::test]
async fn a_device_that_nobody_linked_is_listed_and_starts_again_with_its_code() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let id = ana.add(json!({})).await;
    let (key, device) = (ana.key(&id).await, ana.device(&id).await);
    device.shows_code();
    api.until_phase(&key, "AwaitingScan").await;
    device.says(|state| {
        state.phase = Phase::Disconnected;
        state.reason = Some(Reason::NobodyScanned);
        state.qr = None;
    });
    api.until_phase(&key, "Disconnected").await;
    assert_eq!(ana.state(&id).await, "DISCONNECTED");
    assert_eq!(ana.get("/api/connections").await.json()["totalClients"], 1);
    let code = ana.get(&format!("/api/qr?instancia_id={id}")).await.json();
    assert_eq!(code["state"], "INIT");
    assert!(device.asked().iter().any(|asked| asked.path == "/v1/pair"), "it was not asked to pair");
}

#[tokio::test]
async fn after_an_hour_without_a_link_a_device_is_cleaned_up_and_its_code_brings_it_back() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let id = ana.add(json!({ "nombre": "Ventas" })).await;
    let key = ana.key(&id).await;
    ana.device(&id).await.shows_code();
    api.until_phase(&key, "AwaitingScan").await;
    let token = ana.token;
    let api = api.restart(|root| an_hour_ago(root, &key)).await;
    let ana = Person { api: &api, token };
    // A phone may have linked while nobody listened: it is asked once more.
    let device = api.stage.device(&key).await;
    device.shows_code();
    api.until_phase(&key, "PairingExpired").await;
    device.stopped().await;
    assert_eq!(ana.state(&id).await, "DISCONNECTED");
    let listed = ana.get("/api/connections").await.json();
    assert_eq!(listed["connections"][&id]["name"], "Ventas");
    let code = ana.get(&format!("/api/qr?instancia_id={id}")).await.json();
    assert_eq!((&code["qr"], &code["state"]), (&json!(null), &json!("INIT")));
    api.stage.device(&key).await.shows_code();
    api.until_phase(&key, "AwaitingScan").await;
    assert_eq!(ana.state(&id).await, "QR");
}

/// Makes what is known of a device an hour and more old.
fn an_hour_ago(root: &Path, key: &str) {
    let file = root.join("data/devices").join(key).join("device.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let then = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(61);
    record["createdAt"] = then.to_string().into();
    record["paired"]["lastTransitionTime"] = then.to_string().into();
    std::fs::write(&file, record.to_string()).unwrap();
}

#[tokio::test]
async fn a_session_that_is_ended_on_the_phone_is_offline_until_its_code_is_asked_for() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let id = ana.add(json!({})).await;
    let device = ana.linked(&id, "525550000009").await;
    device.says(|state| {
        *state = DeviceState {
            phase: Phase::LoggedOut,
            reason: Some(Reason::LoggedOutOnPhone),
            ..DeviceState::default()
        };
    });
    api.until_phase(&ana.key(&id).await, "LoggedOut").await;
    assert_eq!(ana.state(&id).await, "OFFLINE");
    let listed = ana.get("/api/connections").await.json();
    let entry = &listed["connections"]["525550000009"];
    assert_eq!((&entry["ready"], &entry["estado"]), (&json!(false), &json!("desconectado")));
    let code = ana.get(&format!("/api/qr?instancia_id={id}")).await.json();
    assert_eq!(code["state"], "INIT");
    assert!(device.asked().iter().any(|asked| asked.path == "/v1/pair"), "it was not asked to pair");
}

#[tokio::test]
async fn a_deleted_device_is_gone_and_does_not_come_back() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let id = ana.add(json!({})).await;
    let device = ana.linked(&id, "525550000009").await;
    let key = ana.key(&id).await;
    let delete = || ana.post("/api/delete-device", json!({ "numero": "525550000009" }));
    let message = "Dispositivo eliminado correctamente";
    assert_eq!(delete().await.json(), json!({ "success": true, "message": message }));
    device.stopped().await;
    assert_eq!(error(&delete().await), (404, "No encontrado".into()));
    assert_eq!(ana.state(&id).await, "NONE");
    assert!(!api.data(&key).exists(), "its data is left");
    let (token, starts) = (ana.token, api.stage.starts.borrow().len());
    assert_eq!(starts, 1);
    let api = api.restart(|_| ()).await;
    assert!(api.stage.starts.borrow().is_empty(), "it came back");
    let ana = Person { api: &api, token };
    assert_eq!(ana.state(&id).await, "NONE");
}

#[tokio::test]
async fn a_device_that_is_deleted_while_it_is_off_is_said_to_be_listed_on_the_phone_still() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let id = ana.add(json!({})).await;
    let device = ana.linked(&id, "525550000009").await;
    let key = ana.key(&id).await;
    assert_eq!(api.post(&format!("/v1/devices/{key}/suspend"), json!({})).await.status, StatusCode::OK);
    device.stopped().await;
    api.until(&key, |device| !device.resource.status.as_ref().unwrap().is_true("PodReady")).await;
    let deleted = ana.post("/api/delete-device", json!({ "instancia_id": id })).await.json();
    assert_eq!(deleted["success"], true);
    assert!(text(&deleted["warning"]).contains("elimine el dispositivo vinculado"), "{deleted}");
}

#[tokio::test]
async fn a_restart_brings_every_device_back_that_was_not_disconnected() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let (one, two) = (ana.add(json!({})).await, ana.add(json!({})).await);
    ana.linked(&one, "525550000009").await;
    let mut keys = [ana.key(&one).await, ana.key(&two).await];
    keys.sort();
    let api = api.restart(|_| ()).await;
    for key in &keys {
        api.stage.device(key).await;
    }
    let mut started = api.stage.starts.borrow().clone();
    started.sort();
    assert_eq!(started, keys);
}
