//! The devices that are to be looked at.
//!
//! Caches, streams and timers name devices here; whoever names one that waits already changes nothing, so that a burst of changes costs one
//! look, and no more can wait than there are devices. Only the leader takes them out.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use enlace_crds::WhatsAppDevice;
use futures::Stream;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::Notify;

/// A device, or the metadata of one that cannot be read.
pub type Guarded = DeserializeGuard<WhatsAppDevice>;
/// The name of a device.
pub type DeviceRef = ObjectRef<Guarded>;

/// The devices that are to be looked at.
#[derive(Clone, Default)]
pub struct Triggers(Arc<Inner>);

#[derive(Default)]
struct Inner {
    waiting: Mutex<Waiting>,
    more: Notify,
}

/// In the order in which they were named: of two that want one number, the first shall have it.
#[derive(Default)]
struct Waiting {
    line: Vec<DeviceRef>,
    in_line: HashSet<DeviceRef>,
}

impl Triggers {
    /// Names a device.
    pub fn add(&self, device: DeviceRef) {
        self.extend([device]);
    }

    /// Names devices.
    pub fn extend(&self, devices: impl IntoIterator<Item = DeviceRef>) {
        let mut waiting = self.lock();
        for device in devices {
            if waiting.in_line.insert(device.clone()) {
                waiting.line.push(device);
            }
        }
        drop(waiting);
        self.0.more.notify_one();
    }

    /// Names devices in an order of their own, whatever was named before.
    pub fn restart(&self, devices: impl IntoIterator<Item = DeviceRef>) {
        self.take();
        self.extend(devices);
    }

    /// All that are named from now on, and that were named before; it never ends.
    pub fn stream(&self) -> impl Stream<Item = Result<DeviceRef, Infallible>> + use<> {
        let triggers = self.clone();
        futures::stream::unfold((triggers, Vec::new().into_iter()), async |(triggers, mut batch)| {
            loop {
                if let Some(device) = batch.next() {
                    return Some((Ok(device), (triggers, batch)));
                }
                batch = triggers.take().into_iter();
                if batch.len() == 0 {
                    triggers.0.more.notified().await;
                }
            }
        })
    }

    fn take(&self) -> Vec<DeviceRef> {
        let mut waiting = self.lock();
        waiting.in_line.clear();
        std::mem::take(&mut waiting.line)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a device as people write it.
pub fn key_of(device: &DeviceRef) -> String {
    format!("{}/{}", device.namespace.as_deref().unwrap_or_default(), device.name)
}

/// The name of a device in a namespace.
pub fn device_ref(namespace: &str, name: &str) -> DeviceRef {
    ObjectRef::new(name).within(namespace)
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};

    use super::*;

    #[test]
    fn a_burst_for_one_device_is_one_look() {
        let triggers = Triggers::default();
        for _ in 0..3 {
            triggers.add(device_ref("shop", "billing"));
        }
        let mut stream = Box::pin(triggers.stream());
        assert_eq!(stream.next().now_or_never().unwrap().unwrap().unwrap().name, "billing");
        assert!(stream.next().now_or_never().is_none());
        triggers.add(device_ref("shop", "billing"));
        assert!(stream.next().now_or_never().is_some(), "it is named again");
    }

    #[test]
    fn the_first_that_is_named_is_the_first_that_is_looked_at() {
        let triggers = Triggers::default();
        let names = ["c", "a", "d", "b"];
        triggers.extend(names.map(|name| device_ref("shop", name)));
        let stream = Box::pin(triggers.stream()).take(names.len()).map(|device| device.unwrap().name);
        assert_eq!(stream.collect::<Vec<_>>().now_or_never().unwrap(), names);
    }
}
