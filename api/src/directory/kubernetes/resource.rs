//! From a resource of the cluster to a device of the directory.

use enlace_contract::name::DeviceKey;
use enlace_crds::manifest::{self, Invalid};
use enlace_crds::{WhatsAppDevice, names};
use kube::ResourceExt as _;

use crate::directory::{Device, Managed};

/// What `kubectl apply` remembers: the whole manifest once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The device, without what only the API server and `kubectl` need.
pub(super) fn device(mut resource: WhatsAppDevice) -> Result<Device, Invalid> {
    let key = manifest::key(&resource)?;
    let managed = managed(&resource);
    resource.metadata.managed_fields = None;
    resource.annotations_mut().remove(LAST_APPLIED);
    if resource.annotations().is_empty() {
        resource.metadata.annotations = None;
    }
    Ok(Device { key, resource, managed })
}

/// Whether the API created it; else who did, as far as the resource tells.
fn managed(resource: &WhatsAppDevice) -> Managed {
    if resource.labels().get(names::CREATED_BY).map(String::as_str) == Some(names::CREATED_BY_API) {
        return Managed::ByApi;
    }
    let label = resource.labels().get(names::APP_MANAGED_BY).cloned();
    let manager = || {
        let mut fields = resource.managed_fields().iter();
        let of_spec = fields.find(|entry| {
            entry.subresource.is_none()
                && entry.fields_v1.as_ref().is_some_and(|fields| fields.0.get("f:spec").is_some())
        });
        of_spec.and_then(|entry| entry.manager.clone())
    };
    Managed::By(match label.or_else(manager) {
        Some(name) => format!("its manifest, which {name} applied"),
        None => "its manifest".to_owned(),
    })
}

/// Whether `seen` is `written` or came after it. Versions of one resource only grow.
pub(super) fn is_not_older(seen: &Device, written: &Device) -> bool {
    let (seen, written) = (&seen.resource.metadata, &written.resource.metadata);
    if seen.uid != written.uid {
        return false;
    }
    let number =
        |version: &Option<String>| version.as_deref().and_then(|version| version.parse::<u128>().ok());
    match (number(&seen.resource_version), number(&written.resource_version)) {
        (Some(seen), Some(written)) => seen >= written,
        _ => seen.resource_version == written.resource_version,
    }
}

/// The resource that is sent to create a device: what the caller may say, and the API's mark.
pub(super) fn new(device: WhatsAppDevice, key: &DeviceKey) -> WhatsAppDevice {
    let mut new = WhatsAppDevice::new(key.name(), device.spec);
    new.metadata.namespace = Some(key.namespace().to_owned());
    new.metadata.labels = device.metadata.labels;
    new.metadata.annotations = device.metadata.annotations;
    new.labels_mut().insert(names::CREATED_BY.to_owned(), names::CREATED_BY_API.to_owned());
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resource(metadata: serde_json::Value) -> WhatsAppDevice {
        let mut value = json!({ "apiVersion": "enlace.dev/v1alpha1", "kind": "WhatsAppDevice", "spec": {} });
        value["metadata"] = metadata;
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn who_declared_a_device_is_told_as_far_as_it_is_known() {
        let managed = |metadata| device(resource(metadata)).unwrap().managed;
        assert_eq!(
            managed(json!({"name": "a", "labels": {"enlace.dev/created-by": "enlace-api"}})),
            Managed::ByApi
        );
        let by = |text: &str| Managed::By(text.to_owned());
        assert_eq!(managed(json!({"name": "a"})), by("its manifest"));
        assert_eq!(
            managed(json!({"name": "a", "labels": {"app.kubernetes.io/managed-by": "Helm"}})),
            by("its manifest, which Helm applied")
        );
        assert_eq!(
            managed(json!({"name": "a", "managedFields": [
                {"manager": "enlace-operator", "operation": "Apply", "subresource": "status", "fieldsV1": {"f:status": {}}},
                {"manager": "enlace-operator", "operation": "Apply", "fieldsV1": {"f:metadata": {"f:finalizers": {}}}},
                {"manager": "flux", "operation": "Apply", "fieldsV1": {"f:spec": {}}},
            ]})),
            by("its manifest, which flux applied")
        );
    }

    #[test]
    fn what_only_kubectl_needs_is_not_kept() {
        let kept = device(resource(json!({"name": "a", "namespace": "shop",
            "annotations": {LAST_APPLIED: "{}"}, "managedFields": [{"manager": "kubectl"}]})));
        let metadata = kept.unwrap().resource.metadata;
        assert_eq!((metadata.annotations, metadata.managed_fields), (None, None));
    }
}
