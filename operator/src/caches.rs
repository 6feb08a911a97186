//! The caches: what the operator knows without asking.
//!
//! Every replica keeps them, so that a new leader knows all at once. Children are held as metadata only, pods without what nobody reads.
//!
//! Metadata alone shows that somebody edited a child. A StatefulSet and a NetworkPolicy have a generation, and an annotation says at which one
//! the operator left them. (Who manages which field would not do: what `kubectl scale` did is nobody's after the next write of the status.)
//! A ConfigMap has no generation, and no status either: when another manager than ours has a part of its data, the cached copy gets the
//! annotation [`EDITED`].

mod filling;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use enlace_contract::name::DeviceKey;
use enlace_crds::rules::conditions::PAIRED;
use enlace_crds::{WhatsAppDevice, WhatsAppDeviceStatus, names};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PartialObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt as _};

use self::filling::{children_filled, claims_filled, devices_filled, pods_filled, watch};
use crate::pods;
use crate::triggers::{DeviceRef, Guarded, Triggers, device_ref};
use crate::written::Written;

/// Annotation that exists in the cache only: somebody else manages a part of the body.
pub const EDITED: &str = "enlace.dev/edited";

/// Metadata of a child.
type Meta<K> = PartialObjectMeta<K>;

/// The cached children of one kind, and what was written of them since.
pub struct Children<K: Resource<DynamicType = ()> + Clone + 'static> {
    /// The cache.
    pub store: Store<Meta<K>>,
    /// What was written since.
    pub written: Written<ObjectMeta>,
}

/// All caches.
pub struct Caches {
    /// Devices.
    pub devices: Store<Guarded>,
    /// Their statuses that were written and are not in the cache yet.
    pub statuses: Written<WhatsAppDeviceStatus>,
    /// Volumes.
    pub volume_claims: Children<PersistentVolumeClaim>,
    /// Configurations.
    pub config_maps: Children<ConfigMap>,
    /// Workloads.
    pub stateful_sets: Children<StatefulSet>,
    /// Policies.
    pub network_policies: Children<NetworkPolicy>,
    /// Pods.
    pub pods: Store<Pod>,
    /// Claims of numbers.
    pub claims: Store<Lease>,
    /// Claims that were written and are not in the cache yet.
    pub claims_written: Written<Lease>,
    held: Mutex<BTreeMap<(String, String), BTreeSet<String>>>,
    synced: AtomicU16,
    crd_missing: std::sync::atomic::AtomicBool,
}

/// What a cache is of, for readiness.
const PARTS: [&str; 7] = [
    "whatsappdevices",
    "persistentvolumeclaims",
    "configmaps",
    "statefulsets",
    "networkpolicies",
    "pods",
    "leases",
];

impl<K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + 'static> Children<K> {
    /// The newest metadata of a child.
    pub fn get(&self, namespace: &str, name: &str) -> Option<ObjectMeta> {
        // In this order: a write that is not remembered any more is in the cache already.
        let written = self.written.get(namespace, name);
        let cached = self.store.get(&ObjectRef::new(name).within(namespace));
        let version = cached.as_ref().and_then(|child| child.metadata.resource_version.clone());
        written
            .and_then(|written| written.newer_than(version.as_deref()))
            .or_else(|| cached.map(|child| child.metadata.clone()))
    }
}

impl Caches {
    /// The caches, and what fills them for as long as it is polled.
    pub fn new(
        client: &Client,
        namespace: &str,
        triggers: &Triggers,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + use<>) {
        let (devices, devices_writer) = store();
        let (volume_claims, volume_claims_writer) = store();
        let (config_maps, config_maps_writer) = store();
        let (stateful_sets, stateful_sets_writer) = store();
        let (network_policies, network_policies_writer) = store();
        let (pods, pods_writer) = store();
        let (claims, claims_writer) = store();
        let caches = Arc::new(Self {
            devices,
            statuses: Written::default(),
            volume_claims: Children { store: volume_claims, written: Written::default() },
            config_maps: Children { store: config_maps, written: Written::default() },
            stateful_sets: Children { store: stateful_sets, written: Written::default() },
            network_policies: Children { store: network_policies, written: Written::default() },
            pods,
            claims,
            claims_written: Written::default(),
            held: Mutex::default(),
            synced: AtomicU16::new(0),
            crd_missing: false.into(),
        });
        let all = watcher::Config::default;
        let children = || watcher::Config::default().labels(names::CHILD_SELECTOR);
        let claims_config = watcher::Config::default().labels(names::CLAIM_SELECTOR);
        let c = |caches: &Arc<Self>| (Arc::clone(caches), triggers.clone());
        let filled = {
            let devices =
                devices_filled(c(&caches), watch(Api::all(client.clone()), all(), |_| {}), devices_writer);
            let volume_claims = children_filled(
                c(&caches),
                1,
                |caches| &caches.volume_claims,
                watch(Api::all(client.clone()), children(), slim),
                volume_claims_writer,
            );
            let config_maps = children_filled(
                c(&caches),
                2,
                |caches| &caches.config_maps,
                watch(Api::all(client.clone()), children(), mark),
                config_maps_writer,
            );
            let stateful_sets = children_filled(
                c(&caches),
                3,
                |caches| &caches.stateful_sets,
                watch(Api::all(client.clone()), children(), slim),
                stateful_sets_writer,
            );
            let network_policies = children_filled(
                c(&caches),
                4,
                |caches| &caches.network_policies,
                watch(Api::all(client.clone()), children(), slim),
                network_policies_writer,
            );
            let pods = pods_filled(
                c(&caches),
                watch(Api::all(client.clone()), children(), pods::prune),
                pods_writer,
            );
            let claims = claims_filled(
                c(&caches),
                watch(Api::namespaced(client.clone(), namespace), claims_config, |_| {}),
                claims_writer,
            );
            async move {
                tokio::join!(
                    devices,
                    volume_claims,
                    config_maps,
                    stateful_sets,
                    network_policies,
                    pods,
                    claims
                );
            }
        };
        (caches, filled)
    }

    /// What is missing before the caches can be trusted; empty: nothing.
    pub fn missing(&self) -> Vec<String> {
        let synced = self.synced.load(Ordering::Acquire);
        let mut missing: Vec<String> = (0u16..)
            .zip(PARTS)
            .filter(|(bit, _)| synced & (1 << bit) == 0)
            .map(|(_, part)| format!("the cache of {part} is not filled"))
            .collect();
        if self.crd_missing.load(Ordering::Acquire) {
            missing
                .insert(0, "the resource definition whatsappdevices.enlace.dev is not installed".to_owned());
        }
        missing
    }

    /// Waits until every cache was filled once.
    pub async fn ready(&self) {
        let Self {
            devices, volume_claims, config_maps, stateful_sets, network_policies, pods, claims, ..
        } = self;
        // A store's writer lives as long as the future that fills it; without it the process ends.
        let _ = tokio::join!(
            devices.wait_until_ready(),
            volume_claims.store.wait_until_ready(),
            config_maps.store.wait_until_ready(),
            stateful_sets.store.wait_until_ready(),
            network_policies.store.wait_until_ready(),
            pods.wait_until_ready(),
            claims.wait_until_ready(),
        );
    }

    /// A device by its name.
    pub fn device(&self, namespace: &str, name: &str) -> Option<Arc<Guarded>> {
        self.devices.get(&device_ref(namespace, name))
    }

    /// A device, with the status as it was last written.
    pub fn newest(&self, device: &DeviceRef) -> Option<Arc<Guarded>> {
        // In this order, see `Children::get`.
        let written = self.statuses.get(device.namespace.as_deref().unwrap_or_default(), &device.name);
        let cached = self.devices.get(device)?;
        let version = cached.meta().resource_version.clone();
        let (Some(status), Ok(device)) =
            (written.and_then(|status| status.newer_than(version.as_deref())), &cached.0)
        else {
            return Some(cached);
        };
        let device = WhatsAppDevice { status: Some(status), ..device.clone() };
        Some(Arc::new(DeserializeGuard(Ok(device))))
    }

    /// A claim by the name of its lease.
    pub fn claim(&self, namespace: &str, lease: &str) -> Option<Lease> {
        let written = self.claims_written.get(namespace, lease);
        let cached = self.claims.get(&ObjectRef::new(lease).within(namespace));
        let version = cached.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
        written
            .and_then(|written| written.newer_than(version.as_deref()))
            .or_else(|| cached.map(|lease| (*lease).clone()))
    }

    /// The names of the leases whose labels name a device.
    pub fn leases_of(&self, key: &DeviceKey) -> Vec<String> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let leases = held.get(&(key.namespace().to_owned(), key.name().to_owned()));
        leases.into_iter().flatten().cloned().collect()
    }

    /// Remembers a claim that was written.
    pub fn note_claim(&self, namespace: &str, lease: Lease) {
        let name = lease.name_any();
        self.index(&lease);
        let version = lease.metadata.resource_version.clone();
        self.claims_written.note(namespace, &name, version.as_deref(), lease);
    }

    fn index(&self, lease: &Lease) {
        if let Some(holder) = holder_of(lease) {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.entry(holder).or_default().insert(lease.name_any());
        }
    }

    fn unindex(&self, lease: &Lease) {
        if let Some(holder) = holder_of(lease) {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(leases) = held.get_mut(&holder) {
                leases.remove(&lease.name_any());
                if leases.is_empty() {
                    held.remove(&holder);
                }
            }
        }
    }

    fn is_synced(&self, part: u16) {
        self.synced.fetch_or(1 << part, Ordering::AcqRel);
    }

    fn trigger_all(&self, triggers: &Triggers) {
        triggers.extend(self.devices.state().iter().map(|device| ObjectRef::from_obj(device.as_ref())));
    }

    /// All devices, in the order in which they are to get their numbers when no claims are left (a cluster that was restored): linked ones
    /// first, then older ones.
    pub fn by_right(&self) -> Vec<DeviceRef> {
        let mut devices = self.devices.state();
        devices.sort_by_cached_key(|device| {
            let status = device.0.as_ref().ok().and_then(|device| device.status.as_ref());
            let linked = status.is_some_and(|status| status.is_true(PAIRED));
            let created = device.meta().creation_timestamp.as_ref().map(|time| time.0);
            (!linked, created, device.namespace(), device.name_any())
        });
        devices.iter().map(|device| ObjectRef::from_obj(device.as_ref())).collect()
    }
}

/// Namespace and name of the device that a claim's labels name.
pub fn holder_of(lease: &Lease) -> Option<(String, String)> {
    let labels = lease.labels();
    Some((labels.get(names::HOLDER_NAMESPACE)?.clone(), labels.get(names::DEVICE)?.clone()))
}

/// Drops what nobody reads.
fn slim<K>(child: &mut Meta<K>) {
    child.metadata.managed_fields = None;
}

/// Marks a child whose body somebody else manages a part of, and drops what nobody reads.
pub fn mark<K>(child: &mut Meta<K>) {
    mark_metadata(&mut child.metadata);
}

/// The same for metadata that came back from a write.
pub fn mark_metadata(meta: &mut ObjectMeta) {
    let entries = meta.managed_fields.take().unwrap_or_default();
    let edited = entries.iter().any(|entry| {
        let ours = entry.manager.as_deref() == Some(names::FIELD_MANAGER);
        let data = |fields: &serde_json::Value| {
            ["f:data", "f:binaryData", "f:immutable"].iter().any(|part| fields.get(part).is_some())
        };
        !ours && entry.fields_v1.as_ref().is_some_and(|fields| data(&fields.0))
    });
    let annotations = meta.annotations.get_or_insert_default();
    if edited {
        annotations.insert(EDITED.to_owned(), String::new());
    } else {
        annotations.remove(EDITED);
    }
}

#[cfg(test)]
mod tests {
    use super::filling::fingerprint;
    use super::*;
    use serde_json::json;

    fn marked(managed_fields: serde_json::Value) -> bool {
        let mut meta: ObjectMeta =
            serde_json::from_value(json!({ "managedFields": managed_fields })).unwrap();
        mark_metadata(&mut meta);
        meta.annotations.unwrap().contains_key(EDITED)
    }

    #[test]
    fn a_manual_edit_of_data_is_seen_in_metadata_and_one_of_labels_is_none() {
        let entry =
            |manager: &str, fields: serde_json::Value| json!({ "manager": manager, "fieldsV1": fields });
        let ours = entry(names::FIELD_MANAGER, json!({ "f:data": { "f:device.yaml": {} } }));
        let label = entry("kubectl-label", json!({ "f:metadata": {} }));
        let data = entry("kubectl-edit", json!({ "f:data": { "f:other": {} } }));
        assert!(!marked(json!([ours, label])));
        assert!(marked(json!([ours, data])));
    }

    #[test]
    fn only_what_the_operator_does_not_change_itself_is_a_reason_to_look() {
        let meta: ObjectMeta =
            serde_json::from_value(json!({ "uid": "1", "generation": 1, "resourceVersion": "5" })).unwrap();
        let status_written = ObjectMeta { resource_version: Some("6".into()), ..meta.clone() };
        assert_eq!(fingerprint(&meta), fingerprint(&status_written));
        let annotated =
            ObjectMeta { annotations: Some([("a".to_owned(), "b".to_owned())].into()), ..meta.clone() };
        let changed = ObjectMeta { generation: Some(2), ..meta.clone() };
        let finalized = ObjectMeta { finalizers: Some(vec![names::LOGOUT_FINALIZER.into()]), ..meta.clone() };
        for other in [annotated, changed, finalized] {
            assert_ne!(fingerprint(&meta), fingerprint(&other));
        }
    }
}
