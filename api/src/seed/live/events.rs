//! What is told, and when. Pure.
//!
//! | event | when | payload |
//! |---|---|---|
//! | `deviceStatusChanged` | a QR code | `{instancia_id, status: "conectando", qr: <data URL>, state: "QR"}` |
//! | | connected | `{instancia_id, numero, status: "conectado", ready: true}` |
//! | | the connection ended | `{instancia_id, numero, status: "desconectado", ready: false}` |
//! | | the server started | `{action: "global_init", status: "conectando"}` |
//! | `messageReceived` | a message came in | [`received`] |
//! | `messageStatusChanged` | a message that goes out changed its state | [`status_of`] |

use enlace_contract::inbox::InboxRecord;
use enlace_contract::messages::{Message, MessageState};
use enlace_contract::state::Phase;
use serde_json::{Value, json};

use crate::seed::answers::timestamp;

/// The event of devices.
pub const DEVICE_STATUS: &str = "deviceStatusChanged";
/// The event of messages that come in.
pub const MESSAGE_RECEIVED: &str = "messageReceived";
/// The event of messages that go out.
pub const MESSAGE_STATUS: &str = "messageStatusChanged";

/// Where a device stands, as far as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It begins: nothing is told.
    Begins,
    /// This code waits to be scanned.
    Code(String),
    /// Connected.
    Open,
    /// Not connected.
    Closed,
}

impl Standing {
    /// Of a phase, and the code that waits.
    pub fn of(phase: Phase, code: Option<&str>) -> Self {
        match phase {
            Phase::AwaitingScan => code.map_or(Self::Begins, |code| Self::Code(code.to_owned())),
            Phase::Pending | Phase::Starting | Phase::AwaitingCode | Phase::PasskeyRequired => Self::Begins,
            Phase::Connected => Self::Open,
            Phase::Suspended
            | Phase::Reconnecting
            | Phase::Disconnected
            | Phase::LoggedOut
            | Phase::PairingExpired
            | Phase::Conflict
            | Phase::Banned
            | Phase::Outdated
            | Phase::Failed => Self::Closed,
        }
    }
}

/// What was seen last of a device.
#[derive(Clone, Debug, Default)]
pub struct Seen(Option<Standing>);

impl Seen {
    /// Takes note; whether it is to be told. How a device stood when it was first seen is no change; a code that waits is told all the same.
    pub fn note(&mut self, now: Standing) -> Option<Standing> {
        let before = self.0.replace(now.clone());
        match (&before, &now) {
            (_, Standing::Begins) | (None, Standing::Open | Standing::Closed) => None,
            (Some(before), now) if before == now => None,
            _ => Some(now),
        }
    }
}

/// A code, as a picture; without it for those who may not link.
pub fn code(id: &str, picture: Option<&str>) -> Value {
    match picture {
        Some(picture) => json!({ "instancia_id": id, "status": "conectando", "qr": picture, "state": "QR" }),
        None => json!({ "instancia_id": id, "status": "conectando", "state": "QR" }),
    }
}

/// Connected.
pub fn open(id: &str, number: Option<&str>) -> Value {
    json!({ "instancia_id": id, "numero": number, "status": "conectado", "ready": true })
}

/// Not connected, whether on purpose or not.
pub fn closed(id: &str, number: Option<&str>) -> Value {
    json!({ "instancia_id": id, "numero": number, "status": "desconectado", "ready": false })
}

/// A message that came in: `from` is the sender's number, or its JID when the number is not known.
pub fn received(id: &str, number: Option<&str>, record: &InboxRecord) -> Value {
    let from = record.sender_number.as_ref().map_or_else(|| record.sender.clone(), ToString::to_string);
    let file = record
        .media
        .as_ref()
        .map(|media| json!({ "filename": media.file_name, "mimetype": media.mime_type, "size": media.size }));
    json!({
        "instancia_id": id,
        "numero": number,
        "id": record.id,
        "from": from,
        "chat": record.chat,
        "nombre": record.push_name,
        "fromMe": record.from_me,
        "grupo": record.group,
        "tipo": record.kind,
        "mensaje": record.text,
        "archivo": file,
        "timestamp": timestamp(record.timestamp),
    })
}

/// A message that goes out, in the words of the queue.
pub fn status_of(id: &str, number: Option<&str>, message: &Message) -> Value {
    json!({
        "instancia_id": id,
        "from": number,
        "id": message.id,
        "to": message.to,
        "tipo": message.kind,
        "estado": match message.state {
            MessageState::Queued => "pendiente",
            MessageState::Sending => "procesando",
            MessageState::Sent => "enviado",
            MessageState::Delivered => "entregado",
            MessageState::Read => "leido",
            MessageState::Failed => "fallido",
        },
        "error": message.error.as_ref().map(|error| &error.reason),
        "timestamp": timestamp(message.updated_at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(text: &str) -> Standing {
        Standing::Code(text.to_owned())
    }

    #[test]
    fn what_changed_is_told_once() {
        let mut seen = Seen::default();
        for (now, told) in [
            (Standing::Begins, false),
            (code_of("a"), true),
            (code_of("a"), false),
            (code_of("b"), true),
            (Standing::Begins, false),
            (Standing::Open, true),
            (Standing::Open, false),
            (Standing::Closed, true),
            (Standing::Closed, false),
            (Standing::Begins, false),
            (Standing::Closed, true),
        ] {
            assert_eq!(seen.note(now.clone()), told.then_some(now.clone()), "{now:?}");
        }
    }

    #[test]
    fn how_a_device_stood_before_is_no_news_but_for_a_code() {
        assert_eq!(Seen::default().note(Standing::Open), None);
        assert_eq!(Seen::default().note(Standing::Closed), None);
        assert_eq!(Seen::default().note(code_of("a")), Some(code_of("a")));
    }

    #[test]
    fn every_phase_stands_somewhere() {
        let told = |phase| Standing::of(phase, Some("code"));
        for phase in Phase::ALL {
            let expected = match phase {
                Phase::Pending | Phase::Starting | Phase::AwaitingCode | Phase::PasskeyRequired => {
                    Standing::Begins
                }
                Phase::AwaitingScan => code_of("code"),
                Phase::Connected => Standing::Open,
                _ => Standing::Closed,
            };
            assert_eq!(told(phase), expected, "{phase}");
        }
        assert_eq!(Standing::of(Phase::AwaitingScan, None), Standing::Begins);
    }
}
