//! The programs of one mode: a simulated WhatsApp behind a gate, Enlace on an empty folder, and a database server where the mode has one.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use enlace_databases::{Kind, Server};
use tempfile::TempDir;
use tokio::process::Command;
use whatsapp_simulator::{Control, overlaps_by_number};

use crate::ask::Asker;
use crate::gate::{Gate, Way};
use crate::program::Program;

/// Where the programs are.
pub(crate) struct Programs {
    pub(crate) enlace: PathBuf,
    pub(crate) simulator: PathBuf,
}

/// Everything that runs.
pub(crate) struct World {
    /// The compatible API, and the native one.
    pub(crate) asker: Asker,
    /// The address of both.
    pub(crate) base: String,
    /// The administrator's token.
    pub(crate) admin: String,
    /// The people who hold the phones.
    pub(crate) control: Control,
    /// The way to WhatsApp.
    pub(crate) gate: Gate,
    /// The database server, where there is one.
    pub(crate) database: Option<Server>,
    enlace: Program,
    simulator: Program,
    // After what runs: the folder goes when nothing uses it any more.
    _folder: TempDir,
}

/// What a mode needs and is not installed.
pub(crate) fn missing(mode: &str) -> Option<String> {
    let needed = needs_a_server(mode) && Kind::MariaDb.program().is_none();
    needed.then(|| format!("{} is not installed ({})", Kind::MariaDb.name(), Kind::MariaDb.package()))
}

fn needs_a_server(mode: &str) -> bool {
    mode.starts_with("db-")
}

impl World {
    /// Starts what a mode needs.
    ///
    /// # Errors
    /// A program does not start; the message has the end of its log.
    pub(crate) async fn start(programs: &Programs, mode: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let devices = folder.path().join("devices");
        std::fs::create_dir(&devices)?;
        let mut command = Command::new(&programs.simulator);
        command.args(["--listen", "127.0.0.1:0"]).env("RUST_LOG", "warn");
        let listening = |line: &str| -> Option<SocketAddr> {
            line.strip_prefix("listening on ")?.split_whitespace().next()?.parse().ok()
        };
        let (simulator, address) =
            Program::start("whatsapp-simulator", command, folder.path(), listening).await?;
        let way = if Self::reaches_whatsapp(mode) { Way::Held } else { Way::Refused };
        let gate = Gate::before(address, way).await?;
        let database = if needs_a_server(mode) { Some(Server::start(Kind::MariaDb).await?) } else { None };

        let data = folder.path().join("data");
        let mut command = Command::new(&programs.enlace);
        command.arg("standalone").arg(&devices).arg("--data-dir").arg(&data).args([
            "--listen",
            "127.0.0.1:0",
            "--compatible-registration",
            "true",
        ]);
        command.env_remove("DATABASE_URL");
        if let Some(server) = &database {
            command.env("DATABASE_URL", server.new_database().await?);
        }
        command.env("ENLACE_WHATSAPP_URL", format!("ws://{}/ws/chat", gate.address));
        command.env("ENLACE_WHATSAPP_MEDIA_URL", format!("http://{address}"));
        let listening = |line: &str| {
            line.strip_prefix("Enlace listens on ").map(|url| url.trim_end_matches('/').to_owned())
        };
        let (enlace, base) = Program::start("enlace", command, folder.path(), listening).await?;
        let admin = std::fs::read_to_string(data.join("token")).context("Enlace left no token")?;
        Ok(Self {
            asker: Asker::new(&base),
            base,
            admin: admin.trim().to_owned(),
            control: Control::new(format!("http://{address}")),
            gate,
            database,
            enlace,
            simulator,
            _folder: folder,
        })
    }

    /// Whether devices of a mode get to WhatsApp.
    pub(crate) fn reaches_whatsapp(mode: &str) -> bool {
        matches!(mode, "stub" | "a0bd446")
    }

    /// The end of Enlace's log.
    pub(crate) fn log(&self) -> String {
        self.enlace.shown()
    }

    /// Ends everything, Enlace first; between them WhatsApp's log of logins is read.
    ///
    /// # Errors
    /// A program cannot be ended, or a number had two clients at a time.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let Self { enlace, simulator, control, .. } = self;
        enlace.stop().await?;
        let pairs = overlaps_by_number(&control.server().logins().await?);
        ensure!(pairs.is_empty(), "one number had two clients at a time: {pairs:#?}");
        simulator.stop().await
    }
}
