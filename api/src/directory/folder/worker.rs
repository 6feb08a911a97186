//! One task for each device: it starts and stops the device and listens to it, so that one that takes long holds up no other.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use enlace_contract::client::{ClientError, DeviceClient};
use enlace_contract::config::DeviceConfig;
use enlace_contract::name::DeviceKey;
use enlace_contract::state::DeviceState;
use futures::stream::{BoxStream, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::data;
use super::requests::{News, Request};
use crate::directory::Deletion;
use crate::directory::host::{DeviceHost, RunningDevice};

/// How long a device may take to unlink itself at WhatsApp before its data goes anyway.
const LOG_OUT_TIMEOUT: Duration = Duration::from_secs(15);
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// A device that cannot start says why in its status; trying it is cheap.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// What is to become of a device.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Desired {
    /// It is to run, with this configuration.
    Run(Box<DeviceConfig>),
    /// It is to be stopped.
    Stop,
    /// It is to be logged out, stopped, and its data removed.
    Erase {
        /// Whether a phone may list it.
        linked: bool,
    },
}

/// The way to a worker. When it is dropped the device is stopped.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) id: u64,
    desired: watch::Sender<Desired>,
}

impl Worker {
    pub(super) fn spawn(
        id: u64,
        key: DeviceKey,
        directory: PathBuf,
        host: Arc<dyn DeviceHost>,
        requests: mpsc::Sender<Request>,
    ) -> Self {
        let (desired, wanted) = watch::channel(Desired::Stop);
        let task = Task {
            id,
            key: key.clone(),
            directory,
            host,
            requests: requests.clone(),
            wanted,
            delays: delays(),
        };
        tokio::spawn(async move {
            if tokio::spawn(task.run()).await.is_err() {
                tracing::error!(device = %key, "the task of device {key} panicked");
                // The keeper is gone only when the process stops.
                let _ = requests.send(Request::Told { key, worker: id, news: News::Died }).await;
            }
        });
        Self { id, desired }
    }

    pub(super) fn want(&self, desired: Desired) {
        self.desired.send_if_modified(|now| {
            let changed = *now != desired;
            *now = desired;
            changed
        });
    }
}

struct Task {
    id: u64,
    key: DeviceKey,
    directory: PathBuf,
    host: Arc<dyn DeviceHost>,
    requests: mpsc::Sender<Request>,
    wanted: watch::Receiver<Desired>,
    delays: ExponentialBackoff,
}

struct Running {
    device: Box<dyn RunningDevice>,
    applied: Box<DeviceConfig>,
    stream: Follower,
}

impl Task {
    async fn run(mut self) {
        let mut running: Option<Running> = None;
        // Nothing is wanted before something is said.
        if self.wanted.changed().await.is_err() {
            return;
        }
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            let mut retry = None;
            running = match (running, wanted) {
                (None, Desired::Run(config)) => {
                    let started = self.start(config).await;
                    retry = started.is_none().then(|| self.delays.next().unwrap_or(LONGEST_DELAY));
                    started
                }
                (Some(mut running), Desired::Run(config)) => {
                    if running.applied != config {
                        running.device.apply((*config).clone()).await;
                        running.applied = config;
                    }
                    Some(running)
                }
                (Some(running), Desired::Stop) => {
                    running.device.stop().await;
                    self.tell(News::Stopped).await;
                    None
                }
                (None, Desired::Stop) => {
                    self.delays = delays();
                    self.tell(News::Stopped).await;
                    None
                }
                (running, Desired::Erase { linked }) => return self.erase(running, linked).await,
            };
            if self.wait(running.as_mut(), retry).await.is_none() {
                if let Some(running) = running {
                    running.device.stop().await;
                }
                return;
            }
        }
    }

    /// Waits until something else is wanted or it is time to start again, and passes on meanwhile what the device says. None: nobody wants
    /// anything any more.
    async fn wait(&mut self, running: Option<&mut Running>, retry: Option<Duration>) -> Option<()> {
        let Some(running) = running else {
            let again = async {
                match retry {
                    Some(delay) => tokio::time::sleep(delay).await,
                    None => std::future::pending().await,
                }
            };
            return tokio::select! {
                changed = self.wanted.changed() => changed.ok(),
                () = again => Some(()),
            };
        };
        loop {
            let news = tokio::select! {
                changed = self.wanted.changed() => return changed.ok(),
                heard = running.stream.next() => match heard {
                    Some(state) => {
                        self.delays = delays();
                        News::State(Box::new(state))
                    }
                    None => News::Silent,
                },
            };
            self.tell(news).await;
        }
    }

    async fn start(&self, config: Box<DeviceConfig>) -> Option<Running> {
        match self.host.start((*config).clone(), self.directory.clone()).await {
            Ok(device) => {
                let client = device.client();
                self.tell(News::Started(client.clone())).await;
                Some(Running { device, applied: config, stream: Follower::new(self.key.clone(), client) })
            }
            Err(error) => {
                let device = &self.key;
                tracing::error!(%device, error = &error as &dyn std::error::Error, "device {device} could not be started");
                self.tell(News::NotStarted(enlace_contract::program::chain(&error))).await;
                None
            }
        }
    }

    async fn erase(self, running: Option<Running>, linked: bool) {
        let mut deletion = Deletion::Done;
        if let Some(running) = running {
            let device = &self.key;
            match tokio::time::timeout(LOG_OUT_TIMEOUT, running.device.client().log_out()).await {
                Ok(Ok(_)) => tracing::info!(%device, "device {device} has no session any more"),
                Ok(Err(error)) => {
                    deletion = Deletion::StillListed;
                    tracing::warn!(%device, error = &error as &dyn std::error::Error, "device {device} could not be unlinked: the phone lists it until it is removed there");
                }
                Err(_) => {
                    deletion = Deletion::StillListed;
                    tracing::warn!(%device, "device {device} was not unlinked in time: the phone lists it until it is removed there");
                }
            }
            running.device.stop().await;
        } else if linked {
            deletion = Deletion::StillListed;
            let device = &self.key;
            tracing::warn!(%device, "device {device} did not run and is not unlinked: a phone that it was linked to lists it until it is removed there");
        }
        let directory = self.directory.clone();
        let erased = tokio::task::spawn_blocking(move || data::erase(&directory)).await;
        let erased = erased.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        self.tell(News::Erased(erased.map(|()| deletion))).await;
    }

    async fn tell(&self, news: News) {
        // The keeper is gone only when the process stops.
        let _ = self.requests.send(Request::Told { key: self.key.clone(), worker: self.id, news }).await;
    }
}

/// Follows the states of a device, and opens the stream again when it ends.
struct Follower {
    key: DeviceKey,
    client: DeviceClient,
    states: Option<BoxStream<'static, Result<DeviceState, ClientError>>>,
    delays: ExponentialBackoff,
    not_before: Instant,
}

impl Follower {
    fn new(key: DeviceKey, client: DeviceClient) -> Self {
        Self { key, client, states: None, delays: delays(), not_before: Instant::now() }
    }

    /// The next state; none when the device is not heard. Nothing is lost when the future is dropped.
    async fn next(&mut self) -> Option<DeviceState> {
        loop {
            let Some(states) = &mut self.states else {
                tokio::time::sleep_until(self.not_before).await;
                match self.client.states().await {
                    Ok(states) => self.states = Some(states),
                    Err(error) => return self.lost(Some(&error)),
                }
                continue;
            };
            match states.next().await {
                Some(Ok(state)) => {
                    self.delays = delays();
                    return Some(state);
                }
                Some(Err(error)) => return self.lost(Some(&error)),
                None => return self.lost(None),
            }
        }
    }

    fn lost(&mut self, error: Option<&ClientError>) -> Option<DeviceState> {
        self.states = None;
        let delay = self.delays.next().unwrap_or(LONGEST_DELAY);
        self.not_before = Instant::now() + delay;
        let (device, delay_ms) = (&self.key, delay.as_millis());
        let error = error.map(|error| error as &dyn std::error::Error);
        tracing::warn!(%device, error, delay_ms, "the event stream of device {device} ended; it is opened again");
        None
    }
}

fn delays() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(FIRST_DELAY)
        .with_max_delay(LONGEST_DELAY)
        .with_jitter()
        .without_max_times()
        .build()
}
