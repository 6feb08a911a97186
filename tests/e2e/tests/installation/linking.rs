//! From a manifest to a connected number.

use std::time::{Duration, Instant};

use enlace_crds::names;
use enlace_e2e::commands::{json as get, kubectl};
use enlace_e2e::device::Device;
use enlace_e2e::installation::SECRETS;
use enlace_e2e::scene::Scene;
use enlace_e2e::tell;
use serde_json::{Value, json};

#[tokio::test]
#[ignore = "runs in the step of the cluster tests"]
async fn a_number_is_linked_with_the_code_in_its_status() {
    let scene = Scene::new("linking").await;
    let started = Instant::now();
    let mut times: Vec<(&str, Duration)> = Vec::new();

    let device = Device::apply(&scene, "billing", json!({"phoneNumber": "525550000001"}));
    device.wait_of(&format!("pod/{}", device.pod()), "create");
    device.wait_of(&format!("pod/{}", device.pod()), "condition=Ready");
    times.push(("pod Ready", started.elapsed()));
    let code = device.code();
    times.push(("code in the status", started.elapsed()));
    let linked = scene.whatsapp.phone("525550000001").scan(&code.code).await.unwrap();
    times.push(("scanned", started.elapsed()));
    device.wait("condition=Connected");
    times.push(("Connected in the status", started.elapsed()));

    let status = device.get().status.unwrap();
    assert_eq!(status.phone_number.as_deref(), Some("525550000001"));
    assert_eq!(status.qr, None, "a code that was used");
    for condition in ["Accepted", "PodReady", "Paired", "Connected", "Ready"] {
        assert!(status.is_true(condition), "{condition}: {status:?}");
    }
    assert_eq!(linked.phone, "525550000001");
    let steps: Vec<String> =
        times.iter().map(|(what, when)| format!("{what} {:.1} s", when.as_secs_f64())).collect();
    tell(&format!("times from kubectl apply: {}", steps.join(", ")));
    scene.end().await;
}

#[tokio::test]
#[ignore = "runs in the step of the cluster tests"]
async fn a_devices_pod_is_restricted_and_has_no_token_of_kubernetes() {
    let scene = Scene::new("restricted").await;
    let device = Device::apply(&scene, "billing", json!({}));
    device.wait_of(&format!("pod/{}", device.pod()), "create");
    device.wait_of(&format!("pod/{}", device.pod()), "condition=Ready");
    let pod = device.pod_object();
    assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    assert!(volumes.iter().all(|volume| volume.get("projected").is_none()), "{volumes:?}");
    // That the pod runs says that the restricted level lets it in; the level must be on.
    let namespace = get(&["get", "namespace", &scene.namespace]);
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    scene.end().await;
}

#[tokio::test]
#[ignore = "runs in the step of the cluster tests"]
async fn a_code_is_published_in_a_secret_instead_of_the_status() {
    let scene = Scene::within(SECRETS).await;
    let spec = json!({"phoneNumber": "525550000002", "pairing": {"publishIn": "Secret"}});
    let device = Device::apply(&scene, "secretive", spec);
    let secret = format!("secret/{}", names::pairing_secret(&device.key()));
    device.wait_of(&secret, "create");
    device.wait_of(&secret, "jsonpath={.data.qr}");
    let data =
        kubectl(&device.arguments(&["get", &secret, "--output", "go-template={{.data.qr | base64decode}}"]));
    assert_eq!(device.get().status.unwrap().qr, None);
    scene.whatsapp.phone("525550000002").scan(&data).await.unwrap();
    device.wait("condition=Connected");
    device.wait_of(&secret, "delete");
    let status: Value = device.object("whatsappdevice", "secretive");
    assert!(!status.to_string().contains(&data), "the code is in the resource");
    scene.end().await;
}

#[tokio::test]
#[ignore = "runs in the step of the cluster tests"]
async fn a_device_that_nobody_links_costs_nothing_until_it_is_asked_for_again() {
    let scene = Scene::new("expired").await;
    let spec = json!({"phoneNumber": "525550000015", "pairing": {"timeout": "1m"}});
    let device = Device::apply(&scene, "billing", spec);
    device.code();
    device.wait_for_phase("PairingExpired");
    device.wait_of(&format!("pod/{}", device.pod()), "delete");
    device.wait_of(&format!("persistentvolumeclaim/{}", names::volume_claim(&device.key())), "delete");
    let request = format!("{}={}", names::PAIR_REQUESTED, jiff::Timestamp::now());
    kubectl(&device.arguments(&["annotate", "whatsappdevice", &device.name, &request]));
    let code = device.code();
    scene.whatsapp.phone("525550000015").scan(&code.code).await.unwrap();
    device.wait("condition=Connected");
    scene.end().await;
}
