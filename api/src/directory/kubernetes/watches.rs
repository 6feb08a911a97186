//! The two watches that keep what is known up to date: of devices, and of their pods.
//!
//! A watch never gives up: what the API server refuses is logged once, tried again with back-off, and what was known stays.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;

use enlace_crds::{WhatsAppDevice, names};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::watch::Sender;

use super::pods::{self, Pods};
use super::resource;
use super::table::Table;
use crate::directory::FileError;

/// Everything that is known of the cluster.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) devices: Table,
    /// Devices that cannot be read, by `namespace/name`.
    pub(super) unreadable: BTreeMap<String, FileError>,
    pub(super) pods: Pods,
    /// Whether all devices were listed once.
    pub(super) devices_listed: bool,
    /// Whether all pods were.
    pub(super) pods_listed: bool,
}

/// A kind of object that is watched, and what of it is kept.
trait Watched: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static {
    /// What it is called in logs and metrics.
    const STORE: &'static str;

    /// Takes one in. False: nothing is new.
    fn put(self, known: &mut Known) -> bool;

    /// Lets one go.
    fn remove(&self, known: &mut Known) -> bool;

    /// All were listed: what is not among these `namespace/name` is gone.
    fn listed(known: &mut Known, there: &HashSet<String>) -> bool;

    /// How many are kept.
    fn count(known: &Known) -> usize;
}

/// Watches devices, for ever.
pub(super) async fn devices(client: Client, known: Arc<Sender<Known>>) {
    follow::<DeserializeGuard<WhatsAppDevice>>(Api::all(client), watcher::Config::default(), &known).await;
}

/// Watches the pods of devices, for ever.
pub(super) async fn pods(client: Client, known: Arc<Sender<Known>>) {
    let config = watcher::Config::default().labels(names::CHILD_SELECTOR);
    follow::<Pod>(Api::all(client), config, &known).await;
}

async fn follow<K: Watched>(api: Api<K>, config: watcher::Config, known: &Sender<Known>) {
    let events = watch(api, config).default_backoff();
    let mut events = std::pin::pin!(events);
    let mut there = HashSet::new();
    let mut complaint = None;
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                complain(K::STORE, &error, &mut complaint);
                continue;
            }
        };
        // A list begins also where the API server refuses it a moment later.
        if !matches!(event, Event::Init) && complaint.take().is_some() {
            tracing::info!(store = K::STORE, "the {} are watched again", K::STORE);
        }
        known.send_if_modified(|known| {
            let new = match event {
                Event::Init => {
                    there.clear();
                    false
                }
                Event::InitApply(object) => {
                    there.insert(name(&object));
                    object.put(known)
                }
                Event::InitDone => K::listed(known, &std::mem::take(&mut there)),
                Event::Apply(object) => object.put(known),
                Event::Delete(object) => object.remove(known),
            };
            if new {
                metrics::gauge!("enlace_api_directory_objects", "store" => K::STORE)
                    .set(u32::try_from(K::count(known)).unwrap_or(u32::MAX));
            }
            new
        });
    }
}

fn name(object: &impl Resource<DynamicType = ()>) -> String {
    let meta = object.meta();
    format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

/// Says once what is wrong, while it stays so.
fn complain(store: &'static str, error: &watcher::Error, before: &mut Option<String>) {
    metrics::counter!("enlace_api_watch_errors_total", "store" => store).increment(1);
    let text = match status(error) {
        Some(status) if status.code == 404 => {
            "the cluster has no such resource: Enlace's CustomResourceDefinition is not installed".to_owned()
        }
        Some(status) if status.is_forbidden() => format!("it is not allowed: {}", status.message),
        // Told to every watch from time to time; it lists again.
        Some(status) if status.code == 410 => return,
        _ => enlace_contract::program::chain(error),
    };
    if before.as_ref() != Some(&text) {
        tracing::warn!(store, error = text, "the {store} cannot be watched; it is tried again: {text}");
        *before = Some(text);
    }
}

fn status(error: &watcher::Error) -> Option<&kube::core::Status> {
    match error {
        watcher::Error::WatchError(status) => Some(status),
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status),
        _ => None,
    }
}

impl Watched for DeserializeGuard<WhatsAppDevice> {
    const STORE: &'static str = "devices";

    fn put(self, known: &mut Known) -> bool {
        let name = name(&self);
        let message = match self.0 {
            Ok(device) => match resource::device(device) {
                Ok(device) => {
                    let mended = known.unreadable.remove(&name).is_some();
                    return known.devices.put(device) || mended;
                }
                Err(error) => error.to_string(),
            },
            Err(invalid) => invalid.error,
        };
        // What it was when it could be read says nothing any more.
        if let Ok(key) = name.parse() {
            known.devices.remove(&key);
        }
        let error = FileError { file: name.clone(), message: format!("it cannot be read: {message}") };
        if known.unreadable.get(&name) == Some(&error) {
            return false;
        }
        tracing::warn!(device = name, error = message, "device {name} cannot be read: {message}");
        known.unreadable.insert(name, error);
        true
    }

    fn remove(&self, known: &mut Known) -> bool {
        let name = name(self);
        let unreadable = known.unreadable.remove(&name).is_some();
        name.parse().is_ok_and(|key| known.devices.remove(&key)) || unreadable
    }

    fn listed(known: &mut Known, there: &HashSet<String>) -> bool {
        known.devices.retain(|key| there.contains(&key.to_string()));
        known.unreadable.retain(|name, _| there.contains(name));
        known.devices_listed = true;
        true
    }

    fn count(known: &Known) -> usize {
        known.devices.len()
    }
}

impl Watched for Pod {
    const STORE: &'static str = "pods";

    fn put(self, known: &mut Known) -> bool {
        pods::read(&self).is_some_and(|(key, facts)| pods::put(&mut known.pods, key, facts))
    }

    fn remove(&self, known: &mut Known) -> bool {
        let uid = self.uid().unwrap_or_default();
        pods::read(self).is_some_and(|(key, _)| pods::remove(&mut known.pods, &key, &uid))
    }

    fn listed(known: &mut Known, there: &HashSet<String>) -> bool {
        known.pods.retain(|key, _| there.contains(&format!("{}/{}", key.namespace(), names::pod(key))));
        known.pods_listed = true;
        true
    }

    fn count(known: &Known) -> usize {
        known.pods.len()
    }
}
