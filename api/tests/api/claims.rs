//! A number has one device.

use enlace_contract::state::ClaimState;
use serde_json::json;

use crate::fixture::{Api, manifest};

const DUPLICATE: &str = "DuplicateNumber";

fn refused(device: &enlace_api::directory::Device) -> bool {
    let accepted = device.resource.status.as_ref().and_then(|status| status.condition("Accepted"));
    accepted.is_some_and(|accepted| accepted.status == "False" && accepted.reason == DUPLICATE)
}

#[tokio::test]
async fn a_second_device_of_a_number_is_refused_and_never_started() {
    // Two forms of one number.
    let api = Api::start(&[
        ("a.yaml", manifest("a", json!({"phoneNumber": "5215550000001"}))),
        ("b.yaml", manifest("b", json!({"phoneNumber": "525550000001"}))),
    ])
    .await;
    api.stage.device("default/a").await;
    let b = api.until("default/b", refused).await;
    assert_eq!(b.phase().to_string(), "Failed");
    assert_eq!(*api.stage.starts.borrow(), ["default/a"]);
    let found = api.get("/v1/devices?number=525550000001").await.json();
    assert_eq!(found["items"][0]["metadata"]["name"], "a");
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    // The number is free when its holder is gone and has stopped.
    std::fs::remove_file(api.file("a.yaml")).unwrap();
    api.stage.device("default/b").await;
}

#[tokio::test]
async fn a_device_without_a_number_gets_the_one_that_links() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    let a = api.stage.device("default/a").await;
    a.links("525550000001");
    a.claim(ClaimState::Granted).await;
    let device = api.until_phase("default/a", "Connected").await;
    assert_eq!(device.number().unwrap().as_str(), "525550000001");
    // It is remembered over a restart: the one that linked first keeps it.
    let api = api
        .restart(|root| {
            std::fs::write(
                root.join("manifests/0.yaml"),
                manifest("older-name", json!({"phoneNumber": "525550000001"})),
            )
            .unwrap();
        })
        .await;
    api.stage.device("default/a").await;
    api.until("default/older-name", refused).await;
}

#[tokio::test]
async fn a_device_that_links_anothers_number_is_told_so() {
    let api = Api::start(&[
        ("a.yaml", manifest("a", json!({"phoneNumber": "525550000001"}))),
        ("b.yaml", manifest("b", json!({}))),
    ])
    .await;
    let b = api.stage.device("default/b").await;
    b.links("5215550000001");
    b.claim(ClaimState::Refused).await;
    assert!(*b.running.borrow(), "it must run to unlink itself");
}

#[tokio::test]
async fn a_device_that_links_another_number_than_its_own_is_not_answered() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({"phoneNumber": "525550000001"})))]).await;
    let a = api.stage.device("default/a").await;
    a.links("525550000002");
    a.says(|state| state.reconnects = 7);
    api.until("default/a", |device| device.resource.status.as_ref().unwrap().reconnects == Some(7)).await;
    assert!(a.asked().iter().all(|asked| asked.path != "/v1/claim"), "it knows the mismatch by itself");
}
