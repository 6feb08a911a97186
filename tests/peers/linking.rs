//! Becoming a linked device, and remaining one.

use serde_json::json;

use crate::client::Client;
use crate::for_each_client;
use crate::peer::PATIENCE;
use crate::world::{Addresses, NOBODY, OTHER, OWN, World};

for_each_client!(a_scanned_code_links_it_and_its_stored_session_logs_in, a_typed_code_links_it,);

async fn a_scanned_code_links_it_and_its_stored_session_logs_in(client: Client, world: &World) {
    let (mut peer, linked) = world.linked(client, "own", OWN).await;
    // The app state, with the account's key.
    peer.is_named(&format!("Sim {OWN}")).await;
    peer.end().await;
    let mut peer = world.start(client, "own").await;
    peer.connect().await;
    peer.is_open(&linked).await;
    assert!(!peer.has_said("qr"));
    assert_eq!(world.logins(OWN).await, 2);
    assert!(peer.knows(OTHER).await);
    world.phone(NOBODY).set_registered(false).await.unwrap();
    assert!(!peer.knows(NOBODY).await);
    peer.end().await;
}

async fn a_typed_code_links_it(client: Client, world: &World) {
    let mut peer = world.start(client, "own").await;
    peer.connect().await;
    // From then on the server can be asked for a code.
    peer.event("qr").await;
    let code = peer.ask("pairing-code", json!({ "number": OWN })).await;
    let linked = world.phone(OWN).enter_code(code.as_str().unwrap()).await.unwrap();
    assert_eq!(peer.closed().await.0, "restart");
    peer.is_open(&linked).await;
    let sent = peer.send_text(&world.chat_with(OTHER).await, "Vinculado").await;
    world.phone(OTHER).wait_for_id(&sent, PATIENCE).await.unwrap();
}

/// Baileys cannot show it: it goes through the check and then takes any signature of the right length.
#[tokio::test]
async fn whatsmeow_refuses_a_server_whose_certificate_another_root_signed() {
    let Some(world) = World::new(&[Client::Whatsmeow], Addresses::Number).await else { return };
    let mut peer = world.start_with_root(Client::Whatsmeow, "own", &"5a".repeat(32)).await;
    let error = peer.try_to("connect", json!({})).await.unwrap_err();
    assert!(error.contains("intermediate"), "{error}");
    assert!(!peer.has_said("qr"));
}
