//! Fills the caches, and names the devices that each event concerns.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use enlace_crds::{WhatsAppDevice, names};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::{Caches, Children, Meta, PARTS, holder_of};
use crate::triggers::{Guarded, Triggers, device_ref};

/// Watches for ever; each object is pruned before anything keeps it.
pub(super) fn watch<K>(
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
pub(super) async fn devices_filled(
    (caches, triggers): (Arc<Caches>, Triggers),
    events: impl Stream<Item = watcher::Result<Event<Guarded>>>,
    mut writer: Writer<Guarded>,
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
pub(super) fn fingerprint(meta: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&meta.uid, meta.generation, &meta.finalizers, &meta.annotations, &meta.labels).hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    hasher.finish()
}

pub(super) async fn children_filled<K>(
    (caches, triggers): (Arc<Caches>, Triggers),
    part: u16,
    of: fn(&Caches) -> &Children<K>,
    events: impl Stream<Item = watcher::Result<Event<Meta<K>>>>,
    mut writer: Writer<Meta<K>>,
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

pub(super) async fn pods_filled(
    (caches, triggers): (Arc<Caches>, Triggers),
    events: impl Stream<Item = watcher::Result<Event<Pod>>>,
    mut writer: Writer<Pod>,
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

pub(super) async fn claims_filled(
    (caches, triggers): (Arc<Caches>, Triggers),
    events: impl Stream<Item = watcher::Result<Event<Lease>>>,
    mut writer: Writer<Lease>,
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
