//! The production programs: built as a release builds them, and asked which trust they have.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::build::{PRODUCTION_PACKAGES, Trust};
use crate::run;
use crate::workspace::Workspace;

/// The programs of [`PRODUCTION_PACKAGES`].
const PROGRAMS: [&str; 2] = ["device-pod", "enlace"];
/// The programs that are released and never speak to WhatsApp, in whatever build.
const WITHOUT_WHATSAPP: [&str; 2] = ["enlace-api", "enlace-operator"];

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
            says(&mut Command::new(&program), expected(trust))?;
            if name == "enlace" {
                says(Command::new(&program).arg0("kubectl-enlace"), expected(trust))?;
            }
        }
    }
    for name in WITHOUT_WHATSAPP {
        says(&mut Command::new(workspace.program(Trust::Simulator, name)), "(no WhatsApp client)")?;
    }
    Ok(())
}

const fn expected(trust: Trust) -> &'static str {
    match trust {
        Trust::Production => "(trusts WhatsApp)",
        Trust::Simulator => "(trusts simulator (not for production))",
    }
}

/// Asks a program for its version, and expects these words at its end.
fn says(program: &mut Command, expected: &str) -> anyhow::Result<()> {
    let output = program
        .arg("--version")
        .output()
        .with_context(|| format!("cannot start {}", program.get_program().display()))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    println!("{version}");
    ensure!(output.status.success(), "{} ended with {}", program.get_program().display(), output.status);
    ensure!(
        version.ends_with(expected),
        "{} says of itself \"{version}\", not \"{expected}\"",
        program.get_program().display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_say_what_it_trusts_is_found() {
        let says = |text: &str| says(Command::new("/bin/echo").arg(text), "(trusts WhatsApp) --version");
        says("enlace 1.0 (trusts WhatsApp)").unwrap();
        let error = says("kubectl-enlace 1.0").unwrap_err();
        assert!(error.to_string().contains("kubectl-enlace 1.0"), "{error}");
    }
}
