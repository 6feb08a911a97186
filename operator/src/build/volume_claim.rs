//! The volume of a session.
//!
//! The operator makes it itself, and not through the StatefulSet, so that it can grow, be kept and be restored. It remembers the device that
//! it was made for: another device of the same name that finds it adopts it (its pod is told so with `--adopt`), and it is still the same
//! volume. It also remembers whose it is, by the label of the device that uses it: a session that was kept is only adopted by a device of
//! the same owner (see [`may_use`]), since whoever may create devices may use any free name. What cannot change after it was made (class,
//! access mode) is not looked at again, so that a new default of the installation changes new volumes only.

use std::collections::BTreeMap;

use enlace_contract::name::DeviceKey;
use enlace_crds::resource::DeletionPolicy;
use enlace_crds::{WhatsAppDevice, names};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::{hash, labels, owner};
use crate::config::DeviceDefaults;

/// A volume that is to be made.
pub fn volume_claim(
    device: &WhatsAppDevice,
    key: &DeviceKey,
    defaults: &DeviceDefaults,
) -> PersistentVolumeClaim {
    let storage = &device.spec.storage;
    let size = Quantity(storage.size.clone());
    let access_mode = storage.access_mode.unwrap_or(defaults.access_mode);
    let made_for = device.metadata.uid.clone().unwrap_or_default();
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::volume_claim(key)),
            namespace: Some(key.namespace().to_owned()),
            labels: Some(labels(key)),
            annotations: Some(written(annotations(device, key, &made_for, &storage.size))),
            owner_references: owners(device),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec![access_mode.as_str().to_owned()]),
            storage_class_name: storage
                .storage_class_name
                .clone()
                .or_else(|| defaults.storage_class_name.clone()),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), size)].into()),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// A merge patch for a volume that exists: its owner and its labels, or else its size when it is to grow. None: nothing differs.
///
/// One after the other: a storage class that lets no volume grow must not keep a volume from staying or going as declared.
pub fn change(device: &WhatsAppDevice, key: &DeviceKey, current: &ObjectMeta) -> Option<Value> {
    let written = |name: &str| current.annotations.as_ref().and_then(|all| all.get(name)).map(String::as_str);
    let asked = written(names::VOLUME_SIZE);
    // A kept volume may be larger than what its new device asks for; it cannot shrink.
    let same_labels = labels(key)
        .iter()
        .all(|(name, value)| current.labels.as_ref().and_then(|all| all.get(name)) == Some(value));
    let same_owners =
        current.owner_references.clone().unwrap_or_default() == owners(device).unwrap_or_default();
    let grows = same_labels
        && same_owners
        && asked.is_none_or(|asked| bytes(&device.spec.storage.size) > bytes(asked));
    let size = if grows { device.spec.storage.size.as_str() } else { asked.unwrap_or_default() };
    // Without a device it was made by a person, who restored it.
    let made_for = written(names::MADE_FOR).unwrap_or_default();
    let wanted = annotations(device, key, made_for, size);
    let same_annotations = wanted.iter().all(|(name, value)| written(name) == value.as_deref());
    if same_labels && same_annotations && same_owners {
        return None;
    }
    let mut patch = json!({
        "metadata": {
            "labels": labels(key),
            "annotations": wanted,
            "ownerReferences": owners(device),
        },
    });
    if grows {
        patch["spec"] = json!({ "resources": { "requests": { "storage": size } } });
    }
    Some(patch)
}

/// Whether a volume was made for another device than this one.
pub fn is_adopted(device: &WhatsAppDevice, volume: &ObjectMeta) -> bool {
    volume.annotations.as_ref().and_then(|all| all.get(names::MADE_FOR)) != device.metadata.uid.as_ref()
}

/// Whether a device may have what is in a volume: it was made for the device, the device uses it already (its owner may have changed
/// since), or the device's owner is the volume's. No owner is one too: that of devices which no user of the API has.
pub fn may_use(device: &WhatsAppDevice, volume: &ObjectMeta) -> bool {
    let written = |name: &str| volume.annotations.as_ref().and_then(|all| all.get(name));
    let uid = device.metadata.uid.as_ref();
    let its_own =
        [names::MADE_FOR, names::USED_BY].into_iter().any(|name| written(name) == uid && uid.is_some());
    let owner = written(names::OWNER).map(String::as_str).filter(|owner| !owner.is_empty());
    its_own || owner == user(device)
}

/// The user that a device belongs to.
fn user(device: &WhatsAppDevice) -> Option<&str> {
    let user = device.metadata.labels.as_ref().and_then(|labels| labels.get(names::OWNER))?;
    Some(user.as_str()).filter(|user| !user.is_empty())
}

/// What is to be written; None: not to be there.
fn annotations(
    device: &WhatsAppDevice,
    key: &DeviceKey,
    made_for: &str,
    size: &str,
) -> BTreeMap<String, Option<String>> {
    let (user, used_by) = (user(device), device.metadata.uid.as_deref());
    let applied = hash(&(labels(key), owners(device), made_for, used_by, user, size));
    [
        (names::APPLIED_HASH.to_owned(), Some(applied)),
        (names::MADE_FOR.to_owned(), Some(made_for.to_owned())),
        (names::USED_BY.to_owned(), used_by.map(str::to_owned)),
        (names::OWNER.to_owned(), user.map(str::to_owned)),
        (names::VOLUME_SIZE.to_owned(), Some(size.to_owned())),
    ]
    .into()
}

fn written(annotations: BTreeMap<String, Option<String>>) -> BTreeMap<String, String> {
    annotations.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// None for a volume that is to stay when its device is deleted.
fn owners(
    device: &WhatsAppDevice,
) -> Option<Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference>> {
    match device.spec.deletion_policy {
        DeletionPolicy::Logout => owner(device).map(|owner| vec![owner]),
        DeletionPolicy::KeepSession => None,
    }
}

/// A quantity in bytes, to compare two: the schema has let in only quantities. A text that is none counts as nothing.
fn bytes(quantity: &str) -> f64 {
    let digits = quantity.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (digits, suffix) = match quantity.split_once(['e', 'E']) {
        Some((_, exponent)) if !exponent.is_empty() && exponent.parse::<i32>().is_ok() => (quantity, ""),
        _ => (digits, &quantity[digits.len()..]),
    };
    let (base, power): (f64, i32) = match suffix {
        "" => (1.0, 0),
        "m" => (1000.0, -1),
        "k" => (1000.0, 1),
        "M" => (1000.0, 2),
        "G" => (1000.0, 3),
        "T" => (1000.0, 4),
        "P" => (1000.0, 5),
        "E" => (1000.0, 6),
        "Ki" => (1024.0, 1),
        "Mi" => (1024.0, 2),
        "Gi" => (1024.0, 3),
        "Ti" => (1024.0, 4),
        "Pi" => (1024.0, 5),
        "Ei" => (1024.0, 6),
        _ => return 0.0,
    };
    digits.parse::<f64>().unwrap_or(0.0) * base.powi(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_compared_whatever_they_are_written_in() {
        for (smaller, larger) in [
            ("1G", "1Gi"),
            ("512Mi", "1Gi"),
            ("1023Mi", "1Gi"),
            ("1e9", "1Gi"),
            ("999M", "1E9"),
            ("1Gi", "1.5Gi"),
        ] {
            assert!(bytes(smaller) < bytes(larger), "{smaller} {larger}");
        }
        assert_eq!(bytes("1024Mi").to_bits(), bytes("1Gi").to_bits());
    }
}
