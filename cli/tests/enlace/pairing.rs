//! `enlace qr`, `enlace pair` and `enlace logout`.

use serde_json::json;

use crate::eye::codes;
use crate::relay::Relay;
use crate::world::{NUMBER, World, condition, manifest};

#[tokio::test]
async fn qr_follows_the_codes_and_the_newest_links() {
    let world = World::with_billing().await;
    let relay = Relay::to(world.websocket_address()).await;
    let mut command = world.standalone();
    command.env("ENLACE_WHATSAPP_URL", format!("ws://{}/ws/chat", relay.address));
    let enlace = world.start_with(command).await;

    let qr = enlace.begin(&["qr", "billing"]);
    let first = qr.stdout.until("code", |text| codes(text).pop()).await;
    relay.cut();
    let all = qr.stdout.until("second code", |text| Some(codes(text)).filter(|codes| codes.len() == 2)).await;
    assert_eq!(all[0], first);
    assert_ne!(all[1], first);
    assert!(world.phone(NUMBER).scan(&first).await.is_err(), "a code that was replaced links nothing");
    world.phone(NUMBER).scan(&all[1]).await.unwrap();
    qr.ended().await.ok();
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn qr_ends_with_3_when_nobody_scans_in_time() {
    let world = World::with_billing().await;
    let enlace = world.start().await;
    let ended = enlace.run(&["qr", "billing", "--timeout", "2s"]).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert_eq!(ended.stderr, "enlace: default/billing was not linked within 2s\n");
    assert_eq!(codes(&ended.stdout).len(), 1);
}

#[tokio::test]
async fn qr_of_a_linked_device_says_so_and_ends() {
    let world = World::with_billing().await;
    let enlace = world.start().await;
    enlace.link("billing", NUMBER).await;
    let ended = enlace.run(&["qr", "billing"]).await;
    assert_eq!(ended.stderr, format!("default/billing is linked to {NUMBER}\n"));
    assert_eq!(ended.ok(), "");
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn qr_outlives_a_restart_of_standalone() {
    let world = World::with_billing().await;
    let enlace = world.start().await;
    let listen = enlace.url.strip_prefix("http://").unwrap().to_owned();
    let qr = enlace.begin(&["qr", "billing"]);
    qr.stdout.until("code", |text| codes(text).pop()).await;
    enlace.stop().await;
    let mut command = world.command(&["standalone", "--listen", &listen]);
    command.arg(world.path("devices"));
    let enlace = world.start_with(command).await;
    let code = qr.stdout.until("second code", |text| codes(text).into_iter().nth(1)).await;
    world.phone(NUMBER).scan(&code).await.unwrap();
    qr.ended().await.ok();
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn qr_shows_the_characters_of_a_pairing_code() {
    let world = World::new().await;
    let settings = json!({ "phoneNumber": NUMBER, "pairing": { "method": "PairingCode" } });
    world.write("billing.yaml", &manifest("billing", settings));
    let enlace = world.start().await;
    let qr = enlace.begin(&["qr", "billing"]);
    qr.stdout.line("Link with phone number").await;
    let shown = qr.stdout.text();
    let code: String = shown.lines().next().unwrap().trim().split('-').collect();
    assert_eq!(code.len(), 8, "{shown}");
    world.phone(NUMBER).enter_code(&code).await.unwrap();
    qr.ended().await.ok();
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn pair_brings_codes_back_after_a_logout_on_the_phone() {
    let world = World::with_billing().await;
    let enlace = world.start().await;
    let linked = enlace.link("billing", NUMBER).await;
    world.phone(NUMBER).unlink(linked.device).await.unwrap();
    enlace.until_phase("billing", "LoggedOut").await;
    let table = enlace.ok(&["get", "devices"]).await;
    assert!(table.contains("LoggedOutOnPhone"), "{table}");

    // By itself it shows no codes, and says what brings them.
    let ended = enlace.run(&["qr", "billing"]).await;
    let line = ended.refused();
    assert!(
        line.contains("default/billing is LoggedOut") && line.contains("`enlace pair default/billing`"),
        "{line}"
    );

    let pair = enlace.begin(&["pair", "billing"]);
    let code = pair.stdout.until("code", |text| codes(text).pop()).await;
    world.phone(NUMBER).scan(&code).await.unwrap();
    pair.ended().await.ok();
    enlace.until_phase("billing", "Connected").await;
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn logout_unlinks_at_whatsapp_and_keeps_the_declaration() {
    let world = World::with_billing().await;
    let enlace = world.start().await;
    let linked = enlace.link("billing", NUMBER).await;
    assert!(world.lists(&linked).await);
    let ended = enlace.run(&["logout", "billing"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let device = enlace.until_phase("billing", "LoggedOut").await;
    let paired = condition(&device, "Paired");
    assert_eq!((&paired["status"], &paired["reason"]), (&json!("False"), &json!("LoggedOutByRequest")));
    assert!(!world.lists(&linked).await);
    // It stays so over a restart.
    enlace.stop().await;
    let enlace = world.start().await;
    enlace.until_phase("billing", "LoggedOut").await;
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn qr_shows_a_code_that_is_not_published_in_the_status() {
    let world = World::new().await;
    world.write("billing.yaml", &manifest("billing", json!({ "pairing": { "publishIn": "Secret" } })));
    let enlace = world.start().await;
    let device = enlace.until_phase("billing", "AwaitingScan").await;
    assert_eq!(device["status"].get("qr"), None, "whoever may read devices could link one");
    let qr = enlace.begin(&["qr", "billing"]);
    let code = qr.stdout.until("code", |text| codes(text).pop()).await;
    world.phone(NUMBER).scan(&code).await.unwrap();
    qr.ended().await.ok();
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}
