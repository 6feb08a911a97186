//! Which images there are, and the programs in them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::Profile;
use crate::build::Trust;
use crate::run;
use crate::workspace::Workspace;

/// One image.
#[derive(Debug)]
pub(super) struct Image {
    /// Its name.
    pub(super) name: &'static str,
    /// The program in it.
    pub(super) program: &'static str,
    /// Its folder below `images/`.
    pub(super) folder: &'static str,
    /// The program says of itself whether it accepts a simulator, because one build of it does.
    pub(super) accepts_simulator: bool,
    /// It speaks TLS to the outside with the system's certificates.
    pub(super) certificates: bool,
}

/// What is released: the first three; the last is for tests, as is one build of the third.
const IMAGES: [Image; 4] = [
    Image {
        name: "enlace-operator",
        program: "enlace-operator",
        folder: "operator",
        accepts_simulator: false,
        certificates: false,
    },
    // To a database server.
    Image {
        name: "enlace-api",
        program: "enlace-api",
        folder: "api",
        accepts_simulator: false,
        certificates: true,
    },
    // The roots that a device trusts are compiled into it.
    Image {
        name: "enlace-device",
        program: "device-pod",
        folder: "device",
        accepts_simulator: true,
        certificates: false,
    },
    Image {
        name: "whatsapp-simulator",
        program: "whatsapp-simulator",
        folder: "simulator",
        accepts_simulator: false,
        certificates: false,
    },
];

/// The packages of the programs that are released.
const PACKAGES: [&str; 3] = ["enlace-operator", "enlace-api", "enlace-device-pod"];

/// The images of a profile.
pub(super) fn images(profile: Profile) -> &'static [Image] {
    match profile {
        Profile::Release => &IMAGES[..3],
        Profile::Light => &IMAGES,
        Profile::Measured => &IMAGES[2..],
    }
}

/// Builds the programs of a profile; gives the folder that they are in.
///
/// # Errors
/// They do not build.
pub(super) fn build(workspace: &Workspace, profile: Profile) -> anyhow::Result<PathBuf> {
    let program = match profile {
        Profile::Release => {
            let mut command = workspace.cargo("build", Trust::Production);
            command.args(["--release", "--bins"]);
            for package in PACKAGES {
                command.args(["--package", package]);
            }
            run::run(&mut command)?;
            workspace.release_program(Trust::Production, "device-pod")
        }
        Profile::Light => {
            // As the step "tests: build" has it, to the letter: other packages would be other features, and so another build.
            let mut command = workspace.cargo("build", Trust::Simulator);
            run::run(command.args(["--workspace", "--all-targets"]))?;
            workspace.program(Trust::Simulator, "device-pod")
        }
        Profile::Measured => {
            workspace.build_measured("enlace-device-pod", "device-pod")?;
            workspace.build_benchmarks()?;
            workspace.release_program(Trust::Simulator, "device-pod")
        }
    };
    Ok(program.parent().context("the programs are in no folder")?.to_owned())
}

/// Asks a program what it trusts, where that differs between builds: a released image must never accept a simulator.
///
/// # Errors
/// The program is not there, does not start, or is of the other build.
pub(super) fn check_trust(image: &Image, program: &Path, profile: Profile) -> anyhow::Result<()> {
    ensure!(program.is_file(), "{} is not there", program.display());
    if !image.accepts_simulator {
        return Ok(());
    }
    let output = Command::new(program)
        .arg("--version")
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(output.status.success(), "{} --version ended with {}", program.display(), output.status);
    ensure!(
        version.contains("simulator") == (profile != Profile::Release),
        "{} is of another build than the profile {profile:?}; it says of itself: {version}",
        program.display()
    );
    Ok(())
}
