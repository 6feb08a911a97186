//! A session lives longer than the process.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::program::Program;
use crate::world::{CUSTOMER, NUMBER, World};

#[tokio::test]
async fn after_a_stop_in_order_it_is_connected_again_without_a_scan() {
    let world = World::with_billing().await;
    let enlace = world.start().await;
    let linked = enlace.link("billing", NUMBER).await;
    // Readers that stay must not keep it.
    let reader = enlace.begin(&["events", "billing"]);
    reader.stdout.line("Connected").await;
    enlace.stop().await;
    assert_eq!(reader.ended().await.code, Some(1), "the end of the stream is told");

    let enlace = world.start().await;
    let device = enlace.until_phase("billing", "Connected").await;
    assert_eq!(device["status"]["account"]["jid"], linked.jid);
    enlace.send_text("billing", CUSTOMER, "here again").await;
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn a_stop_ends_a_wait_with_what_is_known() {
    let world = World::with_billing().await;
    let enlace = world.start().await;
    enlace.code("billing").await;
    // Nothing is linked: the message waits for as long as the caller does.
    let path = "/v1/devices/default/billing/messages";
    let body = json!({ "to": CUSTOMER, "type": "text", "text": "patience" });
    let events = enlace.begin(&["events", "billing"]);
    events.stdout.line("AwaitingScan").await;
    let waits = format!("{path}?wait=60s");
    let mut waiting = Box::pin(enlace.call("POST", &waits, Some(body)));
    tokio::select! {
        answer = &mut waiting => panic!("it did not wait: {answer:?}"),
        _ = events.stdout.line("queued") => {}
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    enlace.program.ask_to_end().await;
    let (status, message) = waiting.await;
    assert_eq!((status, &message["state"]), (202, &json!("queued")), "{message}");
    let ended = tokio::time::timeout_at(deadline, enlace.program.ended()).await;
    ended.expect("it did not stop within ten seconds").ok();

    let enlace = world.start().await;
    enlace.code("billing").await;
    let id = message["id"].as_str().unwrap();
    let (status, stored) = enlace.call("GET", &format!("{path}/{id}"), None).await;
    assert_eq!((status, &stored["state"]), (200, &json!("queued")), "{stored}");
    enlace.stop().await;
}

#[tokio::test]
async fn after_kill_9_it_is_connected_again_without_a_scan() {
    let world = World::with_billing().await;
    let enlace = world.start().await;
    let linked = enlace.link("billing", NUMBER).await;
    let id = enlace.ok(&["send", "billing", "--to", CUSTOMER, "--text", "stored", "-o", "name"]).await;
    enlace.program.kill().await;

    let enlace = world.start().await;
    let device = enlace.until_phase("billing", "Connected").await;
    assert_eq!(device["status"]["account"]["jid"], linked.jid);
    let seen = world.phone(CUSTOMER).wait_for_id(id.trim(), crate::program::PATIENCE).await.unwrap();
    assert_eq!(seen.text.as_deref(), Some("stored"), "what was answered with an id is not lost");
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn a_second_process_on_the_same_data_is_refused() {
    let world = World::with_billing().await;
    let enlace = world.start().await;
    enlace.link("billing", NUMBER).await;
    let logins = world.logins(NUMBER).await;
    let second = Program::start(world.standalone()).ended().await;
    let line = second.refused();
    let folder = world.path("devices");
    assert!(line.contains(&format!("{} is in use by another process", folder.display())), "{line}");
    assert_eq!(world.logins(NUMBER).await, logins, "it never connected");
    enlace.send_text("billing", CUSTOMER, "undisturbed").await;
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}
