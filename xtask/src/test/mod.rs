//! `cargo xtask test`: everything CI checks, the quick steps first.
//!
//! * [`licences`]: cargo-deny, installed when it is missing,
//! * [`chart`]: helm for the chart's tests, built when it is missing,
//! * [`databases`]: PostgreSQL and MariaDB, installed when they are missing,
//! * [`clients`]: what the tests install and build by themselves,
//! * [`programs`]: the production programs, and what they must say of themselves,
//! * [`suite`]: the tests, and which of them did not run.

mod chart;
mod clients;
pub(crate) mod databases;
mod licences;
mod programs;
mod suite;

use std::process::ExitCode;

use clap::Args;

use crate::build::Trust;
use crate::run::{self, Outcome, Report};
use crate::workspace::Workspace;
use crate::{cluster, compat, demo, direction, setup};

/// Options of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct Options {
    /// Leave out what takes long: production programs, integration tests, documentation tests, installing anything.
    #[arg(long)]
    fast: bool,
}

/// Runs the steps; the first that fails ends the run.
///
/// # Errors
/// The step that failed, and why.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::open()?;
    let mut report = Report::new();
    report.step("set-up", || {
        setup::toolchain(&workspace)?;
        licences::announce(options.fast);
        databases::announce(options.fast);
        chart::announce(options.fast);
        clients::announce(&workspace, options.fast);
        cluster::announce(&workspace, options.fast)?;
        Ok(Outcome::Passed)
    })?;
    report
        .step("formatting", || passed(run::run(workspace.plain_cargo().args(["fmt", "--all", "--check"]))))?;
    report.step("direction of dependencies", || passed(direction::check(&workspace)))?;
    report.step("licences, bans and sources", || licences::check(&workspace, options.fast))?;
    report.step("clippy, trusting a simulator", || clippy(&workspace, Trust::Simulator))?;
    report.step("clippy, as in production", || clippy(&workspace, Trust::Production))?;
    if !options.fast {
        report.step("production programs: build", || passed(programs::build(&workspace)))?;
    }
    report.step("tests: build", || passed(suite::build(&workspace, options.fast)))?;
    let mut helm = None;
    if !options.fast {
        report.step("helm", || chart::provide(&mut helm))?;
        report.step("database servers", databases::provide)?;
    }
    report.step("generated files", || suite::generated_files(&workspace, options.fast))?;
    report.step("tests", || suite::run(&workspace, options.fast, helm.as_deref()))?;
    if options.fast {
        report.skip("production programs, integration tests, documentation tests, demonstration, recorded pairs, cluster tests: --fast");
    } else {
        report.step("demonstration", || passed(demo::once(&workspace)))?;
        report.step("recorded pairs of the compatible API", || compat::committed(&workspace))?;
        report.step("production programs: what they trust", || passed(programs::check(&workspace)))?;
        report.step("cluster tests", || cluster::test(&workspace, &[]))?;
    }
    report.finish();
    Ok(ExitCode::SUCCESS)
}

/// Lints everything. Which features other packages turn on does not matter to a lint, so both kinds of trust are checked for the whole
/// workspace: all but the few packages that differ are then checked once.
fn clippy(workspace: &Workspace, trust: Trust) -> anyhow::Result<Outcome> {
    let mut command = workspace.cargo("clippy", trust);
    command.args(["--workspace", "--all-targets", "--", "--deny", "warnings"]);
    passed(run::run(&mut command))
}

fn passed(result: anyhow::Result<()>) -> anyhow::Result<Outcome> {
    result.map(|()| Outcome::Passed)
}
