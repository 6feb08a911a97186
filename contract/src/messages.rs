//! What goes out.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::ToSchema;

use crate::duration::Period;

/// The largest body of `POST /v1/messages`, in bytes: 25 MiB of media in base64 and room for the rest.
pub const MAX_MESSAGE_BODY: usize = 36 * 1024 * 1024;
/// The longest text or caption, in bytes (WhatsApp's own limit is 65,536 characters).
pub const MAX_TEXT: usize = 64 * 1024;
/// The longest `Idempotency-Key`, in bytes.
pub const MAX_IDEMPOTENCY_KEY: usize = 255;
/// The most a caller can wait for a message to be sent (`?wait=`), in seconds.
pub const MAX_WAIT_SECONDS: u64 = 60;
/// The most messages of one [`SendBatch`].
pub const MAX_BATCH: usize = 10;
/// The longest [`SendBatch::gap`].
pub const MAX_GAP: Period = Period::from_secs(60);

/// A message to send.
///
/// A field that nobody knows, or that another kind has, is refused: what it says would be lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", try_from = "Written")]
pub struct SendMessage {
    /// A phone number with its country code, or a JID: `DIGITS@s.whatsapp.net`, `DIGITS@lid`, `DIGITS@g.us` or `DIGITS-DIGITS@g.us`.
    #[schema(example = "525550000001")]
    pub to: String,
    /// What to send.
    #[serde(flatten)]
    pub content: Content,
}

/// Messages that belong together: all of them are stored or none, and they go out one after the other with nothing in between.
///
/// When one of them fails, those after it fail too (`EarlierFailed`): whoever sends the batch again sends nothing twice but what had
/// already arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SendBatch {
    /// The messages, in the order in which they go out: [`MAX_BATCH`] at most.
    pub messages: Vec<SendMessage>,
    /// The time between two of them, instead of the device's `sending.interval`, which is kept before the first one: [`MAX_GAP`] at most.
    #[serde(default = "default_gap")]
    pub gap: Period,
}

/// The default of [`SendBatch::gap`].
pub const DEFAULT_GAP: Period = Period::from_secs(1);

fn default_gap() -> Period {
    DEFAULT_GAP
}

/// The messages of a batch as they are stored, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// The messages.
    pub items: Vec<Message>,
}

/// What a message carries.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Content {
    /// Plain text.
    Text {
        /// The text.
        text: String,
    },
    /// A picture.
    Image {
        /// The picture.
        media: Media,
        /// The text under it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        caption: Option<String>,
    },
    /// A video.
    Video {
        /// The video.
        media: Media,
        /// The text under it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        caption: Option<String>,
    },
    /// Sound.
    Audio {
        /// The sound.
        media: Media,
        /// Shown as a voice message.
        #[serde(default)]
        voice: bool,
    },
    /// Any file.
    Document {
        /// The file.
        media: Media,
        /// The text under it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        caption: Option<String>,
    },
}

impl Content {
    /// Its file.
    pub fn media(&self) -> Option<&Media> {
        match self {
            Self::Text { .. } => None,
            Self::Image { media, .. }
            | Self::Video { media, .. }
            | Self::Audio { media, .. }
            | Self::Document { media, .. } => Some(media),
        }
    }
}

/// A message as it is written: with the fields of all kinds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    to: String,
    #[serde(rename = "type")]
    kind: Kind,
    text: Option<String>,
    media: Option<Media>,
    caption: Option<String>,
    voice: Option<bool>,
}

/// The `type` of a message.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Text,
    Image,
    Video,
    Audio,
    Document,
}

/// The fields of a message do not fit its type.
#[derive(Debug, thiserror::Error)]
enum Misfit {
    #[error("a message of type {kind} needs {field}")]
    Missing { kind: &'static str, field: &'static str },
    #[error(
        "{field} does not belong to a message of type {kind}, which has {fields}: leave it out, or choose another type"
    )]
    Foreign { kind: &'static str, field: &'static str, fields: &'static str },
}

impl TryFrom<Written> for SendMessage {
    type Error = Misfit;

    fn try_from(written: Written) -> Result<Self, Misfit> {
        let Written { to, kind: of, text, media, caption, voice } = written;
        let (kind, fields, foreign) = of.fields();
        let given = [
            ("text", text.is_some()),
            ("media", media.is_some()),
            ("caption", caption.is_some()),
            ("voice", voice.is_some()),
        ];
        if let Some((field, _)) = given.into_iter().find(|(field, given)| *given && foreign.contains(field)) {
            return Err(Misfit::Foreign { kind, field, fields });
        }
        let needed = |media: Option<Media>| media.ok_or(Misfit::Missing { kind, field: "media" });
        let content = match of {
            Kind::Text => Content::Text { text: text.ok_or(Misfit::Missing { kind, field: "text" })? },
            Kind::Image => Content::Image { media: needed(media)?, caption },
            Kind::Video => Content::Video { media: needed(media)?, caption },
            Kind::Audio => Content::Audio { media: needed(media)?, voice: voice.unwrap_or_default() },
            Kind::Document => Content::Document { media: needed(media)?, caption },
        };
        Ok(Self { to, content })
    }
}

impl Kind {
    /// Its name, the fields that it has, and those that it has not.
    const fn fields(self) -> (&'static str, &'static str, &'static [&'static str]) {
        const WITH_CAPTION: (&str, &[&str]) = ("media and caption", &["text", "voice"]);
        match self {
            Self::Text => ("text", "text", &["media", "caption", "voice"]),
            Self::Image => ("image", WITH_CAPTION.0, WITH_CAPTION.1),
            Self::Video => ("video", WITH_CAPTION.0, WITH_CAPTION.1),
            Self::Audio => ("audio", "media and voice", &["text", "caption"]),
            Self::Document => ("document", WITH_CAPTION.0, WITH_CAPTION.1),
        }
    }
}

/// A file, with what is known of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Media {
    /// The content, in base64.
    #[schema(value_type = String, format = "byte")]
    pub data: Base64,
    /// Its MIME type, of 127 bytes at most. Absent: told from the name, then from the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "application/pdf")]
    pub mime_type: Option<String>,
    /// Its name, on one line, of 255 bytes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "invoice.pdf")]
    pub file_name: Option<String>,
}

/// Bytes, in base64 on the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD
            .decode(text)
            .map(Self)
            .map_err(|_| D::Error::custom("data is not base64 (RFC 4648, with padding)"))
    }
}

impl fmt::Debug for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Media").field("bytes", &self.data.0.len()).finish_non_exhaustive()
    }
}

impl Content {
    /// The kind's name, as in the `type` field.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Text { .. } => "text",
            Self::Image { .. } => "image",
            Self::Video { .. } => "video",
            Self::Audio { .. } => "audio",
            Self::Document { .. } => "document",
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The words of people never go into a log by accident.
        f.debug_tuple("Content").field(&self.kind()).finish()
    }
}

/// How far a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum MessageState {
    /// On disk, waiting for its turn.
    Queued,
    /// Its turn has come.
    Sending,
    /// WhatsApp accepted it.
    Sent,
    /// It arrived at the receiver's phone.
    Delivered,
    /// The receiver read (or played) it.
    Read,
    /// It will not be sent; the error says why.
    Failed,
}

/// A stored message, without its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The message's id at WhatsApp, chosen when it was stored.
    #[schema(example = "3EB0D1A5C43F20A9B7C1")]
    pub id: String,
    /// Its place in this device's outbox.
    pub sequence: i64,
    /// To whom, as it was asked for.
    pub to: String,
    /// What it carries: `text`, `image`, `video`, `audio` or `document`.
    #[serde(rename = "type")]
    pub kind: String,
    /// How far it came.
    pub state: MessageState,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<MessageError>,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When WhatsApp accepted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
    /// When its state changed last.
    pub updated_at: Timestamp,
}

/// Why a message failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageError {
    /// A word a program can compare: `NotOnWhatsApp`, `RefusedByWhatsApp`, `NotSent`, `AccountChanged` (another account is linked
    /// now than when it was stored), `EarlierFailed` (one before it in its batch did), `Unreadable`.
    pub reason: String,
    /// The same for a person.
    pub message: String,
}

/// One page of messages, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessagePage {
    /// The messages.
    pub items: Vec<Message>,
    /// `after` of the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_from_flat_json() {
        let message: SendMessage = serde_json::from_value(serde_json::json!({
            "to": "525550000001", "type": "document", "caption": "July",
            "media": {"data": "JVBERg==", "fileName": "invoice.pdf"},
        }))
        .unwrap();
        let Content::Document { media, caption } = &message.content else { panic!("{message:?}") };
        assert_eq!((media.data.0.as_slice(), caption.as_deref()), (b"%PDF".as_slice(), Some("July")));
        assert!(!format!("{message:?}").contains("July"), "no content in a log");
    }

    #[test]
    fn a_field_that_would_be_lost_is_refused_by_its_name() {
        let media = serde_json::json!({ "data": "JVBERg==" });
        for (field, value) in [
            ("caption", serde_json::json!({ "type": "text", "text": "a", "caption": "b" })),
            ("media", serde_json::json!({ "type": "text", "text": "a", "media": media })),
            ("voice", serde_json::json!({ "type": "text", "text": "a", "voice": true })),
            ("text", serde_json::json!({ "type": "image", "media": media, "text": "a" })),
            ("caption", serde_json::json!({ "type": "audio", "media": media, "caption": "a" })),
            ("voice", serde_json::json!({ "type": "document", "media": media, "voice": false })),
            ("quoted", serde_json::json!({ "type": "text", "text": "a", "quoted": "b" })),
            ("needs text", serde_json::json!({ "type": "text" })),
            ("needs media", serde_json::json!({ "type": "video", "caption": "a" })),
            ("`to`", serde_json::json!({ "type": "text", "text": "a", "to": null })),
        ] {
            let mut value = value;
            if field == "`to`" {
                value.as_object_mut().unwrap().remove("to");
            } else {
                value["to"] = "525550000001".into();
            }
            let error = serde_json::from_value::<SendMessage>(value.clone()).unwrap_err().to_string();
            assert!(error.contains(field), "{value}: {error}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let media = Media { data: Base64(b"a".to_vec()), mime_type: None, file_name: None };
        for content in [
            Content::Text { text: "a".into() },
            Content::Image { media: media.clone(), caption: None },
            Content::Video { media: media.clone(), caption: Some("b".into()) },
            Content::Audio { media: media.clone(), voice: true },
            Content::Document { media, caption: Some("b".into()) },
        ] {
            let message = SendMessage { to: "525550000001".into(), content };
            let written = serde_json::to_string(&message).unwrap();
            assert_eq!(serde_json::from_str::<SendMessage>(&written).unwrap(), message);
        }
    }

    #[test]
    fn what_is_not_base64_is_refused_with_the_form() {
        let error = serde_json::from_value::<Media>(serde_json::json!({"data": "?"})).unwrap_err();
        assert!(error.to_string().contains("RFC 4648"), "{error}");
    }
}
