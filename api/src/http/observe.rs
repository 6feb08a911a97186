//! What every request gets: an id, a log line, a measurement, and the headers of its answer.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue, header};
use tracing::Instrument as _;

use super::failure::Reason;
use super::front::peer;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that a caller may bring: it goes into log lines.
const MAX_ID: usize = 64;

/// Nothing that the API answers is a page: no script runs in it, whatever a sender called a picture.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox");

pub(super) async fn observe(mut request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_else(|| "unknown".to_owned());
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default(), %method, route);
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let client = peer(&request);
    let began = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let (status, took) = (response.status(), began.elapsed());
    let reason = response.extensions().get::<Reason>().map(|Reason(reason)| reason.clone());
    measure(method.as_str(), &route, status.as_u16(), reason.as_deref(), took);
    let _in = span.enter();
    let (status, duration_ms) = (status.as_u16(), took.as_millis());
    // Probes come every few seconds and say nothing; so do live connections that poll.
    let routine = matches!(route.as_str(), "/healthz" | "/readyz" | "/metrics");
    if routine || (route == "/socket.io/" && status < 400) {
        tracing::debug!(status, duration_ms, "{method} {route} {status}");
    } else if matches!(status, 401 | 429) {
        // Who guesses must be found.
        let client = client.map(|client| client.ip().to_canonical().to_string());
        tracing::info!(status, reason, duration_ms, client, "{method} {route} {status}");
    } else {
        tracing::info!(status, reason, duration_ms, "{method} {route} {status}");
    }
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // Codes, messages, tokens: no answer is for a cache.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The caller's id when it is harmless in a log, else a new one.
fn request_id(request: &Request) -> HeaderValue {
    let harmless = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        !bytes.is_empty() && bytes.len() <= MAX_ID && bytes.iter().all(plain)
    };
    request.headers().get(REQUEST_ID).filter(harmless).cloned().unwrap_or_else(|| {
        // A UUID is a header value.
        HeaderValue::try_from(uuid::Uuid::new_v4().to_string()).unwrap_or(HeaderValue::from_static("-"))
    })
}

fn measure(method: &str, route: &str, status: u16, reason: Option<&str>, took: Duration) {
    let labels = [("method", method.to_owned()), ("route", route.to_owned()), ("status", status.to_string())];
    metrics::histogram!("enlace_api_request_duration_seconds", &labels).record(took);
    if matches!(status, 401 | 403 | 413 | 429 | 503) {
        let reason = reason.unwrap_or("Unknown").to_owned();
        metrics::counter!("enlace_api_requests_refused_total", "status" => status.to_string(), "reason" => reason)
            .increment(1);
    }
}
