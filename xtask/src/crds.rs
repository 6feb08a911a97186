//! `cargo xtask crds`: the resource definition that is generated from the Rust types.

use std::process::ExitCode;

use clap::Args;

use crate::build::Trust;
use crate::run;
use crate::workspace::Workspace;

/// Options of `cargo xtask crds`.
#[derive(Args)]
pub(crate) struct Options {
    /// Write nothing; fail when the file is not what would be written.
    #[arg(long)]
    check: bool,
}

/// Writes or checks the definition.
///
/// # Errors
/// The crate does not build, or the file is out of date.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::open()?;
    // The crate compares the file in a test, which can write it as well: so nothing else needs to link the resource.
    let mut command = workspace.cargo("test", Trust::Production);
    command.args(["--quiet", "--package", "enlace-crds", "--lib", "the_committed_"]);
    if !options.check {
        command.env("ENLACE_UPDATE_CRDS", "1");
    }
    run::run(&mut command)?;
    Ok(ExitCode::SUCCESS)
}
