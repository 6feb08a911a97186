//! Messages between a client and a phone.

use whatsapp_simulator::{MediaKind, NewMedia};

use crate::client::Client;
use crate::for_each_client;
use crate::peer::PATIENCE;
use crate::world::{OTHER, OWN, World};

for_each_client!(
    texts_and_receipts_go_both_ways,
    files_go_both_ways,
    what_cannot_be_read_is_sent_again_both_ways,
);

async fn texts_and_receipts_go_both_ways(client: Client, world: &World) {
    let (mut peer, linked) = world.linked(client, "own", OWN).await;
    let (phone, chat) = (world.phone(OTHER), world.chat_with(OTHER).await);
    let sent = peer.send_text(&chat, "¿Tiene factura?").await;
    let arrived = phone.wait_for_id(&sent, PATIENCE).await.unwrap();
    assert_eq!(
        (arrived.text.as_deref(), arrived.from.as_str(), arrived.from_device),
        (Some("¿Tiene factura?"), OWN, linked.device)
    );
    peer.receipt(&sent, "delivered").await;
    phone.read(&sent).await.unwrap();
    peer.receipt(&sent, "read").await;

    let answer = phone.send_text(OWN, "Sí, ahora va").await.unwrap();
    let heard = peer.message(&answer).await;
    assert_eq!((heard.chat, heard.own, heard.text.as_deref()), (chat, false, Some("Sí, ahora va")));
    assert_eq!(heard.name, Some(format!("Sim {OTHER}")));
    // Inactive: delivered to a client that has not said that somebody looks at it.
    let delivered = ["delivered", "inactive"];
    phone
        .wait_for_receipt(
            |receipt| receipt.message_id == answer && delivered.contains(&receipt.kind.as_str()),
            PATIENCE,
        )
        .await
        .unwrap();
    peer.read(&answer).await;
    phone
        .wait_for_receipt(|receipt| receipt.message_id == answer && receipt.kind == "read", PATIENCE)
        .await
        .unwrap();
}

async fn files_go_both_ways(client: Client, world: &World) {
    let (mut peer, _) = world.linked(client, "own", OWN).await;
    let (phone, chat) = (world.phone(OTHER), world.chat_with(OTHER).await);
    let file = b"%PDF-1.7 of 525550000001".repeat(10_000);
    let sent = peer.send_document(&chat, "factura.pdf", &file).await;
    let arrived = phone.wait_for_id(&sent, PATIENCE).await.unwrap();
    assert_eq!(
        (arrived.kind.as_str(), arrived.file_name.as_deref(), arrived.file_length),
        ("document", Some("factura.pdf"), Some(file.len() as u64))
    );
    assert_eq!(phone.media(&sent).await.unwrap(), file);

    let document = NewMedia {
        kind: MediaKind::Document,
        mime_type: "application/pdf".to_owned(),
        file_name: Some("recibo.pdf".to_owned()),
        caption: None,
    };
    let back = phone.send_media(OWN, document, &file).await.unwrap();
    assert_eq!(peer.message(&back).await.file.as_deref(), Some("recibo.pdf"));
    assert_eq!(peer.download(&back).await, file);
}

async fn what_cannot_be_read_is_sent_again_both_ways(client: Client, world: &World) {
    let (mut peer, linked) = world.linked(client, "own", OWN).await;
    let (phone, chat) = (world.phone(OTHER), world.chat_with(OTHER).await);
    world.server().corrupt_next_message(OWN, linked.device).await.unwrap();
    let broken = phone.send_text(OWN, "roto").await.unwrap();
    assert_eq!(peer.message(&broken).await.text.as_deref(), Some("roto"));

    world.server().corrupt_next_message(OTHER, 0).await.unwrap();
    let broken = peer.send_text(&chat, "roto también").await;
    assert_eq!(phone.wait_for_id(&broken, PATIENCE).await.unwrap().text.as_deref(), Some("roto también"));
    // Asked by a phone, Baileys sends it to everybody again.
    let sent = if client == Client::Baileys { (2, 0) } else { (1, 1) };
    assert_eq!(world.times_sent(OWN, &broken).await, sent);
    // The new session serves both ways.
    let after = phone.send_text(OWN, "entero").await.unwrap();
    assert_eq!(peer.message(&after).await.text.as_deref(), Some("entero"));
}
