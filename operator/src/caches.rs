//! The caches: what the operator knows without asking.
//!
//! Every replica keeps them, so that a new leader knows all at once. Children are held as metadata only, pods without what nobody reads.
//!
//! Metadata alone shows that somebody edited a child. A StatefulSet and a NetworkPolicy have a generation, and an annotation says at which one
//! the operator left them. (Who manages which field would not do: what `kubectl scale` did is nobody's after the next write of the status.)
//! A ConfigMap has no generation, and no status either: when another manager than ours has a part of its data, the cached copy gets the
//! annotation [`EDITED`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use enlace_contract::name::DeviceKey;
use enlace_crds::rules::conditions::PAIRED;
use enlace_crds::{WhatsAppDevice, WhatsAppDeviceStatus, names};
use futures::{Stream, StreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PartialObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

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

/// Watches for ever; each object is pruned before anything keeps it.
fn watch<K>(
    api: Api<K>,
    config: watcher::Config,
    prune: impl Fn(&mut K) + Copy + Send + 'static,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watcher(api, config).default_backoff().map(move |event| event.map(|event| event.modify(prune)))
}

/// Fills the cache of devices. What the operator itself changes (the status) is no reason to look at a device again.
async fn devices_filled(
    (caches, triggers): (Arc<Caches>, Triggers),
    events: impl Stream<Item = watcher::Result<Event<Guarded>>>,
    mut writer: kube::runtime::reflector::store::Writer<Guarded>,
) {
    let mut known: HashMap<(String, String), u64> = HashMap::new();
    let mut complaint = Complaint::new(PARTS[0]);
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        caches.crd_missing.store(is_missing(&event), Ordering::Release);
        let Some(event) = complaint.unless_error(event) else { continue };
        writer.apply_watcher_event(&event);
        match &event {
            Event::Apply(device) => {
                let key = (device.namespace().unwrap_or_default(), device.name_any());
                caches.statuses.seen(&key.0, &key.1, device.meta().resource_version.as_deref());
                let fingerprint = fingerprint(device.meta());
                let reference = ObjectRef::from_obj(device);
                if known.insert(key, fingerprint) != Some(fingerprint) {
                    triggers.add(reference);
                }
            }
            Event::Delete(device) => {
                let key = (device.namespace().unwrap_or_default(), device.name_any());
                caches.statuses.seen(&key.0, &key.1, None);
                known.remove(&key);
                triggers.add(ObjectRef::from_obj(device));
            }
            Event::Init => {
                // Those that are gone since must be looked at too.
                triggers.extend(known.drain().map(|((namespace, name), _)| device_ref(&namespace, &name)));
            }
            Event::InitApply(device) => {
                let key = (device.namespace().unwrap_or_default(), device.name_any());
                known.insert(key, fingerprint(device.meta()));
                triggers.add(ObjectRef::from_obj(device));
            }
            Event::InitDone => {
                caches.statuses.clear();
                caches.is_synced(0);
                caches.trigger_all(&triggers);
            }
        }
    }
}

/// What of a device's metadata matters. Deletion events always pass, which kube's predicates do not promise.
fn fingerprint(meta: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&meta.uid, meta.generation, &meta.finalizers, &meta.annotations, &meta.labels).hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    hasher.finish()
}

async fn children_filled<K>(
    (caches, triggers): (Arc<Caches>, Triggers),
    part: u16,
    of: fn(&Caches) -> &Children<K>,
    events: impl Stream<Item = watcher::Result<Event<Meta<K>>>>,
    mut writer: kube::runtime::reflector::store::Writer<Meta<K>>,
) where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let mut complaint = Complaint::new(PARTS[usize::from(part)]);
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        let Some(event) = complaint.unless_error(event) else { continue };
        writer.apply_watcher_event(&event);
        let written = &of(&caches).written;
        match &event {
            Event::Apply(child) | Event::Delete(child) => {
                let namespace = child.namespace().unwrap_or_default();
                written.seen(&namespace, &child.name_any(), child.metadata.resource_version.as_deref());
                trigger_device(&triggers, child.meta());
            }
            Event::InitDone => {
                written.clear();
                caches.is_synced(part);
                caches.trigger_all(&triggers);
            }
            Event::Init | Event::InitApply(_) => {}
        }
    }
}

async fn pods_filled(
    (caches, triggers): (Arc<Caches>, Triggers),
    events: impl Stream<Item = watcher::Result<Event<Pod>>>,
    mut writer: kube::runtime::reflector::store::Writer<Pod>,
) {
    let mut complaint = Complaint::new(PARTS[5]);
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        let Some(event) = complaint.unless_error(event) else { continue };
        writer.apply_watcher_event(&event);
        match &event {
            Event::Apply(pod) | Event::Delete(pod) => trigger_device(&triggers, pod.meta()),
            Event::InitDone => {
                caches.is_synced(5);
                caches.trigger_all(&triggers);
            }
            Event::Init | Event::InitApply(_) => {}
        }
    }
}

async fn claims_filled(
    (caches, triggers): (Arc<Caches>, Triggers),
    events: impl Stream<Item = watcher::Result<Event<Lease>>>,
    mut writer: kube::runtime::reflector::store::Writer<Lease>,
) {
    let mut complaint = Complaint::new(PARTS[6]);
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        let Some(event) = complaint.unless_error(event) else { continue };
        writer.apply_watcher_event(&event);
        match &event {
            Event::Apply(lease) => {
                seen_claim(&caches, lease);
                caches.index(lease);
                if let Some((namespace, name)) = holder_of(lease) {
                    triggers.add(device_ref(&namespace, &name));
                }
            }
            Event::Delete(lease) => {
                seen_claim(&caches, lease);
                caches.unindex(lease);
                if let Some(number) = lease.labels().get(names::NUMBER) {
                    trigger_waiting(&caches, &triggers, number);
                }
            }
            Event::InitDone => {
                caches.claims_written.clear();
                caches.held.lock().unwrap_or_else(PoisonError::into_inner).clear();
                caches.claims.state().iter().for_each(|lease| caches.index(lease));
                caches.is_synced(6);
                caches.trigger_all(&triggers);
            }
            Event::Init | Event::InitApply(_) => {}
        }
    }
}

fn seen_claim(caches: &Caches, lease: &Lease) {
    let namespace = lease.namespace().unwrap_or_default();
    caches.claims_written.seen(&namespace, &lease.name_any(), lease.metadata.resource_version.as_deref());
}

/// Devices that a number was refused to, now that it is free.
fn trigger_waiting(caches: &Caches, triggers: &Triggers, number: &str) {
    let waits = |device: &WhatsAppDevice| {
        let status = device.status.as_ref();
        let written =
            [device.spec.phone_number.as_deref(), status.and_then(|status| status.phone_number.as_deref())];
        written.into_iter().flatten().any(|text| {
            text.parse()
                .is_ok_and(|text: enlace_contract::number::PhoneNumber| text.canonical().as_str() == number)
        })
    };
    let waiting = caches.devices.state_filter(|device| device.0.as_ref().is_ok_and(waits));
    triggers.extend(waiting.iter().map(|device| ObjectRef::from_obj(device.as_ref())));
}

fn trigger_device(triggers: &Triggers, child: &ObjectMeta) {
    let name = child.labels.as_ref().and_then(|labels| labels.get(names::DEVICE));
    if let (Some(namespace), Some(name)) = (&child.namespace, name) {
        triggers.add(device_ref(namespace, name));
    }
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

fn is_missing<T>(event: &watcher::Result<T>) -> bool {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    match event {
        Err(
            InitialListFailed(kube::Error::Api(status))
            | WatchStartFailed(kube::Error::Api(status))
            | WatchFailed(kube::Error::Api(status)),
        ) => status.is_not_found(),
        Err(WatchError(status)) => status.is_not_found(),
        _ => false,
    }
}

/// Says once that a watch fails, until it works again.
struct Complaint {
    part: &'static str,
    open: bool,
}

impl Complaint {
    fn new(part: &'static str) -> Self {
        Self { part, open: false }
    }

    fn unless_error<T>(&mut self, event: watcher::Result<T>) -> Option<T> {
        match event {
            Ok(event) => {
                self.open = false;
                Some(event)
            }
            Err(error) => {
                metrics::counter!("enlace_operator_watch_errors_total", "resource" => self.part).increment(1);
                if !self.open {
                    let part = self.part;
                    tracing::warn!(
                        error = crate::telemetry::chain(&error),
                        resource = part,
                        "the watch of {part} fails; it is tried again"
                    );
                    self.open = true;
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
