//! The clients, and how they are got.

use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::npm::{self, say};
use crate::skipped::skipped;

/// What Node runs.
const BAILEYS: [(&str, &str); 3] = [
    ("package.json", include_str!("baileys/package.json")),
    ("package-lock.json", include_str!("baileys/package-lock.json")),
    ("peer.mjs", include_str!("baileys/peer.mjs")),
];

/// A client that others wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Baileys,
    Whatsmeow,
}

impl Client {
    /// The command that starts it, where it can be got; else it is said, once, that its tests are skipped.
    pub(crate) async fn command(self) -> Option<Command> {
        static BAILEYS: OnceCell<Option<PathBuf>> = OnceCell::const_new();
        static WHATSMEOW: OnceCell<Option<PathBuf>> = OnceCell::const_new();
        match self {
            Self::Baileys => {
                let folder = BAILEYS.get_or_init(|| self.or_say(install_baileys())).await.as_ref()?;
                let mut node = Command::new("node");
                node.arg(folder.join("peer.mjs"));
                Some(node)
            }
            Self::Whatsmeow => {
                WHATSMEOW.get_or_init(|| self.or_say(build_whatsmeow())).await.as_ref().map(Command::new)
            }
        }
    }

    async fn or_say(self, got: impl Future<Output = Result<PathBuf, String>>) -> Option<PathBuf> {
        got.await.inspect_err(|why| skipped(&format!("the tests with {self:?}"), why)).ok()
    }
}

async fn install_baileys() -> Result<PathBuf, String> {
    npm::install("peers-baileys", &BAILEYS).await
}

/// Go builds again what changed, and nothing else.
async fn build_whatsmeow() -> Result<PathBuf, String> {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers-whatsmeow");
    if !program.is_file() {
        say(&format!("Building whatsmeow with Go into {}: about a minute, once.", program.display()));
    }
    // What cannot be fetched is a reason to skip; what does not compile then is a fault.
    go(&["list", "-deps", "."]).await?;
    go(&["build", "-trimpath", "-o", program.to_str().unwrap(), "."]).await.unwrap();
    Ok(program)
}

async fn go(arguments: &[&str]) -> Result<(), String> {
    let mut go = Command::new("go");
    go.args(arguments).env("CGO_ENABLED", "0");
    go.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("whatsmeow"));
    match go.output().await {
        Err(error) => Err(format!("go cannot be started ({error}): install Go 1.26 or newer")),
        Ok(output) if !output.status.success() => {
            Err(format!("go {} failed: {}", arguments[0], String::from_utf8_lossy(&output.stderr).trim()))
        }
        Ok(_) => Ok(()),
    }
}
