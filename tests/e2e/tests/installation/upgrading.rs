//! What an upgrade of the installation does to devices that are connected.

use enlace_e2e::device::Device;
use enlace_e2e::scene::Scene;
use serde_json::json;

#[tokio::test]
#[ignore = "runs in the step of the cluster tests"]
async fn an_upgrade_restarts_connected_devices_one_after_the_other_and_they_connect_again() {
    let scene = Scene::alone("upgraded").await;
    let numbers = ["525550000017", "525550000018"];
    let [first, second] = ["first", "second"].map(|name| Device::apply(&scene, name, json!({})));
    let linked = [first.link(numbers[0]).await, second.link(numbers[1]).await];
    let mut before = Vec::new();
    for (device, linked) in [&first, &second].into_iter().zip(&linked) {
        before.push((device.pod_uid(), scene.logins(linked).await.len()));
    }

    let memory = "49Mi";
    scene.upgrade(&json!({
        "operator": {"rollout": {"maxConcurrent": 1}},
        "devices": {"resources": {"requests": {"memory": memory}}},
    }));
    let mut away = Vec::new();
    for ((device, linked), (pod, logins)) in [&first, &second].into_iter().zip(&linked).zip(before) {
        let pod = device.another_pod(&pod).await;
        assert_eq!(pod["spec"]["containers"][0]["resources"]["requests"]["memory"], memory);
        device.logged_in(linked, logins + 1).await;
        scene.is_the_only_device(linked).await;
        let logins = scene.logins(linked).await;
        let [.., old, new] = logins.as_slice() else { panic!("{logins:?}") };
        away.push((old.closed_at.unwrap(), new.opened_at));
    }
    away.sort();
    assert!(away[0].1 <= away[1].0, "both were away at a time: {away:?}");
    scene.end().await;
}
