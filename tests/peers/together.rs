//! Clients of both kinds with each other: what one writes, the other must read.

use whatsapp_simulator::Linked;

use crate::client::Client::{Baileys, Whatsmeow};
use crate::for_both_addresses;
use crate::peer::{Group, Message, Peer};
use crate::world::{OTHER, OWN, World};

for_both_addresses!(
    what_one_writes_the_other_reads_and_so_do_the_other_companions_of_its_number,
    a_group_hears_each_of_its_companions,
    a_name_that_one_sets_is_the_others_name,
);

/// Two companions of one number, and one of another.
struct Three {
    baileys: Peer,
    beside: Peer,
    other: Peer,
    linked: Linked,
    other_linked: Linked,
}

impl Three {
    async fn of(world: &World) -> Self {
        let (baileys, linked) = world.linked(Baileys, "baileys", OWN).await;
        let (beside, _) = world.linked(Whatsmeow, "beside", OWN).await;
        let (other, other_linked) = world.linked(Whatsmeow, "other", OTHER).await;
        Self { baileys, beside, other, linked, other_linked }
    }
}

/// A message in the chat with a number, however that is addressed.
async fn is_with(world: &World, number: &str, message: &Message, own: bool, text: &str) {
    assert!(world.jids(number).await.contains(&message.chat), "{message:?} is not with {number}");
    assert_eq!((message.own, message.text.as_deref()), (own, Some(text)), "{message:?}");
}

async fn what_one_writes_the_other_reads_and_so_do_the_other_companions_of_its_number(world: &World) {
    let Three { mut baileys, mut beside, mut other, linked, other_linked } = Three::of(world).await;
    let (with_own, with_other) = (world.chat_with(OWN).await, world.chat_with(OTHER).await);

    let id = baileys.send_text(&with_other, "uno").await;
    is_with(world, OWN, &other.message(&id).await, false, "uno").await;
    is_with(world, OTHER, &beside.message(&id).await, true, "uno").await;
    other.read(&id).await;
    baileys.receipt(&id, "read").await;

    let id = other.send_text(&with_own, "dos").await;
    is_with(world, OTHER, &baileys.message(&id).await, false, "dos").await;
    is_with(world, OTHER, &beside.message(&id).await, false, "dos").await;
    baileys.read(&id).await;
    other.receipt(&id, "read").await;

    let id = beside.send_text(&with_other, "tres").await;
    is_with(world, OWN, &other.message(&id).await, false, "tres").await;
    is_with(world, OTHER, &baileys.message(&id).await, true, "tres").await;

    let file = b"%PDF-1.7".repeat(1_000);
    let id = baileys.send_document(&with_other, "factura.pdf", &file).await;
    other.message(&id).await;
    assert_eq!(other.download(&id).await, file);
    let id = other.send_document(&with_own, "recibo.pdf", &file).await;
    baileys.message(&id).await;
    assert_eq!(baileys.download(&id).await, file);

    world.server().corrupt_next_message(OTHER, other_linked.device).await.unwrap();
    let id = baileys.send_text(&with_other, "roto").await;
    is_with(world, OWN, &other.message(&id).await, false, "roto").await;
    assert_eq!(world.times_sent(OWN, &id).await, (1, 1));
    world.server().corrupt_next_message(OWN, linked.device).await.unwrap();
    let id = other.send_text(&with_own, "roto también").await;
    is_with(world, OTHER, &baileys.message(&id).await, false, "roto también").await;
    assert_eq!(world.times_sent(OTHER, &id).await, (1, 1));
}

async fn a_group_hears_each_of_its_companions(world: &World) {
    let Three { mut baileys, mut beside, mut other, other_linked, .. } = Three::of(world).await;
    let jid = |number: &str| format!("{number}@s.whatsapp.net");
    for (maker, guest) in [(&mut baileys, OTHER), (&mut other, OWN)] {
        let id = maker.create_group("Familia", &[guest]).await;
        let members = vec![jid(OWN), jid(OTHER)];
        assert_eq!(maker.group(&id).await, Group { id, subject: "Familia".to_owned(), members });
    }
    let groups = beside.groups().await;
    assert_eq!((groups.len(), other.groups().await.len()), (2, 2));
    for group in groups.iter().map(|group| group.id.as_str()) {
        let mut three = [(&mut baileys, OWN), (&mut beside, OWN), (&mut other, OTHER)];
        // Twice: the first message of each also brings its key.
        for turn in 0..6 {
            let text = format!("mensaje {turn}");
            let id = three[turn % 3].0.send_text(group, &text).await;
            let from = three[turn % 3].1;
            for (listener, (peer, number)) in three.iter_mut().enumerate() {
                if listener == turn % 3 {
                    continue;
                }
                let heard = peer.message(&id).await;
                assert_eq!((heard.chat.as_str(), heard.text.as_ref()), (group, Some(&text)));
                assert_eq!((heard.own, heard.sender), (*number == from, Some(jid(from))));
            }
        }
    }
    world.server().corrupt_next_message(OTHER, other_linked.device).await.unwrap();
    let id = baileys.send_text(&groups[0].id, "roto").await;
    assert_eq!(other.message(&id).await.text.as_deref(), Some("roto"));
    assert_eq!(world.times_sent(OWN, &id).await, (1, 1));
}

async fn a_name_that_one_sets_is_the_others_name(world: &World) {
    let (mut baileys, _) = world.linked(Baileys, "baileys", OWN).await;
    let (mut whatsmeow, _) = world.linked(Whatsmeow, "whatsmeow", OWN).await;
    // Both have the state as it is before it changes.
    baileys.is_named(&format!("Sim {OWN}")).await;
    whatsmeow.is_named(&format!("Sim {OWN}")).await;
    whatsmeow.set_name("Ventas").await;
    baileys.is_named("Ventas").await;
    baileys.set_name("Cobranza").await;
    whatsmeow.is_named("Cobranza").await;
}
