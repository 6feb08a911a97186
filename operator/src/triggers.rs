//! The devices that are to be looked at.
//!
//! Caches, streams and timers name devices here; whoever names one that waits already changes nothing, so that a burst of changes costs one
//! look, and no more can wait than there are devices. Only the leader takes them out.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

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
    waiting: Mutex<HashSet<DeviceRef>>,
    more: Notify,
}

impl Triggers {
    /// Names a device.
    pub fn add(&self, device: DeviceRef) {
        self.extend([device]);
    }

    /// Names devices.
    pub fn extend(&self, devices: impl IntoIterator<Item = DeviceRef>) {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).extend(devices);
        self.0.more.notify_one();
    }

    /// All that are named from now on, and that were named before; it never ends.
    pub fn stream(&self) -> impl Stream<Item = Result<DeviceRef, Infallible>> + use<> {
        let inner = Arc::clone(&self.0);
        futures::stream::unfold(
            (inner, Vec::new()),
            async |(inner, mut batch): (Arc<Inner>, Vec<DeviceRef>)| {
                loop {
                    if let Some(device) = batch.pop() {
                        return Some((Ok(device), (inner, batch)));
                    }
                    batch = inner.waiting.lock().unwrap_or_else(PoisonError::into_inner).drain().collect();
                    if batch.is_empty() {
                        inner.more.notified().await;
                    }
                }
            },
        )
    }
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
}
