//! The HTTP interface as a port serves it.

use axum::Router;
use axum::body::Body;
use enlace_contract::messages::MessageState;
use enlace_contract::problem::MEDIA_TYPE;
use enlace_contract::token::TokenSigner;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::fixture::{NUMBER, OTHER, World, config};

async fn call(router: &Router, request: Request<Body>) -> Response<Body> {
    router.clone().oneshot(request).await.unwrap()
}

async fn json_of(response: Response<Body>) -> Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn only_a_token_for_this_device_opens_the_port() {
    let world = World::new().await;
    let signer = TokenSigner::generate("api").unwrap();
    let device = world.start(config(json!({ "tokenKeys": [signer.public_key()] }))).await;
    let port = device.device.guarded_router();
    let with = |token: String| {
        Request::get("/v1/status")
            .header("authorization", format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap()
    };
    assert_eq!(
        call(&port, with(signer.sign("uid-1", Timestamp::now()).unwrap())).await.status(),
        StatusCode::OK
    );
    for refused in [
        get("/v1/status"),
        with(signer.sign("uid-2", Timestamp::now()).unwrap()),
        with(TokenSigner::generate("api").unwrap().sign("uid-1", Timestamp::now()).unwrap()),
        with("nonsense".into()),
    ] {
        let response = call(&port, refused).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
    }
    for probe in ["/livez", "/readyz"] {
        assert_eq!(call(&port, get(probe)).await.status(), StatusCode::OK, "{probe}");
    }

    // A key that is taken away closes the port at once.
    device.device.configure(config(json!({}))).await;
    assert_eq!(
        call(&port, with(signer.sign("uid-1", Timestamp::now()).unwrap())).await.status(),
        StatusCode::UNAUTHORIZED
    );
    world.end(device).await;
}

#[tokio::test]
async fn errors_are_problems_that_say_what_would_be_right() {
    let world = World::new().await;
    let device = world.start(config(json!({ "phoneNumber": NUMBER }))).await;
    let router = device.device.router();
    let post = |path: &str, kind: &str, body: &str| {
        Request::post(path).header("content-type", kind).body(Body::from(body.to_owned())).unwrap()
    };
    let long = format!(r#"{{"requestedAt":"{}"}}"#, "0".repeat(70_000));
    for (request, status, reason) in [
        (get("/v1/nothing"), 404, "UnknownRoute"),
        (Request::delete("/v1/status").body(Body::empty()).unwrap(), 405, "UnknownMethod"),
        (post("/v1/messages", "text/plain", "{}"), 415, "NotJson"),
        (post("/v1/messages", "application/json", "{"), 400, "InvalidBody"),
        (post("/v1/messages", "application/json", r#"{"to":"1"}"#), 422, "InvalidBody"),
        (post("/v1/pair", "application/json", r#"{"requestedAt":1}"#), 422, "InvalidBody"),
        (post("/v1/messages?wait=1y", "application/json", "{}"), 400, "InvalidQuery"),
        (get("/v1/messages?limit=0"), 400, "InvalidQuery"),
        (post("/v1/messages?wiat=3s", "application/json", "{}"), 400, "InvalidQuery"),
        (post("/v1/messages/batch?wait=3s", "application/json", "{}"), 400, "InvalidQuery"),
        (get("/v1/messages?limits=1"), 400, "InvalidQuery"),
        (get("/v1/messages/3EB0?x=1"), 400, "InvalidQuery"),
        (get("/v1/inbox?state=sent"), 400, "InvalidQuery"),
        (get("/v1/inbox/1/media?x=1"), 400, "InvalidQuery"),
        (get("/v1/events?since=1"), 400, "InvalidQuery"),
        (get("/v1/qr?from=png"), 400, "InvalidQuery"),
        (get("/v1/pairing-code?x=1"), 400, "InvalidQuery"),
        (get("/v1/inbox?limit=few"), 400, "InvalidQuery"),
        (get("/v1/inbox?after=x"), 400, "InvalidQuery"),
        (get("/v1/messages?state=bogus"), 400, "InvalidQuery"),
        (get("/v1/qr?format=gif"), 400, "InvalidQuery"),
        (get("/v1/inbox/first/media"), 400, "InvalidPath"),
        (get("/v1/messages/%FF"), 400, "InvalidPath"),
        (get("/v1/messages/none"), 404, "UnknownMessage"),
        (get("/v1/inbox/1/media"), 404, "NoMedia"),
        (get("/v1/pairing-code"), 409, "NoCode"),
        (post("/v1/pair", "application/json", &long), 413, "BodyTooLarge"),
    ] {
        let label = format!("{} {}", request.method(), request.uri());
        let response = call(&router, request).await;
        assert_eq!(response.status().as_u16(), status, "{label}");
        assert_eq!(response.headers()["content-type"], MEDIA_TYPE, "{label}");
        let problem = json_of(response).await;
        assert_eq!(problem["reason"], reason, "{label}: {problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{label}");
    }
    for (path, detail) in [
        ("/v1/inbox?limit=few", "limit: must be a whole number from 1 to 500"),
        ("/v1/inbox?limit=501", "limit: must be a whole number from 1 to 500"),
        ("/v1/inbox?after=x", "after: must be a whole number"),
        (
            "/v1/messages?state=bogus",
            "state: must be queued, sending, sent, delivered, read or failed, not bogus",
        ),
        ("/v1/qr?format=gif", "format: must be raw, png, svg or terminal, not gif"),
        ("/v1/messages/3EB0?wait=61s", "wait: must be 60s at most"),
        ("/v1/inbox/first/media", "sequence: must be a whole number"),
        ("/v1/messages/%FF", "id: is not UTF-8"),
    ] {
        assert_eq!(json_of(call(&router, get(path)).await).await["detail"], detail, "{path}");
    }
    let lost = json!({ "to": OTHER, "type": "text", "text": "hola", "caption": "mira" }).to_string();
    let response = call(&router, post("/v1/messages", "application/json", &lost)).await;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let detail = json_of(response).await["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("caption does not belong to a message of type text"), "{detail}");
    world.end(device).await;
}

#[tokio::test]
async fn an_idempotency_key_stores_one_message() {
    let world = World::new().await;
    let device = world.start(config(json!({ "phoneNumber": NUMBER }))).await;
    let router = device.device.router();
    let send = |key: &str, text: &str| {
        Request::builder()
            .method(Method::POST)
            .uri("/v1/messages")
            .header("content-type", "application/json")
            .header("idempotency-key", key)
            .body(Body::from(json!({ "to": OTHER, "type": "text", "text": text }).to_string()))
            .unwrap()
    };
    let first = call(&router, send("k", "hola")).await;
    assert_eq!(first.status(), StatusCode::ACCEPTED);
    let location = first.headers()["location"].to_str().unwrap().to_owned();
    let first = json_of(first).await;
    assert_eq!(location, format!("/v1/messages/{}", first["id"].as_str().unwrap()));
    assert_eq!(json_of(call(&router, send("k", "hola")).await).await["id"], first["id"]);
    let reused = call(&router, send("k", "adiós")).await;
    assert_eq!(reused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(json_of(reused).await["reason"], "IdempotencyKeyReused");
    assert_eq!(call(&router, send("", "hola")).await.status(), StatusCode::BAD_REQUEST);
    world.end(device).await;
}

#[tokio::test]
async fn a_caller_with_patience_gets_the_outcome() {
    let world = World::new().await;
    let (device, linked) = world.linked(crate::fixture::quick()).await;
    let router = device.device.router();
    let send = |wait: &str| {
        Request::post(format!("/v1/messages?wait={wait}"))
            .header("content-type", "application/json")
            .body(Body::from(json!({ "to": OTHER, "type": "text", "text": "hola" }).to_string()))
            .unwrap()
    };
    let sent = call(&router, send("30s")).await;
    assert_eq!(sent.status(), StatusCode::OK);
    let state = json_of(sent).await["state"].clone();
    assert!(state == "sent" || state == "delivered", "{state}");
    assert_eq!(call(&router, send("2m")).await.status(), StatusCode::BAD_REQUEST);

    world.control().server().silence(NUMBER, linked.device).await.unwrap();
    let stuck = device.send_text(OTHER, "nobody answers").await;
    device.until_message(&stuck.id, MessageState::Sending).await;
    let waiting = call(&router, get(&format!("/v1/messages/{}?wait=200ms", stuck.id))).await;
    assert_eq!(waiting.status(), StatusCode::OK);
    assert_eq!(json_of(waiting).await["state"], "sending");
    let behind = call(&router, send("200ms")).await;
    assert_eq!(behind.status(), StatusCode::ACCEPTED);
    assert_eq!(json_of(behind).await["state"], "queued");
    world.end(device).await;
}
