//! What stands in front of the API: proxies that are trusted, pages of other origins.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use enlace_api::http::{Front, Quotas, Rate, Settings};
use http::Request;

use crate::fixture::Api;

/// The API behind a proxy at 10.0.0.1, where three guesses of an address are too many.
async fn behind_a_proxy() -> Api {
    let address = Rate { burst: NonZeroU32::new(3).unwrap(), one_per: Duration::from_secs(3600) };
    let front = Front { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Front::default() };
    let quotas = Quotas { address, ..Quotas::default() };
    Api::start_with(&[], Settings { quotas, front, ..Settings::default() }).await
}

/// A request without a token, from a peer that says for whom it calls.
async fn guess(api: &Api, path: &str, peer: &str, forwarded_for: &str) -> u16 {
    let mut request =
        Request::get(path).header("x-forwarded-for", forwarded_for).body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 40000)));
    api.send(request).await.status().as_u16()
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_its_own_rate() {
    for path in ["/v1/me", "/api/me"] {
        let api = behind_a_proxy().await;
        for _ in 0..3 {
            assert_eq!(guess(&api, path, "10.0.0.1", "192.0.2.1").await, 401, "{path}");
        }
        assert_eq!(guess(&api, path, "10.0.0.1", "192.0.2.1").await, 429, "{path}");
        assert_eq!(
            guess(&api, path, "10.0.0.1", "198.51.100.7, 192.0.2.1").await,
            429,
            "a hop made up helps nobody"
        );
        assert_eq!(guess(&api, path, "10.0.0.1", "192.0.2.2").await, 401, "{path}");
    }
}

#[tokio::test]
async fn whoever_is_not_trusted_cannot_be_somebody_else() {
    let api = behind_a_proxy().await;
    for number in 1..=3 {
        assert_eq!(guess(&api, "/v1/me", "203.0.113.5", &format!("192.0.2.{number}")).await, 401);
    }
    assert_eq!(guess(&api, "/v1/me", "203.0.113.5", "192.0.2.4").await, 429);
}

/// What a browser asks before a page of an origin may call.
async fn allowed(api: &Api, origin: &str) -> Option<String> {
    let request = Request::options("/api/send-message")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type")
        .body(Body::empty())
        .unwrap();
    let answer = api.send(request).await;
    answer.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn pages_of_other_origins_may_call_only_when_they_are_listed() {
    let listed = "https://panel.example.com";
    let api = Api::start(&[]).await;
    assert_eq!(allowed(&api, listed).await, None);
    let front = Front { cors_origins: vec![listed.parse().unwrap()], ..Front::default() };
    let api = Api::start_with(&[], Settings { front, ..Settings::default() }).await;
    assert_eq!(allowed(&api, listed).await.as_deref(), Some(listed));
    assert_eq!(allowed(&api, "https://other.example.com").await, None);
}
