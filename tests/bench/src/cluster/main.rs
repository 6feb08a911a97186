//! The benchmark on a real Kubernetes that `cargo xtask bench cluster` builds and starts: the chart with the operator and the API as they are
//! released, and numbers that simulated phones link.
//!
//! * [`linking`]: from a manifest to a connected number, * [`watch`]: what the API server tells, with the times,
//! * [`memory`]: what the programs need, * [`latency`]: what the API adds to a request, * [`sizes`]: how large the images are.

#[path = "../environment.rs"]
mod environment;
mod latency;
mod linking;
mod memory;
#[path = "../report.rs"]
mod report;
#[path = "../series.rs"]
#[expect(dead_code, reason = "the benchmark of a device needs more of it")]
mod series;
mod sizes;
#[path = "../status.rs"]
mod status;
mod watch;

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::Parser;
use enlace_contract::duration::Period;
use enlace_e2e::device::Device;
use enlace_e2e::installation;
use enlace_e2e::scene::Scene;
use futures::FutureExt as _;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use environment::Environment;
use report::Report;
use series::Series;

/// Measures Enlace on the cluster that `ENLACE_TEST_KUBECONFIG` names, whose one node is this machine.
#[derive(Parser)]
struct Flags {
    /// How many numbers are linked: each has one of the simulated phones.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=50))]
    devices: u32,
    /// Requests of a route on each way: a device keeps 10,000 messages that wait.
    #[arg(long, value_parser = clap::value_parser!(u32).range(100..=4_000))]
    requests: u32,
    /// How long everything rests before memory is read.
    #[arg(long)]
    idle: Period,
    /// The folder of the images as they are released.
    #[arg(long)]
    images: PathBuf,
    /// The cluster's folder, which has the devices' volumes.
    #[arg(long)]
    data: PathBuf,
    /// How the programs were built; only shown.
    #[arg(long)]
    build: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match bench(&Flags::parse()).await {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, and takes away whatever was installed by then.
async fn bench(flags: &Flags) -> anyhow::Result<Report> {
    let environment = Environment::read(&flags.build, &flags.data)?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // The harness of the tests panics where something fails, with its words.
    let measured = tokio::select! {
        measured = AssertUnwindSafe(measure(flags)).catch_unwind() => measured,
        _ = interrupt.recv() => Ok(Err(anyhow!("interrupted"))),
        _ = terminate.recv() => Ok(Err(anyhow!("terminated"))),
    };
    eprintln!("Removing what was installed");
    let removed = std::panic::catch_unwind(installation::remove);
    let Ok(series) = measured else { bail!("a step failed; its words are above") };
    let series = series?;
    if removed.is_err() {
        bail!("not everything could be removed; why is above");
    }
    Ok(Report::new(environment, series))
}

/// The chart's own values where the tests have others.
fn as_released() -> Value {
    json!({"operator": {"replicas": 1, "log": "info"}})
}

async fn measure(flags: &Flags) -> anyhow::Result<Vec<Series>> {
    eprintln!("Installing the chart");
    installation::choose(as_released());
    let scene = Scene::new("bench").await;
    rest(flags.idle).await;
    let mut memory = memory::of_installation(memory::WITHOUT_DEVICES, "0 devices")?;

    let (devices, mut series) = linking::measure(&scene, flags.devices).await?;
    devices.iter().for_each(|device| device.wait("condition=Ready"));
    rest(flags.idle).await;
    let what = format!("{} connected devices", flags.devices);
    memory.extend(memory::of_installation(memory::WITH_DEVICES, &what)?);
    let pods: Vec<Value> = devices.iter().map(Device::pod_object).collect();
    memory.extend(memory::read(memory::DEVICE, "memory, each device, connected", &pods)?);

    let latency = match devices.first() {
        Some(device) => latency::measure(&scene, device, flags.requests).await?,
        None => Vec::new(),
    };
    memory.extend(memory::of_installation(memory::AFTERWARDS, "after all requests")?);
    drop(devices);
    scene.end().await;
    series.extend(memory);
    series.extend(latency);
    series.extend(sizes::read(&flags.images));
    Ok(series)
}

/// Nothing tells that nothing happened: this is the one wait for a time.
async fn rest(idle: Period) {
    eprintln!("Letting everything rest for {idle}");
    tokio::time::sleep(idle.get()).await;
}
