//! `cargo xtask VERB`: every chore a person or CI runs. One module for each verb:
//!
//! * [`test`]: everything CI checks; its steps are in `test/`,
//! * [`crds`]: writes or checks the generated resource definition,
//! * [`demo`]: builds the demonstration and starts it,
//! * [`bench`]: builds a benchmark and starts it,
//! * [`compat`]: replays recorded pairs of the compatible API,
//! * [`images`]: the container images,
//! * [`cluster`]: a real Kubernetes on this machine, for tests.
//!
//! What they stand on: [`workspace`] (where things are), [`build`] (the two builds, for production and for the simulator),
//! [`run`] (programs, and the report of a run), [`direction`] (who may depend on whom), [`setup`] (what is installed first), [`helm`] (which is built).

mod bench;
mod build;
mod cluster;
mod compat;
mod crds;
mod demo;
mod direction;
mod helm;
mod images;
mod run;
mod setup;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of the Enlace repository.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run everything CI checks.
    Test(test::Options),
    /// Write the resource definition (CRD) that is generated from the code.
    Crds(crds::Options),
    /// Link a simulated phone on this machine and send messages both ways.
    Demo(demo::Options),
    /// Measure the programs as they are released.
    Bench(bench::Options),
    /// Replay recorded requests of the compatible API and compare the answers.
    Compat(compat::Options),
    /// Run a real Kubernetes of one node on this machine, for tests.
    Cluster(cluster::Options),
    /// Build the container images, as OCI archives.
    Images(images::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Test(options) => test::run(&options),
        Verb::Crds(options) => crds::run(&options),
        Verb::Demo(options) => demo::run(&options),
        Verb::Bench(options) => bench::run(&options),
        Verb::Compat(options) => compat::run(&options),
        Verb::Cluster(options) => cluster::run(&options),
        Verb::Images(options) => images::run(&options),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
