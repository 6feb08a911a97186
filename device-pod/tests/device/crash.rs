//! Killed, ten times over, with messages on their way in and out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use enlace_contract::client::DeviceClient;
use enlace_contract::messages::MessageState;
use enlace_contract::state::Phase;
use enlace_contract::token::TokenSigner;
use http::Request;
use serde_json::json;
use tokio::sync::watch;

use crate::fixture::{NUMBER, OTHER, PATIENCE, World};
use crate::process::Program;

const ROUNDS: usize = 10;
const MESSAGES: usize = 200;
/// How many messages of a round are on the wire when the program is killed.
const SEEN_BEFORE_KILL: usize = 70;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_accepted_is_lost_or_sent_under_two_ids_when_the_program_is_killed() {
    let (world, signer) = (World::new().await, TokenSigner::generate("test").unwrap());
    let mut program = Program::start(&world, Path::new(env!("CARGO_BIN_EXE_device-pod")), &signer).await;
    let qr = program.until(|state| state.qr.is_some()).await.qr.unwrap();
    world.phone().scan(&qr.code).await.unwrap();
    program.until(|state| state.phase == Phase::Connected).await;

    let current = watch::Sender::new(Some(program.client.clone()));
    for round in 0..ROUNDS {
        let outgoing = tokio::spawn(post_all(current.subscribe(), round));
        let phone = world.other();
        let incoming = tokio::spawn(async move {
            for n in 0..MESSAGES {
                phone.send_text(NUMBER, &format!("in {round}.{n}")).await.unwrap();
            }
        });
        until_seen(&world, round).await;
        current.send_replace(None);
        program.kill().await;
        program = Program::start(&world, Path::new(env!("CARGO_BIN_EXE_device-pod")), &signer).await;
        current.send_replace(Some(program.client.clone()));
        outgoing.await.unwrap();
        incoming.await.unwrap();
    }
    until_sent(&program.client).await;

    let mut ids_of_text: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for message in world.control().server().wire_messages(NUMBER).await.unwrap() {
        for text in message.texts {
            ids_of_text.entry(text).or_default().insert(message.id.clone());
        }
    }
    let wanted: BTreeSet<String> =
        (0..ROUNDS).flat_map(|round| (0..MESSAGES).map(move |n| format!("out {round}.{n}"))).collect();
    assert_eq!(ids_of_text.keys().cloned().collect::<BTreeSet<_>>(), wanted, "each text was on the wire");
    let twice: Vec<_> = ids_of_text.iter().filter(|(_, ids)| ids.len() != 1).collect();
    assert!(twice.is_empty(), "texts under two ids: {twice:?}");
    let shown: Vec<String> =
        world.other().inbox().await.unwrap().into_iter().filter_map(|message| message.text).collect();
    assert_eq!(shown.len(), ROUNDS * MESSAGES, "the receiver's phone shows each once");

    let expected: Vec<String> =
        (0..ROUNDS).flat_map(|round| (0..MESSAGES).map(move |n| format!("in {round}.{n}"))).collect();
    assert_eq!(journal(&program.client, expected.len()).await, expected, "each came in once, in order");
    program.kill().await;
    world.assert_one_client_at_a_time().await;
}

/// Posts the messages of a round one after the other; what was not answered is posted again under its key.
async fn post_all(mut current: watch::Receiver<Option<DeviceClient>>, round: usize) {
    for n in 0..MESSAGES {
        let text = format!("out {round}.{n}");
        loop {
            let client = current.wait_for(Option::is_some).await.unwrap().clone().unwrap();
            let request = Request::post("/v1/messages")
                .header("content-type", "application/json")
                .header("idempotency-key", &text)
                .body(Body::from(json!({ "to": OTHER, "type": "text", "text": text }).to_string()))
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

async fn until_seen(world: &World, round: usize) {
    let wanted = round * MESSAGES + SEEN_BEFORE_KILL;
    let mut seen = BTreeSet::new();
    let phone = world.other();
    let waiting = phone.wait_for_message(
        |message| {
            seen.insert(message.id.clone());
            seen.len() >= wanted
        },
        PATIENCE,
    );
    waiting.await.unwrap();
}

async fn until_sent(client: &DeviceClient) {
    use enlace_contract::events::DeviceEvent;
    use futures::StreamExt as _;
    let mut events = client.events(None).await.unwrap();
    let last = last_message(client).await;
    let sent = async {
        let mut state = client.message(&last).await.unwrap().state;
        while state < MessageState::Sent {
            if let Some(Ok(DeviceEvent::MessageState(change))) = events.next().await
                && change.id == last
            {
                state = change.state;
            }
        }
        assert_ne!(state, MessageState::Failed);
    };
    tokio::time::timeout(PATIENCE * 3, sent).await.expect("the outbox never emptied");
}

async fn last_message(client: &DeviceClient) -> String {
    let after = ROUNDS * MESSAGES - 1;
    let request = Request::get(format!("/v1/messages?after={after}")).body(Body::empty()).unwrap();
    let body = client.forward(request).await.unwrap().into_body();
    let bytes = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
    let page: enlace_contract::messages::MessagePage = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(page.items.len(), 1, "every message is stored once");
    page.items[0].id.clone()
}

async fn journal(client: &DeviceClient, count: usize) -> Vec<String> {
    use enlace_contract::events::DeviceEvent;
    use futures::StreamExt as _;
    let mut events = client.events(Some(0)).await.unwrap();
    let reading = async {
        let mut texts = Vec::new();
        while texts.len() < count {
            if let DeviceEvent::Message(record) = events.next().await.unwrap().unwrap() {
                texts.push(record.text.unwrap());
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
