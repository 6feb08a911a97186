//! The folder of manifests, while it runs.

use std::time::Duration;

use serde_json::{Value, json};
use whatsapp_simulator::{LoginOutcome, overlaps_by_number};

use crate::world::{CUSTOMER, NUMBER, SECOND, World, condition, manifest};

/// A phone that scanned for a number that another device has: it is told at once, on a busy machine too.
const UNLINKED_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_file_that_is_added_starts_its_device() {
    let world = World::new().await;
    let enlace = world.start().await;
    assert_eq!(enlace.run(&["get", "devices"]).await.stderr, "No devices.\n");
    world.write("billing.yaml", &manifest("billing", json!({})));
    enlace.link("billing", NUMBER).await;
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn settings_that_change_are_followed_without_reconnecting() {
    let world = World::with_billing().await;
    let enlace = world.start().await;
    enlace.link("billing", NUMBER).await;
    let logins = world.logins(NUMBER).await;
    let settings = json!({ "displayName": "Billing desk", "sending": { "interval": "1h" } });
    world.write("billing.yaml", &manifest("billing", settings));
    enlace.until("billing", |device| (device?["status"]["observedGeneration"] == 2).then_some(())).await;
    // The first is due at once, the second in an hour.
    enlace.send_text("billing", CUSTOMER, "first").await;
    let second = ["send", "billing", "--to", CUSTOMER, "--text", "second", "--wait", "1s"];
    let second = enlace.run(&second).await;
    assert_eq!(second.code, Some(3), "the new interval holds: {second:?}");

    world.write("billing.yaml", &manifest("billing", json!({ "displayName": "Billing desk" })));
    world.phone(CUSTOMER).wait_for_text("second", crate::program::PATIENCE).await.unwrap();
    assert_eq!(world.logins(NUMBER).await, logins, "one connection all the time");
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn a_file_that_goes_stops_its_device_and_its_return_needs_no_scan() {
    let world = World::with_billing().await;
    let enlace = world.start().await;
    let linked = enlace.link("billing", NUMBER).await;
    std::fs::rename(world.file("billing.yaml"), world.path("elsewhere.yaml")).unwrap();
    enlace.until_gone("billing").await;
    assert!(enlace.run(&["get", "devices", "billing"]).await.refused().contains("billing"));
    assert!(world.lists(&linked).await, "its session is kept");

    std::fs::rename(world.path("elsewhere.yaml"), world.file("billing.yaml")).unwrap();
    let device = enlace.until_phase("billing", "Connected").await;
    assert_eq!(device["status"]["account"]["jid"], linked.jid);
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn a_bad_manifest_is_one_line_and_stops_nobody() {
    let world = World::with_billing().await;
    world.write("early.yaml", "kind: [");
    let enlace = world.start().await;
    enlace.program.stderr.line("early.yaml").await;
    enlace.link("billing", NUMBER).await;
    world.write("shop.yaml", &manifest("shop", json!({ "sending": { "intervall": "1s" } })));
    let line = enlace.program.stderr.line("shop.yaml").await;
    assert!(line.contains("spec.sending.intervall"), "{line}");
    // A good one beside it is taken in, whatever the bad ones say.
    world.write("desk.yaml", &manifest("desk", json!({})));
    enlace.until_phase("desk", "AwaitingScan").await;
    enlace.send_text("billing", CUSTOMER, "undisturbed").await;
    let log = enlace.program.stderr.text();
    for file in ["early.yaml", "shop.yaml"] {
        assert_eq!(log.lines().filter(|line| line.contains(file)).count(), 1, "{log}");
    }
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn a_second_device_with_the_same_number_never_connects() {
    let world = World::new().await;
    world.write("billing.yaml", &manifest("billing", json!({ "phoneNumber": NUMBER })));
    let enlace = world.start().await;
    enlace.link("billing", NUMBER).await;
    // The same number, dialled in another way.
    world.write("again.yaml", &manifest("again", json!({ "phoneNumber": "5215550000001" })));
    let device = enlace.until_phase("again", "Failed").await;
    let accepted = condition(&device, "Accepted");
    assert_eq!((&accepted["status"], &accepted["reason"]), (&json!("False"), &json!("DuplicateNumber")));
    let table = enlace.ok(&["get", "devices"]).await;
    let row = table.lines().find(|line| line.starts_with("again")).unwrap();
    assert!(row.contains("DuplicateNumber"), "{table}");
    let line = enlace.run(&["qr", "again"]).await;
    assert!(line.refused().contains("default/billing"), "it says who has the number: {line:?}");
    let server = world.control().server().state().await.unwrap();
    assert_eq!((server.pairings, server.accounts.iter().map(|a| a.devices.len()).sum::<usize>()), (0, 1));
    enlace.until_phase("billing", "Connected").await;
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn a_phone_whose_number_is_anothers_is_unlinked_again() {
    let world = World::with_billing().await;
    let enlace = world.start().await;
    enlace.link("billing", NUMBER).await;
    world.write("desk.yaml", &manifest("desk", json!({})));
    let code = enlace.code("desk").await;
    let linked = world.phone(NUMBER).scan(&code).await.unwrap();
    let device = enlace.until_phase("desk", "LoggedOut").await;
    assert!(device.to_string().contains("DuplicateNumber"), "{device}");
    assert!(!world.lists(&linked).await);
    enlace.send_text("billing", CUSTOMER, "still the one").await;

    enlace.ok(&["get", "devices", "desk"]).await;
    let pair = enlace.begin(&["pair", "desk"]);
    let code = pair.stdout.until("code", |text| crate::eye::codes(text).pop()).await;
    world.phone(SECOND).scan(&code).await.unwrap();
    pair.ended().await.ok();
    enlace.send_text("desk", CUSTOMER, "and another").await;
    enlace.stop().await;
    // A phone that scanned is linked before anyone can say no: the one that is unlinked again was logged in for that.
    world.assert_one_socket_at_a_time().await;
    let logins = world.control().server().logins().await.unwrap();
    let of_it = logins.iter().filter(|login| login.phone == NUMBER && login.device == linked.device);
    let of_it: Vec<_> = of_it.filter(|login| login.outcome == LoginOutcome::Accepted).collect();
    let [only] = of_it[..] else { panic!("it was logged in to be unlinked, and not again: {of_it:#?}") };
    for (_, second) in overlaps_by_number(&logins) {
        assert_eq!(second, *only, "only the one that is unlinked is beside the other");
    }
    let closed = only.closed_at.expect("it is still logged in");
    let lasted = closed.duration_since(only.opened_at).unsigned_abs();
    assert!(lasted < UNLINKED_WITHIN, "it was logged in for {lasted:?}");
}

#[tokio::test]
async fn a_linked_device_is_given_no_other_number() {
    let world = World::new().await;
    let enlace = world.start().await;
    enlace.create("shop").await;
    let linked = enlace.link("shop", NUMBER).await;
    let logins = world.logins(NUMBER).await;
    let number = async |number: &str| {
        let patch = json!({ "spec": { "phoneNumber": number } });
        enlace.call("PATCH", "/v1/devices/default/shop", Some(patch)).await
    };
    let before = std::fs::read_to_string(world.file("shop.yaml")).unwrap();
    let (status, problem) = number(SECOND).await;
    assert_eq!((status, &problem["reason"]), (422, &json!("Invalid")), "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(NUMBER) && detail.contains(SECOND), "{detail}");
    assert_eq!(std::fs::read_to_string(world.file("shop.yaml")).unwrap(), before, "nothing was stored");
    // Its own, dialled in another way.
    let (status, answer) = number("5215550000001").await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(enlace.until_phase("shop", "Connected").await["status"]["account"]["jid"], linked.jid);
    enlace.send_text("shop", CUSTOMER, "still the one").await;
    assert_eq!(world.logins(NUMBER).await, logins, "one connection all the time");
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn a_linked_number_has_one_client_whatever_is_declared_later() {
    let world = World::with_billing().await;
    let enlace = world.start().await;
    let linked = enlace.link("billing", NUMBER).await;
    world.write("billing.yaml", &manifest("billing", json!({ "phoneNumber": SECOND })));
    let mismatch = |device: Option<&Value>| {
        let accepted = condition(device?, "Accepted");
        (accepted["reason"] == "NumberMismatch").then(|| accepted["message"].as_str().unwrap().to_owned())
    };
    let message = enlace.until("billing", mismatch).await;
    assert!(message.contains(SECOND) && message.contains(NUMBER), "{message}");
    world.write("desk.yaml", &manifest("desk", json!({ "phoneNumber": NUMBER })));
    enlace.until_phase("desk", "Failed").await;
    enlace.send_text("billing", CUSTOMER, "still linked").await;
    enlace.stop().await;

    // Nor after a restart.
    let enlace = world.start().await;
    enlace.until_phase("billing", "Connected").await;
    enlace.until("billing", mismatch).await;
    enlace.until_phase("desk", "Failed").await;
    world.write("billing.yaml", &manifest("billing", json!({})));
    let device = enlace
        .until("billing", |device| {
            (condition(device?, "Accepted")["status"] == "True").then(|| device.cloned())
        })
        .await;
    assert_eq!(device.unwrap()["status"]["account"]["jid"], linked.jid);
    enlace.send_text("billing", CUSTOMER, "and put right").await;
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}
