//! Each call of a whole life is allowed by the table in the crate's documentation, which the chart's roles repeat.

use std::collections::BTreeSet;

use enlace_contract::state::ClaimState;
use enlace_operator::keys;
use kube::Api;
use serde_json::json;

use crate::server::Call;
use crate::stage::{NAMESPACE, Stage, config, linked};

/// `group resource verb` of each row.
fn allowed() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for line in include_str!("../../src/lib.rs").lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, group, resource, verbs, ..] = cells[..] else { continue };
        let group = if group == "core" { "" } else { group.trim_matches('`') };
        let resource = resource.split_whitespace().next().unwrap_or_default().trim_matches('`');
        all.extend(verbs.split(", ").map(|verb| format!("{group} {resource} {verb}")));
    }
    all
}

#[tokio::test]
async fn every_api_call_made_in_a_life_is_in_the_table_of_permissions() {
    let stage = Stage::new().await;
    let mut calls: Vec<Call> = stage.server.calls();
    keys::ensure(&Api::namespaced(stage.server.client(), NAMESPACE), &config()).await.unwrap();
    calls.extend(stage.server.calls());
    stage.create("billing", json!({ "phoneNumber": "525550000001" }));
    calls.extend(stage.look("billing").await);
    stage.start_pod("billing");
    stage.says("billing", linked("525550000001", ClaimState::Granted)).await;
    calls.extend(stage.look("billing").await);
    stage.server.change("statefulsets", "billing", json!({ "spec": { "replicas": 0 } }));
    let change = json!({ "spec": { "storage": { "size": "2Gi" }, "pod": { "image": "enlace-device:2" } } });
    stage.server.change("whatsappdevices", "billing", change);
    calls.extend(stage.look("billing").await);
    stage.server.delete("whatsappdevices", "shop", "billing");
    calls.extend(stage.look("billing").await);

    let allowed = allowed();
    let made: BTreeSet<String> =
        calls.iter().map(|call| format!("{} {} {}", call.group, call.resource, call.verb)).collect();
    let refused: Vec<_> = made.difference(&allowed).collect();
    assert!(refused.is_empty(), "{refused:?}");
    for made_it in
        ["apps statefulsets update", " pods delete", "events.k8s.io events create", " secrets create"]
    {
        assert!(made.contains(made_it), "{made_it} was not made, so the test is blind: {made:?}");
    }
}
