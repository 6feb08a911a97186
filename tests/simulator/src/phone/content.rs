//! What a decrypted message says, and the messages that a phone writes.

use anyhow::{Context, Result};
use bytes::Bytes;
use wacore::download::{DownloadUtils, MediaType};
use wacore::upload::{EncryptedMedia, encrypt_media};
use waproto::whatsapp as wa;
use waproto::whatsapp::message::{AudioMessage, DocumentMessage, ImageMessage, StickerMessage, VideoMessage};

use crate::control::types::{MediaKind, NewMedia};

/// Where the file of a message is and the key that opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MediaRef {
    pub(crate) direct_path: String,
    media_key: Vec<u8>,
    kind: MediaKind,
}

impl MediaRef {
    /// Checks and decrypts the blob that was stored for it.
    pub(crate) fn open(&self, blob: &[u8]) -> Result<Vec<u8>> {
        DownloadUtils::verify_and_decrypt(blob, &self.media_key, media_type(self.kind))
            .context("decrypt the file")
    }
}

/// The parts of a message that a person sees.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) kind: String,
    pub(super) text: Option<String>,
    pub(super) caption: Option<String>,
    pub(super) file_name: Option<String>,
    pub(super) mime_type: Option<String>,
    pub(super) file_length: Option<u64>,
    pub(super) media: Option<MediaRef>,
    pub(super) json: serde_json::Value,
}

fn media_type(kind: MediaKind) -> MediaType {
    match kind {
        MediaKind::Document => MediaType::Document,
        MediaKind::Image => MediaType::Image,
        MediaKind::Video => MediaType::Video,
        MediaKind::Audio => MediaType::Audio,
        MediaKind::Sticker => MediaType::Sticker,
    }
}

/// Unpacks the wrappers that only say how a message is to be shown.
pub(super) fn unwrapped(message: &wa::Message) -> &wa::Message {
    let inner =
        [&message.document_with_caption_message, &message.ephemeral_message, &message.view_once_message]
            .into_iter()
            .find_map(|wrapper| wrapper.as_option()?.message.as_option());
    inner.map_or(message, unwrapped)
}

/// The kind that a field of the protocol's message means: `document_message` is a `document`.
fn kind(field: &str) -> String {
    match field {
        "conversation" | "extended_text_message" => "text".to_owned(),
        other => {
            let mut words = other.strip_suffix("_message").unwrap_or(other).split('_');
            let first = words.next().unwrap_or_default().to_owned();
            words.fold(first, |kind, word| {
                let (head, tail) = word.split_at(word.len().min(1));
                kind + &head.to_uppercase() + tail
            })
        }
    }
}

/// Reads a decrypted message.
pub(super) fn describe(message: &wa::Message) -> Content {
    let json = serde_json::to_value(message).unwrap_or_default();
    let field = json.as_object().into_iter().flatten();
    let field = field.map(|(key, value)| (key.as_str(), value));
    let field =
        field.filter(|(key, value)| !value.is_null() && *key != "message_context_info").map(|(key, _)| key);
    let kind = kind(field.min_by_key(|key| key.starts_with("sender_key")).unwrap_or_default());
    let text = message.extended_text_message.as_option().and_then(|text| text.text.clone());
    let mut content =
        Content { kind, text: message.conversation.clone().or(text), json, ..Content::default() };
    macro_rules! file {
        ($part:expr, $kind:expr) => {
            if let Some(part) = $part.as_option() {
                content.mime_type = part.mimetype.clone();
                content.file_length = part.file_length;
                content.media = part
                    .direct_path
                    .clone()
                    .zip(part.media_key.clone())
                    .map(|(direct_path, key)| MediaRef { direct_path, media_key: key.to_vec(), kind: $kind });
            }
        };
    }
    file!(message.document_message, MediaKind::Document);
    file!(message.image_message, MediaKind::Image);
    file!(message.video_message, MediaKind::Video);
    file!(message.audio_message, MediaKind::Audio);
    file!(message.sticker_message, MediaKind::Sticker);
    let captions = (
        message.document_message.as_option().and_then(|part| part.caption.clone()),
        message.image_message.as_option().and_then(|part| part.caption.clone()),
        message.video_message.as_option().and_then(|part| part.caption.clone()),
    );
    content.caption = captions.0.or(captions.1).or(captions.2);
    content.file_name = message.document_message.as_option().and_then(|part| part.file_name.clone());
    content
}

/// Encrypts a file for sending: [`blob`] is what to upload, [`file_message`] what to send then.
pub(super) fn encrypt(bytes: &[u8], kind: MediaKind) -> Result<EncryptedMedia> {
    encrypt_media(bytes, media_type(kind)).context("encrypt the file")
}

/// The message that points at an uploaded file.
pub(super) fn file_message(
    media: &NewMedia,
    length: usize,
    file: &EncryptedMedia,
    url: &str,
    path: &str,
) -> wa::Message {
    let NewMedia { kind, mime_type, file_name, caption } = media.clone();
    macro_rules! part {
        ($type:ident { $($extra:ident: $value:expr),* }) => {
            buffa::MessageField::some($type {
                url: Some(url.to_owned()),
                direct_path: Some(path.to_owned()),
                mimetype: Some(mime_type),
                media_key: Some(file.media_key.to_vec()),
                file_sha256: Some(file.file_sha256.to_vec()),
                file_enc_sha256: Some(file.file_enc_sha256.to_vec()),
                file_length: Some(length as u64),
                media_key_timestamp: Some(jiff::Timestamp::now().as_second()),
                $($extra: $value,)*
                ..Default::default()
            })
        };
    }
    let mut message = wa::Message::default();
    match kind {
        MediaKind::Document => {
            message.document_message =
                part!(DocumentMessage { title: file_name.clone(), file_name: file_name, caption: caption });
        }
        MediaKind::Image => message.image_message = part!(ImageMessage { caption: caption }),
        MediaKind::Video => message.video_message = part!(VideoMessage { caption: caption }),
        MediaKind::Audio => message.audio_message = part!(AudioMessage {}),
        MediaKind::Sticker => message.sticker_message = part!(StickerMessage {}),
    }
    message
}

/// The blob to upload.
pub(super) fn blob(file: &mut EncryptedMedia) -> Bytes {
    std::mem::take(&mut file.data_to_upload).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_a_phone_sends_opens_again_and_a_damaged_one_does_not() {
        let plain = b"%PDF-1.7 of 525500000001".repeat(1000);
        let mut file = encrypt(&plain, MediaKind::Document).unwrap();
        let mut blob = blob(&mut file).to_vec();
        let media = NewMedia {
            kind: MediaKind::Document,
            mime_type: "application/pdf".to_owned(),
            file_name: Some("factura.pdf".to_owned()),
            caption: None,
        };
        let message = file_message(&media, plain.len(), &file, "https://127.0.0.1/v/1", "/v/1");
        let content = describe(&message);
        assert_eq!(
            (content.kind.as_str(), content.file_name.as_deref(), content.file_length),
            ("document", Some("factura.pdf"), Some(plain.len() as u64))
        );
        let media = content.media.unwrap();
        assert_eq!(media.open(&blob).unwrap(), plain);
        blob[100] ^= 1;
        media.open(&blob).unwrap_err();
    }

    #[test]
    fn both_ways_to_write_a_text_are_text() {
        let short = wa::Message { conversation: Some("hola".to_owned()), ..Default::default() };
        let content = describe(&short);
        assert_eq!((content.kind.as_str(), content.text.as_deref()), ("text", Some("hola")));
        assert_eq!(kind("poll_creation_message_v3"), "pollCreationMessageV3");
    }
}
