//! Streams.

use std::time::Duration;

use axum::body::Body;
use eventsource_stream::{Event, Eventsource as _};
use futures::stream::{BoxStream, StreamExt as _};
use http::{Request, header};
use serde_json::{Value, json};

use crate::fixture::{Answer, Api, answer, in_time, manifest};

async fn open(api: &Api, path: &str, token: &str, last: Option<&str>) -> BoxStream<'static, Event> {
    let mut request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
    if let Some(last) = last {
        request = request.header("Last-Event-ID", last);
    }
    let response = api.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    response.into_body().into_data_stream().eventsource().map(Result::unwrap).boxed()
}

async fn next(events: &mut BoxStream<'static, Event>) -> (String, String, Value) {
    let event = in_time(events.next()).await.expect("the stream ended");
    (event.event, event.id, serde_json::from_str(&event.data).unwrap())
}

#[tokio::test]
async fn a_stream_of_a_device_goes_on_after_the_last_event() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    let device = api.stage.device("default/a").await;
    device.shows_code();
    let mut events = open(&api, "/v1/devices/default/a/events", &api.admin, Some("1")).await;
    let (name, _, state) = next(&mut events).await;
    assert_eq!((name.as_str(), &state["qr"]["code"]), ("state", &json!("SECRET-CODE")));
    for sequence in ["2", "3"] {
        let (name, id, record) = next(&mut events).await;
        assert_eq!(
            (name.as_str(), id.as_str(), &record["text"]),
            ("message", sequence, &json!("SECRET-TEXT"))
        );
    }
    assert_eq!(next(&mut events).await.0, "messageState");
    device.links("525550000001");
    assert_eq!(next(&mut events).await.2["phase"], "Connected");
}

#[tokio::test]
async fn a_stream_has_only_what_the_token_may_read() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    let device = api.stage.device("default/a").await;
    device.shows_code();
    let token = api.token(json!({"actions": ["events:read", "devices:read", "messages:read"]})).await;
    let mut events = open(&api, "/v1/devices/default/a/events", &token, Some("0")).await;
    let (name, _, state) = next(&mut events).await;
    assert_eq!((name.as_str(), state.get("qr")), ("state", None));
    assert_eq!(next(&mut events).await.0, "messageState", "records of the inbox are left out");
    let reader = api.token(json!({"actions": ["events:read", "devices:read", "inbox:read"]})).await;
    let mut events = open(&api, "/v1/devices/default/a/events", &reader, Some("2")).await;
    assert_eq!(next(&mut events).await.0, "state");
    let (name, id, _) = next(&mut events).await;
    assert_eq!((name.as_str(), id.as_str()), ("message", "3"));
    device.says(|state| state.reconnects = 1);
    assert_eq!(next(&mut events).await.0, "state", "changes of messages are left out");
}

#[tokio::test]
async fn whose_a_device_is_is_told_only_to_who_may_read_devices() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    api.stage.device("default/a").await.links("525550000001");
    for actions in [
        json!(["events:read", "inbox:read"]),
        json!(["events:read", "inbox:read", "messages:read", "devices:pair"]),
    ] {
        let token = api.token(json!({ "actions": actions })).await;
        let mut events = open(&api, "/v1/devices/default/a/events", &token, Some("0")).await;
        assert_eq!(
            next(&mut events).await.0,
            "message",
            "{actions}: a state comes first when it may be read"
        );
    }
}

#[tokio::test]
async fn a_user_leaves_streams_to_the_others() {
    let api = Api::start(&[]).await;
    let (_, luis) = api.user("luis").await;
    let mut streams = Vec::new();
    for _ in 0..64 {
        streams.push(open(&api, "/v1/events", &luis, None).await);
    }
    let refused = api.call("GET", "/v1/events", &luis, None).await;
    assert_eq!(refused.problem(), (429, "TooManyStreams".into()));
    assert!(refused.json()["detail"].as_str().unwrap().contains("64 event streams"), "{}", refused.text);
    let _others = open(&api, "/v1/events", &api.admin, None).await;
    streams.pop();
    let _freed = open(&api, "/v1/events", &luis, None).await;
}

#[tokio::test]
async fn a_stream_ends_with_its_device() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    api.stage.device("default/a").await;
    api.until("default/a", |device| device.resource.status.as_ref().unwrap().is_true("PodReady")).await;
    let events = open(&api, "/v1/devices/default/a/events", &api.admin, None).await;
    std::fs::remove_file(api.file("a.yaml")).unwrap();
    in_time(events.collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn the_stream_of_all_has_what_is_there_and_what_changes() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    let mut events = open(&api, "/v1/events", &api.admin, None).await;
    let (name, _, resource) = next(&mut events).await;
    assert_eq!((name.as_str(), &resource["metadata"]["name"]), ("added", &json!("a")));
    api.stage.device("default/a").await.shows_code();
    loop {
        let (name, _, resource) = next(&mut events).await;
        assert_eq!(name, "changed");
        if resource["status"]["phase"] == "AwaitingScan" {
            break;
        }
    }
    api.write("b.yaml", &manifest("b", json!({"suspend": true})));
    let added = next(&mut events).await;
    assert_eq!((added.0.as_str(), &added.2["metadata"]["name"]), ("added", &json!("b")));
    std::fs::remove_file(api.file("b.yaml")).unwrap();
    let deleted = next(&mut events).await;
    assert_eq!((deleted.0.as_str(), &deleted.2["metadata"]["name"]), ("deleted", &json!("b")));
}

#[tokio::test]
async fn the_stream_of_all_has_only_devices_of_the_token() {
    let api = Api::start(&[
        ("a.yaml", manifest("a", json!({"suspend": true}))),
        ("b.yaml", manifest("b", json!({"suspend": true}))),
    ])
    .await;
    let token = api.token(json!({"devices": ["default/b"]})).await;
    let mut events = open(&api, "/v1/events", &token, None).await;
    assert_eq!(next(&mut events).await.2["metadata"]["name"], "b");
    api.write("a.yaml", &manifest("a", json!({"suspend": true, "displayName": "A"})));
    api.until("default/a", |device| device.resource.spec.display_name.is_some()).await;
    api.write("b.yaml", &manifest("b", json!({"suspend": true, "displayName": "B"})));
    assert_eq!(next(&mut events).await.2["spec"]["displayName"], "B");
}

#[tokio::test]
async fn a_stop_ends_streams() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    api.stage.device("default/a").await;
    api.until("default/a", |device| device.resource.status.as_ref().unwrap().is_true("PodReady")).await;
    let one = open(&api, "/v1/devices/default/a/events", &api.admin, None).await;
    let all = open(&api, "/v1/events", &api.admin, None).await;
    api.app.begin_stop();
    in_time(one.collect::<Vec<_>>()).await;
    in_time(all.collect::<Vec<_>>()).await;
}

/// Less than the time after which another replica would see it, and long enough for a busy machine.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Both streams of a token end at once after a request was followed.
async fn end_at_once(api: &Api, token: &str, request: impl Future<Output = Answer>) {
    let one = open(api, "/v1/devices/default/a/events", token, None).await;
    let all = open(api, "/v1/events", token, None).await;
    assert_eq!(request.await.status, 204);
    tokio::time::timeout(AT_ONCE, one.collect::<Vec<_>>()).await.unwrap();
    tokio::time::timeout(AT_ONCE, all.collect::<Vec<_>>()).await.unwrap();
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let api = Api::start(&[]).await;
    let (id, login) = api.user("maria").await;
    let mut device: Value = serde_json::from_str(&manifest("a", json!({}))).unwrap();
    device["metadata"]["labels"] = json!({"enlace.dev/owner": id});
    api.write("a.yaml", &device.to_string());
    api.stage.device("default/a").await;
    api.until("default/a", |device| device.resource.status.as_ref().unwrap().is_true("PodReady")).await;

    let mut kept = open(&api, "/v1/events", &api.admin, None).await;
    end_at_once(&api, &login, api.call("POST", "/v1/logout", &login, None)).await;

    let token = api.token(json!({})).await;
    let me = api.call("GET", "/v1/me", &token, None).await.json();
    let path = format!("/v1/tokens/{}", me["token"]["id"].as_str().unwrap());
    end_at_once(&api, &token, api.call("DELETE", &path, &api.admin, None)).await;

    let log_in = async |password: &str| {
        let login = json!({"username": "maria", "password": password});
        let login = api.call("POST", "/v1/login", "", Some(login)).await.json();
        login["token"].as_str().unwrap().to_owned()
    };
    let login = log_in("a long password").await;
    let path = format!("/v1/users/{id}/password");
    let password = Some(json!({"password": "another password"}));
    end_at_once(&api, &login, api.call("PUT", &path, &api.admin, password)).await;

    let login = log_in("another password").await;
    end_at_once(&api, &login, api.call("DELETE", &format!("/v1/users/{id}"), &api.admin, None)).await;

    // Other streams go on.
    assert_eq!(next(&mut kept).await.0, "added");
    api.write("b.yaml", &manifest("b", json!({"suspend": true})));
    while next(&mut kept).await.2["metadata"]["name"] != "b" {}
}

#[tokio::test]
async fn a_stream_ends_when_its_token_expires() {
    let api = Api::start(&[]).await;
    let token = api.token(json!({"expiresIn": "300ms"})).await;
    let events = open(&api, "/v1/events", &token, None).await;
    tokio::time::timeout(Duration::from_millis(300) + AT_ONCE, events.collect::<Vec<_>>()).await.unwrap();
}

#[tokio::test]
async fn a_stream_needs_its_action() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    let token = api.token(json!({"actions": ["inbox:read"]})).await;
    for path in ["/v1/events", "/v1/devices/default/a/events"] {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
        let refused = answer(api.send(request.body(Body::empty()).unwrap()).await).await;
        assert_eq!(refused.problem(), (403, "Forbidden".into()), "{path}");
    }
}
