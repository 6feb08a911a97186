//! What is known of a cluster.

use enlace_api::directory::{DeviceChange, DeviceDirectory as _, Managed};
use enlace_contract::token::TokenSigner;
use futures::StreamExt as _;
use serde_json::json;

use crate::cluster::Cluster;
use crate::fixture::{Fixture, in_time, key, ours, resource};

fn words(changes: &[DeviceChange]) -> Vec<String> {
    let word = |change: &DeviceChange| match change {
        DeviceChange::Added(device) => format!("added {}", device.key),
        DeviceChange::Changed(device) => format!("changed {} to {}", device.key, device.phase()),
        DeviceChange::Deleted(device) => format!("deleted {}", device.key),
    };
    changes.iter().map(word).collect()
}

#[tokio::test]
async fn changes_follow_after_what_is_there() {
    let fixture =
        Fixture::of(vec![resource("shop/a", json!({}), json!({})), resource("shop/b", json!({}), json!({}))])
            .await;
    let mut changes = fixture.directory.watch();
    let mut next = async |count| in_time(changes.by_ref().take(count).collect::<Vec<_>>()).await;
    assert_eq!(words(&next(2).await), ["added shop/a", "added shop/b"]);
    fixture.cluster.change("whatsappdevices", "shop", "a", &json!({ "status": { "phase": "Connected" } }));
    assert_eq!(words(&next(1).await), ["changed shop/a to Connected"]);
    fixture.cluster.remove("whatsappdevices", "shop", "b");
    assert_eq!(words(&next(1).await), ["deleted shop/b"]);
    // A watch that breaks off goes on where it was.
    fixture.cluster.cut_watches();
    fixture.cluster.put("whatsappdevices", resource("shop/c", json!({}), json!({})));
    assert_eq!(words(&next(1).await), ["added shop/c"]);
}

#[tokio::test]
async fn a_device_that_cannot_be_read_does_not_hide_the_others() {
    let broken = resource("shop/broken", json!({ "storage": "much" }), json!({}));
    let fixture = Fixture::of(vec![broken, resource("shop/good", json!({}), json!({}))]).await;
    let listed = fixture.directory.list().await.unwrap();
    assert_eq!(listed.iter().map(|device| device.key.to_string()).collect::<Vec<_>>(), ["shop/good"]);
    let errors = fixture.directory.declaration_errors();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].file, "shop/broken");
    assert!(errors[0].message.contains("cannot be read"), "{}", errors[0].message);
    // When it is mended it is there.
    fixture.cluster.change(
        "whatsappdevices",
        "shop",
        "broken",
        &json!({ "spec": { "storage": { "size": "1Gi" } } }),
    );
    fixture.until("shop/broken", |_| true).await;
    assert_eq!(fixture.directory.declaration_errors(), []);
}

#[tokio::test]
async fn a_cluster_without_the_definition_is_waited_for() {
    let cluster = Cluster::new();
    cluster.know("whatsappdevices", false);
    let fixture = Fixture::begin(cluster.clone(), 8080, TokenSigner::generate("api").unwrap());
    // Both have been asked for when the pods are watched.
    in_time(cluster.until(|cluster| cluster.requests().contains(&"WATCH pods".to_owned()).then_some(())))
        .await;
    assert!(!fixture.directory.ready().await);
    cluster.know("whatsappdevices", true);
    in_time(fixture.directory.listed()).await;
    assert!(fixture.directory.ready().await);
}

#[tokio::test]
async fn who_created_a_device_decides_whose_it_is() {
    let fixture =
        Fixture::of(vec![ours("shop/a", json!({})), resource("shop/b", json!({}), json!({}))]).await;
    assert_eq!(fixture.directory.get(&key("shop/a")).await.unwrap().managed, Managed::ByApi);
    assert_eq!(
        fixture.directory.get(&key("shop/b")).await.unwrap().managed,
        Managed::By("its manifest".into())
    );
}
