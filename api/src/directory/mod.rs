//! Which devices there are, and the way to each.
//!
//! * [`DeviceDirectory`]: the one trait through which the API finds devices,
//! * [`host`]: who runs devices in this process,
//! * [`folder`]: the directory that is a folder of manifests,
//! * [`kubernetes`]: the directory that is a Kubernetes cluster.

pub mod folder;
pub mod host;
pub mod kubernetes;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use enlace_contract::client::DeviceClient;
use enlace_contract::name::DeviceKey;
use enlace_contract::number::{CanonicalNumber, PhoneNumber};
use enlace_contract::state::Phase;
use enlace_crds::WhatsAppDevice;
use futures::stream::BoxStream;
use jiff::Timestamp;

pub use folder::{FileError, FolderDirectory, OpenError};
pub use host::{DeviceHost, RunningDevice, StartError};
pub use kubernetes::KubernetesDirectory;

/// A device, as it is declared and as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Its key.
    pub key: DeviceKey,
    /// The resource, with its UID and its status.
    pub resource: WhatsAppDevice,
    /// Whose it is to change.
    pub managed: Managed,
}

/// Who may change a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Managed {
    /// The API created it.
    ByApi,
    /// It is declared elsewhere: where, for a person (a file's name).
    By(String),
}

impl Device {
    /// Where it is in its life.
    pub fn phase(&self) -> Phase {
        self.resource.status.as_ref().and_then(|status| status.phase).unwrap_or_default()
    }

    /// Its effective number: the linked one, or the declared one.
    pub fn number(&self) -> Option<CanonicalNumber> {
        let status = self.resource.status.as_ref();
        let text = status.and_then(|status| status.phone_number.as_deref());
        let text = text.or(self.resource.spec.phone_number.as_deref())?;
        text.parse::<PhoneNumber>().ok().map(|number| number.canonical())
    }
}

/// A change of what is there. A slow reader gets the newest of each device, not every step.
#[derive(Clone, Debug)]
pub enum DeviceChange {
    /// It is new, or was there when the watch began.
    Added(Arc<Device>),
    /// Its declaration or its status changed.
    Changed(Arc<Device>),
    /// It is no longer there.
    Deleted(Arc<Device>),
}

impl DeviceChange {
    /// The device.
    pub const fn device(&self) -> &Arc<Device> {
        let (Self::Added(device) | Self::Changed(device) | Self::Deleted(device)) = self;
        device
    }
}

/// The devices of one moment.
pub type Devices = BTreeMap<DeviceKey, Arc<Device>>;

/// A device cannot be reached now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Away {
    /// Where it is in its life.
    pub phase: Phase,
    /// Why, and what would help, for a person.
    pub detail: String,
    /// After how many seconds it is worth trying again.
    pub retry_after: u64,
}

/// A request to the directory was not followed.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// There is no such device.
    #[error("there is no device {0}")]
    NotFound(DeviceKey),
    /// There is one already.
    #[error("{key} exists already: {detail}")]
    AlreadyExists {
        /// Which.
        key: DeviceKey,
        /// Where, for a person.
        detail: String,
    },
    /// What was asked for is not valid: one line for each thing that is wrong.
    #[error("{0}")]
    Invalid(String),
    /// It was declared elsewhere, and is changed there.
    #[error("{key} belongs to {owner}: change it there")]
    NotOurs {
        /// Which.
        key: DeviceKey,
        /// To what, for a person.
        owner: String,
    },
    /// What was asked for could not be written down. It stays so until somebody makes room, or lets Enlace write there.
    #[error("{} cannot be written", place.display())]
    NotWritten {
        /// The folder.
        place: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It cannot be done now.
    #[error("{detail}")]
    Unavailable {
        /// Why, for a person.
        detail: String,
        /// What the log gets.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// What became of a device that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It went as it was to. In a cluster, where the operator does it, an Event says when it could not be unlinked.
    Done,
    /// It was to be unlinked and could not be: the phone lists it until it is removed there.
    StillListed,
}

/// Which devices there are, and the way to each.
#[async_trait]
pub trait DeviceDirectory: Send + Sync + 'static {
    /// All devices, by key.
    ///
    /// # Errors
    /// See [`DirectoryError`]; so for all calls.
    async fn list(&self) -> Result<Vec<Arc<Device>>, DirectoryError>;

    /// One device.
    async fn get(&self, key: &DeviceKey) -> Result<Arc<Device>, DirectoryError>;

    /// The device of a number: the one that is linked to it or declares it; none when there is none.
    async fn find_by_number(&self, number: &CanonicalNumber) -> Result<Option<Arc<Device>>, DirectoryError>;

    /// Creates a device. The API's mark is put on it.
    async fn create(&self, device: WhatsAppDevice) -> Result<Arc<Device>, DirectoryError>;

    /// Changes the spec by a merge patch (RFC 7396).
    async fn update(
        &self,
        key: &DeviceKey,
        spec_patch: serde_json::Value,
    ) -> Result<Arc<Device>, DirectoryError>;

    /// Deletes a device as its `deletionPolicy` says: it is gone when this returns.
    async fn delete(&self, key: &DeviceKey) -> Result<Deletion, DirectoryError>;

    /// Suspends a device or lets it run again.
    async fn set_suspended(&self, key: &DeviceKey, suspended: bool) -> Result<Arc<Device>, DirectoryError>;

    /// Asks for codes to link again. It is no change of the declaration: it is possible with every device.
    async fn request_pairing(&self, key: &DeviceKey, at: Timestamp) -> Result<Arc<Device>, DirectoryError>;

    /// The changes, after an [`DeviceChange::Added`] for each device that is there.
    fn watch(&self) -> BoxStream<'static, DeviceChange>;

    /// The way to a device.
    async fn client(&self, key: &DeviceKey) -> Result<DeviceClient, Away>;

    /// The declarations that are not accepted, for administrators.
    fn declaration_errors(&self) -> Vec<FileError> {
        Vec::new()
    }

    /// Whether the directory knows its devices.
    async fn ready(&self) -> bool;
}

/// What changed between two moments, in the order of keys.
pub fn changes(before: &Devices, after: &Devices) -> Vec<DeviceChange> {
    let gone = before.iter().filter(|(key, _)| !after.contains_key(*key));
    let mut changes: Vec<_> = gone.map(|(_, device)| DeviceChange::Deleted(Arc::clone(device))).collect();
    for (key, device) in after {
        match before.get(key) {
            None => changes.push(DeviceChange::Added(Arc::clone(device))),
            Some(old) if !Arc::ptr_eq(old, device) => changes.push(DeviceChange::Changed(Arc::clone(device))),
            Some(_) => {}
        }
    }
    changes
}
