//! A running device.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use enlace_contract::config::DeviceConfig;
use enlace_contract::state::DeviceState;
use jiff::Timestamp;
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::endpoints::Endpoints;
use crate::sending::{self, Sender};
use crate::server::{self, Shared};
use crate::session::machine::Machine;
use crate::session::{Acks, Command, RECEIPTS, Supervisor, policy};
use crate::store::{Store, StoreError};
use crate::volume::{self, Reserve, Volume, VolumeError};

/// Requests to the session that may wait.
const COMMANDS: usize = 64;
/// Changes of messages that a reader may be behind.
const CHANGES: usize = 1_024;
/// How long a device may take to stop; whoever serves it has the rest of ten seconds.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);
/// How often what is too old is removed.
const PRUNE_INTERVAL: Duration = Duration::from_secs(3_600);

/// A running device: a session and what belongs to it. Dropping it without [`Device::stop`] cuts it off, which loses
/// nothing that was accepted.
pub struct Device {
    commands: mpsc::Sender<Command>,
    config: watch::Sender<DeviceConfig>,
    state: watch::Receiver<DeviceState>,
    shared: Shared,
    store: Store,
    stop: CancellationToken,
    session: AbortHandle,
    tasks: TaskTracker,
}

/// A device could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its data directory cannot be used.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// Its database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Device {
    /// Starts the device of a configuration on a data directory. It connects by itself; with a session that came with the directory of
    /// another device (`adopt`) once its claim is granted.
    ///
    /// # Errors
    /// When the data directory or its database cannot be used: then nothing runs and nothing was sent.
    pub async fn start(
        config: DeviceConfig,
        directory: &Path,
        endpoints: Endpoints,
        adopt: bool,
    ) -> Result<Self, StartError> {
        let (_, reserve) = watch::channel(volume::RESERVE);
        Self::start_reserving(config, directory, endpoints, adopt, reserve).await
    }

    /// The same, with the number of bytes that must stay free on the volume; changes are followed.
    ///
    /// # Errors
    /// See [`Self::start`].
    pub async fn start_reserving(
        config: DeviceConfig,
        directory: &Path,
        endpoints: Endpoints,
        adopt: bool,
        reserve: watch::Receiver<u64>,
    ) -> Result<Self, StartError> {
        let mut volume = Volume::open(directory, &config.uid, adopt)?;
        let store = Store::open(&volume.database()).await?;
        if volume.is_adopting() {
            store.disown().await?;
            volume.adopted()?;
        }
        let reserve = Reserve::new(directory, reserve);
        let memory = store.recall().await?;
        let version = store.recall_version().await?;
        let newest = watch::Sender::new(store.newest().await?);
        let machine = Machine::new(policy(&config), memory);

        let (commands, requests) = mpsc::channel(COMMANDS);
        let (receipts, receipt_queue) = mpsc::channel(RECEIPTS);
        let changes = broadcast::Sender::new(CHANGES);
        let queued = Arc::new(Notify::new());
        let acks = Acks::default();
        let state = watch::Sender::new(machine.state.clone());
        let (link, online) = (watch::Sender::new(None), watch::Sender::new(None));
        let beat = watch::Sender::new(Instant::now());
        let config = watch::Sender::new(config);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();

        let shared = Shared {
            store: store.clone(),
            commands: commands.clone(),
            config: config.subscribe(),
            state: state.subscribe(),
            newest: newest.subscribe(),
            reserve: reserve.clone(),
            online: online.subscribe(),
            beat: beat.subscribe(),
            changes: changes.clone(),
            queued: Arc::clone(&queued),
            stop: stop.clone(),
        };
        let sender = Sender {
            store: store.clone(),
            config: config.subscribe(),
            link: link.subscribe(),
            acks: acks.clone(),
            queued,
            changes: changes.clone(),
            stop: stop.clone(),
        };
        let receiver = state.subscribe();
        let supervisor = Supervisor {
            config: config.borrow().clone(),
            endpoints,
            store: store.clone(),
            volume,
            reserve,
            machine,
            version,
            acks,
            receipts,
            newest,
            state,
            link,
            online,
            beat,
        };
        let session = tasks.spawn(supervisor.run(requests)).abort_handle();
        tasks.spawn(sender.run());
        tasks.spawn(sending::record_receipts(store.clone(), receipt_queue, changes));
        tasks.spawn(prune(store.clone(), stop.clone()));
        tasks.close();
        Ok(Self { commands, config, state: receiver, shared, store, stop, session, tasks })
    }

    /// The HTTP interface without access control, for callers in this process.
    pub fn router(&self) -> Router {
        server::router(self.shared.clone())
    }

    /// The HTTP interface as a port serves it: with device tokens.
    pub fn guarded_router(&self) -> Router {
        server::guarded(self.shared.clone())
    }

    /// The state now, and each change.
    pub fn state(&self) -> watch::Receiver<DeviceState> {
        self.state.clone()
    }

    /// Follows a change of the configuration.
    pub async fn configure(&self, config: DeviceConfig) {
        self.config.send_replace(config.clone());
        // The session is gone only when the device stops.
        let _ = self.commands.send(Command::Configure(config)).await;
    }

    /// Stops: the connection is closed, what is buffered is written, within eight seconds. What takes longer is cut off.
    pub async fn stop(self) {
        let stopping = async {
            self.stop.cancel();
            let (done, stopped) = oneshot::channel();
            if self.commands.send(Command::Stop(done)).await.is_ok() {
                // The session answers by ending, too.
                let _ = stopped.await;
            }
            self.tasks.wait().await;
            self.store.close().await;
        };
        if tokio::time::timeout(STOP_TIMEOUT, stopping).await.is_err() {
            tracing::warn!(
                timeout_s = STOP_TIMEOUT.as_secs(),
                "the device took too long to stop; nothing accepted is lost"
            );
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.stop.cancel();
        // Its client is cut off from WhatsApp as it goes, if it is still there.
        self.session.abort();
    }
}

async fn prune(store: Store, stop: CancellationToken) {
    let mut interval = tokio::time::interval(PRUNE_INTERVAL);
    while stop.run_until_cancelled(interval.tick()).await.is_some() {
        let now = Timestamp::now();
        for pruned in [store.prune_outbox(now).await, store.prune_inbox(now).await] {
            if let Err(error) = pruned {
                tracing::error!(error = &error as &dyn std::error::Error, "old records could not be removed");
            }
        }
    }
}
