//! Linking: codes, the end of the time for it, and the way back.

use std::path::Path;

use serde_json::{Value, json};

use crate::fixture::{Api, manifest};

/// Makes what is known of a device two days old.
fn age(root: &Path, key: &str) {
    let file = root.join("data/devices").join(key).join("device.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let then = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(48);
    record["createdAt"] = then.to_string().into();
    record["paired"]["lastTransitionTime"] = then.to_string().into();
    std::fs::write(&file, record.to_string()).unwrap();
}

#[tokio::test]
async fn a_device_that_was_never_linked_in_time_stops_until_it_is_asked_for() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    api.stage.device("default/a").await.shows_code();
    api.until_phase("default/a", "AwaitingScan").await;
    let api = api.restart(|root| age(root, "default/a")).await;
    // A phone may have linked while nobody listened: only the device's own word ends the waiting.
    let device = api.stage.device("default/a").await;
    device.shows_code();
    api.until_phase("default/a", "PairingExpired").await;
    device.stopped().await;
    let away = api.get("/v1/devices/default/a/qr").await;
    assert_eq!(away.problem(), (503, "DeviceAway".into()));
    assert_eq!(away.json()["phase"], "PairingExpired");
    // The way back is open for devices of files, too: it changes no declaration.
    let asked = api.call("POST", "/v1/devices/default/a/pair", &api.admin, None).await;
    assert!(matches!(asked.status.as_u16(), 200 | 202), "{}", asked.text);
    let device = api.stage.device("default/a").await;
    assert!(device.config.borrow().pair_requested.is_some());
}

#[tokio::test]
async fn a_device_that_was_linked_once_never_expires() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    api.stage.device("default/a").await.links("525550000001");
    api.until_phase("default/a", "Connected").await;
    let api = api.restart(|root| age(root, "default/a")).await;
    api.stage.device("default/a").await;
}

#[tokio::test]
async fn a_running_device_is_asked_to_pair() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    let device = api.stage.device("default/a").await;
    device.shows_code();
    api.until_phase("default/a", "AwaitingScan").await;
    let answer = api.call("POST", "/v1/devices/default/a/pair", &api.admin, None).await;
    assert_eq!((answer.status.as_u16(), answer.json()["phase"].as_str()), (200, Some("AwaitingScan")));
    let asked = device.asked();
    assert_eq!((asked[0].method.as_str(), asked[0].path.as_str()), ("POST", "/v1/pair"));
    let code = api.get("/v1/devices/default/a/qr?format=raw").await;
    assert_eq!(code.text, "SECRET-CODE");
    assert_eq!(code.headers["cache-control"], "no-store");
    assert_eq!(api.get("/v1/devices/default/a/pairing-code").await.json()["code"], "ABCD1234");
}

#[tokio::test]
async fn codes_are_shown_only_to_whoever_may_link() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    api.stage.device("default/a").await.shows_code();
    api.until_phase("default/a", "AwaitingScan").await;
    let reader = api.token(json!({"actions": ["devices:read", "events:read"]})).await;
    for path in ["/v1/devices", "/v1/devices/default/a", "/v1/devices/default/a/status"] {
        let all = api.get(path).await;
        assert!(all.text.contains("SECRET-CODE"), "{path}: {}", all.text);
        let some = api.call("GET", path, &reader, None).await;
        assert_eq!(some.status, 200);
        assert!(!some.text.contains("SECRET-CODE"), "{path}: {}", some.text);
    }
    let refused = api.call("GET", "/v1/devices/default/a/qr", &reader, None).await;
    assert_eq!(refused.problem(), (403, "Forbidden".into()));
    assert!(refused.json()["detail"].as_str().unwrap().contains("devices:pair"));
    assert!(refused.headers["www-authenticate"].to_str().unwrap().contains("scope=\"devices:pair\""));
}

#[tokio::test]
async fn log_out_ends_the_session_and_keeps_the_device() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    let device = api.stage.device("default/a").await;
    device.links("525550000001");
    api.until_phase("default/a", "Connected").await;
    let answer = api.call("POST", "/v1/devices/default/a/logout", &api.admin, None).await;
    assert_eq!(answer.json()["phase"], "LoggedOut");
    api.until_phase("default/a", "LoggedOut").await;
    assert!(*device.running.borrow());
}

/// The requests to pair that are remembered of a device.
fn remembered(api: &Api, key: &str) -> Value {
    let record = std::fs::read(api.data(key).join("device.json")).unwrap();
    serde_json::from_slice::<Value>(&record).unwrap()["pairRequested"].clone()
}

#[tokio::test]
async fn a_request_to_pair_that_is_refused_is_not_remembered() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({"suspend": true})))]).await;
    api.until_phase("default/a", "Suspended").await;
    let refused = api.call("POST", "/v1/devices/default/a/pair", &api.admin, None).await;
    assert_eq!(refused.problem(), (503, "DeviceAway".into()));
    assert_eq!(refused.json()["phase"], "Suspended");
    assert_eq!(remembered(&api, "default/a"), Value::Null);
}

#[tokio::test]
async fn a_request_to_pair_a_device_that_cannot_run_is_not_remembered() {
    let own = |name| manifest(name, json!({"phoneNumber": "525550000001"}));
    let api = Api::start(&[("a.yaml", own("a"))]).await;
    api.stage.device("default/a").await;
    api.write("b.yaml", &own("b"));
    api.until_phase("default/b", "Failed").await;
    let refused = api.call("POST", "/v1/devices/default/b/pair", &api.admin, None).await;
    assert_eq!(refused.problem(), (503, "DeviceAway".into()));
    assert_eq!(refused.json()["phase"], "Failed");
    assert_eq!(remembered(&api, "default/b"), Value::Null);
}

#[tokio::test]
async fn a_device_whose_session_ended_can_be_asked_to_pair() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    let device = api.stage.device("default/a").await;
    device.links("525550000001");
    api.until_phase("default/a", "Connected").await;
    api.call("POST", "/v1/devices/default/a/logout", &api.admin, None).await;
    api.until_phase("default/a", "LoggedOut").await;
    let asked = api.call("POST", "/v1/devices/default/a/pair", &api.admin, None).await;
    assert_eq!(asked.status, 200, "{}", asked.text);
    assert!(remembered(&api, "default/a").is_string());
}
