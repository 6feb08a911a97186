//! What a session survives, and what ends it.

use enlace_crds::names;
use enlace_e2e::commands::{kubectl, try_kubectl};
use enlace_e2e::device::Device;
use enlace_e2e::installation::SYSTEM;
use enlace_e2e::scene::Scene;
use serde_json::json;

/// The lease that says whose number it is.
fn claim(number: &str) -> String {
    let number: enlace_contract::number::PhoneNumber = number.parse().unwrap();
    format!("lease/{}", names::claim_lease(&number.canonical()))
}

#[tokio::test]
#[ignore = "runs in the step of the cluster tests"]
async fn a_deleted_pod_is_connected_again_without_a_scan() {
    let scene = Scene::new("pod-deleted").await;
    let (device, linked) = Device::linked(&scene, "billing", "525550000005").await;
    let (before, logins) = (device.pod_uid(), scene.logins(&linked).await.len());
    kubectl(&device.arguments(&["delete", "pod", &device.pod()]));
    device.another_pod(&before).await;
    device.logged_in(&linked, logins + 1).await;
    scene.is_the_only_device(&linked).await;
    scene.end().await;
}

#[tokio::test]
#[ignore = "runs in the step of the cluster tests"]
async fn a_suspended_device_has_no_pod_and_keeps_its_session() {
    let scene = Scene::new("suspended").await;
    let (device, linked) = Device::linked(&scene, "billing", "525550000006").await;
    device.patch(&json!({"spec": {"suspend": true}}));
    device.wait_for_phase("Suspended");
    device.wait_of(&format!("pod/{}", device.pod()), "delete");
    scene.is_the_only_device(&linked).await;
    device.patch(&json!({"spec": {"suspend": false}}));
    device.wait("condition=Connected");
    scene.is_the_only_device(&linked).await;
    scene.end().await;
}

#[tokio::test]
#[ignore = "runs in the step of the cluster tests"]
async fn a_second_device_of_a_number_is_refused_until_the_first_is_gone() {
    let scene = Scene::new("duplicate").await;
    let number = "525550000007";
    let (first, _) = Device::linked(&scene, "first", number).await;
    // The same number, as it was written before 2019.
    let second = Device::apply(&scene, "second", json!({"phoneNumber": "5215550000007"}));
    second.wait("condition=Accepted=false");
    second.wait_for_reason("Accepted", "DuplicateNumber");
    assert!(try_kubectl(&second.arguments(&["get", "pod", &second.pod()])).is_err(), "it has a pod");
    first.delete();
    second.wait("condition=Accepted");
    scene.end().await;
}

#[tokio::test]
#[ignore = "runs in the step of the cluster tests"]
async fn a_deleted_device_is_unlinked_and_its_number_is_free() {
    let scene = Scene::new("deleted").await;
    let number = "525550000008";
    let (device, linked) = Device::linked(&scene, "billing", number).await;
    kubectl(&["--namespace", SYSTEM, "get", &claim(number)]);
    device.delete();
    let state = scene.whatsapp.server().state().await.unwrap();
    let left = state.device(&linked.phone, linked.device);
    assert!(left.is_none_or(|device| device.logged_out), "{left:?}");
    device.wait_of(&format!("pod/{}", device.pod()), "delete");
    device.wait_of(&format!("persistentvolumeclaim/{}", names::volume_claim(&device.key())), "delete");
    kubectl(&["--namespace", SYSTEM, "wait", &claim(number), "--for=delete", "--timeout=60s"]);
    scene.end().await;
}
