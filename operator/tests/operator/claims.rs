//! A number has one device.

use enlace_contract::state::{ClaimState, DeviceState, Phase};
use enlace_operator::sweep::sweep;
use serde_json::json;

use crate::stage::{NAMESPACE, Stage, linked};

const LEASE: &str = "number-525550000001";

fn holder(stage: &Stage) -> Option<String> {
    let lease = stage.server.get("leases", NAMESPACE, LEASE)?;
    Some(lease["spec"]["holderIdentity"].as_str().unwrap().to_owned())
}

fn uid(stage: &Stage, name: &str) -> String {
    stage.device(name)["metadata"]["uid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_second_device_of_a_number_gets_no_pod() {
    let stage = Stage::new().await;
    stage.create("first", json!({ "phoneNumber": "525550000001" }));
    stage.create("second", json!({ "phoneNumber": "5215550000001" }));
    stage.settle("first").await;
    stage.settle("second").await;
    assert_eq!(holder(&stage), Some(uid(&stage, "first")));
    assert_eq!((stage.replicas("first"), stage.replicas("second")), (1.into(), 0.into()));
    assert_eq!(stage.condition("second", "Accepted"), "False/DuplicateNumber");
    assert!(stage.server.get("persistentvolumeclaims", "shop", "second-session").is_none());
    let told = |event: &serde_json::Value| event["reason"] == "DuplicateNumber" && event["type"] == "Warning";
    assert_eq!(stage.server.all("events").iter().filter(|event| told(event)).count(), 1);
}

#[tokio::test]
async fn of_two_that_ask_at_once_the_api_server_lets_one() {
    let stage = Stage::new().await;
    stage.create("first", json!({ "phoneNumber": "525550000001" }));
    stage.create("second", json!({ "phoneNumber": "525550000001" }));
    stage.caught_up().await;
    let look = |name: &str| {
        let device = stage.context.caches.device("shop", name).unwrap();
        enlace_operator::controller::reconcile(device, stage.context.clone())
    };
    let (first, second) = tokio::join!(look("first"), look("second"));
    first.unwrap();
    second.unwrap();
    let running = [stage.replicas("first"), stage.replicas("second")];
    assert_eq!(running.iter().filter(|replicas| **replicas == 1).count(), 1);
}

#[tokio::test]
async fn a_claim_is_released_when_holder_pod_and_volume_are_gone_and_not_before() {
    let stage = Stage::new().await;
    stage.create("first", json!({ "phoneNumber": "525550000001", "deletionPolicy": "KeepSession" }));
    stage.settle("first").await;
    stage.start_pod("first");
    let is_held = async || {
        stage.caught_up().await;
        sweep(&stage.context).await;
        holder(&stage).is_some()
    };
    assert!(is_held().await, "its holder is there");
    stage.server.delete("whatsappdevices", "shop", "first");
    assert!(is_held().await, "its pod is there");
    stage.server.delete("pods", "shop", "first-0");
    assert!(is_held().await, "its session is there");
    stage.server.delete("persistentvolumeclaims", "shop", "first-session");
    assert!(!is_held().await);
    // One that waited for it gets it.
    stage.server.delete("statefulsets", "shop", "first");
    stage.create("second", json!({ "phoneNumber": "525550000001" }));
    stage.settle("second").await;
    assert_eq!(stage.replicas("second"), 1);
}

#[tokio::test]
async fn a_kept_session_whose_volume_lost_its_labels_keeps_its_number() {
    let stage = Stage::new().await;
    stage.create("first", json!({ "phoneNumber": "525550000001", "deletionPolicy": "KeepSession" }));
    stage.settle("first").await;
    stage.server.delete("whatsappdevices", "shop", "first");
    let labels = json!({ "metadata": { "labels": null } });
    stage.take_out("persistentvolumeclaims", "first-session", labels).await;
    sweep(&stage.context).await;
    assert!(holder(&stage).is_some(), "its session is there");
    stage.server.fail_next("get", "persistentvolumeclaims", 500);
    stage.server.delete("persistentvolumeclaims", "shop", "first-session");
    sweep(&stage.context).await;
    assert!(holder(&stage).is_some(), "nobody knows whether its session is there");
    // Somebody else's volume of that name is no session.
    let theirs = json!({ "metadata": { "name": "first-session", "namespace": "shop" } });
    stage.server.put("persistentvolumeclaims", theirs);
    sweep(&stage.context).await;
    assert_eq!(holder(&stage), None);
}

#[tokio::test]
async fn a_new_devices_pod_holds_the_earlier_ones_number_unless_its_volume_is_its_own() {
    let stage = Stage::new().await;
    stage.create("first", json!({ "phoneNumber": "525550000001" }));
    stage.settle("first").await;
    stage.server.change("whatsappdevices", "first", json!({ "metadata": { "finalizers": [] } }));
    for (resource, name) in [
        ("whatsappdevices", "first"),
        ("statefulsets", "first"),
        ("configmaps", "first-device"),
        ("networkpolicies", "first-device"),
        ("persistentvolumeclaims", "first-session"),
    ] {
        stage.server.delete(resource, "shop", name);
    }
    stage.create("first", json!({}));
    stage.settle("first").await;
    stage.start_pod("first");
    let volume = stage.server.get("persistentvolumeclaims", "shop", "first-session").unwrap();
    stage.server.delete("persistentvolumeclaims", "shop", "first-session");
    stage.caught_up().await;
    sweep(&stage.context).await;
    assert!(holder(&stage).is_some(), "whose session the pod has open, nobody can say");
    stage.server.put("persistentvolumeclaims", volume);
    stage.caught_up().await;
    sweep(&stage.context).await;
    assert_eq!(holder(&stage), None);
}

#[tokio::test]
async fn a_new_device_of_the_same_name_and_number_adopts_the_kept_session() {
    let stage = Stage::new().await;
    let spec = json!({ "phoneNumber": "525550000001", "deletionPolicy": "KeepSession" });
    stage.create("billing", spec.clone());
    stage.settle("billing").await;
    stage.server.delete("whatsappdevices", "shop", "billing");
    // A device of the same name that comes before the garbage collector waits for it.
    stage.create("billing", spec);
    let calls = stage.look("billing").await;
    assert!(calls.iter().all(|call| call.resource != "statefulsets"), "{calls:?}");
    for (resource, name) in
        [("statefulsets", "billing"), ("configmaps", "billing-device"), ("networkpolicies", "billing-device")]
    {
        stage.server.delete(resource, "shop", name);
    }
    stage.settle("billing").await;
    assert_eq!(holder(&stage), Some(uid(&stage, "billing")));
    assert_eq!(stage.replicas("billing"), 1);
    let set = stage.server.get("statefulsets", "shop", "billing").unwrap();
    assert_eq!(set["spec"]["template"]["spec"]["containers"][0]["args"], json!(["--adopt"]));
}

#[tokio::test]
async fn a_kept_session_is_not_adopted_for_another_number() {
    let stage = Stage::new().await;
    stage.create("billing", json!({ "phoneNumber": "525550000001", "deletionPolicy": "KeepSession" }));
    stage.settle("billing").await;
    stage.server.delete("whatsappdevices", "shop", "billing");
    for (resource, name) in
        [("statefulsets", "billing"), ("configmaps", "billing-device"), ("networkpolicies", "billing-device")]
    {
        stage.server.delete(resource, "shop", name);
    }
    stage.create("billing", json!({ "phoneNumber": "525550000002" }));
    stage.settle("billing").await;
    assert!(stage.server.get("statefulsets", "shop", "billing").is_none(), "nothing runs");
    assert_eq!(stage.condition("billing", "Accepted"), "False/InvalidSpec");
    assert!(stage.server.get("leases", NAMESPACE, "number-525550000002").is_none(), "it takes no number");
}

#[tokio::test]
async fn a_device_that_asks_is_granted_its_number_with_the_lease_and_refused_without() {
    let stage = Stage::new().await;
    for name in ["first", "second"] {
        stage.create(name, json!({}));
        stage.settle(name).await;
        stage.start_pod(name);
    }
    let answers = || std::mem::take(&mut *stage.devices.claims.lock().unwrap());
    stage.says("first", linked("5215550000001", ClaimState::Pending)).await;
    stage.look("first").await;
    assert_eq!(holder(&stage), Some(uid(&stage, "first")));
    let granted = |granted| json!({ "number": "525550000001", "granted": granted });
    let told = answers();
    assert_eq!(serde_json::to_value(&told).unwrap(), json!([granted(true)]));

    stage.says("second", linked("525550000001", ClaimState::Pending)).await;
    stage.look("second").await;
    assert_eq!(serde_json::to_value(answers()).unwrap(), json!([granted(false)]));
    assert_eq!(stage.replicas("second"), 1, "it has to end that session first");
    stage.says("second", linked("525550000001", ClaimState::Refused)).await;
    stage.look("second").await;
    assert_eq!(stage.replicas("second"), 1, "it is about to");
    assert_eq!(holder(&stage), Some(uid(&stage, "first")));
    // What it links next is another number.
    stage.says("second", DeviceState { phase: Phase::LoggedOut, ..DeviceState::default() }).await;
    stage.settle("second").await;
    assert_eq!(stage.condition("second", "Accepted"), "True/Accepted");
    assert_eq!(answers(), []);
}

#[tokio::test]
async fn a_linked_device_whose_number_is_anothers_is_stopped() {
    // As after a restore of a cluster, in which two devices have the same session.
    let stage = Stage::new().await;
    for name in ["first", "second"] {
        stage.create(name, json!({}));
        stage.settle(name).await;
        stage.start_pod(name);
        stage.says(name, linked("525550000001", ClaimState::Granted)).await;
        stage.settle(name).await;
    }
    assert_eq!((stage.replicas("first"), stage.replicas("second")), (1.into(), 0.into()));
}

/// A device of a user, as the API makes it.
fn create_of(stage: &Stage, owner: Option<&str>, spec: serde_json::Value) {
    stage.server.put(
        "whatsappdevices",
        json!({
            "apiVersion": "enlace.dev/v1alpha1", "kind": "WhatsAppDevice",
            "metadata": {
                "name": "billing", "namespace": "shop",
                "labels": owner.map(|owner| json!({ "enlace.dev/owner": owner })).unwrap_or(json!({})),
            },
            "spec": spec,
        }),
    );
}

/// The device is deleted, and the garbage collector has come by.
fn delete(stage: &Stage) {
    stage.server.delete("whatsappdevices", "shop", "billing");
    for (resource, name) in
        [("statefulsets", "billing"), ("configmaps", "billing-device"), ("networkpolicies", "billing-device")]
    {
        stage.server.delete(resource, "shop", name);
    }
}

fn volume(stage: &Stage) -> serde_json::Value {
    stage.server.get("persistentvolumeclaims", "shop", "billing-session").unwrap()
}

/// A stage on which a device of this owner was, and its session is kept.
async fn kept(owner: Option<&str>) -> Stage {
    let stage = Stage::new().await;
    create_of(&stage, owner, json!({ "phoneNumber": "525550000001", "deletionPolicy": "KeepSession" }));
    stage.settle("billing").await;
    assert_eq!(
        volume(&stage)["metadata"]["annotations"].get("enlace.dev/owner"),
        owner.map(|owner| json!(owner)).as_ref()
    );
    delete(&stage);
    stage
}

#[tokio::test]
async fn a_kept_session_is_not_adopted_by_another_owner() {
    for (before, after) in [(None, Some("maria")), (Some("maria"), Some("other")), (Some("maria"), None)] {
        for spec in [
            json!({}),
            json!({ "phoneNumber": "525550000001" }),
            json!({ "phoneNumber": "525550000002" }),
            json!({ "deletionPolicy": "KeepSession" }),
        ] {
            let stage = kept(before).await;
            let untouched = (volume(&stage), holder(&stage));
            create_of(&stage, after, spec);
            stage.settle("billing").await;
            assert!(stage.server.get("statefulsets", "shop", "billing").is_none(), "nothing runs");
            assert_eq!((volume(&stage), holder(&stage)), untouched);
            assert_eq!(stage.condition("billing", "Accepted"), "False/InvalidSpec");
            let told = |event: &serde_json::Value| {
                event["reason"] == "InvalidSpec" && event["note"].as_str().unwrap().contains("another owner")
            };
            assert_eq!(stage.server.all("events").iter().filter(|event| told(event)).count(), 1);
            // It leaves, and the session still is there.
            stage.server.delete("whatsappdevices", "shop", "billing");
            assert_eq!(volume(&stage), untouched.0);
        }
    }
}

#[tokio::test]
async fn a_kept_session_is_adopted_by_its_owner_and_stays_with_the_device_that_did() {
    let stage = kept(Some("maria")).await;
    create_of(&stage, Some("maria"), json!({ "deletionPolicy": "KeepSession" }));
    stage.settle("billing").await;
    assert_eq!(stage.replicas("billing"), 1);
    let set = stage.server.get("statefulsets", "shop", "billing").unwrap();
    assert_eq!(set["spec"]["template"]["spec"]["containers"][0]["args"], json!(["--adopt"]));
    // An administrator gives the device to somebody else: the session goes with it.
    for owner in [json!("other"), json!(null)] {
        let labels = json!({ "metadata": { "labels": { "enlace.dev/owner": owner } } });
        stage.server.change("whatsappdevices", "billing", labels);
        stage.settle("billing").await;
        assert_eq!(stage.condition("billing", "Accepted"), "True/Accepted");
        assert_eq!(stage.replicas("billing"), 1);
        assert_eq!(
            volume(&stage)["metadata"]["annotations"].get("enlace.dev/owner").unwrap_or(&json!(null)),
            &owner
        );
    }
    delete(&stage);
    create_of(&stage, Some("maria"), json!({}));
    stage.settle("billing").await;
    assert_eq!(stage.condition("billing", "Accepted"), "False/InvalidSpec");
}

#[tokio::test]
async fn a_kept_session_that_an_administrator_gives_to_the_owner_is_adopted() {
    let stage = kept(None).await;
    create_of(&stage, Some("maria"), json!({}));
    stage.settle("billing").await;
    assert_eq!(stage.condition("billing", "Accepted"), "False/InvalidSpec");
    let annotation = json!({ "metadata": { "annotations": { "enlace.dev/owner": "maria" } } });
    stage.server.change("persistentvolumeclaims", "billing-session", annotation);
    stage.settle("billing").await;
    assert_eq!(stage.condition("billing", "Accepted"), "True/Accepted");
    assert_eq!(stage.replicas("billing"), 1);
}
