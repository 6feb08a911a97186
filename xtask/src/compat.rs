//! `cargo xtask compat FILE`: replays recorded pairs of the compatible API against the programs.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::Args;

use crate::build::Trust;
use crate::run::{self, Outcome};
use crate::workspace::Workspace;

/// The pairs that are part of `cargo xtask test`.
const GOLDEN: &str = "tests/compat/golden.json";
/// Where Enlace answers otherwise on purpose.
const DECIDED: &str = "tests/compat/decided.yaml";

/// Options of `cargo xtask compat`.
#[derive(Args)]
pub(crate) struct Options {
    /// The recorded pairs [default: tests/compat/golden.json].
    file: Option<PathBuf>,
    /// Where Enlace answers otherwise on purpose [default: tests/compat/decided.yaml].
    #[arg(long)]
    decided: Option<PathBuf>,
    /// Replay only this mode of the file.
    #[arg(long)]
    mode: Option<String>,
}

/// Builds the programs and replays a file.
///
/// # Errors
/// A program does not build or does not start.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::open()?;
    let mut build = workspace.cargo("build", Trust::Simulator);
    for package in ["enlace-cli", "whatsapp-simulator", "enlace-compat"] {
        build.args(["--package", package]);
    }
    // The features are those of two packages; both must be in the build.
    run::run(build.args(["--package", "enlace-device-pod", "--bins"]))?;
    let file = options.file.clone().unwrap_or_else(|| workspace.root.join(GOLDEN));
    let decided = options.decided.clone().unwrap_or_else(|| workspace.root.join(DECIDED));
    let mut replay = replay(&workspace, &file, &decided);
    if let Some(mode) = &options.mode {
        replay.args(["--mode", mode]);
    }
    let status = replay.status().context("cannot start the replay")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Replays the committed file with programs that are built.
///
/// # Errors
/// A pair is answered neither as recorded nor as decided.
pub(crate) fn committed(workspace: &Workspace) -> anyhow::Result<Outcome> {
    let mut replay = replay(workspace, &workspace.root.join(GOLDEN), &workspace.root.join(DECIDED));
    Ok(Outcome::without(run::run_and_read(&mut replay)?.skipped))
}

fn replay(workspace: &Workspace, file: &Path, decided: &Path) -> Command {
    let mut replay = Command::new(workspace.program(Trust::Simulator, "enlace-compat"));
    replay.arg(file).arg("--decided").arg(decided);
    replay.arg("--enlace").arg(workspace.program(Trust::Simulator, "enlace"));
    replay.arg("--simulator").arg(workspace.program(Trust::Simulator, "whatsapp-simulator"));
    replay
}
