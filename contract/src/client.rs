//! The typed client of a device's HTTP interface.
//!
//! It speaks to a device in the same process (its router, no port and no token) or to one at an address (HTTP and a device token) in the
//! same words. Every call has a time limit; an event stream ends with an error when nothing
//! comes for [`SILENCE`], not even a comment.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use eventsource_stream::{EventStreamError, Eventsource as _};
use futures::stream::{BoxStream, StreamExt as _};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt as _;

use crate::duration::Period;
use crate::events::{DeviceEvent, SILENCE};
use crate::inbox::InboxPage;
use crate::messages::{Batch, Message, SendBatch, SendMessage};
use crate::problem::Problem;
use crate::state::{ClaimDecision, DeviceState, PairRequest};
use crate::token::TokenSigner;

/// How long a call may take. A call that waits on purpose adds its own time.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a call with a file may take: its body has tens of megabytes.
const FILE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection may take to open: a pod that is gone must not hold a caller.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest answer that is read whole, in bytes.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// A client of one device.
#[derive(Clone)]
pub struct DeviceClient(Transport);

#[derive(Clone)]
enum Transport {
    InProcess(Router),
    Http(Box<Http>),
}

#[derive(Clone)]
struct Http {
    client: hyper_util::client::legacy::Client<HttpConnector, Body>,
    base: Uri,
    uid: Arc<str>,
    signer: TokenSigner,
}

/// A call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The device cannot be reached.
    #[error("the device cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The device did not answer in time.
    #[error("the device did not answer within {0:?}")]
    Timeout(Duration),
    /// The device refused, and said why.
    #[error("the device refused: {0}")]
    Refused(Problem),
    /// The device does not know this caller: its address may belong to another device by now.
    #[error("the device does not accept this caller's token")]
    Unauthorized,
    /// The answer is not of the form that was expected.
    #[error("the device's answer cannot be read")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl DeviceClient {
    /// A client of a device in this process.
    pub fn in_process(router: Router) -> Self {
        Self(Transport::InProcess(router))
    }

    /// A client of the device at `base` (`http://ADDRESS:PORT`), with tokens for its UID.
    pub fn http(base: Uri, uid: &str, signer: TokenSigner) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
        Self(Transport::Http(Box::new(Http { client, base, uid: uid.into(), signer })))
    }

    /// Passes a request on and the answer back, both as streams. The request's path and query are kept, its credentials are not.
    ///
    /// # Errors
    /// When the device cannot be reached. An error answer is an `Ok` here.
    pub async fn forward(&self, mut request: Request<Body>) -> Result<Response<Body>, ClientError> {
        request.headers_mut().remove(header::AUTHORIZATION);
        request.headers_mut().remove(header::COOKIE);
        match &self.0 {
            Transport::InProcess(router) => match router.clone().oneshot(request).await {
                Ok(response) => Ok(response),
                Err(never) => match never {},
            },
            Transport::Http(http) => http.send(request).await,
        }
    }

    /// `GET /v1/status`.
    ///
    /// # Errors
    /// See [`ClientError`]; so for all calls.
    pub async fn state(&self) -> Result<DeviceState, ClientError> {
        self.call(Method::GET, "/v1/status", None::<&()>).await
    }

    /// `POST /v1/messages`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn send(&self, message: &SendMessage) -> Result<Message, ClientError> {
        self.call(Method::POST, "/v1/messages", Some(message)).await
    }

    /// `POST /v1/messages/batch`. With a key, the same batch is stored once, however often it is sent.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn send_batch(&self, batch: &SendBatch, key: Option<&str>) -> Result<Batch, ClientError> {
        let mut request =
            Request::post("/v1/messages/batch").header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(serde_json::to_vec(batch).map_err(unreadable)?.into());
        self.answer(request.map_err(unreadable)?, FILE_TIMEOUT).await
    }

    /// `GET /v1/messages/{id}?wait=`: the message once it is sent or failed, or as it is when that time is over.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn settled(&self, id: &str, wait: Duration) -> Result<Message, ClientError> {
        let request = Request::get(format!("/v1/messages/{id}?wait={}", Period::from(wait)));
        self.answer(request.body(Body::empty()).map_err(unreadable)?, CALL_TIMEOUT + wait).await
    }

    /// `GET /v1/messages/{id}`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn message(&self, id: &str) -> Result<Message, ClientError> {
        self.call(Method::GET, &format!("/v1/messages/{id}"), None::<&()>).await
    }

    /// `GET /v1/inbox`: the records after a sequence number.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn inbox(&self, after: i64, limit: u32) -> Result<InboxPage, ClientError> {
        self.call(Method::GET, &format!("/v1/inbox?after={after}&limit={limit}"), None::<&()>).await
    }

    /// `PUT /v1/claim`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn decide_claim(&self, decision: &ClaimDecision) -> Result<DeviceState, ClientError> {
        self.call(Method::PUT, "/v1/claim", Some(decision)).await
    }

    /// `POST /v1/pair`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn pair(&self, request: &PairRequest) -> Result<DeviceState, ClientError> {
        self.call(Method::POST, "/v1/pair", Some(request)).await
    }

    /// `POST /v1/logout`: unlinks the device at WhatsApp and erases the session.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn log_out(&self) -> Result<DeviceState, ClientError> {
        self.call(Method::POST, "/v1/logout", None::<&()>).await
    }

    /// `GET /v1/events`: the events, from the record after `after` on; without it, from now on. The first event is the state.
    ///
    /// # Errors
    /// See [`ClientError`]; an item's error ends the stream.
    pub async fn events(
        &self,
        after: Option<i64>,
    ) -> Result<BoxStream<'static, Result<DeviceEvent, ClientError>>, ClientError> {
        self.event_stream("/v1/events", after).await
    }

    /// The same with states only: nothing is sent of what passes through the device.
    ///
    /// # Errors
    /// See [`ClientError`]; an item's error ends the stream.
    pub async fn states(&self) -> Result<BoxStream<'static, Result<DeviceState, ClientError>>, ClientError> {
        let events = self.event_stream("/v1/events?kinds=state", None).await?;
        let states = events.filter_map(async |event| match event {
            Ok(DeviceEvent::State(state)) => Some(Ok(state)),
            Ok(DeviceEvent::Message(_) | DeviceEvent::MessageState(_)) => None,
            Err(error) => Some(Err(error)),
        });
        Ok(states.boxed())
    }

    async fn event_stream(
        &self,
        path: &str,
        after: Option<i64>,
    ) -> Result<BoxStream<'static, Result<DeviceEvent, ClientError>>, ClientError> {
        let mut request = Request::get(path).header(header::ACCEPT, "text/event-stream");
        if let Some(sequence) = after {
            request = request.header("Last-Event-ID", sequence.to_string());
        }
        let request = request.body(Body::empty()).map_err(unreadable)?;
        let response = tokio::time::timeout(CALL_TIMEOUT, self.forward(request))
            .await
            .map_err(|_| ClientError::Timeout(CALL_TIMEOUT))??;
        let response = accepted(response).await?;
        let events = until_silent(response.into_body()).eventsource().filter_map(async |event| match event {
            Ok(event) => DeviceEvent::parse(&event.event, &event.data).map_err(unreadable).transpose(),
            Err(EventStreamError::Transport(error)) => Some(Err(error)),
            Err(error) => Some(Err(unreadable(error))),
        });
        Ok(events.boxed())
    }

    async fn call<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<A, ClientError> {
        let mut request = Request::builder().method(method).uri(path);
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(serde_json::to_vec(body).map_err(unreadable)?)
            }
            None => Body::empty(),
        };
        self.answer(request.body(body).map_err(unreadable)?, CALL_TIMEOUT).await
    }

    async fn answer<A: DeserializeOwned>(
        &self,
        request: Request<Body>,
        limit: Duration,
    ) -> Result<A, ClientError> {
        let answer = async {
            let response = accepted(self.forward(request).await?).await?;
            serde_json::from_slice(&whole(response).await?).map_err(unreadable)
        };
        tokio::time::timeout(limit, answer).await.map_err(|_| ClientError::Timeout(limit))?
    }
}

impl Http {
    async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, ClientError> {
        let mut parts = self.base.clone().into_parts();
        parts.path_and_query = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from_parts(parts).map_err(unreadable)?;
        let token = self.signer.sign(&self.uid, jiff::Timestamp::now()).map_err(unreadable)?;
        let value = HeaderValue::try_from(format!("Bearer {token}")).map_err(unreadable)?;
        request.headers_mut().insert(header::AUTHORIZATION, value);
        request.headers_mut().remove(header::HOST);
        let response = self.client.request(request).await;
        response
            .map(|response| response.map(Body::new))
            .map_err(|error| ClientError::Unreachable(Box::new(error)))
    }
}

/// The bytes of an event stream. Comments are bytes too: a stream that brings nothing for so long is dead, and that is an error. So is an
/// event (all up to a blank line) that is larger than an answer may be: whoever reads it has it in memory until it is whole.
fn until_silent(body: Body) -> BoxStream<'static, Result<Bytes, ClientError>> {
    let begin = (body.into_data_stream(), EventSize::default());
    futures::stream::unfold(Some(begin), async |reading| {
        let (mut bytes, mut size) = reading?;
        match tokio::time::timeout(SILENCE, bytes.next()).await {
            Ok(next) => match next? {
                Ok(chunk) if size.grows_too_large(&chunk) => {
                    Some((Err(unreadable(format!("an event has more than {MAX_ANSWER} bytes"))), None))
                }
                Ok(chunk) => Some((Ok(chunk), Some((bytes, size)))),
                Err(error) => Some((Err(ClientError::Unreachable(Box::new(error))), None)),
            },
            Err(_) => Some((Err(ClientError::Timeout(SILENCE)), None)),
        }
    })
    .boxed()
}

/// How many bytes came since the last blank line. Lines end with LF, CR LF or CR.
#[derive(Default)]
struct EventSize {
    bytes: usize,
    /// The last byte was the end of a line.
    line_ended: bool,
    /// The last byte was a CR.
    after_cr: bool,
}

impl EventSize {
    /// Counts what came; whether an event is larger than [`MAX_ANSWER`] with it.
    fn grows_too_large(&mut self, chunk: &[u8]) -> bool {
        for byte in chunk {
            self.bytes += 1;
            match byte {
                b'\n' if self.after_cr => self.after_cr = false,
                b'\n' | b'\r' => {
                    if self.line_ended {
                        self.bytes = 0;
                    }
                    self.line_ended = true;
                    self.after_cr = *byte == b'\r';
                }
                _ => (self.line_ended, self.after_cr) = (false, false),
            }
            if self.bytes > MAX_ANSWER {
                return true;
            }
        }
        false
    }
}

async fn accepted(response: Response<Body>) -> Result<Response<Body>, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    if status == StatusCode::UNAUTHORIZED {
        return Err(ClientError::Unauthorized);
    }
    let problem = serde_json::from_slice(&whole(response).await?)
        .unwrap_or_else(|_| Problem::new(status, "Unknown", "the device gave no reason"));
    Err(ClientError::Refused(problem))
}

async fn whole(response: Response<Body>) -> Result<Bytes, ClientError> {
    match Limited::new(response.into_body(), MAX_ANSWER).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ClientError::Unreadable(error)),
        Err(error) => Err(ClientError::Unreachable(error)),
    }
}

fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
    ClientError::Unreadable(error.into())
}

#[cfg(test)]
mod tests {
    use axum::routing::get;

    use super::*;

    /// The events of a server that sends a piece of a body again and again.
    async fn events_of(piece: &'static [u8], times: usize) -> Vec<Result<DeviceEvent, ClientError>> {
        let pieces = move || futures::stream::iter(std::iter::repeat_n(piece, times));
        let body = async move || {
            Body::from_stream(pieces().map(|piece| Ok::<_, std::io::Error>(Bytes::from_static(piece))))
        };
        let client = DeviceClient::in_process(Router::new().route("/v1/events", get(body)));
        client.events(None).await.unwrap().collect().await
    }

    #[tokio::test]
    async fn an_event_stream_that_never_ends_a_line_ends_with_an_error() {
        const PIECE: &[u8] = &[b'x'; 64 * 1024];
        // More of it than any machine has memory for.
        let events = events_of(PIECE, usize::MAX).await;
        assert!(matches!(events.as_slice(), [Err(ClientError::Unreadable(_))]), "{events:?}");
    }

    #[tokio::test]
    async fn an_event_that_never_ends_is_an_error_however_short_its_lines_are() {
        let events = events_of(b"data: x\r\n", usize::MAX).await;
        assert!(matches!(events.as_slice(), [Err(ClientError::Unreadable(_))]), "{events:?}");
    }

    #[tokio::test]
    async fn a_stream_of_small_events_may_be_as_long_as_it_likes() {
        for ends in ["\n\n", "\r\n\r\n", "\r\r"] {
            let piece: &'static [u8] = format!(": {}{ends}", "x".repeat(64 * 1024)).leak().as_bytes();
            let events = events_of(piece, 2 * MAX_ANSWER / (64 * 1024)).await;
            assert!(events.is_empty(), "{ends:?}: {events:?}");
        }
    }
}
