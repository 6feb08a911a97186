//! What the operator does when a device, or something that it made, is changed.

use enlace_crds::names;
use enlace_e2e::commands::{json as get, kubectl, with_object};
use enlace_e2e::device::Device;
use enlace_e2e::eventually;
use enlace_e2e::scene::Scene;
use serde_json::{Value, json};

#[tokio::test]
#[ignore = "runs in the step of the cluster tests"]
async fn what_somebody_edited_is_put_right() {
    let scene = Scene::new("edited").await;
    let device = Device::apply(&scene, "billing", json!({"phoneNumber": "525550000010"}));
    device.code();
    let key = device.key();
    for (kind, name, patch) in [
        ("configmap", names::config_map(&key), json!({"data": {"device.yaml": "phoneNumber: '1'"}})),
        ("networkpolicy", names::network_policy(&key), json!({"spec": {"ingress": []}})),
        ("statefulset", names::stateful_set(&key), json!({"spec": {"replicas": 0}})),
    ] {
        let content = |mut object: Value| {
            let (data, spec) = (object["data"].take(), object["spec"].take());
            json!({"data": data, "spec": spec})
        };
        let before = content(device.object(kind, &name));
        let patch = patch.to_string();
        kubectl(&device.arguments(&["patch", kind, &name, "--type=merge", "--patch", &patch]));
        eventually(&format!("the {kind} as it was"), async || {
            (content(device.object(kind, &name)) == before).then_some(())
        })
        .await;
    }
    scene.end().await;
}

#[tokio::test]
#[ignore = "runs in the step of the cluster tests"]
async fn a_change_of_the_pod_restarts_it_and_the_session_goes_on() {
    let scene = Scene::new("changed").await;
    let (device, _) = Device::linked(&scene, "billing", "525550000011").await;
    let before = device.pod_object()["metadata"]["uid"].clone();
    device.patch(&json!({"spec": {"pod": {"labels": {"team": "billing"}}, "storage": {"size": "2Gi"}}}));
    device.wait_of(&format!("pod/{}", device.pod()), "jsonpath={.metadata.labels.team}=billing");
    assert_ne!(device.pod_object()["metadata"]["uid"], before);
    device.wait("condition=Connected");
    let volume = format!("persistentvolumeclaim/{}", names::volume_claim(&device.key()));
    device.wait_of(&volume, "jsonpath={.spec.resources.requests.storage}=2Gi");
    scene.end().await;
}

#[tokio::test]
#[ignore = "runs in the step of the cluster tests"]
async fn what_is_somebody_elses_is_left_alone_and_named_in_an_event() {
    let scene = Scene::new("foreign").await;
    let volume = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"namespace": scene.namespace, "name": "billing-session", "labels": {"team": "sales"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    });
    with_object(&["create"], &volume);
    let device = Device::apply(&scene, "billing", json!({"phoneNumber": "525550000014"}));
    let words = eventually("an event", async || {
        let events = get(&device.arguments(&["get", "events.events.k8s.io"]));
        let event = events["items"].as_array()?.iter().find(|event| event["reason"] == "NameTaken")?.clone();
        event["note"].as_str().map(str::to_owned)
    })
    .await;
    assert!(words.contains("billing-session exists and is not this device's"), "{words}");
    let left = device.object("persistentvolumeclaim", "billing-session");
    assert_eq!(left["metadata"]["labels"], json!({"team": "sales"}));
    scene.end().await;
}
