//! The event stream.

use enlace_contract::events::DeviceEvent;
use enlace_contract::messages::MessageState;
use enlace_contract::state::Phase;
use futures::StreamExt as _;

use crate::fixture::{NUMBER, OTHER, PATIENCE, World, quick};
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
