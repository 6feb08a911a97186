//! What goes out.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use enlace_contract::duration::Period;
use enlace_contract::messages::{
    Content, MAX_IDEMPOTENCY_KEY, MAX_TEXT, MAX_WAIT_SECONDS, Media, Message, MessagePage, MessageState,
    SendMessage,
};
use enlace_contract::problem::Problem;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::{Json, Query, Shared, store_failed};
use crate::sending::recipient;
use crate::store::outbox::Stored;

/// The most records of one page.
const MAX_PAGE: u32 = 500;
/// The records of a page when the caller does not say.
const PAGE: u32 = 100;

/// `?wait=10s`.
#[derive(Deserialize)]
pub(super) struct Wait {
    wait: Option<Period>,
}

/// `?after=&limit=&state=`.
#[derive(Deserialize)]
pub(super) struct Listing {
    #[serde(default)]
    after: i64,
    limit: Option<u32>,
    state: Option<MessageState>,
}

/// `POST /v1/messages`: stores a message and answers 202, or waits for it to be sent (then 200).
pub(super) async fn send(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Query(Wait { wait }): Query<Wait>,
    Json(message): Json<SendMessage>,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    let wait = patience(wait)?;
    check(&message)?;
    // Listen before storing: a message that is sent at once is not missed.
    let changes = shared.changes.subscribe();
    let stored =
        shared.store.enqueue(message, &message_id(), key, Timestamp::now()).await.map_err(store_failed)?;
    let message = match stored {
        Stored::New(message) => {
            metrics::counter!("enlace_device_messages_accepted_total").increment(1);
            shared.queued.notify_one();
            let _ = shared.changes.send(message.clone());
            message
        }
        Stored::Repeated(message) => message,
        Stored::KeyReused => {
            let detail = "this Idempotency-Key was used for another message: use a new key for a new message";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "IdempotencyKeyReused", detail));
        }
        Stored::Full => {
            metrics::counter!("enlace_device_requests_refused_total", "reason" => "OutboxFull").increment(1);
            let detail =
                format!("{} messages wait already; try again later", crate::store::outbox::MAX_WAITING);
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "OutboxFull", detail).retry_after(60));
        }
    };
    let message = match wait {
        Some(wait) => settled(&shared, message, changes, wait).await,
        None => message,
    };
    let waiting = matches!(message.state, MessageState::Queued | MessageState::Sending);
    let status = if waiting { StatusCode::ACCEPTED } else { StatusCode::OK };
    let location = HeaderValue::try_from(format!("/v1/messages/{}", message.id)).ok();
    let mut response = (status, Answer(message)).into_response();
    if let Some(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `GET /v1/messages`.
pub(super) async fn list(
    State(shared): State<Shared>,
    Query(Listing { after, limit, state }): Query<Listing>,
) -> Result<Answer<MessagePage>, Problem> {
    let limit = page_size(limit)?;
    Ok(Answer(shared.store.messages(after, limit, state).await.map_err(store_failed)?))
}

/// `GET /v1/messages/{id}`.
pub(super) async fn one(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Answer<Message>, Problem> {
    let message = shared.store.message(&id).await.map_err(store_failed)?;
    message.map(Answer).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "UnknownMessage", "this device has no such message")
    })
}

/// The size of a page.
pub(super) fn page_size(limit: Option<u32>) -> Result<u32, Problem> {
    match limit.unwrap_or(PAGE) {
        limit @ 1..=MAX_PAGE => Ok(limit),
        _ => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "InvalidQuery",
            format!("limit must be 1 to {MAX_PAGE}"),
        )),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= MAX_IDEMPOTENCY_KEY => Ok(Some(key)),
        _ => {
            let detail =
                format!("Idempotency-Key must be 1 to {MAX_IDEMPOTENCY_KEY} visible ASCII characters");
            Err(Problem::new(StatusCode::BAD_REQUEST, "InvalidIdempotencyKey", detail))
        }
    }
}

fn patience(wait: Option<Period>) -> Result<Option<Duration>, Problem> {
    match wait.map(Period::get) {
        Some(wait) if wait > Duration::from_secs(MAX_WAIT_SECONDS) => {
            let detail = format!("wait must be {MAX_WAIT_SECONDS}s at most");
            Err(Problem::new(StatusCode::BAD_REQUEST, "InvalidQuery", detail))
        }
        wait => Ok(wait),
    }
}

/// What can be known to be wrong before anything is stored.
fn check(message: &SendMessage) -> Result<(), Problem> {
    let invalid =
        |reason: &str, detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, reason, detail);
    recipient::parse(&message.to).map_err(|error| invalid("InvalidRecipient", error.to_string()))?;
    let (text, media): (Option<&str>, Option<&Media>) = match &message.content {
        Content::Text { text } if text.is_empty() => {
            return Err(invalid("InvalidText", "text must not be empty".into()));
        }
        Content::Text { text } => (Some(text), None),
        Content::Image { media, caption }
        | Content::Video { media, caption }
        | Content::Document { media, caption } => (caption.as_deref(), Some(media)),
        Content::Audio { media, voice: _ } => (None, Some(media)),
    };
    if text.is_some_and(|text| text.len() > MAX_TEXT) {
        return Err(invalid("InvalidText", format!("text and caption must have {MAX_TEXT} bytes at most")));
    }
    let Some(media) = media else { return Ok(()) };
    if media.data.0.is_empty() {
        return Err(invalid("InvalidMedia", "media.data must not be empty".into()));
    }
    if media
        .file_name
        .as_deref()
        .is_some_and(|name| name.is_empty() || name.len() > 255 || name.contains(['/', '\\', '\0']))
    {
        return Err(invalid(
            "InvalidMedia",
            "media.fileName must be a plain name of 1 to 255 bytes, without / and \\".into(),
        ));
    }
    if media
        .mime_type
        .as_deref()
        .is_some_and(|kind| kind.len() > 127 || !kind.is_ascii() || !kind.contains('/'))
    {
        return Err(invalid(
            "InvalidMedia",
            "media.mimeType must be a MIME type, like application/pdf".into(),
        ));
    }
    Ok(())
}

/// A message id of the form that WhatsApp Web gives: the receiver's phone tells devices by it.
fn message_id() -> String {
    let bytes: [u8; 9] = rand::random();
    bytes.iter().fold(String::from("3EB0"), |mut id, byte| {
        use std::fmt::Write as _;
        // Writing to a String does not fail.
        let _ = write!(id, "{byte:02X}");
        id
    })
}

/// The message once it is sent or failed, or as it is when the caller's patience ends.
async fn settled(
    shared: &Shared,
    mut message: Message,
    mut changes: Receiver<Message>,
    wait: Duration,
) -> Message {
    let watching = async {
        while matches!(message.state, MessageState::Queued | MessageState::Sending) {
            match changes.recv().await {
                Ok(change) if change.id == message.id => message = change,
                Ok(_) => {}
                // Too much happened at once: the database knows.
                Err(RecvError::Lagged(_)) => {
                    if let Ok(Some(current)) = shared.store.message(&message.id).await {
                        message = current;
                    }
                }
                Err(RecvError::Closed) => break,
            }
        }
    };
    // Patience that ends is an answer, too: the message as it is.
    let _ = tokio::time::timeout(wait, watching).await;
    message
}
