//! What goes out.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use enlace_contract::messages::{
    Batch, Content, MAX_BATCH, MAX_GAP, MAX_IDEMPOTENCY_KEY, MAX_TEXT, Media, Message, MessagePage,
    MessageState, SendBatch, SendMessage,
};
use enlace_contract::number::CanonicalNumber;
use enlace_contract::problem::Problem;
use enlace_contract::query::{Wait, page_size};
use enlace_contract::state::{ClaimState, DeviceState, Reason};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::{Json, Nothing, Path, Query, Shared, invalid_query, store_failed};
use crate::sending::recipient;
use crate::store::storing::{MAX_WAITING, Stored};

/// The longest name of a file, in bytes: that of common file systems.
const MAX_FILE_NAME: usize = 255;
/// The longest MIME type, in bytes: that of a type's name (RFC 6838).
const MAX_MIME_TYPE: usize = 127;

/// `?after=&limit=&state=`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
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
    Query(wait): Query<Wait>,
    Json(message): Json<SendMessage>,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    let wait = wait.patience().map_err(invalid_query)?;
    check(&message)?;
    room(&shared, std::slice::from_ref(&message))?;
    // Listen before storing: a message that is sent at once is not missed.
    let changes = shared.changes.subscribe();
    let linked = linked_number(&shared.state.borrow());
    let stored = shared.store.enqueue(message, &message_id(), key, linked.as_ref(), Timestamp::now()).await;
    let message = accept(&shared, stored.map_err(store_failed)?, std::slice::from_ref)?;
    let message = match wait {
        Some(wait) => settled(&shared, message, changes, wait).await,
        None => message,
    };
    let location = HeaderValue::try_from(format!("/v1/messages/{}", message.id)).ok();
    let mut response = (status(&[message.state]), Answer(message)).into_response();
    if let Some(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `POST /v1/messages/batch`: stores messages that belong together, all or none, and answers 202.
pub(super) async fn send_batch(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Query(Nothing {}): Query<Nothing>,
    Json(SendBatch { messages, gap }): Json<SendBatch>,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    if !(1..=MAX_BATCH).contains(&messages.len()) || gap > MAX_GAP {
        let detail = format!("a batch has 1 to {MAX_BATCH} messages, and a gap of {MAX_GAP} at most");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "InvalidBatch", detail));
    }
    messages.iter().try_for_each(check)?;
    room(&shared, &messages)?;
    let linked = linked_number(&shared.state.borrow());
    let messages = messages.into_iter().map(|message| (message_id(), message)).collect();
    let stored =
        shared.store.enqueue_batch(messages, gap.get(), key, linked.as_ref(), Timestamp::now()).await;
    let items = accept(&shared, stored.map_err(store_failed)?, Vec::as_slice)?;
    let states: Vec<_> = items.iter().map(|message| message.state).collect();
    Ok((status(&states), Answer(Batch { items })).into_response())
}

/// 202 while something waits.
fn status(states: &[MessageState]) -> StatusCode {
    let waits = states.iter().any(|state| matches!(state, MessageState::Queued | MessageState::Sending));
    if waits { StatusCode::ACCEPTED } else { StatusCode::OK }
}

/// Refuses what a full disk could not keep: a burst fills one faster than the session sees that it runs full.
fn room(shared: &Shared, messages: &[SendMessage]) -> Result<(), Problem> {
    let files: usize =
        messages.iter().filter_map(|message| message.content.media()).map(|media| media.data.0.len()).sum();
    // Once in the database's log, once in its pages.
    let written = u64::try_from(files).unwrap_or(u64::MAX).saturating_mul(2);
    let full = shared.state.borrow().reason == Some(Reason::DiskFull);
    // Where the file system does not say, the database does.
    if !full && shared.reserve.outlasts(written).unwrap_or(true) {
        return Ok(());
    }
    metrics::counter!("enlace_device_requests_refused_total", "reason" => "DiskFull").increment(1);
    let detail = "the device's volume is nearly full, so nothing more is accepted: make room, or give the device a larger volume";
    Err(Problem::new(StatusCode::INSUFFICIENT_STORAGE, "DiskFull", detail).retry_after(60))
}

/// What was stored, now or before; what is new is told to the sender and to whoever watches.
fn accept<T>(shared: &Shared, stored: Stored<T>, messages: impl Fn(&T) -> &[Message]) -> Result<T, Problem> {
    match stored {
        Stored::New(stored) => {
            let new = messages(&stored);
            let count = u64::try_from(new.len()).unwrap_or(u64::MAX);
            metrics::counter!("enlace_device_messages_accepted_total").increment(count);
            shared.queued.notify_one();
            for message in new {
                let _ = shared.changes.send(message.clone());
            }
            Ok(stored)
        }
        Stored::Repeated(stored) => Ok(stored),
        Stored::KeyReused => {
            let detail = "this Idempotency-Key was used for another message: use a new key for a new message";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "IdempotencyKeyReused", detail))
        }
        Stored::Full => {
            metrics::counter!("enlace_device_requests_refused_total", "reason" => "OutboxFull").increment(1);
            let detail = format!("{MAX_WAITING} messages wait already; try again later");
            Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "OutboxFull", detail).retry_after(60))
        }
    }
}

/// `GET /v1/messages`.
pub(super) async fn list(
    State(shared): State<Shared>,
    Query(Listing { after, limit, state }): Query<Listing>,
) -> Result<Answer<MessagePage>, Problem> {
    let limit = page_size(limit).map_err(invalid_query)?;
    Ok(Answer(shared.store.messages(after, limit, state).await.map_err(store_failed)?))
}

/// The segment of a path.
#[derive(Deserialize)]
pub(super) struct MessageId {
    id: String,
}

/// `GET /v1/messages/{id}`: as it is, or with `wait` once it is sent or failed.
pub(super) async fn one(
    State(shared): State<Shared>,
    Path(MessageId { id }): Path<MessageId>,
    Query(wait): Query<Wait>,
) -> Result<Answer<Message>, Problem> {
    let wait = wait.patience().map_err(invalid_query)?;
    // Listen before looking: what happens in between is not missed.
    let changes = shared.changes.subscribe();
    let message = shared.store.message(&id).await.map_err(store_failed)?;
    let message = message.ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "UnknownMessage", "this device has no such message")
    })?;
    Ok(Answer(match wait {
        Some(wait) => settled(&shared, message, changes, wait).await,
        None => message,
    }))
}

/// The number as which a message that is stored now goes out: none while none is linked that may stay.
fn linked_number(state: &DeviceState) -> Option<CanonicalNumber> {
    let stays = matches!(state.claim, ClaimState::Pending | ClaimState::Granted);
    state.account.as_ref().filter(|_| stays).map(|account| account.phone_number.canonical())
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
    if media.file_name.as_deref().is_some_and(|name| !is_file_name(name)) {
        let detail = format!(
            "media.fileName must be a plain name on one line, 1 to {MAX_FILE_NAME} bytes, without /, \\ and control characters"
        );
        return Err(invalid("InvalidMedia", detail));
    }
    if media.mime_type.as_deref().is_some_and(|kind| !is_mime_type(kind)) {
        let detail = format!(
            "media.mimeType must be a MIME type, like application/pdf or audio/ogg; codecs=opus, {MAX_MIME_TYPE} bytes at most"
        );
        return Err(invalid("InvalidMedia", detail));
    }
    Ok(())
}

/// A name that any system can give a file, and that looks like what it is.
fn is_file_name(name: &str) -> bool {
    // U+2028 and U+2029 break lines, and are no control characters.
    let forbidden = |c: char| c.is_control() || matches!(c, '/' | '\\' | '\u{2028}' | '\u{2029}');
    (1..=MAX_FILE_NAME).contains(&name.len()) && !name.contains(forbidden) && !matches!(name, "." | "..")
}

/// A type and a subtype, with or without parameters, in ASCII; no range of types.
fn is_mime_type(kind: &str) -> bool {
    kind.len() <= MAX_MIME_TYPE
        && kind.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && kind.parse::<mime_guess::Mime>().is_ok_and(|kind| {
            [kind.type_(), kind.subtype()].iter().all(|name| !matches!(name.as_str(), "" | "*"))
        })
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

/// The message once it is sent or failed, or as it is when the caller's patience ends or the device stops.
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
    let _ = tokio::time::timeout(wait, shared.stop.run_until_cancelled(watching)).await;
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mime_type_is_two_tokens_and_their_parameters() {
        for kind in
            ["application/pdf", "audio/ogg; codecs=opus", "image/svg+xml", "text/csv; charset=\"utf-8\""]
        {
            assert!(is_mime_type(kind), "{kind}");
        }
        let long = format!("text/{}", "a".repeat(200));
        for kind in [
            "",
            "pdf",
            "/",
            "a/",
            "/b",
            "*/*",
            "image/*",
            "a b/c",
            "text/plain\r\nX: y",
            "text/pl\0ain",
            "é/x",
            &long,
        ] {
            assert!(!is_mime_type(kind), "{kind:?}");
        }
    }

    #[test]
    fn a_file_name_is_one_plain_line() {
        for name in ["factura.pdf", "año 2030 (1).pdf", "…"] {
            assert!(is_file_name(name), "{name}");
        }
        let long = "a".repeat(256);
        for name in
            ["", ".", "..", "a/b", "a\\b", "a\nb", "a\rb", "a\tb", "\u{7f}", "a\u{85}b", "a\u{2028}b", &long]
        {
            assert!(!is_file_name(name), "{name:?}");
        }
    }
}
