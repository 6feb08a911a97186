//! What a person may say of a device's pod. A change of these restarts it.
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its visibility, into a function")]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, LocalObjectReference, ResourceRequirements, Toleration, TopologySpreadConstraint,
};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::cel;
use super::schema::{not_nullable, plain, plain_list, texts};

/// Settings of the device's pod.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[schemars(transform = not_nullable)]
#[serde(rename_all = "camelCase")]
pub struct PodSettings {
    /// The image. Absent: the installation's, which follows its rollouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Secrets that open the image's registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "plain_list::<LocalObjectReference>")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Requests and limits of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "plain::<ResourceRequirements>")]
    pub resources: Option<ResourceRequirements>,
    /// Labels of the nodes that it may run on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts::<63>")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that it tolerates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "plain_list::<Toleration>")]
    pub tolerations: Vec<Toleration>,
    /// Which nodes and which other pods it is drawn to or kept from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "plain::<Affinity>")]
    pub affinity: Option<Affinity>,
    /// How pods are spread over the nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "plain_list::<TopologySpreadConstraint>")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// More labels of the pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts::<63>")]
    #[x_kube(validation = cel::rule(cel::LABELS), validation = cel::rule(cel::LABEL_VALUES))]
    pub labels: BTreeMap<String, String>,
    /// More annotations of the pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts::<4096>")]
    #[x_kube(validation = cel::rule(cel::ANNOTATIONS))]
    pub annotations: BTreeMap<String, String>,
    /// Its priority class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub priority_class_name: Option<String>,
}

impl PodSettings {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
