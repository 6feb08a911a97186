//! A device is deleted.

use enlace_contract::state::ClaimState;
use serde_json::json;

use crate::stage::{Stage, linked};

async fn connected(stage: &Stage) {
    stage.create("billing", json!({}));
    stage.settle("billing").await;
    stage.start_pod("billing");
    stage.says("billing", linked("525550000001", ClaimState::Granted)).await;
    stage.settle("billing").await;
}

fn logouts(stage: &Stage) -> usize {
    *stage.devices.logouts.lock().unwrap()
}

fn told(stage: &Stage, reason: &str) -> usize {
    stage.server.all("events").iter().filter(|event| event["reason"] == reason).count()
}

#[tokio::test]
async fn delete_runs_logout_once_then_drops_finalizer_even_if_pod_is_gone() {
    let stage = Stage::new().await;
    connected(&stage).await;
    stage.server.delete("whatsappdevices", "shop", "billing");
    // The finalizer is not dropped at the first try, and the pod goes meanwhile.
    stage.server.fail_next("patch", "whatsappdevices", 500);
    assert!(stage.try_look("shop", "billing").await.0.is_err());
    stage.server.delete("pods", "shop", "billing-0");
    stage.look("billing").await;
    assert_eq!(logouts(&stage), 1);
    assert!(stage.server.get("whatsappdevices", "shop", "billing").is_none());
    assert_eq!((told(&stage, "LoggedOut"), told(&stage, "LogoutSkipped")), (1, 0));
}

#[tokio::test]
async fn a_device_without_a_pod_goes_and_somebody_is_told_that_it_is_still_linked() {
    let stage = Stage::new().await;
    connected(&stage).await;
    stage.server.delete("pods", "shop", "billing-0");
    stage.server.delete("whatsappdevices", "shop", "billing");
    stage.look("billing").await;
    assert!(stage.server.get("whatsappdevices", "shop", "billing").is_none());
    assert_eq!((logouts(&stage), told(&stage, "LogoutSkipped")), (0, 1));
}

#[tokio::test]
async fn a_device_that_was_never_linked_goes_silently() {
    let stage = Stage::new().await;
    stage.create("billing", json!({}));
    stage.settle("billing").await;
    stage.server.delete("whatsappdevices", "shop", "billing");
    stage.look("billing").await;
    assert!(stage.server.get("whatsappdevices", "shop", "billing").is_none());
    assert_eq!((logouts(&stage), stage.server.all("events").len()), (0, 0));
}

#[tokio::test]
async fn a_kept_session_is_not_ended() {
    let stage = Stage::new().await;
    connected(&stage).await;
    stage.server.change("whatsappdevices", "billing", json!({ "spec": { "deletionPolicy": "KeepSession" } }));
    stage.settle("billing").await;
    stage.server.delete("whatsappdevices", "shop", "billing");
    assert!(stage.server.get("whatsappdevices", "shop", "billing").is_none(), "no finalizer holds it");
    assert_eq!(logouts(&stage), 0);
}

#[tokio::test]
async fn a_session_that_is_to_be_kept_since_a_moment_ago_outlives_its_device() {
    let stage = Stage::new().await;
    connected(&stage).await;
    // Nobody looked in between.
    stage.server.change("whatsappdevices", "billing", json!({ "spec": { "deletionPolicy": "KeepSession" } }));
    stage.server.delete("whatsappdevices", "shop", "billing");
    // The device waits until its volume does not go with it.
    stage.server.fail_next("patch", "persistentvolumeclaims", 500);
    assert!(stage.try_look("shop", "billing").await.0.is_err());
    assert!(stage.server.get("whatsappdevices", "shop", "billing").is_some());
    stage.look("billing").await;
    assert!(stage.server.get("whatsappdevices", "shop", "billing").is_none());
    let volume = stage.server.get("persistentvolumeclaims", "shop", "billing-session").unwrap();
    assert_eq!(volume["metadata"].get("ownerReferences"), None, "the garbage collector would delete it");
    assert_eq!(logouts(&stage), 0);
}

#[tokio::test]
async fn the_finalizer_stays_until_a_kept_volume_has_no_owner() {
    let stage = Stage::new().await;
    connected(&stage).await;
    stage.server.change("whatsappdevices", "billing", json!({ "spec": { "deletionPolicy": "KeepSession" } }));
    stage.server.fail_next("patch", "persistentvolumeclaims", 500);
    assert!(stage.try_look("shop", "billing").await.0.is_err());
    assert_eq!(stage.device("billing")["metadata"]["finalizers"], json!(["enlace.dev/logout"]));
    stage.settle("billing").await;
    assert_eq!(stage.device("billing")["metadata"]["finalizers"], json!([]));
}
