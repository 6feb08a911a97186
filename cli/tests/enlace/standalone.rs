//! `enlace standalone`, and what is asked of it.

use std::time::{Duration, Instant};

use eventsource_stream::{Event, EventStreamError, Eventsource as _};
use futures::stream::{BoxStream, StreamExt as _};
use serde_json::{Value, json};
use tokio::process::Command;
use whatsapp_simulator::Linked;

use crate::program::{Ended, PATIENCE, Program};
use crate::world::World;

/// The program, listening.
pub(crate) struct Standalone<'a> {
    pub(crate) program: Program,
    pub(crate) url: String,
    world: &'a World,
    http: reqwest::Client,
}

impl World {
    /// Starts `enlace standalone` and waits until it listens.
    pub(crate) async fn start(&self) -> Standalone<'_> {
        self.start_with(self.standalone()).await
    }

    pub(crate) async fn start_with(&self, command: Command) -> Standalone<'_> {
        let program = Program::start(command);
        let url = program.stdout.until("address", |text| {
            text.lines().find_map(|line| line.strip_prefix("Enlace listens on ")).map(str::to_owned)
        });
        let url = url.await;
        // Another test may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Standalone { program, url, world: self, http }
    }
}

impl Standalone<'_> {
    /// `enlace …` for this one.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.command(arguments);
        command.env("ENLACE_URL", &self.url);
        command
    }

    /// Starts `enlace …`.
    pub(crate) fn begin(&self, arguments: &[&str]) -> Program {
        Program::start(self.command(arguments))
    }

    /// Runs `enlace …` to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        self.begin(arguments).ended().await
    }

    /// What `enlace …` writes when all goes well.
    pub(crate) async fn ok(&self, arguments: &[&str]) -> String {
        self.run(arguments).await.ok()
    }

    /// `enlace … -o json`.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[arguments, &["-o", "json"]].concat()).await).unwrap()
    }

    /// The token that it leaves for programs of this user.
    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(self.world.data().join("token")).unwrap().trim().to_owned()
    }

    /// A call of the API itself, for what has no command.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(self.token());
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body = response.bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Creates a device by the API, as an application does.
    pub(crate) async fn create(&self, name: &str) {
        let spec = json!({ "connection": { "reconnectDelay": "1s" }, "sending": { "interval": "0s" } });
        let body = json!({ "metadata": { "name": name }, "spec": spec });
        let (status, answer) = self.call("POST", "/v1/devices", Some(body)).await;
        assert_eq!(status, 201, "{answer}");
    }

    /// Waits until a device is as wanted; it is none when it is not there.
    pub(crate) async fn until<T>(&self, name: &str, find: impl Fn(Option<&Value>) -> Option<T>) -> T {
        let mut last = None;
        let waiting = async {
            let mut events = self.devices().await;
            // What is there comes first, as events; what is not there, does not.
            if self.call("GET", &format!("/v1/devices/default/{name}"), None).await.0 == 404
                && let Some(found) = find(None)
            {
                return found;
            }
            loop {
                let event = events.next().await.expect("the stream ended").unwrap();
                let device: Value = serde_json::from_str(&event.data).unwrap();
                if device["metadata"]["name"] != name {
                    continue;
                }
                let device = (event.event != "deleted").then_some(device);
                if let Some(found) = find(device.as_ref()) {
                    return found;
                }
                last = device;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("{name} is still {last:#?}; the log is {}", self.program.stderr.text()),
        }
    }

    /// Looks again whenever a device is another than before, until something is found.
    pub(crate) async fn after_each_event<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let waiting = async {
            let mut events = self.devices().await;
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                events.next().await.expect("the stream ended").unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("no {what}; the log is {}", self.program.stderr.text()),
        }
    }

    /// What becomes of the devices, from now on; those that are there come first.
    async fn devices(&self) -> BoxStream<'static, Result<Event, EventStreamError<reqwest::Error>>> {
        let request = self.http.get(format!("{}/v1/events", self.url)).bearer_auth(self.token());
        let response = request.send().await.unwrap().error_for_status().unwrap();
        response.bytes_stream().eventsource().boxed()
    }

    pub(crate) async fn until_phase(&self, name: &str, phase: &str) -> Value {
        self.until(name, |device| device.filter(|device| device["status"]["phase"] == phase).cloned()).await
    }

    pub(crate) async fn until_gone(&self, name: &str) {
        self.until(name, |device| device.is_none().then_some(())).await;
    }

    /// The code that a device shows.
    pub(crate) async fn code(&self, name: &str) -> String {
        self.until(name, |device| device?["status"]["qr"]["code"].as_str().map(str::to_owned)).await
    }

    /// Links a phone to a device, without a terminal.
    pub(crate) async fn link(&self, name: &str, number: &str) -> Linked {
        let linked = self.world.phone(number).scan(&self.code(name).await).await.unwrap();
        self.until_phase(name, "Connected").await;
        linked
    }

    /// Sends a text and waits until the phone of the receiver has it.
    pub(crate) async fn send_text(&self, name: &str, to: &str, text: &str) {
        self.ok(&["send", name, "--to", to, "--text", text]).await;
        self.world.phone(to).wait_for_text(text, PATIENCE).await.unwrap();
    }

    /// Stops it in order, as a service manager does.
    pub(crate) async fn stop(self) -> Ended {
        let began = Instant::now();
        let ended = self.program.terminate().await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
        ended
    }
}
