//! What happens on the devices of a user who is connected.

use std::collections::HashMap;
use std::sync::Arc;

use enlace_contract::name::DeviceKey;
use enlace_crds::names;
use futures::StreamExt as _;
use socketioxide::SocketIo;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::follow::{self, Teller};
use crate::directory::{Device, DeviceChange};
use crate::http::App;

/// Devices of one user that are followed: each has a task and an event stream. An account may have fewer by default.
const MAX_FOLLOWED: usize = 1024;

/// A device that is followed; it is no longer when this is dropped.
struct Followed {
    uid: Option<String>,
    device: watch::Sender<Arc<Device>>,
    _task: AbortOnDropHandle<()>,
}

/// Tells a user's connections what happens, until it is dropped.
pub(super) async fn run(app: App, io: SocketIo, user: String) {
    let mut followed: HashMap<DeviceKey, Followed> = HashMap::new();
    let mut changes = app.directory().watch();
    while let Some(change) = changes.next().await {
        let device = Arc::clone(change.device());
        let gone = matches!(change, DeviceChange::Deleted(_)) || !is_of(&device, &user);
        let uid = device.resource.metadata.uid.clone();
        // Another device may have got the name.
        followed.retain(|key, known| *key != device.key || (!gone && known.uid == uid));
        if gone {
            continue;
        }
        if let Some(known) = followed.get(&device.key) {
            known.device.send_replace(device);
        } else if followed.len() < MAX_FOLLOWED {
            let teller = Teller::new(app.clone(), io.clone(), user.clone(), uid.clone());
            let key = device.key.clone();
            let (sender, receiver) = watch::channel(device);
            let task = AbortOnDropHandle::new(tokio::spawn(follow::run(teller, receiver)));
            followed.insert(key, Followed { uid, device: sender, _task: task });
        } else {
            tracing::warn!(
                user,
                "more than {MAX_FOLLOWED} devices of a user: {} is not followed",
                device.key
            );
        }
    }
}

fn is_of(device: &Device, user: &str) -> bool {
    let owner = device.resource.metadata.labels.as_ref().and_then(|labels| labels.get(names::OWNER));
    owner.is_some_and(|owner| owner == user)
}
