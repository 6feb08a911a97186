//! What each child of a device is: one file for a kind. Pure.

use std::collections::BTreeMap;

use enlace_contract::name::DeviceKey;
use enlace_crds::{WhatsAppDevice, names};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource as _;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

pub mod claim;
pub mod config_map;
pub mod network_policy;
pub mod pairing_secret;
pub mod stateful_set;
pub mod volume_claim;

/// The metadata of a child: its name, the labels by which it is found, and its device as owner.
fn child(device: &WhatsAppDevice, key: &DeviceKey, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(key.namespace().to_owned()),
        labels: Some(labels(key)),
        owner_references: owner(device).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

fn labels(key: &DeviceKey) -> BTreeMap<String, String> {
    owned(names::child_labels(key))
}

fn owned<const N: usize>(pairs: [(&'static str, String); N]) -> BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

/// The device as owner. It does not block the deletion of the device, which would need a permission on its finalizers.
fn owner(device: &WhatsAppDevice) -> Option<OwnerReference> {
    device.controller_owner_ref(&())
}

/// A short hash of what is applied. Fields come in a fixed order, maps are sorted.
pub fn hash(value: &impl Serialize) -> String {
    // What Kubernetes' types cannot write as JSON could not be applied either.
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    hex::encode(&Sha256::digest(bytes)[..8])
}

/// Puts the hash of an object into its own annotation.
fn seal<K: kube::Resource + Serialize>(mut object: K) -> K {
    let hash = hash(&object);
    object.meta_mut().annotations.get_or_insert_default().insert(names::APPLIED_HASH.to_owned(), hash);
    object
}
