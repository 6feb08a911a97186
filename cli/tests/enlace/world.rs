//! A simulated WhatsApp, a folder of manifests and a data directory.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use whatsapp_simulator::{Control, Linked, Options, PhoneControl, Simulator, overlaps, overlaps_by_number};

use crate::program::{Ended, Program};

/// The number of the device under test.
pub(crate) const NUMBER: &str = "525550000001";
/// The number of the other phone.
pub(crate) const CUSTOMER: &str = "525550000002";
/// The number of a second device.
pub(crate) const SECOND: &str = "525550000003";

/// Everything that is there before `enlace standalone` starts, and remains after it.
pub(crate) struct World {
    simulator: Simulator,
    directory: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let simulator = Simulator::start(options).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("devices")).unwrap();
        Self { simulator, directory }
    }

    /// A world with a device `billing` without pacing.
    pub(crate) async fn with_billing() -> Self {
        let world = Self::new().await;
        world.write("billing.yaml", &manifest("billing", json!({})));
        world
    }

    pub(crate) fn control(&self) -> Control {
        self.simulator.control()
    }

    pub(crate) fn phone(&self, number: &str) -> PhoneControl {
        self.control().phone(number)
    }

    pub(crate) fn websocket_address(&self) -> std::net::SocketAddr {
        self.simulator.address()
    }

    /// A path in the temporary directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// A manifest of the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path("devices").join(name)
    }

    /// Writes a manifest as careful editors do: beside it, then in its place.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let beside = self.path("written");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.file(name)).unwrap();
    }

    /// `enlace …` with this data directory, open to whoever registers, and without anything of the environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_enlace"));
        self.prepare(command.args(arguments));
        command
    }

    pub(crate) fn prepare(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("ENLACE_DATA_DIR", self.data())
            .env("ENLACE_COMPATIBLE_REGISTRATION", "true")
            .env("ENLACE_WHATSAPP_URL", self.simulator.websocket_url())
            .env("ENLACE_WHATSAPP_MEDIA_URL", format!("http://{}", self.simulator.address()));
    }

    /// `enlace standalone` on the folder and a free port.
    pub(crate) fn standalone(&self) -> Command {
        let mut command = self.command(&["standalone"]);
        command.arg(self.path("devices")).args(["--listen", "127.0.0.1:0"]);
        command
    }

    /// Runs `enlace …` to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        Program::start(self.command(arguments)).ended().await
    }

    /// Whether WhatsApp lists a linked device.
    pub(crate) async fn lists(&self, linked: &Linked) -> bool {
        let state = self.control().server().state().await.unwrap();
        state.device(&linked.phone, linked.device).is_some_and(|device| !device.logged_out)
    }

    /// How many logins there were, of whatever outcome.
    pub(crate) async fn logins(&self, number: &str) -> usize {
        let logins = self.control().server().logins().await.unwrap();
        logins.iter().filter(|login| login.phone == number).count()
    }

    /// No number had two clients at any time.
    pub(crate) async fn assert_one_client_at_a_time(&self) {
        self.assert_one_socket_at_a_time().await;
        let pairs = overlaps_by_number(&self.control().server().logins().await.unwrap());
        assert!(pairs.is_empty(), "two devices were logged in with one number: {pairs:#?}");
    }

    /// No identity had two live sockets at any time.
    pub(crate) async fn assert_one_socket_at_a_time(&self) {
        let logins = self.control().server().logins().await.unwrap();
        assert!(!logins.is_empty(), "nothing ever logged in");
        assert!(overlaps(&logins).is_empty(), "two live sockets of one identity: {:#?}", overlaps(&logins));
    }
}

/// A manifest without waiting: no pacing, a short first delay.
pub(crate) fn manifest(name: &str, settings: Value) -> String {
    let mut spec = json!({ "connection": { "reconnectDelay": "1s" }, "sending": { "interval": "0s" } });
    spec.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let manifest = json!({
        "apiVersion": "enlace.dev/v1alpha1", "kind": "WhatsAppDevice",
        "metadata": { "name": name }, "spec": spec,
    });
    // JSON is YAML.
    serde_json::to_string_pretty(&manifest).unwrap()
}

/// A condition of a device.
pub(crate) fn condition<'a>(device: &'a Value, kind: &str) -> &'a Value {
    let conditions = device["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == kind).unwrap()
}
