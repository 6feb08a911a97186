//! The benchmark of one device that `cargo xtask bench device` builds and starts: the program `device-pod` against a simulated WhatsApp.
//!
//! * [`lifecycle`]: how long it takes to show a code, to link, and to come back,
//! * [`messages`]: how long a message takes, and how many go through,
//! * [`resting`]: what a connected device costs while nothing happens,
//! * [`world`]: the programs that run, and the event stream that everything is read from,
//! * [`programs`]: starting and ending programs,
//! * [`series`]: what was measured, and what it comes to,
//! * [`status`]: the memory and the threads of a process,
//! * [`environment`]: what the figures depend on,
//! * [`report`]: the table, and the same for machines.

mod environment;
mod lifecycle;
mod messages;
mod programs;
mod report;
mod resting;
mod series;
mod status;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Parser, ValueEnum};
use enlace_contract::duration::Period;
use tokio::signal::unix::{SignalKind, signal};

use environment::Environment;
use report::Report;
use series::{Series, Unit};
use world::World;

/// Measures a device against a simulated WhatsApp.
#[derive(Parser)]
struct Flags {
    /// The program `device-pod`, built to trust a simulator.
    #[arg(long)]
    device: PathBuf,
    /// The program `whatsapp-simulator`.
    #[arg(long)]
    simulator: PathBuf,
    /// How the programs were built; only shown.
    #[arg(long)]
    build: String,
    /// How many messages make a run: the simulated server keeps 8,192 for a device that does not take them.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    messages: u32,
    /// How long the device rests before its memory is read.
    #[arg(long)]
    idle: Period,
    /// The form of the result.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[tokio::main]
async fn main() -> ExitCode {
    match bench(Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(flags: Flags) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // What is left behind ends the programs.
    let report = tokio::select! {
        report = measure(&flags) => report?,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    };
    match flags.output {
        Output::Table => println!("{report}"),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(())
}

async fn measure(flags: &Flags) -> anyhow::Result<Report> {
    let world = World::start(&flags.simulator, &flags.device).await?;
    let environment = Environment::read(&flags.build, world.folder())?;
    let (mut device, mut series) = lifecycle::measure(&world).await?;
    series.extend(messages_and_rest(&world, &mut device, flags).await?);
    device.stop().await?;
    world.stop().await?;
    let size = std::fs::metadata(&flags.device).context("the device's program has no size")?.len();
    series.push(Series::single("programSize", "size of the program device-pod", Unit::bytes(size)));
    Ok(Report::new(environment, series))
}

/// The rest first: a device that has carried messages keeps some of their memory.
async fn messages_and_rest(
    world: &World,
    device: &mut world::Device,
    flags: &Flags,
) -> anyhow::Result<Vec<Series>> {
    let mut rest = resting::measure(device, flags.idle).await?;
    let mut series = messages::measure(world, device, flags.messages).await?;
    rest.push(resting::afterwards(device)?);
    series.extend(rest);
    Ok(series)
}
