//! The directory that is a folder of manifests.
//!
//! Every `*.yaml` and `*.yml` file at the top level of the folder is read (no folders below it, no files whose name begins with a dot). The
//! folder is watched, and read again each half minute for file systems that tell nothing. A file that is not accepted stops nobody: what it
//! declared when it was last good stays, and the error is shown. A file that disappears stops its devices and keeps their data; when it
//! comes back, they go on.
//!
//! The data of a device is in `DATA/devices/NAMESPACE/NAME`. Its UID is there too, since a file has none.
//!
//! * [`FolderDirectory`]: the handle,
//! * `files`: reading and writing manifests, `watch`: when to look again,
//! * `data`: what is remembered of a device,
//! * `keeper`: the one task that decides, `changes`: what callers ask of it, `news`: what workers tell it,
//!   `entry`: what it knows of one device,
//! * `worker`: one task for each device, which starts and stops it and listens to it.

mod changes;
mod data;
mod entry;
mod files;
mod keeper;
mod news;
mod requests;
mod watch;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use enlace_contract::client::DeviceClient;
use enlace_contract::name::DeviceKey;
use enlace_contract::number::CanonicalNumber;
use enlace_crds::rules::conditions::{ACCEPTED, DUPLICATE_NUMBER};
use enlace_crds::{WhatsAppDevice, manifest};
use futures::stream::{BoxStream, StreamExt as _};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch as watched};
use utoipa::ToSchema;

use super::host::DeviceHost;
use super::{Away, Deletion, Device, DeviceChange, DeviceDirectory, Devices, DirectoryError};
use keeper::{Keeper, Picture};
use requests::Request;

/// Requests that may wait for the keeper.
const REQUESTS: usize = 64;

/// A file that is not accepted, with what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FileError {
    /// The file's name in the folder; empty for the folder itself.
    pub file: String,
    /// What is wrong, a line for each thing.
    pub message: String,
}

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be read.
    #[error("the folder {} cannot be read", .path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The data directory cannot be used.
    #[error("the data directory {} cannot be used", .path.display())]
    Data {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process has the data directory.
    #[error("the data directory {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Another process has the folder.
    #[error("the folder {} is in use by another process: each number in it would have two clients", .0.display())]
    FolderInUse(PathBuf),
}

/// A folder of manifests whose devices run in this process. Clones are handles of the same.
#[derive(Clone)]
pub struct FolderDirectory {
    requests: mpsc::Sender<Request>,
    picture: watched::Receiver<Arc<Picture>>,
}

impl FolderDirectory {
    /// Reads the folder, starts its devices, and goes on watching it until [`Self::close`].
    ///
    /// # Errors
    /// When the folder cannot be read or the data directory cannot be used. A bad manifest is no error here: see [`Self::file_errors`].
    pub async fn open(dir: &Path, host: Arc<dyn DeviceHost>, data_dir: &Path) -> Result<Self, OpenError> {
        let (requests, queue) = mpsc::channel(REQUESTS);
        let keeper = Keeper::open(dir.to_owned(), data_dir.to_owned(), host, requests.clone()).await?;
        let picture = keeper.subscribe();
        tokio::spawn(keeper.run(queue));
        Ok(Self { requests, picture })
    }

    /// The files that are not accepted now.
    pub fn file_errors(&self) -> Vec<FileError> {
        self.picture.borrow().errors.clone()
    }

    /// Waits until the files that are not accepted are others than before; they are then these. None after [`Self::close`].
    pub async fn file_errors_changed(&mut self) -> Option<Vec<FileError>> {
        let before = self.picture.borrow_and_update().errors.clone();
        let picture = self.picture.wait_for(|picture| picture.errors != before).await.ok()?;
        Some(picture.errors.clone())
    }

    /// Looks at the folder now, and returns when what is there has been taken in.
    pub async fn rescan(&self) {
        let (done, taken) = oneshot::channel();
        if self.requests.send(Request::Rescan(done)).await.is_ok() {
            // It ends without an answer only when the directory is closed.
            let _ = taken.await;
        }
    }

    /// Stops every device, side by side. When this returns, nothing runs.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.requests.send(Request::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, DirectoryError>>) -> Request,
    ) -> Result<T, DirectoryError> {
        let closed =
            || DirectoryError::Unavailable { detail: "the directory is closed".into(), source: None };
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    fn devices(&self) -> Arc<Devices> {
        Arc::clone(&self.picture.borrow().devices)
    }
}

#[async_trait]
impl DeviceDirectory for FolderDirectory {
    async fn list(&self) -> Result<Vec<Arc<Device>>, DirectoryError> {
        Ok(self.devices().values().cloned().collect())
    }

    async fn get(&self, key: &DeviceKey) -> Result<Arc<Device>, DirectoryError> {
        self.devices().get(key).cloned().ok_or_else(|| DirectoryError::NotFound(key.clone()))
    }

    async fn find_by_number(&self, number: &CanonicalNumber) -> Result<Option<Arc<Device>>, DirectoryError> {
        let devices = self.devices();
        let of_number = || devices.values().filter(|device| device.number().as_ref() == Some(number));
        // A duplicate has the number in its declaration only.
        let duplicate = |device: &&Arc<Device>| {
            let accepted = device.resource.status.as_ref().and_then(|status| status.condition(ACCEPTED));
            accepted.is_some_and(|accepted| accepted.reason == DUPLICATE_NUMBER)
        };
        Ok(of_number().find(|device| !duplicate(device)).or_else(|| of_number().next()).cloned())
    }

    async fn create(&self, device: WhatsAppDevice) -> Result<Arc<Device>, DirectoryError> {
        manifest::validate(&device).map_err(|error| DirectoryError::Invalid(error.to_string()))?;
        self.ask(|reply| Request::Create(Box::new(device), reply)).await
    }

    async fn update(
        &self,
        key: &DeviceKey,
        spec_patch: serde_json::Value,
    ) -> Result<Arc<Device>, DirectoryError> {
        self.ask(|reply| Request::Update(key.clone(), spec_patch, reply)).await
    }

    async fn delete(&self, key: &DeviceKey) -> Result<Deletion, DirectoryError> {
        self.ask(|reply| Request::Delete(key.clone(), reply)).await
    }

    async fn set_suspended(&self, key: &DeviceKey, suspended: bool) -> Result<Arc<Device>, DirectoryError> {
        self.update(key, serde_json::json!({ "suspend": suspended })).await
    }

    async fn request_pairing(&self, key: &DeviceKey, at: Timestamp) -> Result<Arc<Device>, DirectoryError> {
        self.ask(|reply| Request::Pair(key.clone(), at, reply)).await
    }

    fn watch(&self) -> BoxStream<'static, DeviceChange> {
        let mut picture = self.picture.clone();
        picture.mark_changed();
        let seen = Arc::new(Devices::new());
        futures::stream::unfold((picture, seen), async |(mut picture, seen)| {
            picture.changed().await.ok()?;
            let now = Arc::clone(&picture.borrow_and_update().devices);
            Some((futures::stream::iter(super::changes(&seen, &now)), (picture, now)))
        })
        .flatten()
        .boxed()
    }

    async fn client(&self, key: &DeviceKey) -> Result<DeviceClient, Away> {
        let picture = Arc::clone(&self.picture.borrow());
        if let Some(client) = picture.clients.get(key) {
            return Ok(client.clone());
        }
        Err(entry::away(key, picture.devices.get(key).map(Arc::as_ref)))
    }

    fn declaration_errors(&self) -> Vec<FileError> {
        self.file_errors()
    }

    async fn ready(&self) -> bool {
        !self.requests.is_closed()
    }
}
