//! The client.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::program::Program;

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
    match CLIENT.get_or_init(install).await {
        Ok(client) => Some(client),
        Err(why) => {
            say(&format!("SKIPPED: a test with socket.io-client: {why}"));
            None
        }
    }
}

async fn install() -> Result<Client, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("socketio-client");
    std::fs::create_dir_all(&folder).unwrap();
    let unchanged = FILES
        .iter()
        .all(|(name, text)| std::fs::read_to_string(folder.join(name)).is_ok_and(|found| found == *text));
    if unchanged && folder.join("node_modules/.package-lock.json").exists() {
        return Ok(Client(folder));
    }
    for (name, text) in FILES {
        std::fs::write(folder.join(name), text).unwrap();
    }
    say(&format!("Installing socket.io-client with npm ci into {}.", folder.display()));
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder);
    match npm.output().await {
        Err(error) => Err(format!("npm cannot be started ({error}): install Node")),
        Ok(output) if !output.status.success() => {
            let text = String::from_utf8_lossy(&output.stderr);
            let line = text.lines().next().unwrap_or_default();
            // What is half installed would count as installed.
            let _ = std::fs::remove_dir_all(folder.join("node_modules"));
            Err(format!("npm ci failed: {line}"))
        }
        Ok(_) => Ok(Client(folder)),
    }
}

/// Past what the test harness holds back.
fn say(line: &str) {
    let mut seen = std::io::stderr();
    writeln!(seen, "{line}").unwrap();
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
