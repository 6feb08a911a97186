//! The event stream: `GET /v1/events`, server-sent events of the WHATWG HTML standard.
//!
//! It opens with the whole state; each change of the state follows whole (event `state`, without an id: a snapshot replaces it). A record
//! of the inbox journal (event `message`) has its sequence number as id, so that `Last-Event-ID` goes on after it. A change of an outgoing
//! message (event `messageState`) has no id. A comment is sent every 15 seconds.

use axum::response::sse::Event;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::inbox::InboxRecord;
use crate::messages::Message;
use crate::state::DeviceState;

/// How often a silent stream says that it lives.
pub const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(15);
/// After how long without a byte a stream counts as dead.
pub const SILENCE: std::time::Duration = std::time::Duration::from_secs(45);

/// One event of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", content = "data", rename_all = "camelCase")]
pub enum DeviceEvent {
    /// The state, whole.
    State(DeviceState),
    /// A message came in.
    Message(InboxRecord),
    /// An outgoing message changed its state.
    MessageState(Message),
}

impl DeviceEvent {
    /// The name in the stream's `event:` line.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::State(_) => "state",
            Self::Message(_) => "message",
            Self::MessageState(_) => "messageState",
        }
    }

    /// The stream's `id:` line.
    pub const fn id(&self) -> Option<i64> {
        match self {
            Self::Message(record) => Some(record.sequence),
            Self::State(_) | Self::MessageState(_) => None,
        }
    }

    /// The stream's `data:` line.
    ///
    /// # Errors
    /// Never for these types; the signature is serde's.
    pub fn data(&self) -> serde_json::Result<String> {
        match self {
            Self::State(state) => serde_json::to_string(state),
            Self::Message(record) => serde_json::to_string(record),
            Self::MessageState(message) => serde_json::to_string(message),
        }
    }

    /// The event as the stream has it.
    pub fn to_sse(&self) -> Event {
        // These types have no key or number that JSON cannot hold.
        let event = Event::default().event(self.name()).data(self.data().unwrap_or_default());
        match self.id() {
            Some(id) => event.id(id.to_string()),
            None => event,
        }
    }

    /// The event of a name and its data; none for a name that a newer device may have.
    ///
    /// # Errors
    /// When the data is not of the name's form.
    pub fn parse(name: &str, data: &str) -> serde_json::Result<Option<Self>> {
        Ok(Some(match name {
            "state" => Self::State(serde_json::from_str(data)?),
            "message" => Self::Message(serde_json::from_str(data)?),
            "messageState" => Self::MessageState(serde_json::from_str(data)?),
            _ => return Ok(None),
        }))
    }
}
