//! What came in.

use axum::Json as Answer;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use enlace_contract::inbox::InboxPage;
use enlace_contract::problem::Problem;
use enlace_contract::query::page_size;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use whatsapp_rust::anyhow;
use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::client::Client;
use whatsapp_rust::waproto::whatsapp as wa;

use super::{Nothing, Path, Query, Shared, invalid_query, store_failed};

/// `?after=&limit=`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    #[serde(default)]
    after: i64,
    limit: Option<u32>,
}

/// `GET /v1/inbox`.
pub(super) async fn list(
    State(shared): State<Shared>,
    Query(Listing { after, limit }): Query<Listing>,
) -> Result<Answer<InboxPage>, Problem> {
    let limit = page_size(limit).map_err(invalid_query)?;
    Ok(Answer(shared.store.inbox(after, limit).await.map_err(store_failed)?))
}

/// The segment of a path.
#[derive(Deserialize)]
pub(super) struct Sequence {
    sequence: i64,
}

/// `GET /v1/inbox/{sequence}/media`: fetches the file from WhatsApp, decrypted.
pub(super) async fn media(
    State(shared): State<Shared>,
    Path(Sequence { sequence }): Path<Sequence>,
    Query(Nothing {}): Query<Nothing>,
) -> Result<Response, Problem> {
    let stored = shared.store.download(sequence).await.map_err(store_failed)?;
    let Some((message, record)) = stored else {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "NoMedia",
            "there is no such record, or it has no file",
        ));
    };
    let client = shared.online.borrow().clone();
    let Some(client) = client else {
        let phase = shared.state.borrow().phase;
        let detail =
            format!("the file is at WhatsApp and the device is {phase}; try again when it is Connected");
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "NotConnected", detail)
            .with_phase(phase)
            .retry_after(10));
    };
    let bytes = download(&client, &message).await.map_err(|error| {
        tracing::warn!(
            sequence,
            error = format!("{error:#}"),
            "the file of record {sequence} could not be fetched"
        );
        let detail = "WhatsApp did not give the file: it keeps files for some weeks only";
        Problem::new(StatusCode::BAD_GATEWAY, "MediaUnavailable", detail)
    })?;
    let media = record.media.unwrap_or(enlace_contract::inbox::InboxMedia {
        mime_type: None,
        file_name: None,
        size: None,
    });
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    // What a stranger sent is never shown as a page of ours.
    let kind = media.mime_type.as_deref().and_then(|kind| HeaderValue::try_from(kind).ok());
    headers
        .insert(header::CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static("application/octet-stream")));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_DISPOSITION, disposition(media.file_name.as_deref()));
    Ok(response)
}

/// `attachment`, with the name in the form of RFC 6266.
fn disposition(name: Option<&str>) -> HeaderValue {
    let plain = HeaderValue::from_static("attachment");
    let Some(name) = name.filter(|name| !name.is_empty()) else { return plain };
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    HeaderValue::try_from(format!("attachment; filename*=UTF-8''{encoded}")).unwrap_or(plain)
}

async fn download(client: &Client, message: &[u8]) -> anyhow::Result<Vec<u8>> {
    let message = wa::Message::decode_from_slice(message)?;
    if let Some(image) = message.image_message.as_option() {
        return client.download(image).await;
    }
    if let Some(video) = message.video_message.as_option() {
        return client.download(video).await;
    }
    if let Some(audio) = message.audio_message.as_option() {
        return client.download(audio).await;
    }
    if let Some(document) = message.document_message.as_option() {
        return client.download(document).await;
    }
    if let Some(sticker) = message.sticker_message.as_option() {
        return client.download(sticker).await;
    }
    anyhow::bail!("the stored message has no file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_break_out_of_its_header() {
        assert_eq!(disposition(Some("a\"\r\nb.pdf")), "attachment; filename*=UTF-8''a%22%0D%0Ab.pdf");
        assert_eq!(disposition(Some("año.pdf")), "attachment; filename*=UTF-8''a%C3%B1o.pdf");
        assert_eq!(disposition(None), "attachment");
    }
}
