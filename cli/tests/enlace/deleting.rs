//! `enlace delete`.

use crate::world::{NUMBER, World};

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
