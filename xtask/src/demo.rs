//! `cargo xtask demo`: builds the demonstration's programs and starts it.

use std::process::{Command, ExitCode};

use clap::Args;

use crate::build::Trust;
use crate::run;
use crate::workspace::Workspace;

/// Options of `cargo xtask demo`.
#[derive(Args)]
pub(crate) struct Options {
    /// End after the demonstration instead of staying up.
    #[arg(long)]
    once: bool,
    /// The port of the API on 127.0.0.1.
    #[arg(long, default_value_t = 3000)]
    port: u16,
}

/// Builds and starts it.
///
/// # Errors
/// A program does not build or does not start.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::open()?;
    println!("Nothing has to be installed. Building the programs; the first time this takes some minutes.");
    let mut build = workspace.cargo("build", Trust::Simulator);
    for package in ["enlace-cli", "whatsapp-simulator", "enlace-demo"] {
        build.args(["--package", package]);
    }
    // The features are those of two packages; both must be in the build.
    run::run(build.args(["--package", "enlace-device-pod", "--bins"]))?;

    let mut demo = demonstration(&workspace, options.port, options.once);
    // It takes this program's place, so that Ctrl-C reaches it alone and the shell waits until it has tidied up.
    let error = std::os::unix::process::CommandExt::exec(&mut demo);
    Err(anyhow::Error::new(error).context("cannot start the demonstration"))
}

/// Plays it once, on any port, with programs that are built.
///
/// # Errors
/// A step of it does not happen, or two clients were logged in at a time.
pub(crate) fn once(workspace: &Workspace) -> anyhow::Result<()> {
    run::run(&mut demonstration(workspace, 0, true))
}

fn demonstration(workspace: &Workspace, port: u16, once: bool) -> Command {
    let mut demo = Command::new(workspace.program(Trust::Simulator, "enlace-demo"));
    demo.arg("--enlace").arg(workspace.program(Trust::Simulator, "enlace"));
    demo.arg("--simulator").arg(workspace.program(Trust::Simulator, "whatsapp-simulator"));
    demo.arg("--manifests").arg(workspace.root.join("examples/standalone"));
    demo.args(["--port", &port.to_string()]);
    if once {
        demo.arg("--once");
    }
    demo
}
