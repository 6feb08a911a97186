//! Pods are made anew when what they are made from changes.

use serde_json::json;

use crate::stage::Stage;

async fn running(stage: &Stage, name: &str) {
    stage.create(name, json!({}));
    stage.settle(name).await;
    stage.start_pod(name);
    stage.settle(name).await;
}

fn image(stage: &Stage, name: &str, image: &str) {
    stage.server.change("whatsappdevices", name, json!({ "spec": { "pod": { "image": image } } }));
}

fn deletions(calls: &[crate::server::Call]) -> Vec<(&str, serde_json::Value)> {
    let of_pods = calls.iter().filter(|call| call.verb == "delete" && call.resource == "pods");
    of_pods.map(|call| (call.name.as_str(), call.body["preconditions"]["uid"].clone())).collect()
}

#[tokio::test]
async fn one_pod_at_a_time_is_deleted_by_its_uid_and_the_next_when_it_is_back() {
    let stage = Stage::new().await;
    running(&stage, "first").await;
    running(&stage, "second").await;
    let first = stage.server.get("pods", "shop", "first-0").unwrap()["metadata"]["uid"].clone();
    image(&stage, "first", "enlace-device:2");
    image(&stage, "second", "enlace-device:2");
    assert_eq!(deletions(&stage.look("first").await), [("first-0", first)]);
    // `maxConcurrent` is 1 here.
    assert_eq!(deletions(&stage.look("second").await), []);
    stage.start_pod("first");
    stage.settle("first").await;
    let now = jiff::Timestamp::now();
    assert_eq!(stage.context.rollout().next(now).len(), 1, "the one that waits is named");
    assert_eq!(deletions(&stage.look("second").await).len(), 1);
}

#[tokio::test]
async fn what_the_device_follows_while_it_runs_restarts_nothing() {
    let stage = Stage::new().await;
    running(&stage, "billing").await;
    let change = json!({ "spec": { "displayName": "Billing", "sending": { "interval": "1s" } } });
    stage.server.change("whatsappdevices", "billing", change);
    let calls = stage.look("billing").await;
    let written: Vec<_> = calls.iter().map(|call| format!("{} {}", call.verb, call.resource)).collect();
    assert_eq!(written, ["patch configmaps", "patch whatsappdevices/status"]);
}
