//! What is passed on to a device.

use axum::body::Body;
use enlace_contract::messages::MAX_MESSAGE_BODY;
use http::{Request, header};
use serde_json::json;

use crate::fixture::{Api, answer, in_time, manifest};

async fn running() -> (Api, crate::device::Played) {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    let device = api.stage.device("default/a").await;
    device.links("525550000001");
    device.claim(enlace_contract::state::ClaimState::Granted).await;
    api.until_phase("default/a", "Connected").await;
    (api, device)
}

#[tokio::test]
async fn a_message_goes_to_its_device_with_its_key_and_without_the_token() {
    let (api, device) = running().await;
    let request = Request::post("/v1/devices/default/a/messages?wait=1s")
        .header(header::AUTHORIZATION, format!("Bearer {}", api.admin))
        .header(header::COOKIE, "session=1")
        .header(header::CONTENT_TYPE, "application/json")
        .header("idempotency-key", "key-1")
        .header("x-request-id", "request-1")
        .header("x-other", "1")
        .body(Body::from(json!({"to": "525550000002", "type": "text", "text": "hello"}).to_string()))
        .unwrap();
    let sent = answer(api.send(request).await).await;
    assert_eq!((sent.status.as_u16(), &sent.json()["id"]), (202, &json!("3EB0")), "{}", sent.text);
    assert_eq!(sent.headers["x-request-id"], "request-1");
    let asked = device.asked();
    // Stored first, then waited for.
    assert_eq!(asked.last().unwrap().path, "/v1/messages/3EB0?wait=1s");
    let asked = asked.iter().find(|asked| asked.path == "/v1/messages").unwrap();
    assert_eq!(asked.headers["idempotency-key"], "key-1");
    assert_eq!(asked.headers["x-request-id"], "request-1");
    for name in ["authorization", "cookie", "x-other"] {
        assert!(!asked.headers.contains_key(name), "{name}");
    }
    assert!(String::from_utf8_lossy(&asked.body).contains("hello"));
}

#[tokio::test]
async fn a_caller_that_waits_when_the_api_stops_is_told_that_its_message_is_stored() {
    let (api, device) = running().await;
    let body = json!({"to": "525550000002", "type": "text", "text": "hello"});
    let path = "/v1/devices/default/a/messages?wait=60s";
    let stop = async {
        while device.asked().last().is_none_or(|asked| asked.path != "/v1/messages/3EB0?wait=1m") {
            tokio::task::yield_now().await;
        }
        api.app.begin_stop();
    };
    let (stored, ()) = in_time(async { tokio::join!(api.post(path, body), stop) }).await;
    assert_eq!((stored.status.as_u16(), &stored.json()["id"]), (202, &json!("3EB0")), "{}", stored.text);
    let known = in_time(api.get("/v1/devices/default/a/messages/3EB0?wait=60s")).await;
    assert_eq!(known.status, 200, "{}", known.text);
}

#[tokio::test]
async fn a_wait_that_cannot_be_is_refused_before_anything_is_stored() {
    let (api, device) = running().await;
    let before = device.asked().len();
    let body = json!({"to": "525550000002", "type": "text", "text": "hello"});
    for (query, detail) in [
        ("wait=61s", "wait: must be 60s at most"),
        ("wiat=1s", "wiat: is not a parameter; the parameters are wait"),
    ] {
        let refused = api.post(&format!("/v1/devices/default/a/messages?{query}"), body.clone()).await;
        assert_eq!(refused.problem(), (400, "InvalidQuery".into()), "{}", refused.text);
        assert_eq!(refused.json()["detail"], detail);
    }
    assert_eq!(device.asked().len(), before);
}

#[tokio::test]
async fn the_other_routes_of_a_device_are_reached() {
    let (api, device) = running().await;
    for (path, wanted) in [
        ("messages?after=5&limit=2&state=sent", "/v1/messages?after=5&limit=2&state=sent"),
        ("messages/3EB0", "/v1/messages/3EB0"),
        ("inbox?after=1", "/v1/inbox?after=1"),
        ("inbox/7/media", "/v1/inbox/7/media"),
    ] {
        let answer = api.get(&format!("/v1/devices/default/a/{path}")).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert_eq!(device.asked().last().unwrap().path, wanted);
    }
}

#[tokio::test]
async fn a_path_is_no_way_to_another_route_of_the_device() {
    let (api, device) = running().await;
    let before = device.asked().len();
    for path in
        ["messages/..%2Flogout", "messages/%2e%2e%2Fclaim", "messages/a%3Fb", "inbox/..%2Fclaim/media"]
    {
        let answer = api.get(&format!("/v1/devices/default/a/{path}")).await;
        assert!(matches!(answer.problem().0, 400 | 404), "{path}: {}", answer.text);
    }
    assert_eq!(device.asked().len(), before);
}

#[tokio::test]
async fn a_file_of_a_sender_is_never_a_page_of_this_server() {
    let (api, _device) = running().await;
    let answer = api.get("/v1/devices/default/a/inbox/1/media").await;
    assert_eq!(answer.text, "<script>");
    assert_eq!(answer.headers["content-disposition"], "attachment");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert!(answer.headers["content-security-policy"].to_str().unwrap().contains("sandbox"));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let (api, _device) = running().await;
    let post = || {
        Request::post("/v1/devices/default/a/messages")
            .header(header::AUTHORIZATION, format!("Bearer {}", api.admin))
            .header(header::CONTENT_TYPE, "application/json")
    };
    let declared = post().header(header::CONTENT_LENGTH, MAX_MESSAGE_BODY + 1).body(Body::empty()).unwrap();
    assert_eq!(answer(api.send(declared).await).await.problem(), (413, "BodyTooLarge".into()));
    // And one that does not say how large it is.
    let chunk = bytes::Bytes::from(vec![b' '; 1024 * 1024]);
    let chunks = futures::stream::iter(std::iter::repeat_n(Ok::<_, std::convert::Infallible>(chunk), 40));
    let streamed = post().body(Body::from_stream(chunks)).unwrap();
    assert_eq!(answer(api.send(streamed).await).await.problem().0, 413);
}

#[tokio::test]
async fn a_device_that_is_stopped_is_answered_for_at_once() {
    let (api, device) = running().await;
    std::fs::remove_file(api.file("a.yaml")).unwrap();
    device.stopped().await;
    api.until_gone("default/a").await;
    assert_eq!(api.get("/v1/devices/default/a/messages").await.problem(), (404, "NotFound".into()));
}
