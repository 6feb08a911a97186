//! What happens on one device: from its event stream while it runs, else from the directory.

use std::sync::Arc;
use std::time::Duration;

use enlace_contract::client::{ClientError, DeviceClient};
use enlace_contract::events::DeviceEvent;
use enlace_contract::state::{DeviceState, Phase};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use serde_json::Value;
use socketioxide::{BroadcastError, SocketError, SocketIo};
use tokio::sync::watch;

use super::events::{self, DEVICE_STATUS, MESSAGE_RECEIVED, MESSAGE_STATUS, Seen, Standing};
use super::rooms;
use crate::auth::Action;
use crate::directory::Device;
use crate::http::App;
use crate::seed::{instances, qr};

/// Between two attempts to reach a device that should run.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

type Events = BoxStream<'static, Result<DeviceEvent, ClientError>>;

/// Tells a user's connections of one device.
pub(super) struct Teller {
    app: App,
    io: SocketIo,
    user: String,
    uid: String,
    seen: Seen,
}

/// Follows a device until its directory has it no longer.
pub(super) async fn run(mut teller: Teller, mut device: watch::Receiver<Arc<Device>>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let now = Arc::clone(&device.borrow_and_update());
        if let Some((client, mut stream)) = teller.stream(&now).await {
            pause = FIRST_PAUSE;
            if !teller.listen(&client, &mut stream, &mut device).await {
                return;
            }
        } else {
            teller.told_outside(&now).await;
        }
        let rests = now.phase() == Phase::Suspended;
        tokio::select! {
            changed = device.changed() => if changed.is_err() { return } else { pause = FIRST_PAUSE },
            () = tokio::time::sleep(pause), if !rests => pause = LONGEST_PAUSE.min(pause * 2),
        }
    }
}

impl Teller {
    pub(super) fn new(app: App, io: SocketIo, user: String, uid: Option<String>) -> Self {
        Self { app, io, user, uid: uid.unwrap_or_default(), seen: Seen::default() }
    }

    async fn stream(&self, device: &Device) -> Option<(DeviceClient, Events)> {
        let client = self.app.directory().client(&device.key).await.ok()?;
        let stream = client.events(None).await.ok()?;
        Some((client, stream))
    }

    /// Tells what a device says until it says nothing more; whether it is still there then.
    async fn listen(
        &mut self,
        client: &DeviceClient,
        stream: &mut Events,
        device: &mut watch::Receiver<Arc<Device>>,
    ) -> bool {
        loop {
            tokio::select! {
                event = stream.next() => {
                    let Some(Ok(event)) = event else { return true };
                    let device = Arc::clone(&device.borrow());
                    self.event(client, &device, event).await;
                }
                changed = device.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                    let device = Arc::clone(&device.borrow());
                    // What is decided outside, the device itself does not know.
                    if matches!(device.phase(), Phase::Suspended | Phase::PairingExpired) {
                        self.told_outside(&device).await;
                    }
                }
            }
        }
    }

    async fn event(&mut self, client: &DeviceClient, device: &Device, event: DeviceEvent) {
        match event {
            DeviceEvent::State(state) => {
                let DeviceState { phase, ref qr, .. } = state;
                let code = qr.as_ref().map(|qr| qr.code.as_str());
                let number = state.account.as_ref().map(|account| account.phone_number.to_string());
                let Some(told) = self.seen.note(Standing::of(phase, code)) else { return };
                self.tell(device, told, number, Some(client)).await;
            }
            DeviceEvent::Message(record) => {
                let Some(id) = self.id(device).await else { return };
                let payload = events::received(&id, number_of(device).as_deref(), &record);
                self.emit(Action::InboxRead, MESSAGE_RECEIVED, &payload).await;
            }
            DeviceEvent::MessageState(message) => {
                let Some(id) = self.id(device).await else { return };
                let payload = events::status_of(&id, number_of(device).as_deref(), &message);
                self.emit(Action::MessagesRead, MESSAGE_STATUS, &payload).await;
            }
        }
    }

    /// Tells what the directory knows of a device that says nothing itself: that it is not connected. The rest may be older than what the
    /// device said last.
    async fn told_outside(&mut self, device: &Device) {
        let now = Standing::of(device.phase(), None);
        if matches!(now, Standing::Closed)
            && let Some(told) = self.seen.note(now)
        {
            self.tell(device, told, None, None).await;
        }
    }

    async fn tell(
        &self,
        device: &Device,
        standing: Standing,
        number: Option<String>,
        client: Option<&DeviceClient>,
    ) {
        let Some(id) = self.id(device).await else { return };
        let number = number.or_else(|| number_of(device));
        let payload = match standing {
            Standing::Begins => return,
            Standing::Open => events::open(&id, number.as_deref()),
            Standing::Closed => events::closed(&id, number.as_deref()),
            Standing::Code(_) => {
                let picture = match client {
                    Some(client) => qr::picture(client).await,
                    None => None,
                };
                let Some(picture) = picture else { return };
                return self.tell_code(&id, &picture).await;
            }
        };
        self.emit(Action::EventsRead, DEVICE_STATUS, &payload).await;
    }

    /// A code links a phone: whoever may not do that hears that there is one.
    async fn tell_code(&self, id: &str, picture: &str) {
        self.emit(Action::DevicesPair, DEVICE_STATUS, &events::code(id, Some(picture))).await;
        if let Some(all) = self.io.of("/") {
            let others = all.to(self.rooms(Action::EventsRead)).except(self.rooms(Action::DevicesPair));
            count(others.emit(DEVICE_STATUS, &events::code(id, None)).await);
        }
    }

    async fn emit(&self, action: Action, event: &str, payload: &Value) {
        // It is gone when the server stops.
        if let Some(all) = self.io.of("/") {
            count(all.to(self.rooms(action)).emit(event, payload).await);
        }
    }

    fn rooms(&self, action: Action) -> [String; 2] {
        rooms::of_device(&self.user, &self.uid, action)
    }

    async fn id(&self, device: &Device) -> Option<String> {
        match instances::id_of(&self.app, device).await {
            Ok(id) => Some(id),
            Err(error) => {
                let key = &device.key;
                tracing::warn!(device = %key, error = &error as &dyn std::error::Error, "an event of {key} was not told because the database failed");
                None
            }
        }
    }
}

fn number_of(device: &Device) -> Option<String> {
    instances::number(device).map(str::to_owned)
}

/// Counts what slow clients lost.
fn count(outcome: Result<(), BroadcastError>) {
    if let Err(BroadcastError::Socket(errors)) = outcome {
        let full = errors.iter().filter(|error| matches!(error, SocketError::InternalChannelFull)).count();
        metrics::counter!("enlace_api_live_events_dropped_total").increment(full as u64);
    }
}
