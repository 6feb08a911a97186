//! The event stream.

use axum::body::Body;
use enlace_contract::events::DeviceEvent;
use enlace_contract::messages::MessageState;
use enlace_contract::state::Phase;
use futures::StreamExt as _;

use crate::fixture::{NUMBER, OTHER, PATIENCE, Running, World, quick};
use crate::receiving::until_records;

#[tokio::test]
async fn the_stream_opens_with_the_state_and_goes_on_after_the_last_record_that_was_seen() {
    let world = World::new().await;
    let (device, _) = world.linked(quick()).await;
    for word in ["one", "two", "three"] {
        world.other().send_text(NUMBER, word).await.unwrap();
    }
    until_records(&device, 3).await;

    let mut events = device.client.events(Some(1)).await.unwrap();
    let Some(Ok(DeviceEvent::State(state))) = events.next().await else { panic!("no snapshot") };
    assert_eq!(state.phase, Phase::Connected);
    for sequence in [2, 3] {
        let Some(Ok(DeviceEvent::Message(record))) = events.next().await else { panic!("no record") };
        assert_eq!(record.sequence, sequence);
    }

    let mut from_now = device.client.events(None).await.unwrap();
    assert!(matches!(from_now.next().await, Some(Ok(DeviceEvent::State(_)))));
    world.other().send_text(NUMBER, "four").await.unwrap();
    let Some(Ok(DeviceEvent::Message(record))) = from_now.next().await else { panic!("no record") };
    assert_eq!(record.sequence, 4);
    world.end(device).await;
}

#[tokio::test]
async fn each_step_of_an_outgoing_message_is_an_event() {
    let world = World::new().await;
    let (device, _) = world.linked(quick()).await;
    let mut events = device.client.events(None).await.unwrap();
    let message = device.send_text(OTHER, "hola").await;
    let mut steps = Vec::new();
    while steps.last() != Some(&MessageState::Delivered) {
        match tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap() {
            DeviceEvent::MessageState(change) if change.id == message.id => steps.push(change.state),
            _ => {}
        }
    }
    assert!(
        steps.is_sorted() && steps.starts_with(&[MessageState::Queued, MessageState::Sending]),
        "{steps:?}"
    );
    world.end(device).await;
}

#[tokio::test]
async fn a_stream_of_states_has_nothing_else() {
    let world = World::new().await;
    let (device, linked) = world.linked(quick()).await;
    let of = async |kinds: &str| {
        let request = http::Request::get(format!("/v1/events?kinds={kinds}"));
        device.client.forward(request.body(axum::body::Body::empty()).unwrap()).await.unwrap()
    };
    assert_eq!(of("nothing").await.status(), http::StatusCode::BAD_REQUEST);
    let mut states = device.client.states().await.unwrap();
    assert_eq!(states.next().await.unwrap().unwrap().phase, Phase::Connected);
    let read = tokio::spawn(http_body_util::BodyExt::collect(of("state,messageState").await.into_body()));
    let message = device.send_text(OTHER, "hola").await;
    device.until_message(&message.id, MessageState::Delivered).await;
    // What is next among the states is what comes after the message.
    world.control().server().drop_connection(NUMBER, linked.device).await.unwrap();
    let state = tokio::time::timeout(PATIENCE, states.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(state.phase, Phase::Reconnecting);
    world.end(device).await;
    let body = read.await.unwrap().unwrap().to_bytes();
    let body = String::from_utf8_lossy(&body);
    assert!(body.contains("event: messageState") && body.contains(&message.id), "{body}");
    assert!(body.contains("event: state") && !body.contains("event: message\n"), "{body}");
}

#[tokio::test]
async fn a_device_that_stops_ends_its_streams() {
    let world = World::new().await;
    let device = world.start(quick()).await;
    let mut events = device.client.events(None).await.unwrap();
    assert!(events.next().await.is_some());
    let narrow = http::Request::get("/v1/events?kinds=messageState").body(axum::body::Body::empty());
    let narrow = device.client.forward(narrow.unwrap()).await.unwrap();
    device.device.stop().await;
    let rest = tokio::time::timeout(PATIENCE, events.count()).await;
    assert!(rest.is_ok(), "the stream never ended");
    let rest = tokio::time::timeout(PATIENCE, http_body_util::BodyExt::collect(narrow.into_body())).await;
    assert!(rest.is_ok(), "the stream of messages never ended");
}

/// Opens the stream as a browser does, and reads it until it has these words.
async fn read_until(device: &Running, last_event_id: &str, words: &str) -> String {
    let request = http::Request::get("/v1/events").header("last-event-id", last_event_id);
    let response = device.client.forward(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    let mut text = String::new();
    let reading = async {
        while !text.contains(words) {
            text.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
        }
    };
    let read = tokio::time::timeout(PATIENCE, reading).await;
    assert!(read.is_ok(), "no {words:?} in {text:?}");
    text
}

#[tokio::test]
async fn records_have_their_sequence_as_id_on_the_wire_and_a_silent_stream_says_that_it_lives() {
    let world = World::new().await;
    let (device, _) = world.linked(quick()).await;
    for word in ["one", "two"] {
        world.other().send_text(NUMBER, word).await.unwrap();
    }
    until_records(&device, 2).await;
    let text = read_until(&device, "1", "\n:").await;
    let events: Vec<&str> = text.split("\n\n").collect();
    assert!(events[0].starts_with("event: state\ndata: {"), "{text}");
    assert!(!events[0].contains("\nid:"), "a snapshot is no place to go on from: {text}");
    assert!(events[1].starts_with("event: message\ndata: {"), "{text}");
    assert!(events[1].ends_with("\nid: 2"), "{text}");
    assert_eq!(text.matches("event: message\n").count(), 1, "{text}");

    // A position of another journal, as of a volume that was made anew: what comes now is not skipped.
    let reading = read_until(&device, "1000", "\nid: 3\n");
    let phone = world.other();
    let (sent, text) = tokio::join!(phone.send_text(NUMBER, "three"), reading);
    sent.unwrap();
    assert_eq!(text.matches("event: message\n").count(), 1, "{text}");
    world.end(device).await;
}

#[tokio::test]
async fn a_position_that_is_no_number_is_refused() {
    let world = World::new().await;
    let device = world.start(quick()).await;
    for position in ["first", "", "1.5", "\u{e9}"] {
        let request = http::Request::get("/v1/events").header("last-event-id", position);
        let response = device.client.forward(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), http::StatusCode::BAD_REQUEST, "{position:?}");
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        let problem: enlace_contract::problem::Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem.reason, "InvalidLastEventId");
    }
    world.end(device).await;
}
