//! The programs that run, and the event stream that everything is read from.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, anyhow, ensure};
use enlace_contract::client::{ClientError, DeviceClient};
use enlace_contract::config::{Connection, DeviceConfig, Pairing, Sending};
use enlace_contract::duration::Period;
use enlace_contract::events::DeviceEvent;
use enlace_contract::messages::{Content, SendMessage};
use enlace_contract::state::{DeviceState, Phase};
use enlace_contract::token::TokenSigner;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tempfile::TempDir;
use tokio::process::Command;
use whatsapp_simulator::{Control, overlaps_by_number};

use crate::programs::{LIMIT, Lines, Program, Says};

/// How long a device waits before it dials again: short against the default, so that what it adds is seen.
pub(crate) const RECONNECT_DELAY: Period = Period::from_secs(1);
/// The number of the other phone.
pub(crate) const OTHER: &str = "525550000099";

/// A simulated WhatsApp, and a folder for the devices.
pub(crate) struct World {
    /// The people who hold the phones.
    pub(crate) control: Control,
    simulator: Program,
    address: String,
    device: PathBuf,
    signer: TokenSigner,
    folder: TempDir,
}

/// Who a device is: its number, and its own data.
pub(crate) struct Identity {
    /// Its number.
    pub(crate) number: String,
    name: String,
}

/// A running device.
pub(crate) struct Device {
    /// Its interface.
    pub(crate) client: DeviceClient,
    /// What it says.
    pub(crate) events: Events,
    /// The moment before its process was made.
    pub(crate) started: Instant,
    program: Program,
}

/// The event stream of a device.
pub(crate) struct Events {
    stream: BoxStream<'static, Result<DeviceEvent, ClientError>>,
    log: Lines,
}

impl Identity {
    /// The device of a repetition, from 0.
    pub(crate) fn of(repetition: usize) -> Self {
        Self { number: format!("52555000{:04}", repetition + 1), name: format!("device-{repetition}") }
    }
}

impl World {
    /// Starts the simulator.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn start(simulator: &Path, device: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let mut command = Command::new(simulator);
        command.args(["--listen", "127.0.0.1:0"]).env("RUST_LOG", "warn");
        let (simulator, address) =
            Program::start("whatsapp-simulator", command, Says::OnOutput, simulator_address).await?;
        let control = Control::new(format!("http://{address}"));
        let signer = TokenSigner::generate("bench")?;
        Ok(Self { control, simulator, address, device: device.to_owned(), signer, folder })
    }

    /// Where the data is.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the program of a device on its data, without pacing, and opens its event stream.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn run(&self, identity: &Identity) -> anyhow::Result<Device> {
        let Identity { number, name } = identity;
        let config = DeviceConfig {
            uid: format!("uid-{name}"),
            key: format!("default/{name}").parse()?,
            phone_number: Some(number.parse()?),
            display_name: None,
            pairing: Pairing::default(),
            connection: Connection { reconnect_delay: RECONNECT_DELAY },
            sending: Sending { interval: Period::from_secs(0) },
            pair_requested: None,
            token_keys: vec![self.signer.public_key().to_owned()],
        };
        let file = self.folder().join(format!("{name}.json"));
        std::fs::write(&file, serde_json::to_vec(&config)?).context("the configuration cannot be written")?;
        let mut command = Command::new(&self.device);
        command.arg("--config").arg(file);
        command.arg("--data-dir").arg(self.folder().join(name));
        command.args(["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]);
        command.env("ENLACE_WHATSAPP_URL", format!("ws://{}/ws/chat", self.address));
        command.env("ENLACE_WHATSAPP_MEDIA_URL", format!("http://{}", self.address));
        let started = Instant::now();
        let (program, address) = Program::start("device-pod", command, Says::InLog, device_address).await?;
        let base = format!("http://{address}").parse()?;
        let client = DeviceClient::http(base, &config.uid, self.signer.clone());
        let events = Events { stream: client.events(None).await?, log: program.lines() };
        Ok(Device { client, events, started, program })
    }

    /// Ends the simulator, when its log of logins has been read.
    ///
    /// # Errors
    /// It does not end, or a number had two clients at a time.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let pairs = overlaps_by_number(&self.control.server().logins().await?);
        ensure!(pairs.is_empty(), "one number had two clients at a time: {pairs:#?}");
        self.simulator.stop().await
    }
}

impl Device {
    /// Its process.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn id(&self) -> anyhow::Result<u32> {
        self.program.id()
    }

    /// Stops it as a pod is stopped.
    ///
    /// # Errors
    /// It does not stop.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.program.stop().await
    }

    /// Kills it.
    ///
    /// # Errors
    /// It cannot be killed.
    pub(crate) async fn kill(self) -> anyhow::Result<()> {
        self.program.kill().await
    }
}

impl Events {
    /// The first event that matches.
    ///
    /// # Errors
    /// The stream ends, or is silent for too long.
    pub(crate) async fn until<T>(
        &mut self,
        mut matches: impl FnMut(&DeviceEvent) -> Option<T>,
    ) -> anyhow::Result<T> {
        loop {
            let event = tokio::time::timeout(LIMIT, self.next())
                .await
                .map_err(|_| self.failed("the device says nothing"))??;
            if let Some(found) = matches(&event) {
                return Ok(found);
            }
        }
    }

    /// Waits until the device is not connected any more, for however long nothing happens; says what it is then.
    ///
    /// # Errors
    /// The stream ends.
    pub(crate) async fn until_not_connected(&mut self) -> anyhow::Result<Phase> {
        loop {
            match self.next().await? {
                DeviceEvent::State(state) if state.phase != Phase::Connected => return Ok(state.phase),
                _ => {}
            }
        }
    }

    async fn next(&mut self) -> anyhow::Result<DeviceEvent> {
        let event = self.stream.next().await.ok_or_else(|| self.failed("the event stream ended"))?;
        event.context("the event stream")
    }

    /// The first state that matches.
    ///
    /// # Errors
    /// As for [`Self::until`].
    pub(crate) async fn until_state<T>(
        &mut self,
        mut matches: impl FnMut(&DeviceState) -> Option<T>,
    ) -> anyhow::Result<T> {
        self.until(|event| match event {
            DeviceEvent::State(state) => matches(state),
            _ => None,
        })
        .await
    }

    /// Waits until the device is connected.
    ///
    /// # Errors
    /// As for [`Self::until`].
    pub(crate) async fn until_connected(&mut self) -> anyhow::Result<()> {
        self.until_state(|state| (state.phase == Phase::Connected).then_some(())).await
    }

    fn failed(&self, what: &str) -> anyhow::Error {
        anyhow!("{what}; its log ends with:\n{}", self.log.shown())
    }
}

/// A text for the other phone.
pub(crate) fn text(text: impl Into<String>) -> SendMessage {
    SendMessage { to: OTHER.to_owned(), content: Content::Text { text: text.into() } }
}

fn simulator_address(line: &str) -> Option<String> {
    line.strip_prefix("listening on ")?.split_whitespace().next().map(str::to_owned)
}

fn device_address(line: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    line.get("listen")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_are_read_from_what_the_programs_say() {
        let said = "listening on 127.0.0.1:8788  (websocket ws://127.0.0.1:8788/ws/chat)";
        assert_eq!(simulator_address(said).as_deref(), Some("127.0.0.1:8788"));
        let said = r#"{"level":"INFO","message":"device a/b starts","listen":"127.0.0.1:4711"}"#;
        assert_eq!(device_address(said).as_deref(), Some("127.0.0.1:4711"));
        assert_eq!(device_address("not a log line"), None);
    }
}
