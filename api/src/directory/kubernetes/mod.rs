//! The directory that is a Kubernetes cluster.
//!
//! Two watches keep in memory which devices there are, which number is whose, and where each device's pod is. A request for a number needs no
//! call to the API server; only changes are written there.
//!
//! * [`KubernetesDirectory`]: the handle,
//! * `watches`: the two watches and what is known through them, `table`: the devices and what changed after a moment,
//!   `pods`: addresses and connections,
//! * `changes`: what callers ask to be changed, `refused`: what the API server answers to it,
//! * `resource`: from a resource to a device, `away`: why there is no way to one.
//!
//! A device belongs to the API when it has the label `enlace.dev/created-by: enlace-api`; others are changed where they were declared. A
//! request to pair is an annotation, and no change of the declaration.
//!
//! A stream of changes ends when its reader is thousands of deletions behind: it begins anew with what is there.
//!
//! # Permissions
//!
//! Everything that the API asks of the API server, in all namespaces (a ClusterRole), and why:
//!
//! | group | resource | verbs | why |
//! |---|---|---|---|
//! | `enlace.dev` | `whatsappdevices` | list, watch | to know the devices |
//! | `enlace.dev` | `whatsappdevices` | get | what is there before it is changed |
//! | `enlace.dev` | `whatsappdevices` | create, delete | devices that are created through the API |
//! | `enlace.dev` | `whatsappdevices` | patch | their spec, and requests to pair |
//! | core | `pods` | list, watch | the addresses of devices' pods (by label) |
//!
//! Not among them: Secrets (keys and the first administrator are mounted), `whatsappdevices/status`, anything else of pods.

mod away;
mod changes;
mod pods;
mod refused;
mod resource;
mod table;
mod watches;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use enlace_contract::client::DeviceClient;
use enlace_contract::name::DeviceKey;
use enlace_contract::number::CanonicalNumber;
use enlace_contract::token::TokenSigner;
use enlace_crds::{WhatsAppDevice, manifest};
use futures::stream::{self, BoxStream, StreamExt as _};
use jiff::Timestamp;
use kube::Client;
use tokio::sync::watch::{Receiver, Sender};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Away, Deletion, Device, DeviceChange, DeviceDirectory, DirectoryError, FileError};
use watches::Known;

pub use pods::DEVICE_PORT;

/// How long a deleted device may take to go: the operator unlinks it at WhatsApp first. Less than callers wait for an answer.
const DELETION: Duration = Duration::from_secs(25);
/// How long a change that was written may take to come back through the watch. The answer does not depend on it.
const ECHO: Duration = Duration::from_secs(2);

/// The devices of a cluster. Clones are handles of the same; with the last one, the watches end.
#[derive(Clone)]
pub struct KubernetesDirectory {
    client: Client,
    signer: TokenSigner,
    port: u16,
    known: Receiver<Known>,
    watching: Arc<DropGuard>,
}

impl KubernetesDirectory {
    /// Begins to watch a cluster. It does not wait for it: see [`DeviceDirectory::ready`].
    ///
    /// `signer` makes the tokens that open devices, which listen on `port` ([`DEVICE_PORT`]).
    pub fn open(client: Client, signer: TokenSigner, port: u16) -> Self {
        let (sender, known) = tokio::sync::watch::channel(Known::default());
        let sender: Arc<Sender<Known>> = Arc::new(sender);
        let stop = CancellationToken::new();
        let watches = [
            tokio::spawn(
                stop.clone().run_until_cancelled_owned(watches::devices(client.clone(), sender.clone())),
            ),
            tokio::spawn(stop.clone().run_until_cancelled_owned(watches::pods(client.clone(), sender))),
        ];
        drop(watches);
        Self { client, signer, port, known, watching: Arc::new(stop.drop_guard()) }
    }

    /// Waits until all devices and pods have been listed.
    pub async fn listed(&self) {
        // It ends without only when the watches have.
        let _ = self.known.clone().wait_for(|known| known.devices_listed && known.pods_listed).await;
    }

    /// One item now, and one after each change of what is known, of pods too. What is known then is asked for.
    pub fn ticks(&self) -> BoxStream<'static, ()> {
        let mut known = self.known.clone();
        known.mark_changed();
        stream::unfold(known, async |mut known| {
            known.changed().await.ok()?;
            Some(((), known))
        })
        .boxed()
    }

    /// Waits until a change that was written is known here too, so that whoever made it sees it.
    async fn seen(&self, written: Device) -> Arc<Device> {
        let mut known = self.known.clone();
        let echo = known.wait_for(|known| {
            known.devices.get(&written.key).is_some_and(|seen| resource::is_not_older(seen, &written))
        });
        let _ = tokio::time::timeout(ECHO, echo).await;
        Arc::new(written)
    }
}

#[async_trait]
impl DeviceDirectory for KubernetesDirectory {
    async fn list(&self) -> Result<Vec<Arc<Device>>, DirectoryError> {
        Ok(self.known.borrow().devices.all().cloned().collect())
    }

    async fn get(&self, key: &DeviceKey) -> Result<Arc<Device>, DirectoryError> {
        let found = self.known.borrow().devices.get(key).cloned();
        found.ok_or_else(|| DirectoryError::NotFound(key.clone()))
    }

    async fn find_by_number(&self, number: &CanonicalNumber) -> Result<Option<Arc<Device>>, DirectoryError> {
        Ok(self.known.borrow().devices.of_number(number).cloned())
    }

    async fn create(&self, device: WhatsAppDevice) -> Result<Arc<Device>, DirectoryError> {
        manifest::validate(&device).map_err(|error| DirectoryError::Invalid(error.to_string()))?;
        let created = self.write_new(device).await?;
        Ok(self.seen(created).await)
    }

    async fn update(
        &self,
        key: &DeviceKey,
        spec_patch: serde_json::Value,
    ) -> Result<Arc<Device>, DirectoryError> {
        let changed = self.write_spec(key, &spec_patch).await?;
        Ok(self.seen(changed).await)
    }

    async fn delete(&self, key: &DeviceKey) -> Result<Deletion, DirectoryError> {
        let uid = self.write_end(key).await?;
        let mut known = self.known.clone();
        let gone = known.wait_for(|known| {
            known.devices.get(key).is_none_or(|device| device.resource.metadata.uid != uid)
        });
        if matches!(tokio::time::timeout(DELETION, gone).await, Ok(Ok(_))) || self.is_gone(key, uid).await? {
            return Ok(Deletion::Done);
        }
        let detail = format!(
            "{key} is being deleted, and was not gone after {} s: it is unlinked at WhatsApp first",
            DELETION.as_secs()
        );
        Err(DirectoryError::Unavailable { detail, source: None })
    }

    async fn set_suspended(&self, key: &DeviceKey, suspended: bool) -> Result<Arc<Device>, DirectoryError> {
        self.update(key, serde_json::json!({ "suspend": suspended })).await
    }

    async fn request_pairing(&self, key: &DeviceKey, at: Timestamp) -> Result<Arc<Device>, DirectoryError> {
        let changed = self.write_request(key, at).await?;
        Ok(self.seen(changed).await)
    }

    fn watch(&self) -> BoxStream<'static, DeviceChange> {
        let watching = Arc::clone(&self.watching);
        stream::unfold((self.known.clone(), 0, watching), async |(mut known, mut moment, watching)| {
            loop {
                let Some(news) = known.borrow_and_update().devices.after(moment) else {
                    metrics::counter!("enlace_api_directory_readers_cut_off_total").increment(1);
                    tracing::warn!("a reader of the changes of devices was too slow and is cut off");
                    return None;
                };
                moment = news.upto;
                if !news.changes.is_empty() {
                    return Some((stream::iter(news.changes), (known, moment, watching)));
                }
                known.changed().await.ok()?;
            }
        })
        .flatten()
        .boxed()
    }

    async fn client(&self, key: &DeviceKey) -> Result<DeviceClient, Away> {
        let known = self.known.borrow();
        let (device, pod) = (known.devices.get(key), known.pods.get(key));
        if let (Some(device), Some(pod)) = (device, pod)
            && !device.resource.spec.suspend
            && let Some(uid) = &device.resource.metadata.uid
            && let Some(client) = pod.client(uid, self.port, &self.signer)
        {
            return Ok(client);
        }
        Err(away::away(key, device.map(Arc::as_ref), pod))
    }

    fn declaration_errors(&self) -> Vec<FileError> {
        self.known.borrow().unreadable.values().cloned().collect()
    }

    async fn ready(&self) -> bool {
        let known = self.known.borrow();
        known.devices_listed && known.pods_listed
    }
}
