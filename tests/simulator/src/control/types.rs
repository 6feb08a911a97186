//! What the control routes and their client speak: JSON in camelCase.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A companion that a phone has linked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Linked {
    /// `NUMBER:DEVICE@s.whatsapp.net`.
    pub jid: String,
    /// `LID:DEVICE@lid`.
    pub lid: String,
    /// The number of the account.
    pub phone: String,
    /// The device id of the companion.
    pub device: u16,
}

/// The `<failure>` that a login gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoginFailure {
    /// The reason: 401 logged out, 402 banned, 403 locked, 405 outdated, 409 bad user agent, 503 unavailable …
    pub reason: u32,
    /// With 402: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u32>,
    /// With 402: for how many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_s: Option<u32>,
    /// A text for the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// A link for the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl LoginFailure {
    /// A failure that carries nothing but its reason.
    #[must_use]
    pub fn with_reason(reason: u32) -> Self {
        Self { reason, ..Self::default() }
    }
}

/// What kind of file a message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MediaKind {
    /// Any file.
    Document,
    /// A picture.
    Image,
    /// A video.
    Video,
    /// A sound or a voice note.
    Audio,
    /// A WebP sticker.
    Sticker,
}

impl MediaKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Sticker => "sticker",
        }
    }
}

/// A file for a phone to send, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewMedia {
    /// What kind of file it is.
    pub kind: MediaKind,
    /// Its MIME type.
    pub mime_type: String,
    /// Its name; documents only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// A text under it; documents, images and videos only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
}

/// A message in the inbox of a phone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PhoneMessage {
    /// The message id.
    pub id: String,
    /// The number of the sender.
    pub from: String,
    /// The companion that sent it.
    pub from_device: u16,
    /// The sender's JID as the message names it: PN or LID.
    pub from_jid: String,
    /// The chat, as the sender addressed it.
    pub to: String,
    /// It is the copy of a message that an own companion sent.
    pub own: bool,
    /// When the phone got it.
    pub at: Timestamp,
    /// The text of a text message.
    pub text: Option<String>,
    /// `text`, `document`, `image`, `location`, `reaction` … after the protocol's field.
    pub kind: String,
    /// The text under a file.
    pub caption: Option<String>,
    /// The name of a document.
    pub file_name: Option<String>,
    /// The MIME type of a file.
    pub mime_type: Option<String>,
    /// The length of a file, as the message says.
    pub file_length: Option<u64>,
    /// The whole decoded message, with the protocol's own field names.
    pub content: serde_json::Value,
    /// Why it could not be decrypted; then nothing of the content is known.
    pub error: Option<String>,
}

/// A receipt that a phone got for a message it sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PhoneReceipt {
    /// The message.
    pub message_id: String,
    /// The number whose companion sent the receipt.
    pub from: String,
    /// `delivered`, `read`, `played`, `inactive`, `retry` …
    pub kind: String,
    /// When it came.
    pub at: Timestamp,
}

/// What the server knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerState {
    /// The accounts, by number.
    pub accounts: Vec<AccountState>,
    /// Companions that wait to be linked.
    pub pairings: usize,
    /// Groups.
    pub groups: usize,
    /// Blobs in the media store.
    pub media: usize,
    /// Stanzas from clients.
    pub stanzas_in: u64,
    /// Stanzas to clients.
    pub stanzas_out: u64,
    /// Message ids that did not fit into the record of the wire.
    pub wire_dropped: u64,
}

impl ServerState {
    /// A device of a number.
    #[must_use]
    pub fn device(&self, phone: &str, device: u16) -> Option<&DeviceState> {
        let account = self.accounts.iter().find(|account| account.phone == phone)?;
        account.devices.iter().find(|known| known.id == device)
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountState {
    /// Its number.
    pub phone: String,
    /// Its LID.
    pub lid: String,
    /// The name it shows.
    pub push_name: String,
    /// Its companions.
    pub devices: Vec<DeviceState>,
}

/// A companion device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceState {
    /// Its id.
    pub id: u16,
    /// It has finished pairing.
    pub paired: bool,
    /// It has a live connection.
    pub online: bool,
    /// It has asked for its queue.
    pub active: bool,
    /// It was logged out.
    pub logged_out: bool,
    /// One-time pre-keys left.
    pub prekeys: usize,
    /// Stanzas that it has not acknowledged.
    pub pending: usize,
}

/// The size of a history that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistorySize {
    /// Bytes before compression.
    pub raw: usize,
    /// Bytes after it.
    pub compressed: usize,
    /// Messages.
    pub messages: u64,
}

/// `{"error": …}`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Problem {
    pub(crate) error: String,
}

/// The real media server's answer to an upload: its names are its own.
#[derive(Debug, Serialize)]
pub(crate) struct Uploaded {
    pub(crate) url: String,
    pub(crate) direct_path: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Scan {
    pub(crate) qr: String,
    #[serde(default)]
    pub(crate) phone: Option<String>,
    #[serde(default)]
    pub(crate) push_name: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Code {
    pub(crate) code: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NewText {
    pub(crate) to: String,
    pub(crate) text: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewFile {
    pub(crate) to: String,
    pub(crate) media: NewMedia,
    /// The file, in base64.
    pub(crate) bytes: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SentId {
    pub(crate) id: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WaitQuery {
    #[serde(default)]
    pub(crate) after: u64,
    #[serde(default)]
    pub(crate) wait_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct InboxPage {
    pub(crate) messages: Vec<PhoneMessage>,
    /// What to ask for `after` next.
    pub(crate) next: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReceiptPage {
    pub(crate) receipts: Vec<PhoneReceipt>,
    /// What to ask for `after` next.
    pub(crate) next: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Registered {
    pub(crate) registered: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HistoryRequest {
    pub(crate) chats: u64,
    pub(crate) messages: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refuse {
    pub(crate) code: u32,
    pub(crate) count: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hold {
    pub(crate) hold: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireQuery {
    #[serde(default)]
    pub(crate) phone: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RootKey {
    /// In hex.
    pub(crate) key: String,
}

/// An answer that says nothing but "done".
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Done {}
