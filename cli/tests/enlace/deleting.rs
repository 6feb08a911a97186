//! `enlace delete`.

use serde_json::json;

use crate::world::{NUMBER, World, manifest};

#[tokio::test]
async fn a_device_that_the_api_made_is_unlinked_and_its_data_removed() {
    let world = World::new().await;
    let enlace = world.start().await;
    enlace.create("shop").await;
    let linked = enlace.link("shop", NUMBER).await;
    let (file, data) = (world.file("shop.yaml"), world.data().join("devices/default/shop"));
    assert!(file.exists() && data.exists());

    let ended = enlace.run(&["delete", "shop"]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), "default/shop is deleted\n"), "{ended:?}");
    assert!(!file.exists() && !data.exists(), "nothing is left");
    assert!(!world.lists(&linked).await, "the phone lists it no more");
    let ended = enlace.run(&["get", "devices"]).await;
    assert_eq!(ended.stderr, "No devices.\n");
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn a_device_of_a_persons_file_is_not_deleted_by_the_api() {
    let world = World::with_billing().await;
    let enlace = world.start().await;
    let linked = enlace.link("billing", NUMBER).await;
    let ended = enlace.run(&["delete", "billing"]).await;
    let line = ended.refused();
    assert!(line.contains("billing.yaml"), "it says where it is declared: {line}");
    assert!(world.file("billing.yaml").exists() && world.lists(&linked).await);
    enlace.until_phase("billing", "Connected").await;
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn of_a_duplicate_that_was_never_linked_nothing_is_said_of_a_phone() {
    let world = World::new().await;
    world.write("billing.yaml", &manifest("billing", json!({ "phoneNumber": NUMBER })));
    let enlace = world.start().await;
    enlace.until_phase("billing", "AwaitingScan").await;
    let body = json!({ "metadata": { "name": "again" }, "spec": { "phoneNumber": NUMBER } });
    assert_eq!(enlace.call("POST", "/v1/devices", Some(body)).await.0, 201);
    enlace.until_phase("again", "Failed").await;
    enlace.run(&["delete", "again"]).await.ok();
    let ended = enlace.stop().await;
    assert!(ended.stderr.contains("default/again"), "its end is in the log: {}", ended.stderr);
    assert!(!ended.stderr.contains("not unlinked"), "{}", ended.stderr);
}

#[tokio::test]
async fn of_a_device_that_waits_for_a_scan_nothing_is_said_of_a_phone() {
    let world = World::new().await;
    let enlace = world.start().await;
    enlace.create("shop").await;
    enlace.code("shop").await;
    enlace.run(&["delete", "shop"]).await.ok();
    let ended = enlace.stop().await;
    assert!(ended.stderr.contains("default/shop"), "its end is in the log: {}", ended.stderr);
    for words in ["not unlinked", "could not be unlinked", "lists it"] {
        assert!(!ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
    assert_eq!(world.control().server().logins().await.unwrap(), [], "it never had a number");
}
