//! What is so. [`crate::rules::status`] makes it.
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its visibility, into a function")]

use enlace_contract::state::{Account, Disconnect, PairingText, Phase, QrCode};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::schema::{disconnect, not_nullable, plain_list, time};

/// The state of a device.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[schemars(transform = not_nullable)]
#[serde(rename_all = "camelCase")]
pub struct WhatsAppDeviceStatus {
    /// Where the device is in its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The effective number: the one that is linked, or was last; else the declared one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    /// The QR code to scan. It is a credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qr: Option<QrCode>,
    /// The code to type on the phone. It is a credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairing_code: Option<PairingText>,
    /// The account that is linked, or was last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
    /// Since when it is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub connected_at: Option<Timestamp>,
    /// Since when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub disconnected_at: Option<Timestamp>,
    /// The last end of a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "disconnect")]
    pub last_disconnect: Option<Disconnect>,
    /// How many times a lost connection came back since the pod started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconnects: Option<i64>,
    /// The pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// The volume claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_claim_name: Option<String>,
    /// The image that the pod runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The generation of the spec that this status is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The newest request to pair again that was heeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub observed_pair_request: Option<Timestamp>,
    /// Accepted, PodReady, Paired, Connected and Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "plain_list::<Condition>")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

impl WhatsAppDeviceStatus {
    /// The condition of a type.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }

    /// Whether the condition of a type is True.
    pub fn is_true(&self, type_: &str) -> bool {
        self.condition(type_).is_some_and(|condition| condition.status == "True")
    }
}
