//! What all reconciles share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Client;
use kube::runtime::events::Recorder;

use crate::caches::Caches;
use crate::config::OperatorConfig;
use crate::rollout::Rollout;
use crate::streams::Streams;
use crate::triggers::{DeviceRef, Triggers};

/// What all reconciles share.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What is known without asking.
    pub caches: Arc<Caches>,
    /// What is set.
    pub settings: Settings,
    /// The states of running devices.
    pub streams: Streams,
    /// How many pods may be restarted.
    pub rollout: Mutex<Rollout>,
    /// What the leader remembers of each device.
    pub memories: Memories,
    /// One for all, so that repeated Events become one.
    pub recorder: Recorder,
    /// The devices to look at.
    pub triggers: Triggers,
}

/// What is set for the whole installation.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The installation's namespace.
    pub namespace: String,
    /// The configuration.
    pub config: OperatorConfig,
    /// The public keys that open devices.
    pub token_keys: Vec<String>,
}

/// What the leader remembers of a device. All of it may be lost: a new leader begins with nothing.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Of which device: another one of the same name begins anew.
    pub uid: String,
    /// How many reconciles failed in a row.
    pub failures: u32,
    /// Whether its session was ended for its deletion.
    pub logged_out: bool,
    /// Whether ending its session was tried.
    pub logout_tried: bool,
    /// A hash of the code that its Secret holds; empty: that there is no Secret is known.
    pub published: Option<String>,
    /// The child that was put right and still has another manager, by kind, as a resource version.
    pub put_right: HashMap<&'static str, String>,
}

/// What the leader remembers of all devices.
#[derive(Default)]
pub struct Memories(Mutex<HashMap<DeviceRef, Memory>>);

impl Memories {
    /// Reads or changes what is remembered of a device.
    pub fn with<T>(&self, device: &DeviceRef, uid: &str, change: impl FnOnce(&mut Memory) -> T) -> T {
        let mut all = self.lock();
        let memory = all.entry(device.clone()).or_default();
        if memory.uid != uid {
            *memory = Memory { uid: uid.to_owned(), ..Memory::default() };
        }
        change(memory)
    }

    /// Forgets a device that is gone.
    pub fn forget(&self, device: &DeviceRef) {
        self.lock().remove(device);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceRef, Memory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Context {
    /// The rollout.
    pub fn rollout(&self) -> MutexGuard<'_, Rollout> {
        self.rollout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a device that is gone.
    pub fn forget(&self, device: &DeviceRef) {
        self.streams.stop(device);
        self.memories.forget(device);
        self.rollout().forget(device);
    }
}
