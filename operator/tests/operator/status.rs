//! What is written of a device.

use enlace_contract::state::{ClaimState, DeviceState, PairingText, Phase, QrCode};
use serde_json::json;

use crate::stage::{Stage, linked};

fn scan() -> DeviceState {
    let expires_at = "2030-01-01T00:01:00Z".parse().unwrap();
    DeviceState {
        phase: Phase::AwaitingScan,
        qr: Some(QrCode { code: "2@code".into(), text: "drawn".into(), expires_at }),
        ..DeviceState::default()
    }
}

#[tokio::test]
async fn status_patch_hits_status_subresource_with_field_manager() {
    let stage = Stage::new().await;
    stage.create("billing", json!({}));
    let calls = stage.look("billing").await;
    let patch = calls.iter().find(|call| call.resource == "whatsappdevices/status").unwrap();
    assert!(
        patch.query.contains("fieldManager=enlace-operator") && patch.query.contains("force=true"),
        "{patch:?}"
    );
    assert_eq!(patch.body["status"]["observedGeneration"], 1);
    assert_eq!(patch.body.get("spec"), None);
}

#[tokio::test]
async fn a_code_is_in_the_status_and_gone_once_a_phone_is_linked() {
    let stage = Stage::new().await;
    stage.create("billing", json!({}));
    stage.settle("billing").await;
    stage.start_pod("billing");
    stage.says("billing", scan()).await;
    stage.settle("billing").await;
    let status = stage.device("billing")["status"].clone();
    assert_eq!((&status["phase"], &status["qr"]["text"]), (&json!("AwaitingScan"), &json!("drawn")));
    assert_eq!(stage.condition("billing", "Ready"), "True/AwaitingScan");
    stage.says("billing", linked("525550000001", ClaimState::Granted)).await;
    stage.settle("billing").await;
    let status = stage.device("billing")["status"].clone();
    assert_eq!((&status["phase"], status.get("qr")), (&json!("Connected"), None));
    assert_eq!(status["phoneNumber"], "525550000001");
}

#[tokio::test]
async fn two_states_in_a_row_move_a_transition_time_once() {
    let stage = Stage::new().await;
    stage.create("billing", json!({}));
    stage.settle("billing").await;
    stage.start_pod("billing");
    stage.says("billing", linked("525550000001", ClaimState::Granted)).await;
    let device = stage.context.caches.device("shop", "billing").unwrap();
    let look = || enlace_operator::controller::reconcile(device.clone(), stage.context.clone());
    look().await.unwrap();
    stage.server.calls();
    // The same old copy of the device: only what was written says that it is Connected already.
    let _ = look().await;
    let calls = stage.server.calls();
    assert!(calls.iter().all(|call| call.resource != "whatsappdevices/status"), "{calls:?}");
    let linked = |event: &serde_json::Value| event["reason"] == "Linked";
    assert_eq!(stage.server.all("events").into_iter().filter(linked).count(), 1);
}

#[tokio::test]
async fn a_code_for_a_secret_is_in_the_secret_and_nowhere_else() {
    let stage = Stage::new().await;
    stage.create_in("secrets", "billing", json!({ "pairing": { "publishIn": "Secret" } }));
    stage.try_look("secrets", "billing").await.0.unwrap();
    stage.start_pod_in("secrets", "billing");
    let code = PairingText { code: "ABCD1234".into(), expires_at: "2030-01-01T00:01:00Z".parse().unwrap() };
    let secret = || stage.server.get("secrets", "secrets", "billing-pairing");
    stage.says_in("secrets", "billing", DeviceState { pairing_code: Some(code), ..scan() }).await;
    stage.try_look("secrets", "billing").await.0.unwrap();
    let data = secret().unwrap()["stringData"].clone();
    assert_eq!((&data["qr"], &data["pairingCode"]), (&json!("2@code"), &json!("ABCD1234")));
    let device = stage.server.get("whatsappdevices", "secrets", "billing").unwrap().to_string();
    assert!(!device.contains("2@code") && !device.contains("ABCD1234"));
    stage.says_in("secrets", "billing", linked("525550000001", ClaimState::Granted)).await;
    stage.try_look("secrets", "billing").await.0.unwrap();
    assert_eq!(secret(), None);
}

#[tokio::test]
async fn a_secret_that_the_installation_does_not_allow_leaves_no_code_anywhere_and_says_why() {
    let stage = Stage::new().await;
    stage.create("billing", json!({ "pairing": { "publishIn": "Secret" } }));
    stage.settle("billing").await;
    stage.start_pod("billing");
    stage.says("billing", scan()).await;
    stage.settle("billing").await;
    let device = stage.device("billing");
    assert!(!device.to_string().contains("2@code"));
    assert!(stage.server.all("secrets").is_empty());
    let paired = &device["status"]["conditions"][2];
    assert_eq!(paired["reason"], "CodeNotPublished");
    assert_eq!(
        paired["message"],
        "no code is published: spec.pairing.publishIn is Secret, and the installation's secretNamespaces do not list shop"
    );
    assert_eq!(
        stage.server.all("events").iter().filter(|event| event["reason"] == "CodeNotPublished").count(),
        1
    );
}

#[tokio::test]
async fn an_expired_device_loses_pod_and_empty_volume_and_comes_back_when_asked() {
    let stage = Stage::new().await;
    stage.create("billing", json!({ "pairing": { "timeout": "1m" } }));
    stage.settle("billing").await;
    stage.start_pod("billing");
    stage.says("billing", scan()).await;
    stage.settle("billing").await;
    // It has been waiting for longer than its timeout.
    let mut status = stage.device("billing")["status"].clone();
    status["conditions"][2]["lastTransitionTime"] = "2020-01-01T00:00:00Z".into();
    stage.server.change("whatsappdevices", "billing", json!({ "status": status }));
    stage.settle("billing").await;
    assert_eq!(stage.device("billing")["status"]["phase"], "PairingExpired");
    assert_eq!(stage.replicas("billing"), 0);
    let volume = || stage.server.get("persistentvolumeclaims", "shop", "billing-session");
    assert!(volume().is_some(), "the pod has it open");
    stage.server.delete("pods", "shop", "billing-0");
    stage.settle("billing").await;
    assert!(volume().is_none());
    let asked = json!({ "metadata": { "annotations": { "enlace.dev/pair-requested": jiff::Timestamp::now().to_string() } } });
    stage.server.change("whatsappdevices", "billing", asked);
    stage.settle("billing").await;
    assert_eq!(stage.replicas("billing"), 1);
    assert!(volume().is_some());
}

#[tokio::test]
async fn an_expired_device_leaves_a_volume_that_was_not_made_for_it() {
    let stage = Stage::new().await;
    stage.create("billing", json!({ "deletionPolicy": "KeepSession", "pairing": { "timeout": "1m" } }));
    stage.settle("billing").await;
    stage.start_pod("billing");
    stage.says("billing", scan()).await;
    stage.settle("billing").await;
    // As of a device of this name that was here before, or of a snapshot.
    let another = json!({ "metadata": { "annotations": { "enlace.dev/made-for": "another" } } });
    stage.server.change("persistentvolumeclaims", "billing-session", another);
    let mut status = stage.device("billing")["status"].clone();
    status["conditions"][2]["lastTransitionTime"] = "2020-01-01T00:00:00Z".into();
    stage.server.change("whatsappdevices", "billing", json!({ "status": status }));
    stage.settle("billing").await;
    assert_eq!(stage.device("billing")["status"]["phase"], "PairingExpired");
    stage.server.delete("pods", "shop", "billing-0");
    stage.settle("billing").await;
    assert_eq!(stage.replicas("billing"), 0);
    assert!(stage.server.get("persistentvolumeclaims", "shop", "billing-session").is_some());
}

#[tokio::test]
async fn a_secret_that_somebody_else_has_under_the_name_is_left_alone() {
    let stage = Stage::new().await;
    let theirs = || stage.server.get("secrets", "secrets", "billing-pairing").unwrap();
    let secret =
        json!({ "metadata": { "name": "billing-pairing", "namespace": "secrets" }, "data": { "a": "Yg==" } });
    stage.server.put("secrets", secret);
    stage.create_in("secrets", "billing", json!({ "pairing": { "publishIn": "Secret" } }));
    stage.try_look("secrets", "billing").await.0.unwrap();
    assert_eq!(theirs()["data"], json!({ "a": "Yg==" }), "it is not deleted when there is no code");
    stage.start_pod_in("secrets", "billing");
    stage.says_in("secrets", "billing", scan()).await;
    assert!(stage.try_look("secrets", "billing").await.0.is_err());
    assert_eq!((&theirs()["data"], theirs().get("stringData")), (&json!({ "a": "Yg==" }), None));
    assert!(stage.server.all("events").iter().any(|event| event["reason"] == "NameTaken"));
}
