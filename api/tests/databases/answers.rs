//! What callers of the API hear while its database is away.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use enlace_api::auth::{bootstrap_admin, local_token};
use enlace_api::database::Database;
use enlace_api::directory::{DeviceHost, FolderDirectory, RunningDevice, StartError};
use enlace_api::http::{App, Settings};
use enlace_contract::config::DeviceConfig;
use enlace_databases::{Kind, Server};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout};
use tower::ServiceExt as _;

use crate::world::installed;

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
    let requests = [
        ("GET", "/v1/me", "", 6),
        ("GET", "/v1/users", "", 6),
        ("POST", "/v1/login", LOGIN, 6),
        ("GET", "/readyz", "", 3),
        ("GET", "/api/me", "", 6),
    ];
    // The compatible API has a status of its own for it.
    let expected = |path: &str| {
        if path.starts_with("/api/") {
            StatusCode::INTERNAL_SERVER_ERROR
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    for (method, path, body, seconds) in requests {
        let Answer { status, retry_after, text, took } = ask(router, method, path, token, body).await;
        assert_eq!(status, expected(path), "{path}: {text}");
        assert_eq!(retry_after.as_deref(), Some("5"), "{path}");
        assert!(took < Duration::from_secs(seconds), "{path} took {took:?}");
        for told in ["127.0.0.1", "sqlx", "pool", "refused", "enlace_", "s3cret", &port.to_string()] {
            assert!(!text.contains(told), "{path} tells {told}: {text}");
        }
    }
    assert_eq!(ask(router, "GET", "/healthz", token, "").await.status, StatusCode::OK);
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
    let app = App::new(Arc::new(directory.clone()), database.clone(), Settings::default());
    let router = app.router();
    says_that_it_is_away(&router, &"0".repeat(64), server.port()).await;

    database.prepare().await.unwrap();
    bootstrap_admin(&database).await.unwrap();
    let token = local_token(&database, &root.path().join("token")).await.unwrap();
    let token = token.expose();
    assert_eq!(ask(&router, "GET", "/v1/me", token, "").await.status, StatusCode::OK);
    assert_eq!(ask(&router, "GET", "/readyz", token, "").await.status, StatusCode::OK);

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

async fn comes_back(router: &Router, token: &str) {
    timeout(Duration::from_secs(10), async {
        while ask(router, "GET", "/readyz", token, "").await.status != StatusCode::OK {}
    })
    .await
    .expect("it did not come back");
    assert_eq!(ask(router, "GET", "/v1/me", token, "").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_hear_that_postgres_is_away_and_are_served_when_it_is_back() {
    the_api_says_so(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_hear_that_mariadb_is_away_and_are_served_when_it_is_back() {
    the_api_says_so(Kind::MariaDb).await;
}
