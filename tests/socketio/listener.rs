//! The client.

use std::path::PathBuf;

use serde_json::Value;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::npm::install;
use crate::program::Program;
use crate::skipped::skipped;

/// What is installed.
const FILES: [(&str, &str); 3] = [
    ("package.json", include_str!("client/package.json")),
    ("package-lock.json", include_str!("client/package-lock.json")),
    ("listen.mjs", include_str!("client/listen.mjs")),
];

/// The client, installed.
pub(crate) struct Client(PathBuf);

/// The client where it can be installed; else it is said that a test is skipped.
pub(crate) async fn client() -> Option<&'static Client> {
    static CLIENT: OnceCell<Result<Client, String>> = OnceCell::const_new();
    match CLIENT.get_or_init(|| async { install("socketio-client", &FILES).await.map(Client) }).await {
        Ok(client) => Some(client),
        Err(why) => {
            skipped("a test with socket.io-client", why);
            None
        }
    }
}

/// A client that listens.
pub(crate) struct Listener(Program);

impl Client {
    /// Connects; `options` are those of socket.io-client.
    pub(crate) fn listen(&self, url: &str, options: &Value) -> Listener {
        let mut command = Command::new("node");
        command.arg("listen.mjs").arg(url).arg(options.to_string()).current_dir(&self.0);
        Listener(Program::start(command))
    }
}

impl Listener {
    /// What came so far.
    pub(crate) fn heard(&self) -> Vec<(String, Value)> {
        events(&self.0.stdout.text())
    }

    /// Waits for an event that something is found in.
    pub(crate) async fn until<T>(&self, name: &str, find: impl Fn(&Value) -> Option<T>) -> T {
        self.0
            .stdout
            .until(name, |text| {
                events(text).iter().filter(|(event, _)| event == name).find_map(|(_, data)| find(data))
            })
            .await
    }

    /// Waits until an event came so often.
    pub(crate) async fn times(&self, name: &str, times: usize) {
        let enough = |text: &str| {
            let heard = events(text).iter().filter(|(event, _)| event == name).count();
            (heard >= times).then_some(())
        };
        self.0.stdout.until(name, enough).await;
    }

    /// Waits for the first event of a name.
    pub(crate) async fn first(&self, name: &str) -> Value {
        self.until(name, |data| Some(data.clone())).await
    }
}

/// Whole lines only: the last one may be on its way.
fn events(text: &str) -> Vec<(String, Value)> {
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.map(|line| (line["event"].as_str().unwrap().to_owned(), line["data"].clone())).collect()
}
