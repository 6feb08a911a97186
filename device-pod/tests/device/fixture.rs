//! A simulator, and devices in this process.

use std::time::Duration;

use enlace_contract::client::DeviceClient;
use enlace_contract::config::DeviceConfig;
use enlace_contract::messages::{Content, Message, MessageState, SendMessage};
use enlace_contract::state::{DeviceState, Phase};
use enlace_device_pod::Device;
use enlace_device_pod::endpoints::Endpoints;
use tempfile::TempDir;
use whatsapp_simulator::{
    Control, Linked, LoginRecord, Options, PhoneControl, Simulator, overlaps, overlaps_by_number,
};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The number of the device under test.
pub(crate) const NUMBER: &str = "525550000001";
/// The number of the other phone.
pub(crate) const OTHER: &str = "525550000002";

/// A simulator and a data directory.
pub(crate) struct World {
    pub(crate) simulator: Simulator,
    pub(crate) directory: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let simulator = Simulator::start(options).await.unwrap();
        Self { simulator, directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn control(&self) -> Control {
        self.simulator.control()
    }

    /// The phone that links the device.
    pub(crate) fn phone(&self) -> PhoneControl {
        self.control().phone(NUMBER)
    }

    /// The phone of somebody else.
    pub(crate) fn other(&self) -> PhoneControl {
        self.control().phone(OTHER)
    }

    pub(crate) fn endpoints(&self) -> Endpoints {
        Endpoints {
            websocket: self.simulator.websocket_url(),
            media: Some(format!("http://{}", self.simulator.address())),
            ..Endpoints::default()
        }
    }

    pub(crate) async fn start(&self, config: DeviceConfig) -> Running {
        self.start_at(config, self.endpoints()).await
    }

    /// A device that goes elsewhere than to the simulator.
    pub(crate) async fn start_at(&self, config: DeviceConfig, endpoints: Endpoints) -> Running {
        let device = Device::start(config, self.directory.path(), endpoints, false).await.unwrap();
        let client = DeviceClient::in_process(device.router());
        Running { device, client }
    }

    /// A device that a phone has linked and that is connected.
    pub(crate) async fn linked(&self, config: DeviceConfig) -> (Running, Linked) {
        let running = self.start(config).await;
        let linked = running.scanned_by(&self.phone()).await;
        running.until_phase(Phase::Connected).await;
        (running, linked)
    }

    /// The end of a test: the device stops, and no identity ever had two live sockets.
    pub(crate) async fn end(&self, device: Running) {
        device.device.stop().await;
        self.assert_one_client_at_a_time().await;
    }

    /// No identity and no number had two live sockets at any time.
    pub(crate) async fn assert_one_client_at_a_time(&self) {
        let logins: Vec<LoginRecord> = self.control().server().logins().await.unwrap();
        assert!(overlaps(&logins).is_empty(), "two live sockets of one identity: {:#?}", overlaps(&logins));
        let pairs = overlaps_by_number(&logins);
        assert!(pairs.is_empty(), "two live sockets of one number: {pairs:#?}");
    }
}

/// A device in this process.
pub(crate) struct Running {
    pub(crate) device: Device,
    pub(crate) client: DeviceClient,
}

impl Running {
    /// The first state that is as wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(&DeviceState) -> bool) -> DeviceState {
        let mut states = self.device.state();
        let found = tokio::time::timeout(PATIENCE, states.wait_for(|state| wanted(state))).await;
        match found {
            Ok(state) => state.expect("the device stopped").clone(),
            Err(_) => panic!("still {:#?}", self.device.state().borrow().clone()),
        }
    }

    /// A phone scans the code that is shown, once there is one.
    pub(crate) async fn scanned_by(&self, phone: &PhoneControl) -> Linked {
        let state = self.until(|state| state.qr.is_some()).await;
        phone.scan(&state.qr.unwrap().code).await.unwrap()
    }

    pub(crate) async fn until_phase(&self, phase: Phase) -> DeviceState {
        self.until(|state| state.phase == phase).await
    }

    pub(crate) async fn send_text(&self, to: &str, text: &str) -> Message {
        let message = SendMessage { to: to.into(), content: Content::Text { text: text.into() } };
        self.client.send(&message).await.unwrap()
    }

    /// The message once it has come this far.
    pub(crate) async fn until_message(&self, id: &str, state: MessageState) -> Message {
        let mut events = self.client.events(None).await.unwrap();
        let reached = async {
            let mut message = self.client.message(id).await.unwrap();
            while message.state < state {
                use enlace_contract::events::DeviceEvent;
                use futures::StreamExt as _;
                match events.next().await.expect("the event stream ended").unwrap() {
                    DeviceEvent::MessageState(change) if change.id == id => message = change,
                    _ => {}
                }
            }
            message
        };
        tokio::time::timeout(PATIENCE, reached)
            .await
            .unwrap_or_else(|_| panic!("{id} never became {state:?}"))
    }
}

/// A configuration without waiting: no pacing, a short first delay.
pub(crate) fn quick() -> DeviceConfig {
    config(serde_json::json!({ "phoneNumber": NUMBER }))
}

/// The same with other settings laid over it.
pub(crate) fn config(settings: serde_json::Value) -> DeviceConfig {
    let mut value = serde_json::json!({
        "uid": "uid-1", "key": "default/billing", "displayName": "Billing",
        "connection": { "reconnectDelay": "100ms" }, "sending": { "interval": "0s" },
    });
    let (Some(all), serde_json::Value::Object(settings)) = (value.as_object_mut(), settings) else {
        unreachable!()
    };
    all.extend(settings);
    serde_json::from_value(value).unwrap()
}
