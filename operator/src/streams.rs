//! The states of running devices: one event stream for each, held by the leader.
//!
//! Only the newest state is kept. A change names the device to be looked at; that a stream ended does too, and the stream is opened again
//! with growing, jittered pauses. Whether a device that is not heard is still what it last said, the rules decide.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use enlace_contract::client::{ClientError, DeviceClient};
use enlace_contract::events::SILENCE;
use enlace_contract::state::DeviceState;
use enlace_contract::token::TokenSigner;
use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::task::JoinHandle;

use crate::triggers::{DeviceRef, Triggers};

/// The first pause; a pod that is starting answers within seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where a device is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The UID of the device, which its tokens are for.
    pub uid: String,
    /// The UID of the pod: what another pod said is not this one's.
    pub pod: String,
    /// The pod's address.
    pub address: IpAddr,
}

/// What was heard of a device.
#[derive(Clone, Debug)]
pub enum Heard {
    /// Nothing runs.
    NotRunning,
    /// It runs and is not heard.
    Unreachable {
        /// Since when.
        since: Timestamp,
    },
    /// Its newest state.
    State(Arc<DeviceState>),
}

/// All streams.
#[derive(Clone)]
pub struct Streams(Arc<Inner>);

struct Inner {
    signer: TokenSigner,
    port: u16,
    triggers: Triggers,
    open: Mutex<HashMap<DeviceRef, Stream>>,
}

struct Stream {
    target: Target,
    client: DeviceClient,
    heard: Arc<Mutex<Heard>>,
    task: JoinHandle<()>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Streams {
    /// No streams yet. All devices listen on `port`.
    pub fn new(signer: TokenSigner, port: u16, triggers: Triggers) -> Self {
        Self(Arc::new(Inner { signer, port, triggers, open: Mutex::default() }))
    }

    /// What is heard of a device at a target. A stream to another target ends, and one to this target begins if there is none.
    pub fn follow(&self, device: &DeviceRef, target: Target, now: Timestamp) -> Heard {
        let mut open = self.lock();
        if let Some(stream) = open.get(device)
            && stream.target == target
        {
            return stream.heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        }
        let heard = Heard::Unreachable { since: now };
        let stream = self.open(device.clone(), target, heard.clone());
        open.insert(device.clone(), stream);
        metrics::gauge!("enlace_operator_streams").set(count(open.len()));
        heard
    }

    /// Ends the stream of a device.
    pub fn stop(&self, device: &DeviceRef) {
        let mut open = self.lock();
        if open.remove(device).is_some() {
            metrics::gauge!("enlace_operator_streams").set(count(open.len()));
        }
    }

    /// The client of a device that is followed.
    pub fn client(&self, device: &DeviceRef) -> Option<DeviceClient> {
        self.lock().get(device).map(|stream| stream.client.clone())
    }

    fn open(&self, device: DeviceRef, target: Target, first: Heard) -> Stream {
        let address = SocketAddr::new(target.address, self.0.port);
        let base =
            http::Uri::builder().scheme("http").authority(address.to_string()).path_and_query("/").build();
        // An address and a port always make a URI; the default leads nowhere.
        let client = DeviceClient::http(base.unwrap_or_default(), &target.uid, self.0.signer.clone());
        let heard = Arc::new(Mutex::new(first));
        let task = tokio::spawn(listen(device, client.clone(), Arc::clone(&heard), self.0.triggers.clone()));
        Stream { target, client, heard, task }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<DeviceRef, Stream>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(length: usize) -> f64 {
    f64::from(u32::try_from(length).unwrap_or(u32::MAX))
}

async fn listen(device: DeviceRef, client: DeviceClient, heard: Arc<Mutex<Heard>>, triggers: Triggers) {
    let pauses = || {
        ExponentialBuilder::new()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_jitter()
            .without_max_times()
            .build()
    };
    let mut pause = pauses();
    loop {
        let mut states = match client.states().await {
            Ok(states) => states,
            Err(error) => {
                lost(&device, &error, &heard, &triggers);
                tokio::time::sleep(pause.next().unwrap_or(LONGEST_PAUSE)).await;
                continue;
            }
        };
        let error = loop {
            match states.next().await {
                Some(Ok(state)) => {
                    pause = pauses();
                    *heard.lock().unwrap_or_else(PoisonError::into_inner) = Heard::State(Arc::new(state));
                    triggers.add(device.clone());
                }
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        // A device that stops ends its stream; the next attempt says more.
        if let Some(error) = error {
            lost(&device, &error, &heard, &triggers);
        } else {
            silent(&heard, Timestamp::now());
            triggers.add(device.clone());
        }
        tokio::time::sleep(pause.next().unwrap_or(LONGEST_PAUSE)).await;
    }
}

fn lost(device: &DeviceRef, error: &ClientError, heard: &Mutex<Heard>, triggers: &Triggers) {
    let kind = match error {
        ClientError::Unreachable(_) => "Unreachable",
        ClientError::Timeout(_) => "Timeout",
        ClientError::Refused(_) => "Refused",
        // The pod's address is another pod's by now, or its configuration has not come yet.
        ClientError::Unauthorized => "Unauthorized",
        ClientError::Unreadable(_) => "Unreadable",
    };
    metrics::counter!("enlace_operator_stream_errors_total", "kind" => kind).increment(1);
    let key = format!("{}/{}", device.namespace.as_deref().unwrap_or_default(), device.name);
    tracing::debug!(device = key, error = crate::telemetry::chain(error), "the stream of device {key} ended");
    let now = Timestamp::now();
    let since = match error {
        ClientError::Timeout(silence) if *silence == SILENCE => now.checked_sub(SILENCE).unwrap_or(now),
        _ => now,
    };
    if silent(heard, since) {
        triggers.add(device.clone());
    }
}

/// Notes that a device is not heard any more; whether that is news.
fn silent(heard: &Mutex<Heard>, since: Timestamp) -> bool {
    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    let news = matches!(*heard, Heard::State(_));
    if news {
        *heard = Heard::Unreachable { since };
    }
    news
}
