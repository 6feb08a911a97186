//! What a device is told: the device's part of the resource.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::duration::Period;
use crate::name::DeviceKey;
use crate::number::{CanonicalNumber, PhoneNumber};

/// The configuration of one device. It can change while the device runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeviceConfig {
    /// The unique identifier of the resource; the data directory remembers it.
    pub uid: String,
    /// The device's name.
    pub key: DeviceKey,
    /// The number that must link, when it is known. It is the device's: see [`DeviceConfig::holding`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<PhoneNumber>,
    /// What the phone lists under "Linked devices".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// How a phone is linked.
    #[serde(default)]
    pub pairing: Pairing,
    /// How the connection is kept.
    #[serde(default)]
    pub connection: Connection,
    /// How messages are paced.
    #[serde(default)]
    pub sending: Sending,
    /// The newest request to pair again, an RFC 3339 time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair_requested: Option<jiff::Timestamp>,
    /// The Ed25519 public keys whose tokens open this device, each as the `x` of a JWK (32 bytes in unpadded base64url). Empty: no token does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_keys: Vec<String>,
}

/// How a phone is linked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pairing {
    /// The way.
    #[serde(default)]
    pub method: PairingMethod,
}

/// The two ways to link a phone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub enum PairingMethod {
    /// The phone scans a QR code.
    #[default]
    QRCode,
    /// Eight characters are typed on the phone; needs the phone's number.
    PairingCode,
}

/// How the connection is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Connection {
    /// How long to wait before the first retry; later ones wait longer, up to five minutes.
    #[serde(default = "default_delay")]
    pub reconnect_delay: Period,
}

/// How messages are paced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sending {
    /// The least time between two messages of this number.
    #[serde(default = "default_delay")]
    pub interval: Period,
}

/// The default of `connection.reconnectDelay` and of `sending.interval`.
pub const DEFAULT_DELAY: Period = Period::from_secs(5);

fn default_delay() -> Period {
    DEFAULT_DELAY
}

impl DeviceConfig {
    /// The same for a device that holds this number: another one, which is declared and not its own, is not told. A phone that links with
    /// the number that was told needs no further claim, and with any other number it does.
    #[must_use]
    pub fn holding(mut self, number: Option<&CanonicalNumber>) -> Self {
        self.phone_number = self.phone_number.filter(|declared| Some(&declared.canonical()) == number);
        self
    }
}

impl Default for Connection {
    fn default() -> Self {
        Self { reconnect_delay: DEFAULT_DELAY }
    }
}

impl Default for Sending {
    fn default() -> Self {
        Self { interval: DEFAULT_DELAY }
    }
}
