//! `cargo xtask bench WHAT`: builds a benchmark and what it measures as they are released, and starts it.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};

use crate::build::Trust;
use crate::cluster;
use crate::images;
use crate::run;
use crate::workspace::Workspace;

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// One device: its start, its messages, its memory.
    Device(Device),
    /// The compatible API beside an Express server: processor time of a request, requests a second, memory.
    Api(Api),
    /// The chart on a real Kubernetes: linking, the memory of operator and API, what the API adds to a request.
    Cluster(OnCluster),
}

#[derive(Args)]
struct Device {
    /// How many messages make a run, 1 to 5000.
    #[arg(long, default_value_t = 200)]
    messages: u32,
    /// How long the device rests before its memory is read.
    #[arg(long, default_value = "20s")]
    idle: String,
    /// The form of the result: table or json.
    #[arg(short, long, default_value = "table")]
    output: String,
}

#[derive(Args)]
struct Api {
    /// Requests of a route in a round, 100 to 5000.
    #[arg(long, default_value_t = 3000)]
    requests: u32,
}

#[derive(Args)]
struct OnCluster {
    /// How many numbers are linked, 1 to 50.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    devices: u32,
    /// Requests of a route through the API, and as many at the device, 100 to 4000.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(100..=4000))]
    requests: u32,
    /// How long everything rests before memory is read.
    #[arg(long, default_value = "20s")]
    idle: String,
}

/// Builds and starts it.
///
/// # Errors
/// A program does not build or does not start.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::open()?;
    match &options.what {
        What::Device(options) => device(&workspace, options),
        What::Api(options) => api(&workspace, options),
        What::Cluster(options) => on_cluster(&workspace, options),
    }
}

fn device(workspace: &Workspace, options: &Device) -> anyhow::Result<ExitCode> {
    eprintln!("Building the programs as they are released; the first time this takes some minutes.");
    workspace.build_measured("enlace-device-pod", "device-pod")?;
    workspace.build_benchmarks()?;

    let mut bench = Command::new(workspace.release_program(Trust::Simulator, "enlace-bench"));
    bench.arg("--device").arg(workspace.release_program(Trust::Simulator, "device-pod"));
    bench.arg("--simulator").arg(workspace.release_program(Trust::Simulator, "whatsapp-simulator"));
    bench.args(["--build", &format!("{}, release profile", compiler(workspace)?)]);
    bench.args(["--messages", &options.messages.to_string()]);
    bench.args(["--idle", &options.idle, "--output", &options.output]);
    // It takes this program's place, so that Ctrl-C reaches it alone and the shell waits until it has tidied up.
    let error = std::os::unix::process::CommandExt::exec(&mut bench);
    Err(anyhow::Error::new(error).context("cannot start the benchmark"))
}

fn api(workspace: &Workspace, options: &Api) -> anyhow::Result<ExitCode> {
    eprintln!("Building the programs as they are released; the first time this takes some minutes.");
    workspace.build_measured("enlace-cli", "enlace")?;
    workspace.build_benchmarks()?;
    let express = express(workspace)?;

    let mut bench = Command::new(workspace.release_program(Trust::Simulator, "enlace-bench-api"));
    bench.arg("--enlace").arg(workspace.release_program(Trust::Simulator, "enlace"));
    bench.arg("--simulator").arg(workspace.release_program(Trust::Simulator, "whatsapp-simulator"));
    bench.arg("--express").arg(express).args(["--requests", &options.requests.to_string()]);
    bench.args(["--build", &format!("{}, release profile; Node {}", compiler(workspace)?, node()?)]);
    let error = std::os::unix::process::CommandExt::exec(&mut bench);
    Err(anyhow::Error::new(error).context("cannot start the benchmark"))
}

fn on_cluster(workspace: &Workspace, options: &OnCluster) -> anyhow::Result<ExitCode> {
    cluster::can_measure(workspace)?;
    eprintln!("Building the programs as they are released; the first time this takes some minutes.");
    let archives = images::measured(workspace)?;
    workspace.build_benchmarks()?;

    let mut bench = Command::new(workspace.release_program(Trust::Simulator, "enlace-bench-cluster"));
    bench.args(["--devices", &options.devices.to_string(), "--requests", &options.requests.to_string()]);
    bench.args(["--idle", &options.idle]).arg("--images").arg(images::released_folder(workspace));
    let build = format!("{}, release profile; the device trusts the simulator", compiler(workspace)?);
    cluster::measure(workspace, &archives, bench.args(["--build", &build]))?;
    Ok(ExitCode::SUCCESS)
}

/// The folder of the Express server, with its packages.
fn express(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let folder = workspace.target.join("bench-express");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for name in ["package.json", "package-lock.json", "server.mjs"] {
        let from = workspace.root.join("tests/bench/express").join(name);
        std::fs::copy(&from, folder.join(name)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    eprintln!("Installing Express and mysql2 with npm ci into {}", folder.display());
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder);
    run::run(&mut npm)?;
    Ok(folder)
}

/// `v20.20.2`.
fn node() -> anyhow::Result<String> {
    let output = Command::new("node").arg("--version").output().context("cannot start node: install Node")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// `rustc 1.95.0`.
fn compiler(workspace: &Workspace) -> anyhow::Result<String> {
    let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(program)
        .current_dir(&workspace.root)
        .arg("--version")
        .output()
        .context("cannot start rustc")?;
    ensure!(output.status.success(), "rustc --version ended with {}", output.status);
    let version = String::from_utf8_lossy(&output.stdout);
    Ok(version.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}
