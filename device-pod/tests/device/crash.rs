//! Killed, ten times over, with messages on their way in and out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use enlace_contract::client::DeviceClient;
use enlace_contract::messages::MessagePage;
use enlace_contract::state::Phase;
use enlace_contract::token::TokenSigner;
use http::Request;
use serde_json::json;
use tokio::sync::watch;

use crate::fixture::{NUMBER, OTHER, PATIENCE, World};
use crate::process::Program;

const ROUNDS: usize = 10;
/// The chats: each keeps its own order.
const CHATS: [&str; 2] = [OTHER, "525550000003"];
/// How many messages of a round go to each chat, and come from it.
const MESSAGES: usize = 100;
/// How many messages of a round are at the first chat's phone when the program is killed.
const SEEN_BEFORE_KILL: usize = 35;
/// How many messages of a round come from each chat before; the others come while it is killed.
const SENT_BEFORE_KILL: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_accepted_is_lost_or_sent_under_two_ids_when_the_program_is_killed() {
    let (world, signer) = (World::new().await, TokenSigner::generate("test").unwrap());
    let mut program = Program::start(&world, Path::new(env!("CARGO_BIN_EXE_device-pod")), &signer).await;
    let qr = program.until(|state| state.qr.is_some()).await.qr.unwrap();
    world.phone().scan(&qr.code).await.unwrap();
    program.until(|state| state.phase == Phase::Connected).await;

    let current = watch::Sender::new(Some(program.client.clone()));
    for round in 0..ROUNDS {
        let outgoing = CHATS.map(|chat| tokio::spawn(post_all(current.subscribe(), chat, round)));
        let more = watch::Sender::new(false);
        let incoming = CHATS.map(|chat| {
            let (phone, mut more) = (world.control().phone(chat), more.subscribe());
            tokio::spawn(async move {
                for n in 0..MESSAGES {
                    if n == SENT_BEFORE_KILL {
                        more.wait_for(|more| *more).await.unwrap();
                    }
                    phone.send_text(NUMBER, &text("in", chat, round, n)).await.unwrap();
                }
            })
        });
        until_arrived(&world, OTHER, round * MESSAGES + SEEN_BEFORE_KILL).await;
        more.send_replace(true);
        until_recorded(&program.client, &text("in", OTHER, round, SENT_BEFORE_KILL)).await;
        assert_in_flight(&program.client, round).await;
        current.send_replace(None);
        program.kill().await;
        program = Program::start(&world, Path::new(env!("CARGO_BIN_EXE_device-pod")), &signer).await;
        current.send_replace(Some(program.client.clone()));
        for task in outgoing.into_iter().chain(incoming) {
            task.await.unwrap();
        }
    }
    for chat in CHATS {
        until_arrived(&world, chat, ROUNDS * MESSAGES).await;
    }

    let mut ids_of_text: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for message in world.control().server().wire_messages(NUMBER).await.unwrap() {
        for text in message.texts {
            ids_of_text.entry(text).or_default().insert(message.id.clone());
        }
    }
    let wanted: BTreeSet<String> = CHATS.into_iter().flat_map(|chat| all("out", chat)).collect();
    assert_eq!(ids_of_text.keys().cloned().collect::<BTreeSet<_>>(), wanted, "each text was on the wire");
    let twice: Vec<_> = ids_of_text.iter().filter(|(_, ids)| ids.len() != 1).collect();
    assert!(twice.is_empty(), "texts under two ids: {twice:?}");
    let after = ROUNDS * MESSAGES * CHATS.len() - 1;
    assert_eq!(
        outbox(&program.client, &format!("after={after}")).await.items.len(),
        1,
        "each is stored once"
    );
    for chat in CHATS {
        let inbox = world.control().phone(chat).inbox().await.unwrap();
        let shown: Vec<String> = inbox.into_iter().filter_map(|message| message.text).collect();
        assert_eq!(shown, all("out", chat), "the receiver's phone shows each once, in order");
    }

    let journal = journal(&program.client, ROUNDS * MESSAGES * CHATS.len()).await;
    for chat in CHATS {
        let of_chat = || journal.iter().filter(|(_, text)| text.contains(chat));
        let texts: BTreeSet<_> = of_chat().map(|(_, text)| text.clone()).collect();
        assert_eq!((texts, of_chat().count()), (all("in", chat).into_iter().collect(), ROUNDS * MESSAGES));
        // What a killed program could not read any more comes again when it has asked for it: later, and so in another place.
        let receipts = world.control().phone(chat).receipts().await.unwrap();
        let again: BTreeSet<_> = receipts
            .into_iter()
            .filter(|receipt| receipt.kind == "retry")
            .map(|receipt| receipt.message_id)
            .collect();
        let late: BTreeSet<_> =
            of_chat().filter(|(id, _)| again.contains(id)).map(|(_, text)| text).collect();
        let shown: Vec<_> =
            of_chat().map(|(_, text)| text.clone()).filter(|text| !late.contains(text)).collect();
        let wanted: Vec<_> = all("in", chat).into_iter().filter(|text| !late.contains(text)).collect();
        assert_eq!(shown, wanted, "in order; {} were asked for again", again.len());
    }
    program.kill().await;
    world.assert_one_client_at_a_time().await;
}

fn text(way: &str, chat: &str, round: usize, n: usize) -> String {
    format!("{way} {chat} {round}.{n}")
}

/// Everything that goes to or comes from a chat, in its order.
fn all(way: &str, chat: &str) -> Vec<String> {
    (0..ROUNDS).flat_map(|round| (0..MESSAGES).map(move |n| text(way, chat, round, n))).collect()
}

/// Posts the messages of a round one after the other; what was not answered is posted again under its key.
async fn post_all(mut current: watch::Receiver<Option<DeviceClient>>, chat: &'static str, round: usize) {
    for n in 0..MESSAGES {
        let text = text("out", chat, round, n);
        loop {
            let client = current.wait_for(Option::is_some).await.unwrap().clone().unwrap();
            let request = Request::post("/v1/messages")
                .header("content-type", "application/json")
                .header("idempotency-key", &text)
                .body(Body::from(json!({ "to": chat, "type": "text", "text": text }).to_string()))
                .unwrap();
            match tokio::time::timeout(PATIENCE, client.forward(request)).await.unwrap() {
                Ok(response) if response.status().is_success() => break,
                Ok(response) => panic!("{text}: {}", response.status()),
                // Killed under our hands: the next one takes it.
                Err(_) => {
                    let gone = current.changed();
                    let _ = tokio::time::timeout(Duration::from_secs(1), gone).await;
                }
            }
        }
    }
}

/// Waits until so many messages are at a phone.
async fn until_arrived(world: &World, chat: &str, count: usize) {
    let mut seen = BTreeSet::new();
    let phone = world.control().phone(chat);
    let waiting = phone.wait_for_message(
        |message| {
            seen.insert(message.id.clone());
            seen.len() >= count
        },
        PATIENCE * 3,
    );
    waiting.await.unwrap();
}

/// Waits until a text is in the journal.
async fn until_recorded(client: &DeviceClient, text: &str) {
    use enlace_contract::events::DeviceEvent;
    use futures::StreamExt as _;
    let mut events = client.events(Some(0)).await.unwrap();
    let recorded = async {
        loop {
            match events.next().await.unwrap().unwrap() {
                DeviceEvent::Message(record) if record.text.as_deref() == Some(text) => return,
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, recorded).await.expect("it never came in");
}

/// A kill that meets nothing would test nothing: messages wait to go out, and others are still to come in.
async fn assert_in_flight(client: &DeviceClient, round: usize) {
    let waiting = outbox(client, "state=queued&limit=1").await;
    assert_eq!(waiting.items.len(), 1, "round {round}: nothing waits in the outbox any more");
    let last = (round + 1) * MESSAGES * CHATS.len() - 1;
    let last = client.inbox(i64::try_from(last).unwrap(), 1).await.unwrap();
    assert!(last.items.is_empty(), "round {round}: everything came in already");
}

async fn outbox(client: &DeviceClient, query: &str) -> MessagePage {
    let request = Request::get(format!("/v1/messages?{query}")).body(Body::empty()).unwrap();
    let body = client.forward(request).await.unwrap().into_body();
    serde_json::from_slice(&http_body_util::BodyExt::collect(body).await.unwrap().to_bytes()).unwrap()
}

/// What came in: ids and texts.
async fn journal(client: &DeviceClient, count: usize) -> Vec<(String, String)> {
    use enlace_contract::events::DeviceEvent;
    use futures::StreamExt as _;
    let mut events = client.events(Some(0)).await.unwrap();
    let reading = async {
        let mut texts = Vec::new();
        while texts.len() < count {
            if let DeviceEvent::Message(record) = events.next().await.unwrap().unwrap() {
                texts.push((record.id, record.text.unwrap()));
                assert_eq!(record.sequence, i64::try_from(texts.len()).unwrap(), "no gap");
            }
        }
        texts
    };
    let texts = tokio::time::timeout(PATIENCE, reading).await.expect("the journal is not complete");
    let page = client.inbox(i64::try_from(count).unwrap(), 1).await.unwrap();
    assert!(page.items.is_empty(), "nothing came twice");
    texts
}
