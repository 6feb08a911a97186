//! The production programs: built as a release builds them, and asked which trust they have.

use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::build::{PRODUCTION_PACKAGES, Trust};
use crate::run;
use crate::workspace::Workspace;

/// The programs of [`PRODUCTION_PACKAGES`].
const PROGRAMS: [&str; 2] = ["device-pod", "enlace"];

/// Builds them by themselves: no other package of the workspace has a say in their features.
///
/// # Errors
/// They do not build.
pub(super) fn build(workspace: &Workspace) -> anyhow::Result<()> {
    let mut command = workspace.cargo("build", Trust::Production);
    for package in PRODUCTION_PACKAGES {
        command.args(["--package", package]);
    }
    run::run(command.arg("--bins"))
}

/// Each program of each build must say what it trusts, so that a mix-up is found by whoever runs it.
///
/// # Errors
/// A program does not start, or says the wrong thing.
pub(super) fn check(workspace: &Workspace) -> anyhow::Result<()> {
    for trust in [Trust::Production, Trust::Simulator] {
        for name in PROGRAMS {
            let program = workspace.program(trust, name);
            let output = Command::new(&program)
                .arg("--version")
                .output()
                .with_context(|| format!("cannot start {}", program.display()))?;
            let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            println!("{version}");
            ensure!(output.status.success(), "{name} --version ended with {}", output.status);
            let says_simulator = version.contains("simulator");
            ensure!(
                says_simulator == (trust == Trust::Simulator),
                "{name} of the {trust:?} build says of itself: {version}"
            );
        }
    }
    Ok(())
}
