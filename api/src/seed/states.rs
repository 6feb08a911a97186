//! From a device's phase to the words of the compatible API. Pure.
//!
//! | phase | `state` | `estado` |
//! |---|---|---|
//! | `Pending`, `Starting` | `INIT`; `DISCONNECTED` once WhatsApp could not be reached | `conectando` / `desconectado` |
//! | `AwaitingScan` | `QR` | `conectando` |
//! | `AwaitingCode`, `PasskeyRequired` | `INIT`: there is no QR code to show | `conectando` |
//! | `Connected` | `CONNECTED` | `conectado` |
//! | `Reconnecting` | `DISCONNECTED` until the first retry, then `RECONNECTING` | `desconectado` / `conectando` |
//! | `Disconnected`, `PairingExpired`, `Conflict`, `Banned`, `Outdated`, `Failed` | `DISCONNECTED` | `desconectado` |
//! | `LoggedOut`, `Suspended` | `OFFLINE`: there is no session, or nothing runs | `desconectado` |

use std::time::Duration;

use enlace_contract::duration::Period;
use enlace_contract::state::{DeviceState, Phase, Reason};
use enlace_crds::WhatsAppDeviceStatus;
use enlace_crds::rules::conditions::{ACCEPTED, CONNECTED, PAIRED};
use jiff::Timestamp;
use serde::Serialize;

use crate::directory::Device;

/// `spec.connection.reconnectDelay` when it cannot be read.
const RECONNECT_DELAY: Duration = Duration::from_secs(5);

/// `state`, in memory in the system that this API is compatible with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Word {
    /// It begins.
    Init,
    /// A QR code waits to be scanned.
    Qr,
    /// Usable.
    Connected,
    /// Not connected.
    Disconnected,
    /// A lost connection is being opened again.
    Reconnecting,
    /// The instance is there, and nothing of it runs.
    Offline,
    /// There is no such instance.
    None,
}

/// `estado`, in the database of the system that this API is compatible with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Estado {
    /// Usable.
    Conectado,
    /// Not connected.
    Desconectado,
    /// On the way.
    Conectando,
}

/// Why a device is not usable until a person does something, for that person; none for what passes by itself.
pub const fn cause(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::Replaced => "Otro programa tomó la sesión de este dispositivo",
        Reason::LoggedOutOnPhone => "La sesión se cerró desde el teléfono",
        Reason::NumberMismatch => "El teléfono que escaneó tiene otro número que el declarado",
        Reason::DuplicateNumber => "El número ya está vinculado en otro dispositivo",
        Reason::AccountLocked => "WhatsApp bloqueó la cuenta",
        Reason::TemporaryBan => "WhatsApp suspendió la cuenta por un tiempo",
        Reason::ClientOutdated => "WhatsApp ya no acepta esta versión del programa",
        Reason::LoginRefused => "WhatsApp rechazó la sesión",
        Reason::NobodyScanned => "Nadie escaneó el código a tiempo: pida otro",
        Reason::PairingCodeRefused => "WhatsApp no dio un código de vinculación",
        Reason::PairingFailed => "El teléfono no pudo vincularse",
        Reason::PasskeyRequired => "WhatsApp pide una llave de acceso",
        Reason::DiskFull => "El dispositivo no tiene espacio en disco",
        Reason::ConnectionLost
        | Reason::ConnectFailed
        | Reason::HandshakeFailed
        | Reason::ServiceUnavailable
        | Reason::StoreFailed
        | Reason::LoggedOutByRequest
        | Reason::Stopping => return None,
    })
}

/// [`cause`] of a device as the directory has it: of the conditions that say that something is not so.
pub fn cause_of(device: &Device) -> Option<&'static str> {
    let status = device.resource.status.as_ref()?;
    let not_so = |name| status.condition(name).filter(|condition| condition.status == "False");
    let reasons =
        [ACCEPTED, PAIRED, CONNECTED].into_iter().filter_map(not_so).map(|condition| &condition.reason);
    reasons.filter_map(|reason| serde_json::from_value(reason.as_str().into()).ok()).find_map(cause)
}

/// What decides on the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Where the device is in its life.
    pub phase: Phase,
    /// Whether its last attempt to connect failed.
    pub failed: bool,
    /// Since when it is not connected.
    pub disconnected_at: Option<Timestamp>,
    /// When it tries again after a loss.
    pub reconnect_delay: Duration,
}

impl Facts {
    /// As the directory has them.
    pub fn of(device: &Device) -> Self {
        let status = device.resource.status.as_ref();
        let phase = device.phase();
        Self {
            phase,
            failed: status.is_some_and(|status| gave_a_reason(status, phase)),
            disconnected_at: status.and_then(|status| status.disconnected_at),
            reconnect_delay: reconnect_delay(device),
        }
    }

    /// As the device itself says, which may be newer. What was decided outside is the directory's.
    pub fn said(device: &Device, state: &DeviceState) -> Self {
        let outside = matches!(device.phase(), Phase::Suspended | Phase::PairingExpired);
        Self {
            phase: if outside { device.phase() } else { state.phase },
            failed: state.reason.is_some(),
            disconnected_at: state.disconnected_at,
            reconnect_delay: reconnect_delay(device),
        }
    }

    /// `state` at a moment.
    pub fn word(&self, now: Timestamp) -> Word {
        let Self { phase, failed, disconnected_at, reconnect_delay } = *self;
        match phase {
            Phase::Pending | Phase::Starting if failed => Word::Disconnected,
            Phase::Pending | Phase::Starting | Phase::AwaitingCode | Phase::PasskeyRequired => Word::Init,
            Phase::AwaitingScan => Word::Qr,
            Phase::Connected => Word::Connected,
            Phase::Reconnecting => {
                let since = disconnected_at.map(|at| now.duration_since(at).unsigned_abs());
                let waits = since.is_some_and(|since| since < reconnect_delay);
                if waits { Word::Disconnected } else { Word::Reconnecting }
            }
            Phase::Disconnected
            | Phase::PairingExpired
            | Phase::Conflict
            | Phase::Banned
            | Phase::Outdated
            | Phase::Failed => Word::Disconnected,
            Phase::LoggedOut | Phase::Suspended => Word::Offline,
        }
    }
}

impl Word {
    /// `estado` beside it.
    pub const fn estado(self) -> Estado {
        match self {
            Self::Connected => Estado::Conectado,
            Self::Init | Self::Qr | Self::Reconnecting => Estado::Conectando,
            Self::Disconnected | Self::Offline | Self::None => Estado::Desconectado,
        }
    }

    /// `ready`.
    pub fn ready(self) -> bool {
        self == Self::Connected
    }

    /// `hasQr`.
    pub fn has_qr(self) -> bool {
        self == Self::Qr
    }
}

/// Whether the condition `Connected` says more than the phase: why an attempt failed.
fn gave_a_reason(status: &WhatsAppDeviceStatus, phase: Phase) -> bool {
    let condition = status.condition(CONNECTED).filter(|condition| condition.status == "False");
    condition.is_some_and(|condition| condition.reason.parse::<Phase>().is_err() && phase == Phase::Starting)
}

fn reconnect_delay(device: &Device) -> Duration {
    let text = &device.resource.spec.connection.reconnect_delay;
    text.parse::<Period>().map_or(RECONNECT_DELAY, Period::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn every_phase_has_its_words() {
        let facts = |phase, failed, lost: Option<i64>| Facts {
            phase,
            failed,
            disconnected_at: lost.map(at),
            reconnect_delay: Duration::from_secs(5),
        };
        for (phase, failed, lost, word, estado) in [
            (Phase::Pending, false, None, Word::Init, "conectando"),
            (Phase::Starting, false, None, Word::Init, "conectando"),
            (Phase::Starting, true, Some(99), Word::Disconnected, "desconectado"),
            (Phase::AwaitingScan, false, None, Word::Qr, "conectando"),
            (Phase::AwaitingCode, false, None, Word::Init, "conectando"),
            (Phase::PasskeyRequired, true, None, Word::Init, "conectando"),
            (Phase::Connected, false, None, Word::Connected, "conectado"),
            (Phase::Reconnecting, true, Some(100), Word::Disconnected, "desconectado"),
            (Phase::Reconnecting, true, Some(96), Word::Disconnected, "desconectado"),
            (Phase::Reconnecting, true, Some(95), Word::Reconnecting, "conectando"),
            (Phase::Reconnecting, true, None, Word::Reconnecting, "conectando"),
            (Phase::Disconnected, true, Some(1), Word::Disconnected, "desconectado"),
            (Phase::LoggedOut, true, Some(99), Word::Offline, "desconectado"),
            (Phase::PairingExpired, true, Some(99), Word::Disconnected, "desconectado"),
            (Phase::Conflict, true, Some(99), Word::Disconnected, "desconectado"),
            (Phase::Banned, true, Some(99), Word::Disconnected, "desconectado"),
            (Phase::Outdated, true, Some(99), Word::Disconnected, "desconectado"),
            (Phase::Suspended, true, Some(99), Word::Offline, "desconectado"),
            (Phase::Failed, true, Some(99), Word::Disconnected, "desconectado"),
        ] {
            let said = facts(phase, failed, lost).word(at(100));
            assert_eq!(said, word, "{phase} {failed} {lost:?}");
            assert_eq!(serde_json::to_value(said.estado()).unwrap(), estado, "{phase} {failed} {lost:?}");
        }
    }

    #[test]
    fn words_are_written_as_clients_read_them() {
        let words = [
            (Word::Init, "INIT"),
            (Word::Qr, "QR"),
            (Word::Connected, "CONNECTED"),
            (Word::Disconnected, "DISCONNECTED"),
            (Word::Reconnecting, "RECONNECTING"),
            (Word::Offline, "OFFLINE"),
            (Word::None, "NONE"),
        ];
        for (word, text) in words {
            assert_eq!(serde_json::to_value(word).unwrap(), text);
            assert_eq!(word.ready(), text == "CONNECTED");
            assert_eq!(word.has_qr(), text == "QR");
        }
    }
}
