//! What the keeper is asked and told.

use std::sync::Arc;

use enlace_contract::client::DeviceClient;
use enlace_contract::name::DeviceKey;
use enlace_contract::state::DeviceState;
use enlace_crds::WhatsAppDevice;
use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::directory::{Deletion, Device, DirectoryError};

type Reply<T> = oneshot::Sender<Result<T, DirectoryError>>;

/// What the keeper is asked by callers and told by the tasks that it started.
pub(super) enum Request {
    /// Create a device.
    Create(Box<WhatsAppDevice>, Reply<Arc<Device>>),
    /// Change its spec by a merge patch.
    Update(DeviceKey, serde_json::Value, Reply<Arc<Device>>),
    /// Delete it.
    Delete(DeviceKey, Reply<Deletion>),
    /// Ask it for codes to link.
    Pair(DeviceKey, Timestamp, Reply<Arc<Device>>),
    /// Look at the folder.
    Rescan(oneshot::Sender<()>),
    /// Stop everything.
    Close(oneshot::Sender<()>),
    /// A device's worker has something to say.
    Told { key: DeviceKey, worker: u64, news: News },
    /// The claim of a device was answered, or the answer did not arrive.
    ClaimAnswered { key: DeviceKey, worker: u64 },
}

/// What a worker tells.
pub(super) enum News {
    /// The device runs.
    Started(DeviceClient),
    /// It could not be started; it is tried again.
    NotStarted(String),
    /// The newest state.
    State(Box<DeviceState>),
    /// Its event stream ended; it is opened again.
    Silent,
    /// It does not run any more.
    Stopped,
    /// The worker panicked.
    Died,
    /// It does not run any more and its data is gone, or could not be removed. The worker has ended.
    Erased(std::io::Result<Deletion>),
}
