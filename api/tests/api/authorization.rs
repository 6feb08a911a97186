//! Who may do what.

use std::num::NonZeroU32;

use enlace_api::http::Settings;
use serde_json::{Value, json};

use crate::fixture::{Api, manifest};

/// Each route, with a body that gets past its reading, and the action it needs.
const ROUTES: [(&str, &str, &str); 21] = [
    ("GET", "/v1/devices", "devices:read"),
    ("POST", "/v1/devices", "devices:write"),
    ("GET", "/v1/devices/default/a", "devices:read"),
    ("PATCH", "/v1/devices/default/a", "devices:write"),
    ("DELETE", "/v1/devices/default/a", "devices:write"),
    ("POST", "/v1/devices/default/a/suspend", "devices:write"),
    ("POST", "/v1/devices/default/a/resume", "devices:write"),
    ("GET", "/v1/devices/default/a/status", "devices:read"),
    ("POST", "/v1/devices/default/a/pair", "devices:pair"),
    ("POST", "/v1/devices/default/a/logout", "devices:write"),
    ("GET", "/v1/devices/default/a/qr", "devices:pair"),
    ("GET", "/v1/devices/default/a/pairing-code", "devices:pair"),
    ("GET", "/v1/devices/default/a/messages", "messages:read"),
    ("POST", "/v1/devices/default/a/messages", "messages:send"),
    ("GET", "/v1/devices/default/a/messages/3EB0", "messages:read"),
    ("GET", "/v1/devices/default/a/inbox", "inbox:read"),
    ("GET", "/v1/devices/default/a/inbox/1/media", "inbox:read"),
    ("GET", "/v1/devices/default/a/events", "events:read"),
    ("GET", "/v1/tokens", "tokens:write"),
    ("POST", "/v1/tokens", "tokens:write"),
    ("GET", "/v1/users", "users:write"),
];

fn body(method: &str, path: &str) -> Option<Value> {
    match (method, path) {
        ("POST", "/v1/devices") => Some(json!({"metadata": {"name": "b"}, "spec": {}})),
        ("POST", "/v1/tokens") => Some(json!({"name": "t"})),
        ("PATCH", _) => Some(json!({"spec": {}})),
        ("POST", path) if path.ends_with("/messages") => {
            Some(json!({"to": "525550000002", "type": "text", "text": "x"}))
        }
        _ => None,
    }
}

#[tokio::test]
async fn every_guarded_route_of_the_description_needs_a_token() {
    let mut settings = Settings::default();
    settings.quotas.address.burst = NonZeroU32::MAX;
    let api = Api::start_with(&[("a.yaml", manifest("a", json!({})))], settings).await;
    let document = api.call("GET", "/v1/openapi.json", "", None).await.json();
    let mut seen = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let filled = path.replace("{namespace}", "default").replace("{name}", "a");
            let filled = filled.replace("{id}", "x").replace("{sequence}", "1");
            let open = matches!(path.as_str(), "/healthz" | "/readyz" | "/v1/login");
            assert_eq!(operation.get("security").is_none(), open, "{method} {path}");
            if open {
                continue;
            }
            let (method, unknown) = (method.to_uppercase(), "0".repeat(64));
            for token in ["", "nonsense", unknown.as_str()] {
                let answer = api.call(&method, &filled, token, body(&method, &filled)).await;
                assert_eq!(answer.problem(), (401, "Unauthorized".into()), "{method} {path} {token}");
                assert!(answer.headers.contains_key("www-authenticate"));
            }
            seen += 1;
        }
    }
    assert!(seen >= ROUTES.len(), "{seen}");
}

#[tokio::test]
async fn a_token_does_what_its_action_allows_and_nothing_else() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    api.stage.device("default/a").await;
    api.until("default/a", |device| device.resource.status.as_ref().unwrap().is_true("PodReady")).await;
    let actions = [
        "devices:read",
        "devices:write",
        "devices:pair",
        "messages:read",
        "messages:send",
        "inbox:read",
        "events:read",
        "tokens:write",
        "users:write",
    ];
    for action in actions {
        let token = api.token(json!({"actions": [action]})).await;
        for (method, path, needed) in ROUTES {
            let request = http::Request::builder()
                .method(method)
                .uri(path)
                .header("authorization", format!("Bearer {token}"))
                .header("content-type", "application/json");
            let body =
                body(method, path).map_or_else(axum::body::Body::empty, |body| body.to_string().into());
            let response = api.send(request.body(body).unwrap()).await;
            let (status, allowed) = (response.status().as_u16(), action == needed);
            assert_eq!(status != 403, allowed, "{action}: {method} {path}: {status}");
            assert_ne!(status, 401);
            if !allowed {
                let scope = response.headers()["www-authenticate"].to_str().unwrap();
                assert!(scope.contains(&format!("scope=\"{needed}\"")), "{method} {path}: {scope}");
            }
        }
    }
}

#[tokio::test]
async fn a_token_of_some_devices_sees_no_others() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({}))), ("b.yaml", manifest("b", json!({})))]).await;
    api.stage.device("default/a").await;
    api.stage.device("default/b").await;
    let token = api.token(json!({"devices": ["default/b"]})).await;
    let listed = api.call("GET", "/v1/devices", &token, None).await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    for (method, path, _) in ROUTES.into_iter().filter(|(_, path, _)| path.contains("/default/a")) {
        let hidden = api.call(method, path, &token, body(method, path)).await;
        assert_eq!(hidden.problem(), (404, "NotFound".into()), "{method} {path}");
        let missing = path.replace("/default/a", "/default/missing");
        let missing = api.call(method, &missing, &token, body(method, path)).await;
        let like = missing.text.replace("missing", "a");
        assert_eq!(hidden.text, like, "it looks like one that is not there");
    }
    let created = api.call("POST", "/v1/devices", &token, body("POST", "/v1/devices")).await;
    assert_eq!(created.problem(), (403, "Forbidden".into()));
    assert_eq!(api.call("GET", "/v1/declaration-errors", &token, None).await.problem().0, 403);
}

#[tokio::test]
async fn a_token_does_not_open_the_next_device_of_the_name() {
    let api = Api::start(&[]).await;
    let device = json!({"metadata": {"name": "a"}, "spec": {}});
    api.post("/v1/devices", device.clone()).await;
    let token = api.token(json!({"devices": ["default/a"]})).await;
    assert_eq!(api.call("GET", "/v1/devices/default/a", &token, None).await.status, 200);
    assert_eq!(api.call("DELETE", "/v1/devices/default/a", &api.admin, None).await.status, 204);
    api.post("/v1/devices", device).await;
    assert_eq!(api.call("GET", "/v1/devices/default/a", &token, None).await.problem().0, 404);
}

#[tokio::test]
async fn a_user_has_its_own_devices_only() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    let (id, token) = api.user("maria").await;
    assert_eq!(api.call("GET", "/v1/devices", &token, None).await.json()["items"], json!([]));
    assert_eq!(api.call("GET", "/v1/devices/default/a", &token, None).await.problem().0, 404);
    let body = json!({"metadata": {"name": "mine", "labels": {"enlace.dev/owner": "somebody"}}, "spec": {}});
    let created = api.call("POST", "/v1/devices", &token, Some(body)).await;
    assert_eq!(created.json()["metadata"]["labels"]["enlace.dev/owner"], id.as_str());
    assert_eq!(api.call("GET", "/v1/devices/default/mine", &token, None).await.status, 200);
    assert_eq!(api.call("GET", "/v1/users", &token, None).await.problem().0, 403);
    assert_eq!(api.call("GET", "/v1/declaration-errors", &token, None).await.problem().0, 403);
    // A device of a file is given to a user by the label.
    let mut device: Value = serde_json::from_str(&manifest("a", json!({}))).unwrap();
    device["metadata"]["labels"] = json!({"enlace.dev/owner": id});
    api.write("a.yaml", &device.to_string());
    api.directory.rescan().await;
    assert_eq!(api.call("GET", "/v1/devices/default/a", &token, None).await.status, 200);
}
