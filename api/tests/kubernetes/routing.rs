//! The way from a number to its pod.

use enlace_api::directory::DeviceDirectory as _;
use enlace_contract::client::ClientError;
use enlace_contract::number::PhoneNumber;
use enlace_contract::state::Phase;
use enlace_contract::token::TokenSigner;
use futures::StreamExt as _;
use serde_json::json;

use crate::cluster::Cluster;
use crate::fixture::{Fixture, in_time, key, pod, resource};
use crate::pod::DevicePod;

fn number(text: &str) -> enlace_contract::number::CanonicalNumber {
    text.parse::<PhoneNumber>().unwrap().canonical()
}

fn linked(number: &str) -> serde_json::Value {
    json!({ "phase": "Connected", "phoneNumber": number })
}

/// Two devices with their pods.
async fn two() -> (Fixture, DevicePod, DevicePod) {
    let signer = TokenSigner::generate("api").unwrap();
    let (a, port) = DevicePod::start("127.0.0.1", 0, "uid-a", signer.public_key(), "Connected").await;
    let (b, _) = DevicePod::start("127.0.0.2", port, "uid-b", signer.public_key(), "Reconnecting").await;
    let cluster = Cluster::new();
    cluster.put("whatsappdevices", resource("shop/a", json!({}), linked("525550000001")));
    cluster.put("whatsappdevices", resource("shop/b", json!({}), linked("525550000002")));
    cluster.put("pods", pod("shop/a", "pod-a", "127.0.0.1", true));
    cluster.put("pods", pod("shop/b", "pod-b", "127.0.0.2", true));
    (Fixture::start(cluster, port, signer).await, a, b)
}

#[tokio::test]
async fn a_number_leads_to_the_pod_of_its_device() {
    let (fixture, a, b) = two().await;
    for (text, name, phase) in
        [("5215550000001", "shop/a", Phase::Connected), ("525550000002", "shop/b", Phase::Reconnecting)]
    {
        let device = fixture.directory.find_by_number(&number(text)).await.unwrap().unwrap();
        assert_eq!(device.key, key(name));
        let client = fixture.directory.client(&device.key).await.unwrap();
        assert_eq!(client.state().await.unwrap().phase, phase);
    }
    assert!(fixture.directory.find_by_number(&number("525550000009")).await.unwrap().is_none());
    assert_eq!(a.asked(), ["api: GET /v1/status"]);
    assert_eq!(b.asked(), ["api: GET /v1/status"]);
}

#[tokio::test]
async fn requests_to_one_pod_share_its_connection() {
    let (fixture, a, _b) = two().await;
    for _ in 0..3 {
        fixture.directory.client(&key("shop/a")).await.unwrap().state().await.unwrap();
    }
    // A change of the pod that leaves it where it is closes nothing.
    fixture.cluster.change("pods", "shop", "a-0", &json!({ "metadata": { "annotations": { "x": "y" } } }));
    fixture.cluster.change("whatsappdevices", "shop", "a", &json!({ "status": { "reconnects": 7 } }));
    fixture.until("shop/a", |device| device.resource.status.as_ref().unwrap().reconnects == Some(7)).await;
    fixture.directory.client(&key("shop/a")).await.unwrap().state().await.unwrap();
    assert_eq!((a.asked().len(), a.connections()), (4, 1));
}

#[tokio::test]
async fn a_pod_that_is_away_is_answered_for_at_once() {
    let (fixture, _a, _b) = two().await;
    let away = async |name: &str| fixture.directory.client(&key(name)).await.err().unwrap();
    fixture.cluster.put("pods", pod("shop/a", "pod-a", "127.0.0.1", false));
    fixture.until_reachable("shop/a", false).await;
    let told = away("shop/a").await;
    assert_eq!((told.phase, told.retry_after), (Phase::Starting, 3));
    assert_eq!(told.detail, "shop/a is starting: its pod a-0 is not ready yet");
    fixture.cluster.remove("pods", "shop", "b-0");
    fixture.until_reachable("shop/b", false).await;
    assert_eq!(away("shop/b").await.detail, "shop/b has no pod yet");
    fixture.cluster.put("pods", pod("shop/a", "pod-a", "127.0.0.1", true));
    fixture.until_reachable("shop/a", true).await;
    let unknown = away("shop/nobody").await;
    assert_eq!(unknown.detail, "there is no device shop/nobody");
}

#[tokio::test]
async fn a_suspended_device_is_not_asked_though_its_pod_still_is_there() {
    let (fixture, a, _b) = two().await;
    fixture.cluster.change("whatsappdevices", "shop", "a", &json!({ "spec": { "suspend": true } }));
    fixture.until_reachable("shop/a", false).await;
    let away = fixture.directory.client(&key("shop/a")).await.err().unwrap();
    assert_eq!((away.phase, away.retry_after), (Phase::Suspended, 60));
    assert_eq!(a.asked(), [""; 0]);
}

#[tokio::test]
async fn a_pod_that_moved_is_found_where_it_is_now() {
    let (fixture, a, b) = two().await;
    drop(a);
    let key_of = fixture.signer.public_key().to_owned();
    let port = fixture.port;
    let (moved, _) = DevicePod::start("127.0.0.3", port, "uid-a", &key_of, "Connected").await;
    fixture.cluster.remove("pods", "shop", "a-0");
    fixture.until_reachable("shop/a", false).await;
    fixture.cluster.put("pods", pod("shop/a", "pod-a2", &moved.ip.to_string(), true));
    fixture.until_reachable("shop/a", true).await;
    fixture.directory.client(&key("shop/a")).await.unwrap().state().await.unwrap();
    assert_eq!((moved.asked().len(), b.asked().len()), (1, 0));
}

#[tokio::test]
async fn a_stale_address_opens_no_other_device() {
    let (fixture, _a, b) = two().await;
    // The pod of a is gone and b has its address, and the watch has not told yet.
    fixture.cluster.put("pods", pod("shop/a", "pod-a2", "127.0.0.2", true));
    fixture.until_reachable("shop/a", true).await;
    let mut ticks = fixture.directory.ticks();
    let refused = loop {
        match fixture.directory.client(&key("shop/a")).await.unwrap().state().await {
            // What is known may still be the pod before.
            Ok(_) => in_time(ticks.next()).await.unwrap(),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, ClientError::Unauthorized), "{refused}");
    assert_eq!(b.asked(), [""; 0]);
}
