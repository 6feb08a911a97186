//! The two builds. They never mix: a production program trusts WhatsApp's certificate only, and the feature that trusts a simulator must
//! not reach it because some other package of the same invocation wanted it.
//!
//! Each has its own folder of finished programs (`target/debug`, `target/simulator-trust/debug`); both share one folder for everything
//! in between, where cargo tells them apart by their features, so that what is equal in both is built once.

use std::path::PathBuf;
use std::process::Command;

use crate::run;
use crate::workspace::Workspace;

/// Whose certificate a program accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// WhatsApp's: what is released.
    Production,
    /// Any, so also a simulator's: for tests and demonstrations.
    Simulator,
}

/// The programs that are released.
pub(crate) const PRODUCTION_PACKAGES: [&str; 2] = ["enlace-device-pod", "enlace-cli"];

/// The features of [`Trust::Simulator`].
pub(crate) const SIMULATOR_FEATURES: &str = "enlace-device-pod/simulator-trust,enlace-cli/simulator-trust";

impl Workspace {
    /// `cargo VERB` for one of the builds; the caller adds packages and targets.
    pub(crate) fn cargo(&self, verb: &str, trust: Trust) -> Command {
        let mut command = self.cargo_without_features(verb, trust);
        if trust == Trust::Simulator {
            command.args(["--features", SIMULATOR_FEATURES]);
        }
        command
    }

    /// The same, but the caller also adds the features: [`SIMULATOR_FEATURES`] need both packages in the build.
    pub(crate) fn cargo_without_features(&self, verb: &str, trust: Trust) -> Command {
        let mut command = self.plain_cargo();
        command
            .arg(verb)
            .arg("--locked")
            .env("CARGO_TARGET_DIR", self.output(trust))
            .env("CARGO_BUILD_BUILD_DIR", &self.intermediate);
        command
    }

    /// Builds a program to be measured: as it is released, so by itself, and no other package of the build has a say in its features. But
    /// it trusts the simulator.
    ///
    /// # Errors
    /// It does not build.
    pub(crate) fn build_measured(&self, package: &str, program: &str) -> anyhow::Result<()> {
        let mut build = self.cargo_without_features("build", Trust::Simulator);
        build.args(["--release", "--package", package, "--bin", program, "--features", "simulator-trust"]);
        run::run(&mut build)
    }

    /// Builds the simulator and the benchmarks.
    ///
    /// # Errors
    /// They do not build.
    pub(crate) fn build_benchmarks(&self) -> anyhow::Result<()> {
        let mut build = self.cargo_without_features("build", Trust::Simulator);
        build.args(["--release", "--package", "whatsapp-simulator", "--package", "enlace-bench", "--bins"]);
        run::run(&mut build)
    }

    /// `cargo`, for what builds nothing.
    pub(crate) fn plain_cargo(&self) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root);
        // `cargo run` describes this package to its program in the environment; build scripts that watch these variables would run
        // again each time they come and go.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        command
    }

    /// The finished program of a build.
    pub(crate) fn program(&self, trust: Trust, name: &str) -> PathBuf {
        self.program_in("debug", trust, name)
    }

    /// The finished program of a build with `--release`.
    pub(crate) fn release_program(&self, trust: Trust, name: &str) -> PathBuf {
        self.program_in("release", trust, name)
    }

    fn program_in(&self, profile: &str, trust: Trust, name: &str) -> PathBuf {
        self.output(trust).join(profile).join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
    }

    fn output(&self, trust: Trust) -> PathBuf {
        match trust {
            Trust::Production => self.target.clone(),
            Trust::Simulator => self.target.join("simulator-trust"),
        }
    }
}
