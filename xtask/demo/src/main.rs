//! The demonstration that `cargo xtask demo` builds and starts: Enlace links a simulated phone on this machine, and messages go both ways.
//!
//! * [`stage`]: the two programs, a simulated WhatsApp and Enlace, on temporary folders,
//! * [`story`]: what happens, with the time of each step,
//! * [`eye`]: how the simulated phone reads the QR code off the terminal,
//! * [`pdf`]: the file that is sent,
//! * [`programs`]: starting and ending programs.

mod eye;
mod pdf;
mod programs;
mod stage;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use stage::Stage;

/// Links a simulated phone on this machine and sends messages both ways.
#[derive(Parser)]
struct Flags {
    /// The program `enlace`, built to trust a simulator.
    #[arg(long)]
    enlace: PathBuf,
    /// The program `whatsapp-simulator`.
    #[arg(long)]
    simulator: PathBuf,
    /// The folder of manifests, which is copied.
    #[arg(long)]
    manifests: PathBuf,
    /// The port of the API on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// End after the demonstration.
    #[arg(long)]
    once: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match demonstrate(Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demonstrate(flags: Flags) -> anyhow::Result<()> {
    let once = flags.once;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut stage = tokio::select! {
        stage = Stage::set(flags) => stage?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    let told = tokio::select! {
        told = story::tell(&stage.scene) => told,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        ended = stage.cast.ended() => Err(ended),
    };
    let told = match told {
        Ok(()) if !once => {
            stage.scene.invite();
            tokio::select! {
                _ = interrupt.recv() => Ok(()),
                _ = terminate.recv() => Ok(()),
                ended = stage.cast.ended() => Err(ended),
            }
        }
        told => told,
    };
    println!("\nStopping.");
    let logins = stage.strike().await;
    told?;
    println!("Logins that WhatsApp saw: {}; never two of one number at a time.", logins?);
    Ok(())
}
