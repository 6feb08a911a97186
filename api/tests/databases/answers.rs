//! What callers of the API hear while its database is away.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use enlace_api::database::Database;
use enlace_api::directory::{DeviceHost, FolderDirectory, RunningDevice, StartError};
use enlace_api::http::{App, Quotas, Rate, Settings};
use enlace_api::seed;
use enlace_contract::config::DeviceConfig;
use enlace_databases::{Kind, Server};
use futures::future::join_all;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tower::ServiceExt as _;

use crate::world::installed;

/// Who registers and logs in.
const ACCOUNT: &str = r#"{"numero": "525550000001", "password": "clave-larga"}"#;

/// There are no devices here.
struct Nobody;

#[async_trait]
impl DeviceHost for Nobody {
    async fn start(&self, _: DeviceConfig, _: PathBuf) -> Result<Box<dyn RunningDevice>, StartError> {
        Err(StartError("there are no devices here".into()))
    }
}

struct Answer {
    status: StatusCode,
    retry_after: Option<String>,
    text: String,
    took: Duration,
}

async fn ask(router: &Router, method: &str, path: &str, token: &str, body: &'static str) -> Answer {
    let started = Instant::now();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body))
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let took = started.elapsed();
    let (parts, body) = response.into_parts();
    let retry_after = parts.headers.get(header::RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned());
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    Answer { status: parts.status, retry_after, text, took }
}

/// Whatever needs the database answers in time that it is away: not that a token is wrong, and nothing that its driver said.
async fn says_that_it_is_away(router: &Router, token: &str, port: u16) {
    const LOGIN: &str = r#"{"username": "admin", "password": "wrong wrong wrong"}"#;
    const STATUS: &str = "/api/status?instancia_id=x";
    const NEW: &str = r#"{"numero": "525550000003", "password": "clave-larga"}"#;
    // Method, path, token and body; the status of the answer, and the seconds that it may take.
    let requests = [
        // The native API.
        ("GET", "/v1/me", token, "", 503, 6),
        ("GET", "/v1/users", token, "", 503, 6),
        ("POST", "/v1/login", token, LOGIN, 503, 6),
        ("GET", "/readyz", token, "", 503, 3),
        // The compatible one with a token.
        ("GET", "/api/me", token, "", 503, 6),
        ("GET", "/api/connections", token, "", 503, 6),
        ("POST", "/api/send-message", token, r#"{"number": "525550000002", "message": "x"}"#, 503, 6),
        // The compatible one before a token is looked at.
        ("GET", STATUS, token, "", 503, 6),
        ("GET", "/api/qr?instancia_id=x", token, "", 503, 6),
        ("GET", STATUS, "", "", 503, 6),
        ("POST", "/api/registro", "", NEW, 503, 6),
        ("POST", "/api/login", "", ACCOUNT, 503, 6),
    ];
    let asked = requests.map(async |(method, path, token, body, expected, seconds)| {
        let Answer { status, retry_after, text, took } = ask(router, method, path, token, body).await;
        assert_eq!(status, expected, "{path}: {text}");
        assert_eq!(retry_after.as_deref(), Some("5"), "{path}");
        assert!(took < Duration::from_secs(seconds), "{path} took {took:?}");
        for told in ["127.0.0.1", "sqlx", "pool", "refused", "enlace_", "s3cret", &port.to_string()] {
            assert!(!text.contains(told), "{path} tells {told}: {text}");
        }
    });
    join_all(asked).await;
    assert_eq!(ask(router, "GET", "/healthz", token, "").await.status, StatusCode::OK);
    let Answer { status, text, took, .. } = ask(router, "GET", "/api/health", "", "").await;
    let health: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &health["ok"], &health["db"]), (StatusCode::OK, &json!(true), &json!(false)));
    assert!(took < Duration::from_secs(3), "/api/health took {took:?}");
}

async fn the_api_says_so(kind: Kind) {
    if !installed(kind) {
        return;
    }
    let mut server = Server::start(kind).await.unwrap();
    let url = server.new_database().await.unwrap();
    let root = tempfile::tempdir().unwrap();
    let directory =
        FolderDirectory::open(root.path(), Arc::new(Nobody), &root.path().join("data")).await.unwrap();

    let database = Database::lazy(url.parse().unwrap());
    // Nobody logs in so often.
    let login = Rate { burst: NonZeroU32::MAX, one_per: Duration::from_secs(1) };
    let quotas = Quotas { login, ..Quotas::default() };
    let compatible = seed::Settings { registration: true, ..seed::Settings::default() };
    let settings = Settings { quotas, compatible, ..Settings::default() };
    let app = App::new(Arc::new(directory.clone()), database.clone(), settings);
    let router = app.router();
    says_that_it_is_away(&router, &"0".repeat(64), server.port()).await;

    database.prepare().await.unwrap();
    let registered = ask(&router, "POST", "/api/registro", "", ACCOUNT).await;
    let registered: Value = serde_json::from_str(&registered.text).unwrap();
    let token = registered["token"].as_str().unwrap();
    comes_back(&router, token).await;

    server.freeze().unwrap();
    says_that_it_is_away(&router, token, server.port()).await;
    server.thaw().unwrap();
    comes_back(&router, token).await;

    server.stop().unwrap();
    says_that_it_is_away(&router, token, server.port()).await;
    server.start_again().await.unwrap();
    comes_back(&router, token).await;
    directory.close().await;
}

/// The same token opens the same again, and nothing was started anew.
async fn comes_back(router: &Router, token: &str) {
    timeout(Duration::from_secs(10), async {
        while ask(router, "GET", "/readyz", token, "").await.status != StatusCode::OK {}
    })
    .await
    .expect("it did not come back");
    for (method, path, token, body) in [
        ("GET", "/v1/me", token, ""),
        ("GET", "/api/me", token, ""),
        ("GET", "/api/connections", token, ""),
        ("GET", "/api/status?instancia_id=x", "", ""),
        ("POST", "/api/login", "", ACCOUNT),
    ] {
        let answer = ask(router, method, path, token, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    }
    let health: Value = serde_json::from_str(&ask(router, "GET", "/api/health", "", "").await.text).unwrap();
    assert_eq!(health["db"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_hear_that_postgres_is_away_and_are_served_when_it_is_back() {
    the_api_says_so(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_hear_that_mariadb_is_away_and_are_served_when_it_is_back() {
    the_api_says_so(Kind::MariaDb).await;
}
