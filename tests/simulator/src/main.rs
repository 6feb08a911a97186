//! The program `whatsapp-simulator`: a WhatsApp server on loopback.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use whatsapp_simulator::{Options, Simulator};

/// A WhatsApp server for tests and demonstrations.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8788")]
    listen: SocketAddr,
    /// HOST:PORT that clients are given for media [default: the bound address].
    #[arg(long)]
    public: Option<String>,
    /// Address chats by LID.
    #[arg(long)]
    lid: bool,
    /// How many QR refs a pairing companion gets.
    #[arg(long, default_value_t = 6)]
    refs: usize,
    /// The longest a QR ref is valid.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    ref_lifetime: Duration,
    /// File that keeps the server's keys over restarts.
    #[arg(long)]
    keys: Option<PathBuf>,
    /// Give accounts no push name in their app state.
    #[arg(long)]
    no_push_name_sync: bool,
    /// Numbers are not on WhatsApp until a phone uses them.
    #[arg(long)]
    no_unknown_numbers: bool,
    /// Phones read each message at once.
    #[arg(long)]
    auto_read: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let flags = Flags::parse();
    let simulator = Simulator::start(Options {
        listen: flags.listen,
        public: flags.public,
        lid: flags.lid,
        push_name_sync: !flags.no_push_name_sync,
        refs: flags.refs,
        ref_lifetime: flags.ref_lifetime,
        keys: flags.keys,
        create_unknown: !flags.no_unknown_numbers,
        auto_read: flags.auto_read,
    })
    .await?;
    println!("listening on {}  (websocket {})", simulator.address(), simulator.websocket_url());
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminated.recv() => {}
    }
    simulator.stop().await;
    Ok(())
}
