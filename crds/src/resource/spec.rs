//! What a person declares.
//!
//! Texts stay texts here, so that a resource which an older schema let in can still be read and answered in its status;
//! [`crate::config::device_config`] parses them, once.
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its visibility, into a function")]

use enlace_contract::config::PairingMethod;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cel;
use super::pod::PodSettings;
use super::schema::not_nullable;
use super::status::WhatsAppDeviceStatus;

/// One WhatsApp number: how it is linked, kept and paced.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "enlace.dev",
    version = "v1alpha1",
    kind = "WhatsAppDevice",
    plural = "whatsappdevices",
    shortname = "wad",
    shortname = "wadev",
    category = "whatsapp",
    namespaced,
    status = "WhatsAppDeviceStatus",
    derive = "PartialEq",
    cel,
    doc = "One WhatsApp number: one pod, one volume, one linked device.",
    selectable = ".spec.phoneNumber",
    validation = cel::rule(cel::NAME),
    validation = cel::rule(cel::NUMBER_IS_LINKED),
    printcolumn(
        name = "Number",
        type_ = "string",
        json_path = ".status.phoneNumber",
        description = "The linked number, or the declared one."
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Connected-For",
        type_ = "date",
        json_path = ".status.connectedAt",
        description = "How long the connection has lasted."
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Connected")].reason"#,
        description = "Why it is connected or not."
    ),
    printcolumn(name = "Pod", type_ = "string", json_path = ".status.podName", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = cel::rule(cel::NUMBER_SET_ONCE),
    validation = cel::rule(cel::CODE_NEEDS_NUMBER)
)]
#[schemars(transform = not_nullable)]
#[serde(rename_all = "camelCase")]
pub struct WhatsAppDeviceSpec {
    /// Country code and number, digits only, like 525550000001. Set once. Absent: the number of the phone that links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = cel::rule(cel::NUMBER))]
    pub phone_number: Option<String>,
    /// A name for people; the phone lists its first 64 characters under "Linked devices".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    #[x_kube(validation = cel::rule(cel::DISPLAY_NAME))]
    pub display_name: Option<String>,
    /// True: no pod runs; the session is kept.
    #[serde(default)]
    pub suspend: bool,
    /// How a phone is linked.
    #[serde(default)]
    pub pairing: Pairing,
    /// How the connection is kept.
    #[serde(default)]
    pub connection: Connection,
    /// How messages are paced.
    #[serde(default)]
    pub sending: Sending,
    /// The volume of the session and of the messages.
    #[serde(default)]
    pub storage: Storage,
    /// What becomes of the session when the resource is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Settings of the device's pod. A change of these restarts it.
    #[serde(default, skip_serializing_if = "PodSettings::is_empty")]
    pub pod: PodSettings,
}

/// How a phone is linked.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pairing {
    /// QRCode: the phone scans a code. PairingCode: eight characters are typed on the phone; this needs phoneNumber.
    #[serde(default)]
    pub method: PairingMethod,
    /// A device that was never linked is cleaned up after this time; a linked one never is. From 1m to 168h.
    #[serde(default = "default_timeout")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = cel::rule(cel::TIMEOUT))]
    pub timeout: String,
    /// Where the code is published. It is a credential: whoever reads it can link a phone.
    #[serde(default)]
    pub publish_in: PublishIn,
}

/// Where the pairing code is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PublishIn {
    /// In the status of the resource.
    #[default]
    Status,
    /// In a Secret.
    Secret,
}

/// How the connection is kept.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// How long to wait before the first retry; later ones wait longer. From 1s to 5m.
    #[serde(default = "default_delay")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = cel::rule(cel::RECONNECT_DELAY))]
    pub reconnect_delay: String,
}

/// How messages are paced.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sending {
    /// The least time between two messages of this number. From 0s to 1h.
    #[serde(default = "default_delay")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = cel::rule(cel::SENDING_INTERVAL))]
    pub interval: String,
}

/// The volume of the session and of the messages.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = cel::rule(cel::STORAGE_CLASS_IMMUTABLE),
    validation = cel::rule(cel::ACCESS_MODE_IMMUTABLE)
)]
#[schemars(transform = not_nullable)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Its size. It can grow, never shrink.
    #[serde(default = "default_size")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = cel::rule(cel::SIZE), validation = cel::rule(cel::SIZE_GROWS))]
    pub size: String,
    /// Its storage class. Cannot change. Absent: the installation's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class_name: Option<String>,
    /// Its access mode. Cannot change. ReadWriteOncePod, or ReadWriteOnce for drivers without it. Absent: the installation's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<AccessMode>,
}

/// How a volume is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AccessMode {
    /// By one pod.
    ReadWriteOncePod,
    /// By the pods of one node.
    ReadWriteOnce,
}

/// What becomes of the session when the resource is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// The device is unlinked at WhatsApp and the volume removed.
    #[default]
    Logout,
    /// Both are kept; a new resource of the same namespace, name, number and owner (label `enlace.dev/owner`) adopts them.
    KeepSession,
}

fn default_timeout() -> String {
    "1h".to_owned()
}

fn default_delay() -> String {
    enlace_contract::config::DEFAULT_DELAY.to_string()
}

fn default_size() -> String {
    "1Gi".to_owned()
}

impl Default for Pairing {
    fn default() -> Self {
        Self {
            method: PairingMethod::default(),
            timeout: default_timeout(),
            publish_in: PublishIn::default(),
        }
    }
}

impl Default for Connection {
    fn default() -> Self {
        Self { reconnect_delay: default_delay() }
    }
}

impl Default for Sending {
    fn default() -> Self {
        Self { interval: default_delay() }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self { size: default_size(), storage_class_name: None, access_mode: None }
    }
}

impl AccessMode {
    /// The word that a PersistentVolumeClaim has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadWriteOncePod => "ReadWriteOncePod",
            Self::ReadWriteOnce => "ReadWriteOnce",
        }
    }
}
