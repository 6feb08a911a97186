//! Sessions that outlive their device, and whose they are.

use enlace_crds::names;
use enlace_e2e::device::Device;
use enlace_e2e::scene::Scene;
use serde_json::{Value, json};

const NUMBER: &str = "525550000016";

#[tokio::test]
#[ignore = "runs in the step of the cluster tests"]
async fn a_session_that_was_kept_is_its_owners_and_connects_again_without_a_scan() {
    let scene = Scene::new("kept").await;
    let spec = json!({"phoneNumber": NUMBER, "deletionPolicy": "KeepSession"});
    let device = Device::apply_for(&scene, "billing", "ana", spec.clone());
    let linked = device.link(NUMBER).await;
    let volume_claim = names::volume_claim(&device.key());
    let volume = || device.object("persistentvolumeclaim", &volume_claim);
    let before = volume();
    device.delete();
    device.wait_of(&format!("pod/{}", device.pod()), "delete");
    let logins = scene.logins(&linked).await;
    assert!(logins.iter().all(|login| login.closed_at.is_some()), "{logins:?}");
    scene.is_the_only_device(&linked).await;

    // Somebody else's, which would end the session if it had it.
    let other = Device::apply_for(&scene, "billing", "luis", json!({"phoneNumber": NUMBER}));
    other.wait_for_reason("Accepted", "InvalidSpec");
    let status = other.get().status.unwrap();
    let said = &status.condition("Accepted").unwrap().message;
    assert!(said.contains(&volume_claim) && said.contains("another owner"), "{said}");
    assert!(!said.contains("ana"), "it says whose the session is: {said}");
    assert!(!status.is_true("Paired") && status.pod_name.is_none(), "{status:?}");
    other.delete();
    assert_eq!(scene.logins(&linked).await, logins, "somebody else had the session");
    scene.is_the_only_device(&linked).await;

    let again = Device::apply_for(&scene, "billing", "ana", spec);
    again.wait("condition=Connected");
    let adopted = volume();
    assert_eq!(adopted["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(used_by(&adopted), again.get().metadata.uid.as_deref());
    assert_ne!(used_by(&adopted), used_by(&before));
    again.logged_in(&linked, logins.len() + 1).await;
    scene.is_the_only_device(&linked).await;
    scene.end().await;
}

fn used_by(volume: &Value) -> Option<&str> {
    volume["metadata"]["annotations"][names::USED_BY].as_str()
}
