//! What comes in.

use axum::body::Body;
use enlace_contract::events::DeviceEvent;
use enlace_contract::inbox::InboxRecord;
use enlace_contract::problem::Problem;
use enlace_contract::state::{Phase, Reason};
use enlace_device_pod::endpoints::Endpoints;
use futures::StreamExt as _;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use whatsapp_simulator::{MediaKind, NewMedia};

use crate::fixture::{NUMBER, PATIENCE, Running, World, quick};

/// The first records of the journal, once there are so many.
pub(crate) async fn until_records(device: &Running, count: usize) -> Vec<InboxRecord> {
    let mut events = device.client.events(Some(0)).await.unwrap();
    let reading = async {
        let mut records = Vec::new();
        while records.len() < count {
            if let DeviceEvent::Message(record) =
                events.next().await.expect("the event stream ended").unwrap()
            {
                records.push(record);
            }
        }
        records
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the records never came")
}

#[tokio::test]
async fn a_file_that_came_in_is_fetched_with_its_bytes_type_and_name() {
    let world = World::new().await;
    let (device, _) = world.linked(quick()).await;
    let bytes = b"%PDF-1.7 an order";
    world.other().send_document(NUMBER, "../pedido.pdf", "application/pdf", bytes).await.unwrap();
    let record = until_records(&device, 1).await.remove(0);
    let media = record.media.unwrap();
    assert_eq!(
        (record.kind.as_str(), media.file_name.as_deref()),
        ("document", Some("pedido.pdf")),
        "a name, never a path"
    );
    let path = format!("/v1/inbox/{}/media", record.sequence);
    let response = device.client.forward(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/pdf");
    assert_eq!(response.headers()["content-disposition"], "attachment; filename*=UTF-8''pedido.pdf");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), bytes.as_slice());
    world.end(device).await;
}

#[tokio::test]
async fn what_came_while_the_device_was_away_is_recorded_in_order() {
    let world = World::new().await;
    let (device, _) = world.linked(quick()).await;
    device.device.stop().await;
    let mut sent = Vec::new();
    for word in ["one", "two", "three"] {
        sent.push(world.other().send_text(NUMBER, word).await.unwrap());
    }
    let device = world.start(quick()).await;
    let records = until_records(&device, 3).await;
    assert_eq!(records.iter().map(|record| record.id.clone()).collect::<Vec<_>>(), sent);
    assert_eq!(records.iter().map(|record| record.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    world.end(device).await;
}

#[tokio::test]
async fn a_message_that_cannot_be_decrypted_at_first_is_recorded_after_it_was_sent_again() {
    let world = World::new().await;
    let (device, linked) = world.linked(quick()).await;
    world.other().send_text(NUMBER, "first").await.unwrap();
    until_records(&device, 1).await;
    world.control().server().corrupt_next_message(NUMBER, linked.device).await.unwrap();
    world.other().send_text(NUMBER, "second").await.unwrap();
    let records = until_records(&device, 2).await;
    assert_eq!(records[1].text.as_deref(), Some("second"));
    world.end(device).await;
}

#[tokio::test]
async fn a_message_that_cannot_be_stored_ends_the_connection_and_is_recorded_in_its_place_later() {
    let world = World::new().await;
    let (device, linked) = world.linked(quick()).await;
    let file = world.directory.path().join("device.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let mut lock = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let mut sent = vec![world.other().send_text(NUMBER, "before").await.unwrap()];
    until_records(&device, 1).await;

    sqlx::query("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap();
    for word in ["one", "two"] {
        sent.push(world.other().send_text(NUMBER, word).await.unwrap());
    }
    let elsewhere = world.control().phone("525550000003").send_text(NUMBER, "elsewhere").await.unwrap();
    let state = device.until(|state| state.reason == Some(Reason::StoreFailed)).await;
    assert_eq!((state.phase, state.paired), (Phase::Reconnecting, true));
    assert!(state.message.as_deref().unwrap().contains("database is locked"), "{:?}", state.message);
    let server = world.control().server().state().await.unwrap();
    assert_eq!(server.device(NUMBER, linked.device).unwrap().pending, 3, "none was acknowledged");
    sqlx::query("ROLLBACK").execute(&mut lock).await.unwrap();
    sent.push(world.other().send_text(NUMBER, "three").await.unwrap());

    let records = until_records(&device, 5).await;
    let (other, own): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.id == elsewhere);
    assert_eq!(own.iter().map(|record| record.id.clone()).collect::<Vec<_>>(), sent, "in order, once each");
    assert_eq!(other.len(), 1);
    assert_eq!(device.until_phase(Phase::Connected).await.reason, None);
    assert!(device.client.inbox(5, 10).await.unwrap().items.is_empty());
    world.end(device).await;
}

/// The answer to a request for the file of a record.
async fn fetch(device: &Running, sequence: i64) -> http::Response<Body> {
    let request = Request::get(format!("/v1/inbox/{sequence}/media")).body(Body::empty()).unwrap();
    device.client.forward(request).await.unwrap()
}

async fn problem_of(response: http::Response<Body>) -> Problem {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn pictures_videos_and_sounds_are_fetched_and_say_why_when_they_cannot_be() {
    let world = World::new().await;
    let (device, _) = world.linked(quick()).await;
    let kinds = [
        (MediaKind::Image, "image", "image/jpeg", b"a picture".as_slice()),
        (MediaKind::Video, "video", "video/mp4", b"a video"),
        (MediaKind::Audio, "audio", "audio/ogg; codecs=opus", b"a sound"),
        (MediaKind::Sticker, "sticker", "image/webp", b"a sticker"),
    ];
    for (kind, _, mime_type, bytes) in kinds {
        let media = NewMedia { kind, mime_type: mime_type.into(), file_name: None, caption: None };
        world.other().send_media(NUMBER, media, bytes).await.unwrap();
    }
    let records = until_records(&device, kinds.len()).await;
    for (record, (_, kind, mime_type, bytes)) in records.iter().zip(kinds) {
        let size = record.media.as_ref().unwrap().size;
        assert_eq!((record.kind.as_str(), size), (kind, Some(bytes.len() as u64)));
        let response = fetch(&device, record.sequence).await;
        assert_eq!(response.status(), StatusCode::OK, "{kind}");
        assert_eq!(response.headers()["content-type"], mime_type);
        assert_eq!(response.headers()["content-disposition"], "attachment");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), bytes, "{kind}");
    }
    device.device.stop().await;

    // WhatsApp has the files no more.
    let nothing = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let media = Some(format!("http://{}", nothing.local_addr().unwrap()));
    tokio::spawn(async move { axum::serve(nothing, axum::Router::new()).await });
    let device = world.start_at(quick(), Endpoints { media, ..world.endpoints() }).await;
    device.until_phase(Phase::Connected).await;
    let gone = problem_of(fetch(&device, 1).await).await;
    assert_eq!((gone.status, gone.reason.as_str(), gone.retry_after), (502, "MediaUnavailable", None));
    device.device.stop().await;

    let websocket = "ws://127.0.0.1:1/ws/chat".into();
    let device = world.start_at(quick(), Endpoints { websocket, ..world.endpoints() }).await;
    let away = problem_of(fetch(&device, 1).await).await;
    assert_eq!((away.status, away.reason.as_str(), away.retry_after), (503, "NotConnected", Some(10)));
    assert!(away.phase.is_some() && away.detail.contains("try again when it is Connected"), "{away:?}");
    world.end(device).await;
}
