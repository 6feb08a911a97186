//! How much and how often.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use enlace_api::http::{Quotas, Rate, Settings};
use http::Request;
use serde_json::json;

use crate::fixture::{self, Api, manifest};

fn settings(change: impl FnOnce(&mut Quotas)) -> Settings {
    fixture::settings(|settings| change(&mut settings.quotas))
}

fn three() -> Rate {
    Rate { burst: NonZeroU32::new(3).unwrap(), one_per: Duration::from_secs(3600) }
}

#[tokio::test]
async fn a_token_that_calls_too_often_is_told_when() {
    let api = Api::start_with(&[], settings(|quotas| quotas.token = three())).await;
    for _ in 0..3 {
        assert_eq!(api.get("/v1/me").await.status, 200);
    }
    let refused = api.get("/v1/me").await;
    assert_eq!(refused.problem(), (429, "TooManyRequests".into()));
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((3500..=3601).contains(&wait), "{wait}");
    assert_eq!(api.call("GET", "/healthz", "", None).await.status, 200);
}

#[tokio::test]
async fn guessing_tokens_is_slow() {
    let api = Api::start_with(&[], settings(|quotas| quotas.address = three())).await;
    let guess = "0".repeat(64);
    for _ in 0..3 {
        assert_eq!(api.call("GET", "/v1/me", &guess, None).await.problem().0, 401);
    }
    assert_eq!(api.call("GET", "/v1/me", &guess, None).await.problem().0, 429);
    assert_eq!(api.get("/v1/me").await.status, 200, "a good token is not held up by others of its address");
}

#[tokio::test]
async fn guessing_passwords_is_slow() {
    let api = Api::start_with(&[], settings(|quotas| quotas.login = three())).await;
    let login = || api.call("POST", "/v1/login", "", Some(json!({"username": "admin", "password": "guess"})));
    for _ in 0..3 {
        assert_eq!(login().await.problem().0, 401);
    }
    let refused = login().await;
    assert_eq!(refused.problem(), (429, "TooManyRequests".into()));
    let seconds = refused.headers["retry-after"].to_str().unwrap();
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!(detail, format!("too many passwords were tried: try again in {seconds} seconds"));
}

/// The status of a login with each API, from an address; `path` is that of the route.
async fn log_in(api: &Api, path: &str, from: &str, name: &str, password: &str) -> u16 {
    let body = json!({ if path.starts_with("/v1") { "username" } else { "identifier" }: name, "password": password });
    let mut request = Request::post(path)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    request.extensions_mut().insert(ConnectInfo(SocketAddr::new(from.parse().unwrap(), 40000)));
    api.send(request).await.status().as_u16()
}

const LOGINS: [&str; 2] = ["/v1/login", "/api/login"];
const PASSWORD: &str = "a long password";

#[tokio::test]
async fn who_knows_the_password_may_log_in_again_and_again_and_strangers_lock_nobody_out() {
    for path in LOGINS {
        let api = Api::start_with(&[], settings(|quotas| quotas.login = three())).await;
        api.user("ana").await;
        for _ in 0..5 {
            assert_eq!(log_in(&api, path, "192.0.2.1", "ana", PASSWORD).await, 200, "{path}");
        }
        for _ in 0..3 {
            assert_eq!(log_in(&api, path, "192.0.2.9", "ana", "guess").await, 401, "{path}");
        }
        assert_eq!(log_in(&api, path, "192.0.2.9", "ana", PASSWORD).await, 429, "{path}");
        assert_eq!(log_in(&api, path, "192.0.2.1", "ana", PASSWORD).await, 200, "{path}");
        assert_eq!(log_in(&api, path, "192.0.2.9", "beto", "guess").await, 401, "{path}");
    }
}

#[tokio::test]
async fn guesses_are_counted_by_address_and_by_name_too() {
    for path in LOGINS {
        let api = Api::start_with(&[], settings(|quotas| quotas.login_address = three())).await;
        for name in ["a", "b", "c"] {
            assert_eq!(log_in(&api, path, "192.0.2.9", name, "guess").await, 401, "{path}");
        }
        assert_eq!(log_in(&api, path, "192.0.2.9", "d", "guess").await, 429, "{path}");
        let api = Api::start_with(&[], settings(|quotas| quotas.login_name = three())).await;
        for from in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
            assert_eq!(log_in(&api, path, from, "ana", "guess").await, 401, "{path}");
        }
        assert_eq!(log_in(&api, path, "192.0.2.3", "ana", "guess").await, 429, "{path}");
    }
}

#[tokio::test]
async fn good_logins_and_new_accounts_have_a_rate_of_their_own() {
    for path in LOGINS {
        let api = Api::start_with(&[], settings(|quotas| quotas.address = three())).await;
        api.user("ana").await;
        for _ in 0..3 {
            assert_eq!(log_in(&api, path, "192.0.2.1", "ana", PASSWORD).await, 200, "{path}");
        }
        assert_eq!(log_in(&api, path, "192.0.2.1", "ana", PASSWORD).await, 429, "{path}");
        assert_eq!(api.get("/v1/me").await.status, 200, "{path}");
    }
    let api = Api::start_with(&[], settings(|quotas| quotas.registration = three())).await;
    let register = async |number: u64| {
        let body = json!({ "numero": (525_550_000_000 + number).to_string(), "password": PASSWORD });
        api.call("POST", "/api/registro", "", Some(body)).await.status.as_u16()
    };
    for number in 1..=3 {
        assert_eq!(register(number).await, 200);
    }
    assert_eq!(register(4).await, 429);
    assert_eq!(register(1).await, 200, "an account that is there is a login");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let api = Api::start(&[]).await;
    let body = json!({"metadata": {"name": "a"}, "spec": {"displayName": "x".repeat(70_000)}});
    assert_eq!(api.post("/v1/devices", body).await.problem(), (413, "BodyTooLarge".into()));
}

#[tokio::test]
async fn every_mistake_is_a_problem() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({})))]).await;
    assert_eq!(api.get("/v1/nothing").await.problem(), (404, "UnknownRoute".into()));
    assert_eq!(api.get("/v1/").await.problem(), (404, "UnknownRoute".into()));
    assert_eq!(api.get("/v1/Me").await.problem(), (404, "UnknownRoute".into()));
    assert_eq!(api.get("/v1/me/").await.problem(), (404, "UnknownRoute".into()));
    assert_eq!(
        api.call("PUT", "/v1/devices", &api.admin, None).await.problem(),
        (405, "UnknownMethod".into())
    );
    assert_eq!(api.call("POST", "/v1/tokens", &api.admin, None).await.problem(), (415, "NotJson".into()));
    let text = |answer: &crate::fixture::Answer| answer.json()["detail"].as_str().unwrap().to_owned();
    for (body, sentence) in [
        (json!([]), "the body: must be a map of fields, not a list"),
        (json!(7), "the body: must be a map of fields, not a number"),
        (json!({}), "name: is missing"),
        (json!({"name": 7}), "name: must be a text, not a whole number"),
        (
            json!({"name": "t", "expire": 1}),
            "expire: is not a field; the fields are name, devices, actions, expiresIn",
        ),
    ] {
        let answer = api.post("/v1/tokens", body.clone()).await;
        assert_eq!(answer.problem(), (422, "InvalidBody".into()));
        assert_eq!(text(&answer), sentence, "{body}");
    }
    assert_eq!(api.get("/v1/devices/default/UPPER").await.problem(), (400, "InvalidName".into()));
    let path = api.get("/v1/devices/default/a/inbox/x/media").await;
    assert_eq!(path.problem(), (400, "InvalidPath".into()));
    assert_eq!(text(&path), "sequence: must be a whole number");
    let request = http::Request::post("/v1/tokens")
        .header("authorization", format!("Bearer {}", api.admin))
        .header("content-type", "application/json");
    let broken = crate::fixture::answer(api.send(request.body("{".into()).unwrap()).await).await;
    assert_eq!(broken.problem(), (400, "InvalidBody".into()));
    assert_eq!(text(&broken), "the body is not JSON: it ends too early");
}

#[tokio::test]
async fn an_id_that_could_forge_a_log_line_is_replaced() {
    let api = Api::start(&[]).await;
    for (sent, kept) in [("abc-1", true), ("a b", false), (&*"x".repeat(65), false)] {
        let request = http::Request::get("/healthz").header("x-request-id", sent);
        let response = api.send(request.body(axum::body::Body::empty()).unwrap()).await;
        assert_eq!(response.headers()["x-request-id"] == sent, kept, "{sent}");
    }
}

#[tokio::test]
async fn a_lost_database_is_unavailable() {
    let api = Api::start(&[]).await;
    api.database.close().await;
    let answer = api.get("/v1/me").await;
    assert_eq!(answer.problem(), (503, "DatabaseFailed".into()));
    assert_eq!(api.get("/readyz").await.problem(), (503, "DatabaseFailed".into()));
    assert_eq!(api.get("/healthz").await.status, 200);
}
