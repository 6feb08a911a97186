//! The end of the installation, and its return.

use enlace_e2e::commands::kubectl;
use enlace_e2e::device::Device;
use enlace_e2e::eventually;
use enlace_e2e::installation;
use enlace_e2e::scene::Scene;
use serde_json::json;

#[tokio::test]
#[ignore = "runs in the step of the cluster tests"]
async fn uninstalling_keeps_the_devices_and_installing_again_adopts_them() {
    let scene = Scene::alone("uninstalled").await;
    let (device, linked) = Device::linked(&scene, "billing", "525550000013").await;
    let uid = device.get().metadata.uid;
    let pod = device.pod_object()["metadata"]["uid"].clone();
    let finalizers = device.get().metadata.finalizers.unwrap_or_default();
    assert_ne!(finalizers, Vec::<String>::new(), "nothing would unlink it");

    installation::uninstall();
    let left = device.get();
    assert_eq!(left.metadata.uid, uid);
    assert_eq!(left.metadata.finalizers.unwrap_or_default(), Vec::<String>::new());
    assert_eq!(device.pod_object()["metadata"]["uid"], pod, "the number goes on without an operator");
    kubectl(&["get", "customresourcedefinition", "whatsappdevices.enlace.dev"]);

    installation::install();
    eventually("the finalizer", async || {
        (device.get().metadata.finalizers == Some(finalizers.clone())).then_some(())
    })
    .await;
    device.wait("condition=Connected");
    assert_eq!(device.pod_object()["metadata"]["uid"], pod, "adopting it restarts nothing");
    // It can be told something again.
    device.patch(&json!({"spec": {"suspend": true}}));
    device.wait_for_phase("Suspended");
    device.patch(&json!({"spec": {"suspend": false}}));
    device.wait("condition=Connected");
    let state = scene.whatsapp.server().state().await.unwrap();
    assert!(state.device(&linked.phone, linked.device).is_some_and(|device| !device.logged_out));
    scene.end().await;
}
