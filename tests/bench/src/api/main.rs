//! The benchmark of the compatible API that `cargo xtask bench api` builds and starts: `enlace standalone` beside an Express server that does
//! the same work with MariaDB, in one run, in turns.
//!
//! * [`servers`]: both of them, * [`calls`]: requests over connections that stay open,
//! * [`process`]: what a process used, as the kernel counts it, * [`report`]: the table.

mod calls;
#[path = "../environment.rs"]
mod environment;
mod process;
#[path = "../programs.rs"]
#[expect(dead_code, reason = "the benchmark of a device needs more of it")]
mod programs;
mod report;
mod servers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use calls::{Call, Route};
use environment::Environment;
use process::Used;
use report::{Figures, Report};
use servers::{Enlace, Express};

/// Rounds of a route: each server has its turn in each.
const ROUNDS: usize = 3;
/// How long a server that has just started rests before its memory is read.
const IDLE: Duration = Duration::from_secs(10);

/// Measures the compatible API beside an Express server.
#[derive(Parser)]
struct Flags {
    /// The program `enlace`, built to trust a simulator.
    #[arg(long)]
    enlace: PathBuf,
    /// The program `whatsapp-simulator`.
    #[arg(long)]
    simulator: PathBuf,
    /// The folder of the Express server, with its packages installed.
    #[arg(long)]
    express: PathBuf,
    /// How the programs were built; only shown.
    #[arg(long)]
    build: String,
    /// Requests of a route in a round.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(100..=5000))]
    requests: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    match measure(&flags).await {
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

async fn measure(flags: &Flags) -> anyhow::Result<Report> {
    let folder = tempfile::tempdir()?;
    let environment = Environment::read(&flags.build, folder.path())?;
    eprintln!("Starting MariaDB and the Express server");
    let express = Express::start(&flags.express, folder.path()).await?;
    eprintln!("Starting enlace standalone");
    let mut enlace = Enlace::start(&flags.enlace, &flags.simulator, folder.path()).await?;
    eprintln!("Letting both rest for {} s", IDLE.as_secs());
    // Nothing tells that nothing happened: this is the one wait for a time.
    tokio::time::sleep(IDLE).await;
    let idle = [enlace.process()?.memory()?, express.process()?.memory()?];
    enlace.link().await?;
    let mut figures = Vec::new();
    for route in Route::ALL {
        let calls = [enlace.call(route), express.call(route)];
        for call in &calls {
            // Compilers that run beside the program have their say first.
            call.run(flags.requests / 2).await?;
        }
        let mut of_route = Figures::new(route);
        for round in 1..=ROUNDS {
            eprintln!("{}: round {round} of {ROUNDS}", route.path());
            of_route.enlace.push(turn(&calls[0], flags.requests, &[enlace.process()?]).await?);
            of_route
                .express
                .push(turn(&calls[1], flags.requests, &[express.process()?, express.database()?]).await?);
        }
        figures.push(of_route);
    }
    let busy = [enlace.process()?.memory()?, express.process()?.memory()?];
    enlace.stop().await?;
    Ok(Report { environment, requests: flags.requests, idle, busy, figures })
}

/// A server's turn: what its processes used, and how long it took.
async fn turn(call: &Call, requests: u32, processes: &[process::Process]) -> anyhow::Result<Used> {
    let cpu = || processes.iter().map(process::Process::cpu).collect::<anyhow::Result<Vec<_>>>();
    let (before, began) = (cpu()?, Instant::now());
    call.run(requests).await?;
    let took = began.elapsed();
    let cpu = cpu()?.into_iter().zip(before).map(|(after, before)| after.saturating_sub(before)).collect();
    Ok(Used { requests, took, cpu })
}
