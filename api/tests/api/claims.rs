//! A number has one device.

use enlace_api::directory::Device;
use enlace_contract::state::ClaimState;
use serde_json::json;

use crate::device::Played;
use crate::fixture::{Api, in_time, manifest};

const DUPLICATE: &str = "DuplicateNumber";

fn refused(device: &Device) -> bool {
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
async fn a_device_is_not_told_a_number_that_it_does_not_hold() {
    let api = Api::start(&[
        ("a.yaml", manifest("a", json!({"phoneNumber": "525550000001"}))),
        ("b.yaml", manifest("b", json!({}))),
    ])
    .await;
    api.stage.device("default/a").await;
    let b = api.stage.device("default/b").await;
    let told = async |name: &'static str| {
        let mut config = b.config.subscribe();
        let named =
            |config: &enlace_contract::config::DeviceConfig| config.display_name.as_deref() == Some(name);
        in_time(config.wait_for(named)).await.unwrap().phone_number.clone()
    };
    // It is about to end that session. With the number in its configuration it could take the next one for its own.
    b.links_refused("525550000001");
    api.write("b.yaml", &manifest("b", json!({"phoneNumber": "525550000001", "displayName": "anothers"})));
    assert_eq!(told("anothers").await, None);
    std::fs::remove_file(api.file("a.yaml")).unwrap();
    api.write("b.yaml", &manifest("b", json!({"phoneNumber": "525550000001", "displayName": "its own"})));
    assert_eq!(told("its own").await.unwrap().as_str(), "525550000001");
}

#[tokio::test]
async fn a_device_that_links_another_number_than_its_own_is_not_answered() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({"phoneNumber": "525550000001"})))]).await;
    let a = api.stage.device("default/a").await;
    // As a device does that knows its declaration.
    a.links_refused("525550000002");
    a.says(|state| state.reconnects = 7);
    api.until("default/a", |device| device.resource.status.as_ref().unwrap().reconnects == Some(7)).await;
    assert!(a.asked().iter().all(|asked| asked.path != "/v1/claim"), "it knows the mismatch by itself");
}

const MISMATCH: &str = "spec.phoneNumber is 525550000002, but the device is linked to 525550000001: put it right, or log the device out first";

/// The reason and the message of a condition.
fn said(device: &Device, condition: &str) -> (String, String) {
    let status = device.resource.status.as_ref();
    let condition = status.and_then(|status| status.condition(condition)).unwrap();
    (condition.reason.clone(), condition.message.clone())
}

fn accepted(device: &Device) -> bool {
    device.resource.status.as_ref().is_some_and(|status| status.is_true("Accepted"))
}

/// A device `a` without a declared number, linked to 525550000001.
async fn linked() -> (Api, Played) {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    let a = api.stage.device("default/a").await;
    a.links("525550000001");
    a.claim(ClaimState::Granted).await;
    api.until("default/a", |device| device.number().is_some() && accepted(device)).await;
    (api, a)
}

#[tokio::test]
async fn a_linked_device_keeps_its_number_whatever_is_declared_later() {
    let (api, a) = linked().await;
    api.write("a.yaml", &manifest("a", json!({"phoneNumber": "525550000002"})));
    let device = api.until("default/a", |device| !accepted(device)).await;
    for condition in ["Accepted", "Ready"] {
        assert_eq!(said(&device, condition), ("NumberMismatch".to_owned(), MISMATCH.to_owned()));
    }
    assert_eq!(device.phase().to_string(), "Connected");
    assert!(*a.running.borrow(), "its session goes on");
    // Neither by declaring nor by linking does another device get the number.
    api.write("b.yaml", &manifest("b", json!({"phoneNumber": "5215550000001"})));
    api.write("c.yaml", &manifest("c", json!({})));
    api.until("default/b", refused).await;
    let c = api.stage.device("default/c").await;
    c.links("525550000001");
    c.claim(ClaimState::Refused).await;
    let found = api.get("/v1/devices?number=525550000001").await.json();
    assert_eq!(found["items"][0]["metadata"]["name"], "a");
    // The wrong number is nobody's.
    api.write("d.yaml", &manifest("d", json!({"phoneNumber": "525550000002"})));
    api.stage.device("default/d").await;

    let api = api.restart(|_| ()).await;
    api.stage.device("default/a").await;
    let device = api.until("default/a", |device| device.resource.status.is_some()).await;
    assert_eq!(said(&device, "Accepted"), ("NumberMismatch".to_owned(), MISMATCH.to_owned()));
    api.until("default/b", refused).await;
}

#[tokio::test]
async fn a_wrong_number_can_be_taken_out_of_the_file_again() {
    let (api, a) = linked().await;
    for right in [json!({}), json!({"phoneNumber": "5215550000001"})] {
        api.write("a.yaml", &manifest("a", json!({"phoneNumber": "525550000002"})));
        api.until("default/a", |device| !accepted(device)).await;
        api.write("a.yaml", &manifest("a", right));
        api.until("default/a", accepted).await;
        assert_eq!(api.directory.file_errors(), []);
    }
    assert!(*a.running.borrow());
    // What was accepted is set.
    api.write("a.yaml", &manifest("a", json!({})));
    api.directory.rescan().await;
    assert!(api.directory.file_errors()[0].message.contains("cannot change or be removed"));
}

#[tokio::test]
async fn another_number_is_accepted_when_the_device_is_logged_out() {
    let (api, _) = linked().await;
    api.write("a.yaml", &manifest("a", json!({"phoneNumber": "525550000002"})));
    api.until("default/a", |device| !accepted(device)).await;
    assert_eq!(api.post("/v1/devices/default/a/logout", json!({})).await.status, 200);
    api.until("default/a", accepted).await;
    // The number of before is free.
    api.write("b.yaml", &manifest("b", json!({"phoneNumber": "525550000001"})));
    api.stage.device("default/b").await;
    api.until("default/b", accepted).await;
}

#[tokio::test]
async fn the_api_declares_no_other_number_than_the_linked_one() {
    let api = Api::start(&[]).await;
    let body = json!({"metadata": {"name": "a"}, "spec": {}});
    assert_eq!(api.post("/v1/devices", body).await.status, 201);
    let a = api.stage.device("default/a").await;
    a.links("525550000001");
    a.claim(ClaimState::Granted).await;
    api.until("default/a", |device| device.number().is_some()).await;
    let number = |number: &str| Some(json!({"spec": {"phoneNumber": number}}));
    let path = "/v1/devices/default/a";
    let answer = api.call("PATCH", path, &api.admin, number("525550000002")).await;
    assert_eq!(answer.problem(), (422, "Invalid".into()));
    assert_eq!(answer.json()["detail"], MISMATCH);
    let device = api.get(path).await.json();
    assert_eq!(device["spec"].get("phoneNumber"), None);
    assert_eq!(api.call("PATCH", path, &api.admin, number("5215550000001")).await.status, 200);
}

#[tokio::test]
async fn a_suspended_device_keeps_the_number_that_it_linked_last() {
    let (api, a) = linked().await;
    api.write("a.yaml", &manifest("a", json!({"phoneNumber": "525550000002", "suspend": true})));
    a.stopped().await;
    api.until("default/a", |device| !accepted(device)).await;
    api.write("b.yaml", &manifest("b", json!({"phoneNumber": "525550000001"})));
    api.until("default/b", refused).await;
}

#[tokio::test]
async fn a_device_that_finds_its_number_anothers_stops() {
    let api = Api::start(&[
        ("a.yaml", manifest("a", json!({"phoneNumber": "525550000001"}))),
        ("b.yaml", manifest("b", json!({}))),
    ])
    .await;
    api.stage.device("default/a").await;
    let b = api.stage.device("default/b").await;
    // Its session was granted once, which nobody remembers.
    b.links_granted("525550000001");
    b.stopped().await;
    api.until("default/b", refused).await;
}

/// A device of this name that declares [`NUMBER`].
fn declares(name: &str) -> String {
    manifest(name, json!({"phoneNumber": NUMBER}))
}

const NUMBER: &str = "525550000001";

/// The device links its number.
async fn links(api: &Api, key: &str) {
    let device = api.stage.device(key).await;
    device.links(NUMBER);
    device.claim(ClaimState::Granted).await;
    api.until_phase(key, "Connected").await;
}

#[tokio::test]
async fn who_held_a_number_last_keeps_it_over_a_restart() {
    let api = Api::start(&[("old.yaml", declares("old"))]).await;
    links(&api, "default/old").await;
    std::fs::remove_file(api.file("old.yaml")).unwrap();
    api.until_gone("default/old").await;
    api.write("new.yaml", &declares("new"));
    links(&api, "default/new").await;
    // The one that is older and was linked to the number as well comes back.
    api.write("old.yaml", &declares("old"));
    api.until("default/old", refused).await;
    let api = api.restart(|_| ()).await;
    api.stage.device("default/new").await;
    api.until("default/old", refused).await;
    assert_eq!(*api.stage.starts.borrow(), ["default/new"]);
    // The same the other way round: it gets the number again, and is the last that held it.
    std::fs::remove_file(api.file("new.yaml")).unwrap();
    api.stage.device("default/old").await;
    let api =
        api.restart(|root| std::fs::write(root.join("manifests/new.yaml"), declares("new")).unwrap()).await;
    api.stage.device("default/old").await;
    api.until("default/new", refused).await;
    assert_eq!(*api.stage.starts.borrow(), ["default/old"]);
}

#[tokio::test]
async fn who_came_back_while_nothing_ran_does_not_take_the_number_from_who_held_it_last() {
    let api = Api::start(&[("old.yaml", declares("old"))]).await;
    links(&api, "default/old").await;
    std::fs::remove_file(api.file("old.yaml")).unwrap();
    api.until_gone("default/old").await;
    api.write("new.yaml", &declares("new"));
    links(&api, "default/new").await;
    let api =
        api.restart(|root| std::fs::write(root.join("manifests/old.yaml"), declares("old")).unwrap()).await;
    api.stage.device("default/new").await;
    api.until("default/old", refused).await;
    assert_eq!(*api.stage.starts.borrow(), ["default/new"]);
}
