//! The whole API over a cluster.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use enlace_api::auth::{TokenValue, bootstrap_admin, local_token};
use enlace_api::database::Database;
use enlace_api::http::{App, Settings};
use enlace_contract::token::TokenSigner;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

use crate::cluster::Cluster;
use crate::fixture::{Fixture, in_time, pod, resource};
use crate::pod::DevicePod;

struct Api {
    fixture: Fixture,
    pod: DevicePod,
    router: Router,
    token: String,
    _directory: TempDir,
}

impl Api {
    /// The API in front of one device that is connected.
    async fn start() -> Self {
        let signer = TokenSigner::generate("api").unwrap();
        let (pod_of_a, port) =
            DevicePod::start("127.0.0.1", 0, "uid-a", signer.public_key(), "Connected").await;
        let cluster = Cluster::new();
        cluster.put("whatsappdevices", resource("shop/a", json!({}), json!({ "phase": "Connected" })));
        cluster.put("pods", pod("shop/a", "pod-a", "127.0.0.1", true));
        let fixture = Fixture::start(cluster, port, signer).await;
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("enlace.db")).await.unwrap();
        bootstrap_admin(&database).await.unwrap();
        let token = local_token(&database, &directory.path().join("token")).await.unwrap();
        let app = App::new(Arc::new(fixture.directory.clone()), database, Settings::default());
        let token = TokenValue::expose(&token).to_owned();
        Self { fixture, pod: pod_of_a, router: app.router(), token, _directory: directory }
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (StatusCode, HeaderMap, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))
            .unwrap();
        let (parts, body) = in_time(self.router.clone().oneshot(request)).await.unwrap().into_parts();
        let bytes = in_time(body.collect()).await.unwrap().to_bytes();
        (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap_or_default())
    }
}

#[tokio::test]
async fn a_message_goes_to_the_pod_and_its_answer_comes_back() {
    let api = Api::start().await;
    let message = json!({ "to": "525550000002", "type": "text", "text": "hello" });
    let (status, _, answer) =
        api.call("POST", "/v1/devices/shop/a/messages?wait=1s", Some(message.clone())).await;
    assert_eq!((status, &answer), (StatusCode::ACCEPTED, &json!({ "id": "3EB0", "echo": message })));
    // The API waits by itself, once the pod has stored the message: this answer tells of none that waits.
    assert_eq!(api.pod.asked(), ["api: POST /v1/messages"]);
}

#[tokio::test]
async fn a_pod_that_is_away_is_503_with_the_phase_and_when_to_try_again() {
    let api = Api::start().await;
    api.fixture.cluster.put("pods", pod("shop/a", "pod-a", "127.0.0.1", false));
    api.fixture.until_reachable("shop/a", false).await;
    let (status, headers, problem) = api.call("GET", "/v1/devices/shop/a/messages", None).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(headers[header::RETRY_AFTER], "3");
    assert_eq!((&problem["reason"], &problem["phase"]), (&json!("DeviceAway"), &json!("Starting")));
}

#[tokio::test]
async fn a_pod_that_refuses_the_apis_token_is_no_refusal_of_the_caller() {
    let api = Api::start().await;
    let port = api.fixture.port;
    let key = api.fixture.signer.public_key().to_owned();
    // Another device has the address.
    let (_other, _) = DevicePod::start("127.0.0.2", port, "uid-b", &key, "Connected").await;
    api.fixture.cluster.put("pods", pod("shop/a", "pod-a2", "127.0.0.2", true));
    let problem = in_time(async {
        loop {
            let (status, _, answer) = api.call("GET", "/v1/devices/shop/a/status", None).await;
            if status != StatusCode::OK {
                break (status, answer);
            }
        }
    })
    .await;
    assert_eq!((problem.0, &problem.1["reason"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("DeviceAway")));
    let message = json!({ "to": "525550000002", "type": "text", "text": "hello" });
    let (status, headers, problem) = api.call("POST", "/v1/devices/shop/a/messages", Some(message)).await;
    assert_eq!((status, &problem["reason"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("DeviceAway")));
    assert!(headers.contains_key(header::RETRY_AFTER) && !headers.contains_key(header::WWW_AUTHENTICATE));
}

#[tokio::test]
async fn a_device_is_created_suspended_and_deleted_through_the_api() {
    let api = Api::start().await;
    let new = json!({ "metadata": { "namespace": "shop", "name": "b" }, "spec": { "displayName": "B" } });
    let (status, headers, device) = api.call("POST", "/v1/devices", Some(new)).await;
    assert_eq!(
        (status, &headers[header::LOCATION]),
        (StatusCode::CREATED, &"/v1/devices/shop/b".parse().unwrap()),
        "{device}"
    );
    let (_, _, me) = api.call("GET", "/v1/me", None).await;
    assert_eq!(device["metadata"]["labels"]["enlace.dev/owner"], me["user"]["id"]);
    let (status, _, suspended) = api.call("POST", "/v1/devices/shop/b/suspend", None).await;
    assert_eq!((status, &suspended["spec"]["suspend"]), (StatusCode::OK, &json!(true)), "{suspended}");
    let (status, _, _) = api.call("DELETE", "/v1/devices/shop/b", None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _, problem) = api.call("DELETE", "/v1/devices/shop/a", None).await;
    assert_eq!((status, &problem["reason"]), (StatusCode::CONFLICT, &json!("NotOurs")));
}
