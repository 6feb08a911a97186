//! From a manifest to messages both ways, typed by a person.

use enlace_contract::messages::MessageState;
use serde_json::Value;

use crate::eye::codes;
use crate::program::{PATIENCE, Program};
use crate::standalone::Standalone;
use crate::world::{CUSTOMER, NUMBER, World};

const MANIFEST: &str = "\
# Comments and defaults, as people write them.
apiVersion: enlace.dev/v1alpha1
kind: WhatsAppDevice
metadata:
  name: billing
spec:
  displayName: Billing
  sending:
    interval: 0s
";

/// Reads the newest code off the terminal, and scans it.
async fn scan(world: &World, qr: &Program) {
    let code = qr.stdout.until("code", |text| codes(text).pop()).await;
    world.phone(NUMBER).scan(&code).await.unwrap();
}

#[tokio::test]
async fn a_device_declared_in_yaml_is_linked_and_talks() {
    let world = World::new().await;
    world.write("billing.yaml", MANIFEST);
    let enlace = world.start().await;
    enlace.until_phase("billing", "AwaitingScan").await;
    let events = enlace.begin(&["events", "billing"]);
    events.stdout.line("state    AwaitingScan").await;

    let qr = enlace.begin(&["qr", "billing"]);
    scan(&world, &qr).await;
    let ended = qr.ended().await;
    assert!(ended.stdout.contains("Linked devices > Link a device"), "{}", ended.stdout);
    assert_eq!(ended.stderr, format!("default/billing is linked to {NUMBER}\n"));
    ended.ok();
    events.stdout.line("state    Connected").await;

    let table = enlace.ok(&["get", "devices"]).await;
    let [header, row] = table.lines().collect::<Vec<_>>()[..] else { panic!("{table}") };
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(header), ["NAME", "NUMBER", "PHASE", "CONNECTED-FOR", "REASON", "AGE"]);
    let row = words(row);
    assert_eq!(row[..3], ["billing", NUMBER, "Connected"], "{table}");
    assert_eq!(row.len(), 5, "it is connected: there is no reason why not; {table}");

    let sent = enlace.ok(&["send", "billing", "--to", CUSTOMER, "--text", "Your invoice is ready."]).await;
    assert!(sent.contains(&format!(" to {CUSTOMER}")), "{sent}");
    let seen = world.phone(CUSTOMER).wait_for_text("Your invoice is ready.", PATIENCE).await.unwrap();
    assert_eq!(seen.id, sent.split_whitespace().next().unwrap());
    send_a_file(&world, &enlace).await;

    world.phone(CUSTOMER).send_text(NUMBER, "Thank you!").await.unwrap();
    let line = events.stdout.line("message").await;
    assert!(line.ends_with(&format!("#1 text from {CUSTOMER} Thank you!")), "{line}");
    // Whoever comes later reads it, too.
    let later = enlace.begin(&["events", "billing", "--after", "0", "-o", "json"]);
    let line = later.stdout.line("Thank you!").await;
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["data"]["sequence"], 1);
    later.kill().await;
    events.kill().await;
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}

async fn send_a_file(world: &World, enlace: &Standalone<'_>) {
    let (file, bytes) = (world.path("invoice-2041.pdf"), b"%PDF-1.4 a page".as_slice());
    std::fs::write(&file, bytes).unwrap();
    let file = file.to_str().unwrap();
    let arguments =
        ["send", "billing", "--to", CUSTOMER, "--file", file, "--text", "The invoice", "--wait", "30s"];
    let sent = enlace.json(&arguments).await;
    let state: MessageState = serde_json::from_value(sent["state"].clone()).unwrap();
    assert!(state >= MessageState::Sent, "it was waited for: {sent}");
    let id = sent["id"].as_str().unwrap();
    let seen = world.phone(CUSTOMER).wait_for_id(id, PATIENCE).await.unwrap();
    assert_eq!((seen.kind.as_str(), seen.file_name.as_deref()), ("document", Some("invoice-2041.pdf")));
    assert_eq!(seen.mime_type.as_deref(), Some("application/pdf"));
    assert_eq!(seen.caption.as_deref(), Some("The invoice"));
    assert_eq!(world.phone(CUSTOMER).media(id).await.unwrap(), bytes);
}

#[tokio::test]
async fn the_same_key_sends_one_message() {
    let world = World::with_billing().await;
    let enlace = world.start().await;
    enlace.link("billing", NUMBER).await;
    let arguments = ["send", "billing", "--to", CUSTOMER, "--text", "Once", "--idempotency-key", "order-1"];
    let named = [arguments.as_slice(), &["-o", "name"]].concat();
    let (first, again) = (enlace.ok(&named).await, enlace.ok(&named).await);
    assert_eq!(first, again);
    world.phone(CUSTOMER).wait_for_id(first.trim(), PATIENCE).await.unwrap();
    assert_eq!(world.control().server().wire_messages(NUMBER).await.unwrap().len(), 1);
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn a_message_that_cannot_be_delivered_is_an_error() {
    let world = World::with_billing().await;
    world.phone(CUSTOMER).set_registered(false).await.unwrap();
    let enlace = world.start().await;
    enlace.link("billing", NUMBER).await;
    let ended = enlace.run(&["send", "billing", "--to", CUSTOMER, "--text", "Hello?", "--wait", "30s"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains(" failed to "), "{ended:?}");
    assert!(ended.stderr.starts_with("enlace: the message was not sent: "), "{ended:?}");
    world.assert_one_client_at_a_time().await;
}
