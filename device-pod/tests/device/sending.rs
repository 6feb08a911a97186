//! What goes out.

use std::time::{Duration, Instant};

use enlace_contract::client::ClientError;
use enlace_contract::events::DeviceEvent;
use enlace_contract::messages::{Base64, Content, Media, MessageState, SendBatch, SendMessage};
use enlace_contract::number::PhoneNumber;
use enlace_contract::state::{ClaimDecision, PairRequest, Phase};
use futures::StreamExt as _;
use serde_json::json;

use crate::fixture::{NUMBER, OTHER, PATIENCE, World, config, quick};

pub(crate) fn text(to: &str, text: &str) -> SendMessage {
    SendMessage { to: to.into(), content: Content::Text { text: text.into() } }
}

fn media(bytes: &[u8], name: &str) -> Media {
    Media { data: Base64(bytes.to_vec()), mime_type: None, file_name: Some(name.into()) }
}

#[tokio::test]
async fn a_message_goes_from_queued_to_read() {
    let world = World::new().await;
    let (device, _) = world.linked(quick()).await;
    let message = device.send_text(OTHER, "hola").await;
    assert_eq!(message.state, MessageState::Queued);
    device.until_message(&message.id, MessageState::Delivered).await;
    world.other().read(&message.id).await.unwrap();
    let read = device.until_message(&message.id, MessageState::Read).await;
    assert!(read.sent_at.is_some() && read.error.is_none());
    world.end(device).await;
}

#[tokio::test]
async fn every_kind_of_file_arrives_with_its_bytes_type_and_name() {
    let world = World::new().await;
    let (device, _) = world.linked(quick()).await;
    let caption = Some("mira".to_owned());
    for (content, kind, mime) in [
        (
            Content::Image { media: media(b"\x89PNG\r\n\x1a\n picture", "a.png"), caption: caption.clone() },
            "image",
            "image/png",
        ),
        (
            Content::Video { media: media(b"video bytes", "a.mp4"), caption: caption.clone() },
            "video",
            "video/mp4",
        ),
        (Content::Audio { media: media(b"OggS sound", "a.ogg"), voice: true }, "audio", "audio/ogg"),
        (
            Content::Document { media: media(b"%PDF-1.7 invoice", "factura.pdf"), caption },
            "document",
            "application/pdf",
        ),
    ] {
        let bytes = match &content {
            Content::Image { media, .. }
            | Content::Video { media, .. }
            | Content::Audio { media, .. }
            | Content::Document { media, .. } => media.data.0.clone(),
            Content::Text { .. } => unreachable!(),
        };
        let sent = device.client.send(&SendMessage { to: OTHER.into(), content }).await.unwrap();
        let seen = world.other().wait_for_id(&sent.id, PATIENCE).await.unwrap();
        assert_eq!((seen.kind.as_str(), seen.mime_type.as_deref()), (kind, Some(mime)));
        assert_eq!(world.other().media(&sent.id).await.unwrap(), bytes, "{kind}");
        if kind == "document" {
            assert_eq!(
                (seen.file_name.as_deref(), seen.caption.as_deref()),
                (Some("factura.pdf"), Some("mira"))
            );
        }
    }
    world.end(device).await;
}

#[tokio::test]
async fn what_was_accepted_while_the_connection_was_away_goes_out_later_under_its_id() {
    let world = World::new().await;
    let (device, linked) = world.linked(quick()).await;
    world.control().server().hold_acks(true).await.unwrap();
    let first = device.send_text(OTHER, "in flight").await;
    world.other().wait_for_id(&first.id, PATIENCE).await.unwrap();
    world.control().server().hold_acks(false).await.unwrap();
    // The server had the message, the device never heard so.
    world.control().server().drop_connection(NUMBER, linked.device).await.unwrap();
    let second = device.send_text(OTHER, "meanwhile").await;
    device.until_message(&first.id, MessageState::Sent).await;
    device.until_message(&second.id, MessageState::Sent).await;
    let shown: Vec<_> = world.other().inbox().await.unwrap().into_iter().map(|message| message.id).collect();
    assert_eq!(shown, [first.id, second.id], "each is shown once, in order");
    world.end(device).await;
}

#[tokio::test]
async fn a_refused_message_fails_and_the_next_one_goes() {
    let world = World::new().await;
    let (device, _) = world.linked(quick()).await;
    world.control().server().refuse_messages(NUMBER, 479, 1).await.unwrap();
    let refused = device.send_text(OTHER, "no").await;
    let failed = device.until_message(&refused.id, MessageState::Failed).await;
    let error = failed.error.unwrap();
    assert_eq!(error.reason, "RefusedByWhatsApp");
    assert!(error.message.contains("479"), "{}", error.message);
    let next = device.send_text(OTHER, "yes").await;
    device.until_message(&next.id, MessageState::Sent).await;
    world.end(device).await;
}

#[tokio::test]
async fn a_group_that_is_not_there_fails_at_once_and_the_next_one_goes() {
    let world = World::new().await;
    let (device, _) = world.linked(quick()).await;
    let mut events = device.client.events(None).await.unwrap();
    let refused = device.send_text("123@g.us", "no").await;
    let next = device.send_text(OTHER, "yes").await;
    let mut steps = Vec::new();
    let error = loop {
        match tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap() {
            DeviceEvent::MessageState(change) if change.id == refused.id => {
                steps.push(change.state);
                if let Some(error) = change.error {
                    break error;
                }
            }
            _ => {}
        }
    };
    // After an attempt that is worth another one it waits again.
    assert_eq!(steps, [MessageState::Queued, MessageState::Sending, MessageState::Failed]);
    assert_eq!(error.reason, "RefusedByWhatsApp");
    assert!(error.message.contains("404"), "{}", error.message);
    device.until_message(&next.id, MessageState::Sent).await;
    world.end(device).await;
}

#[tokio::test]
async fn what_whatsapp_refuses_for_now_holds_up_its_own_chat_only() {
    let world = World::new().await;
    let (device, _) = world.linked(quick()).await;
    world.control().server().refuse_messages(NUMBER, 503, 1).await.unwrap();
    let first = device.send_text(OTHER, "one").await;
    let second = device.send_text("+52 555 000 0002", "two").await;
    let elsewhere = device.send_text("123@g.us", "three").await;
    device.until_message(&elsewhere.id, MessageState::Failed).await;
    for waiting in [&first, &second] {
        let state = device.client.message(&waiting.id).await.unwrap().state;
        assert!(matches!(state, MessageState::Queued | MessageState::Sending), "{state:?}");
    }
    let second = device.until_message(&second.id, MessageState::Sent).await;
    let first = device.client.message(&first.id).await.unwrap();
    assert!(first.sent_at.unwrap() <= second.sent_at.unwrap(), "{first:?} {second:?}");
    world.end(device).await;
}

#[tokio::test]
async fn a_number_that_is_not_on_whatsapp_fails() {
    let world = World::new().await;
    let (device, _) = world.linked(quick()).await;
    world.other().set_registered(false).await.unwrap();
    let message = device.send_text(OTHER, "hola").await;
    let failed = device.until_message(&message.id, MessageState::Failed).await;
    assert_eq!(failed.error.unwrap().reason, "NotOnWhatsApp");
    world.end(device).await;
}

#[tokio::test]
async fn messages_of_one_number_keep_their_distance() {
    let world = World::new().await;
    let (device, _) =
        world.linked(config(json!({ "phoneNumber": NUMBER, "sending": { "interval": "700ms" } }))).await;
    let start = Instant::now();
    let mut last = String::new();
    for word in ["one", "two", "three"] {
        last = device.send_text(OTHER, word).await.id;
    }
    device.until_message(&last, MessageState::Sent).await;
    assert!(start.elapsed() >= Duration::from_millis(1_400), "two intervals lie between three messages");
    let texts: Vec<_> =
        world.other().inbox().await.unwrap().into_iter().filter_map(|message| message.text).collect();
    assert_eq!(texts, ["one", "two", "three"]);
    world.end(device).await;
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_before_it_is_stored() {
    let world = World::new().await;
    let device = world.start(quick()).await;
    let content = |content| SendMessage { to: OTHER.into(), content };
    let document = |media| content(Content::Document { media, caption: None });
    for (message, reason) in [
        (text("nobody", "hola"), "InvalidRecipient"),
        (text(OTHER, ""), "InvalidText"),
        (text(OTHER, &"a".repeat(70_000)), "InvalidText"),
        (document(media(b"", "a.pdf")), "InvalidMedia"),
        (document(media(b"a", "../a.pdf")), "InvalidMedia"),
        (document(Media { mime_type: Some("pdf".into()), ..media(b"a", "a.pdf") }), "InvalidMedia"),
        (document(Media { mime_type: Some("a/b\r\nc: d".into()), ..media(b"a", "a.pdf") }), "InvalidMedia"),
        (document(media(b"a", "a\nb.pdf")), "InvalidMedia"),
        (text("x@g.us", "hola"), "InvalidRecipient"),
    ] {
        match device.client.send(&message).await {
            Err(ClientError::Refused(problem)) => {
                assert_eq!((problem.status, problem.reason.as_str()), (422, reason))
            }
            other => panic!("{reason}: {other:?}"),
        }
    }
    let stored = device.client.send(&text(OTHER, "waits for the link")).await.unwrap();
    assert_eq!(stored.sequence, 1, "nothing else was stored");
    world.end(device).await;
}

#[tokio::test]
async fn the_distance_between_messages_holds_over_a_restart() {
    let world = World::new().await;
    let slow = || config(json!({ "phoneNumber": NUMBER, "sending": { "interval": "6s" } }));
    let (device, _) = world.linked(slow()).await;
    let first = device.send_text(OTHER, "one").await;
    let first = device.until_message(&first.id, MessageState::Sent).await;
    let second = device.send_text(OTHER, "two").await;
    device.device.stop().await;

    let device = world.start(slow()).await;
    let second = device.until_message(&second.id, MessageState::Sent).await;
    let between = second.sent_at.unwrap().duration_since(first.sent_at.unwrap());
    assert!(between >= jiff::SignedDuration::from_secs(6), "{between:?}");
    world.end(device).await;
}

#[tokio::test]
async fn a_message_goes_out_from_the_account_it_was_stored_for_or_from_none() {
    const THIRD: &str = "525550000003";
    let world = World::new().await;
    let any = |interval: &str| config(json!({ "sending": { "interval": interval } }));
    let claim = |number: &str| ClaimDecision {
        number: number.parse::<PhoneNumber>().unwrap().canonical(),
        granted: true,
    };
    let device = world.start(any("1h")).await;
    let early = device.send_text(OTHER, "stored before any link").await;
    device.scanned_by(&world.phone()).await;
    device.until_phase(Phase::Connected).await;
    device.client.decide_claim(&claim(NUMBER)).await.unwrap();
    device.until_message(&early.id, MessageState::Sent).await;
    let waiting = device.send_text(OTHER, "waits for its turn").await;
    device.client.log_out().await.unwrap();
    device.until_phase(Phase::LoggedOut).await;
    let unlinked = device.send_text(OTHER, "stored after the logout").await;
    device.device.stop().await;

    let device = world.start(any("0s")).await;
    device.client.pair(&PairRequest::default()).await.unwrap();
    device.scanned_by(&world.control().phone(THIRD)).await;
    device.until_phase(Phase::Connected).await;
    let mine = device.send_text(OTHER, "of the second account").await;
    device.client.decide_claim(&claim(THIRD)).await.unwrap();
    for id in [&waiting.id, &unlinked.id] {
        let failed = device.until_message(id, MessageState::Failed).await;
        assert_eq!(failed.error.unwrap().reason, "AccountChanged");
    }
    device.until_message(&mine.id, MessageState::Sent).await;
    let texts: Vec<_> =
        world.other().inbox().await.unwrap().into_iter().filter_map(|message| message.text).collect();
    assert_eq!(texts, ["stored before any link", "of the second account"]);
    world.end(device).await;
}

#[tokio::test]
async fn a_batch_goes_out_in_order_with_its_gap_and_the_next_message_keeps_the_pace() {
    let world = World::new().await;
    let paced = config(json!({ "phoneNumber": NUMBER, "sending": { "interval": "3s" } }));
    let (device, _) = world.linked(paced).await;
    let document = |name: &str| SendMessage {
        to: OTHER.into(),
        content: Content::Document { media: media(b"<a/>", name), caption: Some("factura".into()) },
    };
    let gap = std::time::Duration::from_millis(300);
    let batch = SendBatch { messages: vec![document("a.xml"), document("a.pdf")], gap: gap.into() };
    let stored = device.client.send_batch(&batch, Some("F001-1")).await.unwrap().items;
    let repeated = device.client.send_batch(&batch, Some("F001-1")).await.unwrap().items;
    assert_eq!(
        stored.iter().map(|message| &message.id).collect::<Vec<_>>(),
        repeated.iter().map(|message| &message.id).collect::<Vec<_>>()
    );
    let after = device.send_text(OTHER, "luego").await;
    let mut sent = Vec::new();
    for id in [&stored[0].id, &stored[1].id, &after.id] {
        let message = device.client.settled(id, PATIENCE).await.unwrap();
        sent.push(message.sent_at.unwrap_or_else(|| panic!("{message:?}")));
    }
    let between = |a: usize, b: usize| Duration::try_from(sent[b].duration_since(sent[a])).unwrap();
    assert!(between(0, 1) >= gap && between(0, 1) < Duration::from_secs(3), "{sent:?}");
    assert!(between(1, 2) >= Duration::from_millis(2900), "{sent:?}");
    let names: Vec<_> =
        world.other().inbox().await.unwrap().into_iter().filter_map(|message| message.file_name).collect();
    assert_eq!(names, ["a.xml", "a.pdf"]);
    world.end(device).await;
}

#[tokio::test]
async fn when_the_first_of_a_batch_is_refused_the_second_is_not_sent() {
    let world = World::new().await;
    let (device, _) = world.linked(quick()).await;
    world.control().server().refuse_messages(NUMBER, 479, 1).await.unwrap();
    let batch =
        SendBatch { messages: vec![text(OTHER, "xml"), text(OTHER, "pdf")], gap: Duration::ZERO.into() };
    let stored = device.client.send_batch(&batch, None).await.unwrap().items;
    let second = device.client.settled(&stored[1].id, PATIENCE).await.unwrap();
    assert_eq!(
        (second.state, second.error.unwrap().reason.as_str()),
        (MessageState::Failed, "EarlierFailed")
    );
    let next = device.send_text(OTHER, "otro").await;
    device.until_message(&next.id, MessageState::Sent).await;
    let shown: Vec<_> = world.other().inbox().await.unwrap().into_iter().map(|message| message.id).collect();
    assert_eq!(shown, [next.id]);
    world.end(device).await;
}

#[tokio::test]
async fn a_batch_with_one_wrong_message_stores_none() {
    let world = World::new().await;
    let (device, _) = world.linked(quick()).await;
    for messages in [vec![text(OTHER, "a"), text("nobody", "b")], vec![], vec![text(OTHER, "a"); 11]] {
        let batch = SendBatch { messages, gap: Duration::ZERO.into() };
        let refused = device.client.send_batch(&batch, None).await.unwrap_err();
        let ClientError::Refused(problem) = refused else { panic!("{refused}") };
        assert_eq!(problem.status, 422, "{problem:?}");
    }
    let next = device.send_text(OTHER, "only this").await;
    assert_eq!(next.sequence, 1);
    world.end(device).await;
}
