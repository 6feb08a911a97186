//! What a device says of itself.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::number::{CanonicalNumber, PhoneNumber};

/// Where a device is in its life. `Pending`, `PairingExpired` and `Suspended` are decided outside the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
pub enum Phase {
    /// Declared; nothing runs yet.
    #[default]
    Pending,
    /// Running; nothing is known of the session yet.
    Starting,
    /// A QR code waits to be scanned.
    AwaitingScan,
    /// A pairing code waits to be typed on the phone.
    AwaitingCode,
    /// WhatsApp asks for a passkey before it links.
    PasskeyRequired,
    /// Logged in and usable.
    Connected,
    /// The connection was lost; it comes back by itself.
    Reconnecting,
    /// Not connected, and nothing is being tried: the codes of a pairing that nobody scanned, or a stop.
    Disconnected,
    /// The session was ended, on the phone or here.
    LoggedOut,
    /// Never linked within `pairing.timeout`.
    PairingExpired,
    /// Another client took the session over.
    Conflict,
    /// WhatsApp banned the account, for a time or for good.
    Banned,
    /// WhatsApp refuses the client's version.
    Outdated,
    /// Stopped on purpose.
    Suspended,
    /// Something that only a person can mend; the reason says what.
    Failed,
}

impl Phase {
    /// Whether only a person (or the pairing policy) can lead out of this phase.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::LoggedOut
                | Self::PairingExpired
                | Self::Conflict
                | Self::Banned
                | Self::Outdated
                | Self::Failed
        )
    }

    /// All phases.
    pub const ALL: [Self; 15] = [
        Self::Pending,
        Self::Starting,
        Self::AwaitingScan,
        Self::AwaitingCode,
        Self::PasskeyRequired,
        Self::Connected,
        Self::Reconnecting,
        Self::Disconnected,
        Self::LoggedOut,
        Self::PairingExpired,
        Self::Conflict,
        Self::Banned,
        Self::Outdated,
        Self::Suspended,
        Self::Failed,
    ];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The variants' own names are the words of the resource.
        fmt::Debug::fmt(self, f)
    }
}

/// The text names no phase.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a phase")]
pub struct UnknownPhase(String);

impl FromStr for Phase {
    type Err = UnknownPhase;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|phase| phase.to_string().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownPhase(text.to_owned()))
    }
}

/// Why a device is not connected, in the CamelCase of Kubernetes conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
pub enum Reason {
    /// The connection ended without a word.
    ConnectionLost,
    /// WhatsApp could not be reached, or did not answer.
    ConnectFailed,
    /// The server did not prove that it is WhatsApp's, or spoke another protocol.
    HandshakeFailed,
    /// WhatsApp closed the connection with an error that passes (503, 500).
    ServiceUnavailable,
    /// Another client took the session over.
    Replaced,
    /// The linked device was removed on the phone.
    LoggedOutOnPhone,
    /// The session was ended by a request to this device.
    LoggedOutByRequest,
    /// The phone that linked has another number than the declared one.
    NumberMismatch,
    /// The number that linked belongs to another device.
    DuplicateNumber,
    /// WhatsApp locked the account (403).
    AccountLocked,
    /// A ban that ends by itself.
    TemporaryBan,
    /// WhatsApp refuses the client's version.
    ClientOutdated,
    /// WhatsApp refused the login for another reason; the message has its code.
    LoginRefused,
    /// Nobody scanned while codes were shown.
    NobodyScanned,
    /// No pairing code was given; the message says why.
    PairingCodeRefused,
    /// The phone could not prove that it may link (a failed signature or a refused pairing).
    PairingFailed,
    /// WhatsApp asks for a passkey.
    PasskeyRequired,
    /// The volume has too little room: a full one would lose messages.
    DiskFull,
    /// The session cannot be opened, or a message that came in could not be stored: the device tries again, and WhatsApp delivers again what
    /// it could not store.
    StoreFailed,
    /// The device is stopping.
    Stopping,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A device, as it sees itself: the snapshot that opens the event stream and each change that follows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceState {
    /// Where it is in its life.
    pub phase: Phase,
    /// Why it is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The same for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether a session is stored.
    pub paired: bool,
    /// The account of the linked phone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
    /// The QR code that waits to be scanned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qr: Option<QrCode>,
    /// The pairing code that waits to be typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairing_code: Option<PairingText>,
    /// Whether the device may send as its number.
    pub claim: ClaimState,
    /// Since when it is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_at: Option<Timestamp>,
    /// Since when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disconnected_at: Option<Timestamp>,
    /// The last end of a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_disconnect: Option<Disconnect>,
    /// How many times a lost connection came back since the device started.
    pub reconnects: u64,
    /// The newest request to pair that was heeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_pair_request: Option<Timestamp>,
}

/// The account of a linked phone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Its number, as WhatsApp has it.
    pub phone_number: PhoneNumber,
    /// The JID of this linked device.
    pub jid: String,
    /// The LID of this linked device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lid: Option<String>,
    /// The name that others see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_name: Option<String>,
    /// The phone's operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
}

/// A QR code that links a phone. It is a credential: it never goes into a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QrCode {
    /// The text that the QR code encodes.
    pub code: String,
    /// The QR code drawn in half blocks, for a terminal.
    pub text: String,
    /// When it is worth nothing any more.
    #[schemars(with = "String")]
    pub expires_at: Timestamp,
}

impl fmt::Debug for QrCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QrCode").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// A pairing code that links a phone. It is a credential: it never goes into a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PairingText {
    /// The eight characters.
    pub code: String,
    /// When it is worth nothing any more.
    #[schemars(with = "String")]
    pub expires_at: Timestamp,
}

impl fmt::Debug for PairingText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairingText").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// The end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Disconnect {
    /// Why.
    pub reason: Reason,
    /// The same for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
}

/// Whether the device may use the number that linked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum ClaimState {
    /// No number is linked.
    #[default]
    None,
    /// A number linked; until the claim is answered nothing is sent.
    Pending,
    /// The number is this device's.
    Granted,
    /// The number is another device's.
    Refused,
}

/// The answer to a device that asks for the number that linked (`PUT /v1/claim`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimDecision {
    /// The number that was asked for; a decision about another one is refused with 409.
    pub number: CanonicalNumber,
    /// Whether the device may have it.
    pub granted: bool,
}

/// A request to pair again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PairRequest {
    /// When it was asked for: a request that is not newer than the last one is heeded already. Absent: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_is_read_from_its_own_name() {
        for phase in Phase::ALL {
            assert_eq!(phase.to_string().parse::<Phase>().unwrap(), phase);
            assert_eq!(serde_json::to_value(phase).unwrap(), phase.to_string());
        }
    }

    #[test]
    fn a_code_is_not_shown_by_debug() {
        let code = PairingText { code: "secret-code".into(), expires_at: Timestamp::UNIX_EPOCH };
        assert!(!format!("{code:?}").contains("secret-code"));
    }
}
