//! Labels, annotations, and what a device's parts are called.
//!
//! A device's name is at most [`DeviceKey::MAX_NAME`] characters, because Kubernetes labels the pods of a StatefulSet with its name and a
//! hash of eleven characters, and a label ends at 63.

use enlace_contract::name::DeviceKey;
use enlace_contract::number::CanonicalNumber;

/// The API group.
pub const GROUP: &str = "enlace.dev";
/// The version of the resource.
pub const VERSION: &str = "v1alpha1";
/// `group/version`, as a manifest has it.
pub const API_VERSION: &str = "enlace.dev/v1alpha1";
/// The kind.
pub const KIND: &str = "WhatsAppDevice";
/// The plural, as a URL has it.
pub const PLURAL: &str = "whatsappdevices";
/// The one field manager of what the operator applies.
pub const FIELD_MANAGER: &str = "enlace-operator";

/// Annotation: the time of a request to pair again, RFC 3339.
pub const PAIR_REQUESTED: &str = "enlace.dev/pair-requested";
/// Annotation: a hash of what the operator applied, so that a cache of metadata is enough to see a change.
pub const APPLIED_HASH: &str = "enlace.dev/applied-hash";
/// Annotation: the generation of an object as the operator left it. Another generation is somebody else's.
pub const APPLIED_GENERATION: &str = "enlace.dev/applied-generation";
/// Label: the user, by identifier, that a device belongs to. Annotation of a volume claim: the user that its session belongs to.
pub const OWNER: &str = "enlace.dev/owner";
/// Label: what created the resource. The API changes only what has [`CREATED_BY_API`] here.
pub const CREATED_BY: &str = "enlace.dev/created-by";
/// The value of [`CREATED_BY`] for what the API created.
pub const CREATED_BY_API: &str = "enlace-api";
/// Label of a device's children: the device's name.
pub const DEVICE: &str = "enlace.dev/device";
/// Label of a number's claim: the namespace of its holder.
pub const HOLDER_NAMESPACE: &str = "enlace.dev/holder-namespace";
/// Label of a number's claim: the number, in canonical form.
pub const NUMBER: &str = "enlace.dev/number";
/// Annotation of a pod: a hash of what it was made from, so that one made from something else is seen.
pub const TEMPLATE_HASH: &str = "enlace.dev/template-hash";
/// Annotation of a pod: the UID of its device.
pub const DEVICE_UID: &str = "enlace.dev/device-uid";
/// Annotation of a volume claim: the UID of the device that it was made for. Another device of the same name that finds it adopts it.
pub const MADE_FOR: &str = "enlace.dev/made-for";
/// Annotation of a volume claim: the UID of the device that uses it, or did last.
pub const USED_BY: &str = "enlace.dev/used-by";
/// Annotation of a volume claim: the size that was asked for last.
pub const VOLUME_SIZE: &str = "enlace.dev/volume-size";
/// Finalizer of a device whose session is to be ended when it is deleted.
pub const LOGOUT_FINALIZER: &str = "enlace.dev/logout";

/// The recommended labels of Kubernetes.
pub const APP_NAME: &str = "app.kubernetes.io/name";
/// The recommended label for one of many.
pub const APP_INSTANCE: &str = "app.kubernetes.io/instance";
/// The recommended label for the role in a system.
pub const APP_COMPONENT: &str = "app.kubernetes.io/component";
/// The recommended label for the system.
pub const APP_PART_OF: &str = "app.kubernetes.io/part-of";
/// The recommended label for what manages it.
pub const APP_MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The labels by which the children of all devices are found.
pub const CHILD_SELECTOR: &str =
    "app.kubernetes.io/managed-by=enlace-operator,app.kubernetes.io/component=device";

/// The labels by which the claims of all numbers are found.
pub const CLAIM_SELECTOR: &str =
    "app.kubernetes.io/managed-by=enlace-operator,app.kubernetes.io/component=number-claim";

/// The labels of the claim of a number by a device.
pub fn claim_labels(number: &CanonicalNumber, key: &DeviceKey) -> [(&'static str, String); 7] {
    [
        (APP_NAME, "enlace".to_owned()),
        (APP_COMPONENT, "number-claim".to_owned()),
        (APP_PART_OF, "enlace".to_owned()),
        (APP_MANAGED_BY, FIELD_MANAGER.to_owned()),
        (NUMBER, number.to_string()),
        (HOLDER_NAMESPACE, key.namespace().to_owned()),
        (DEVICE, key.name().to_owned()),
    ]
}

/// The labels of each child of a device.
pub fn child_labels(key: &DeviceKey) -> [(&'static str, String); 6] {
    [
        (APP_NAME, "enlace".to_owned()),
        (APP_INSTANCE, key.name().to_owned()),
        (APP_COMPONENT, "device".to_owned()),
        (APP_PART_OF, "enlace".to_owned()),
        (APP_MANAGED_BY, FIELD_MANAGER.to_owned()),
        (DEVICE, key.name().to_owned()),
    ]
}

/// The labels that select a device's pod. They can never change, since a StatefulSet's selector cannot.
pub fn pod_selector(key: &DeviceKey) -> [(&'static str, String); 2] {
    [(APP_COMPONENT, "device".to_owned()), (DEVICE, key.name().to_owned())]
}

/// The StatefulSet, which has the device's own name so that the name may be as long as it can.
pub fn stateful_set(key: &DeviceKey) -> String {
    key.name().to_owned()
}

/// The only pod of the StatefulSet.
pub fn pod(key: &DeviceKey) -> String {
    format!("{}-0", key.name())
}

/// The PersistentVolumeClaim.
pub fn volume_claim(key: &DeviceKey) -> String {
    format!("{}-session", key.name())
}

/// The ConfigMap with the device's configuration.
pub fn config_map(key: &DeviceKey) -> String {
    format!("{}-device", key.name())
}

/// The NetworkPolicy.
pub fn network_policy(key: &DeviceKey) -> String {
    format!("{}-device", key.name())
}

/// The Secret with the code to link, where `pairing.publishIn` is `Secret`.
pub fn pairing_secret(key: &DeviceKey) -> String {
    format!("{}-pairing", key.name())
}

/// The Lease that claims a number, in the operator's namespace.
pub fn claim_lease(number: &CanonicalNumber) -> String {
    format!("number-{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_leaves_room_for_what_kubernetes_appends() {
        let name = "a".repeat(DeviceKey::MAX_NAME);
        let key = DeviceKey::new("default", &name).unwrap();
        // `controller-revision-hash` is the StatefulSet's name, a dash and ten characters.
        assert!(stateful_set(&key).len() + 11 <= 63);
        for part in
            [pod(&key), volume_claim(&key), config_map(&key), network_policy(&key), pairing_secret(&key)]
        {
            assert!(part.len() <= 63, "{part}");
        }
    }

    #[test]
    fn forms_of_one_number_have_one_claim() {
        let lease = |text: &str| {
            claim_lease(&text.parse::<enlace_contract::number::PhoneNumber>().unwrap().canonical())
        };
        assert_eq!(lease("5215550000001"), "number-525550000001");
        assert_eq!(lease("525550000001"), lease("5215550000001"));
    }
}
