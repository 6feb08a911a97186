//! What came in.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::number::PhoneNumber;

/// One record of the inbox journal.
///
/// It was on disk before WhatsApp was told that the message arrived. Sequence numbers have no gaps; the messages of one chat are in the
/// order in which they came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InboxRecord {
    /// Its place in the journal, from 1.
    pub sequence: i64,
    /// The message's id at WhatsApp.
    pub id: String,
    /// The JID of the chat.
    pub chat: String,
    /// The JID of the sender.
    pub sender: String,
    /// The sender's number, when it is known (a LID alone does not tell it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_number: Option<PhoneNumber>,
    /// The name the sender goes by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_name: Option<String>,
    /// Whether this account sent it, from another device.
    pub from_me: bool,
    /// Whether the chat is a group.
    pub group: bool,
    /// `text`, `image`, `video`, `audio`, `document`, `sticker`, `location`, `contact`, `reaction`, `poll`, `edit`, `revoke` or `other`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text or caption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What file it carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<InboxMedia>,
    /// When it was sent, by WhatsApp's clock.
    pub timestamp: Timestamp,
    /// When it was stored.
    pub received_at: Timestamp,
}

/// The file of an incoming message; it is fetched by the message's sequence number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InboxMedia {
    /// Its MIME type, as the sender says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Its name, as the sender says: never a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// Its size in bytes, as the sender says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// One page of the journal, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InboxPage {
    /// The records.
    pub items: Vec<InboxRecord>,
    /// `after` of the next page; absent when there is none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}
