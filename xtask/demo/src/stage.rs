//! The two programs, a simulated WhatsApp and Enlace, on temporary folders.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;
use tokio::process::Command;
use whatsapp_simulator::{Control, overlaps_by_number};

use crate::Flags;
use crate::programs::{Program, within};

/// Everything that runs, until it is struck.
pub(crate) struct Stage {
    /// What runs.
    pub(crate) cast: Cast,
    // After what runs: the folder goes when nothing uses it any more.
    /// How to reach it.
    pub(crate) scene: Scene,
}

/// The programs that run from the beginning to the end.
pub(crate) struct Cast {
    enlace: Program,
    simulator: Program,
}

/// How the two programs are reached.
pub(crate) struct Scene {
    /// The people who hold the phones.
    pub(crate) control: Control,
    /// Enlace's start, on the clock of its records.
    pub(crate) started: jiff::Timestamp,
    flags: Flags,
    url: String,
    token: String,
    folder: TempDir,
}

impl Stage {
    /// Starts both, Enlace on a copy of the manifests.
    ///
    /// # Errors
    /// One of them does not start; the message has the end of its log.
    pub(crate) async fn set(flags: Flags) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let devices = folder.path().join("devices");
        copy_manifests(&flags.manifests, &devices)?;

        let mut command = Command::new(&flags.simulator);
        command.args(["--listen", "127.0.0.1:0"]).env("RUST_LOG", "warn");
        let mut simulator = Program::start("whatsapp-simulator", command, Some(folder.path()))?;
        let line = within("the address of the simulator", simulator.line()).await?;
        let address = line
            .strip_prefix("listening on ")
            .and_then(|rest| rest.split_whitespace().next())
            .with_context(|| format!("the simulator does not say where it listens: {line}"))?;
        println!("A simulated WhatsApp listens on {address}.");

        let data = folder.path().join("data");
        let mut command = Command::new(&flags.enlace);
        command.arg("standalone").arg(&devices);
        command.arg("--data-dir").arg(&data);
        command.args(["--listen", &format!("127.0.0.1:{}", flags.port)]);
        command.env("ENLACE_WHATSAPP_URL", format!("ws://{address}/ws/chat"));
        command.env("ENLACE_WHATSAPP_MEDIA_URL", format!("http://{address}"));
        let started = jiff::Timestamp::now();
        println!("Starting: enlace standalone DEVICES --data-dir DATA --listen 127.0.0.1:{}\n", flags.port);
        let mut enlace = Program::start("enlace", command, Some(folder.path()))?;
        let url = within("the URL of the API", url(&mut enlace))
            .await
            .context("Enlace does not start (`cargo xtask demo --port N` takes another port)")?;
        enlace.drain();
        let token = local_token(&data)?;
        let control = Control::new(format!("http://{address}"));
        let scene = Scene { control, started, flags, url, token, folder };
        Ok(Self { cast: Cast { enlace, simulator }, scene })
    }

    /// Ends both, Enlace first; between them WhatsApp's log of logins is read. How many there were.
    ///
    /// # Errors
    /// One of them cannot be ended, or two clients were logged in at a time.
    pub(crate) async fn strike(self) -> anyhow::Result<usize> {
        let Cast { enlace, simulator } = self.cast;
        enlace.stop().await?;
        let logins = self.scene.control.server().logins().await?;
        let pairs = overlaps_by_number(&logins);
        ensure!(pairs.is_empty(), "one number had two clients at a time: {pairs:#?}");
        simulator.stop().await?;
        Ok(logins.len())
    }
}

impl Scene {
    /// The temporary folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `enlace …`, for the Enlace that runs here.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.flags.enlace);
        command.args(arguments).env("ENLACE_URL", &self.url).env("ENLACE_TOKEN", &self.token);
        command
    }

    /// Says how to go on by hand.
    pub(crate) fn invite(&self) {
        let program = self.flags.enlace.display();
        println!("\nThe API is at {} until Ctrl-C. In another terminal:\n", self.url);
        println!("  export ENLACE_URL={} ENLACE_TOKEN={}", self.url, self.token);
        println!("  {program} get devices");
        println!("  {program} send billing --to {} --text 'One more'", crate::story::CUSTOMER);
        println!("  {program} events billing");
    }
}

impl Cast {
    /// Waits for the end of a program that should not end, and says why it did.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        tokio::select! {
            ended = self.enlace.unexpected_end() => ended,
            ended = self.simulator.unexpected_end() => ended,
        }
    }
}

/// Shows what Enlace writes until it has said where it listens.
async fn url(enlace: &mut Program) -> anyhow::Result<String> {
    loop {
        let line = enlace.line().await?;
        println!("  {line}");
        let words = line.split_whitespace();
        if let Some(url) =
            words.map(|word| word.trim_end_matches(['.', ',', '/'])).find(|word| word.starts_with("http://"))
        {
            return Ok(url.to_owned());
        }
    }
}

fn copy_manifests(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir(to)?;
    let entries = std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// The token that Enlace writes for programs of this user on this machine.
fn local_token(data: &Path) -> anyhow::Result<String> {
    let file = data.join("token");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("Enlace left no token in {}", file.display()))?;
    let token = text.trim();
    if token.is_empty() {
        bail!("the token in {} is empty", file.display());
    }
    Ok(token.to_owned())
}
