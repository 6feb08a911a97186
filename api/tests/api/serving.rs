//! The listener.

use enlace_api::http::Settings;
use enlace_api::server::serve;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::fixture::{Api, in_time, manifest};

#[tokio::test]
async fn a_stop_ends_streams_and_lets_requests_end() {
    let api = Api::start(&[("a.yaml", manifest("a", json!({"suspend": true})))]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, api.app.clone(), async { drop(stopped.await) }));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        format!("GET /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n", api.admin);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains("event: added") {
        assert_ne!(in_time(stream.read_buf(&mut answer)).await.unwrap(), 0);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
    stop.send(()).unwrap();
    in_time(stream.read_to_end(&mut answer)).await.unwrap();
    in_time(server).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn metrics_count_requests_and_refusals_by_route() {
    let recorder = enlace_contract::program::metrics().unwrap();
    let settings = Settings { metrics: Some(recorder), ..Settings::default() };
    let api = Api::start_with(&[], settings).await;
    api.get("/v1/devices/default/private-name").await;
    api.call("GET", "/v1/me", "", None).await;
    let text = api.call("GET", "/metrics", "", None).await.text;
    assert!(
        text.contains("enlace_api_requests_refused_total{status=\"401\",reason=\"Unauthorized\"}"),
        "{text}"
    );
    assert!(text.contains("route=\"/v1/devices/{namespace}/{name}\""), "{text}");
    assert!(text.contains("enlace_api_request_duration_seconds_bucket{"), "{text}");
    assert!(!text.contains("private-name"), "{text}");
}
