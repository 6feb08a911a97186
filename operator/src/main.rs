//! The program of the operator: reads its configuration, starts it, stops on SIGTERM.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use enlace_contract::program::asked_to_stop;
use enlace_operator::config::OperatorConfig;
use enlace_operator::run::{Options, Ports, run};
use enlace_operator::{telemetry, uninstall};
use tokio_util::sync::CancellationToken;

/// `enlace-operator --version`: what a build trusts is asked of every program, and this one meets no WhatsApp.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (no WhatsApp client)");

/// Makes of each WhatsAppDevice a claim of its number, a volume, a pod and a status.
#[derive(Parser)]
#[command(name = "enlace-operator", version = VERSION, args_conflicts_with_subcommands = true)]
#[command(subcommand_negates_reqs = true, disable_help_subcommand = true)]
struct Program {
    #[command(subcommand)]
    chore: Option<Chore>,
    #[command(flatten)]
    arguments: Option<Arguments>,
}

#[derive(Subcommand)]
enum Chore {
    /// Take the finalizer off every device and end: for an uninstallation, after which nobody else would.
    ReleaseFinalizers,
}

#[derive(Args)]
struct Arguments {
    /// The configuration (YAML).
    #[arg(long, env = "ENLACE_OPERATOR_CONFIG", default_value = "/etc/enlace/operator.yaml")]
    config: PathBuf,
    /// The installation's namespace.
    #[arg(long, env = "ENLACE_NAMESPACE")]
    namespace: String,
    /// The name of this pod: who holds the leader's lease.
    #[arg(long, env = "ENLACE_POD_NAME")]
    pod_name: String,
    /// Where probes are answered.
    #[arg(long, env = "ENLACE_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Where metrics are served.
    #[arg(long, env = "ENLACE_METRICS_LISTEN", default_value = "0.0.0.0:9090")]
    metrics_listen: SocketAddr,
}

fn main() -> ExitCode {
    let program = Program::parse();
    if let Err(error) = telemetry::log(std::env::var("ENLACE_LOG").ok().as_deref()) {
        eprintln!("enlace-operator: {error}");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("enlace-operator: the runtime could not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(start(program));
    // A replica that lost its lease must end at once, whatever still runs.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = telemetry::chain(error.as_ref()), "the operator ends");
            ExitCode::FAILURE
        }
    }
}

async fn start(program: Program) -> anyhow::Result<()> {
    // Two crates may each want a provider of cryptography; the one that both can use is chosen here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = || async { kube::Client::try_default().await.context("no way to an API server was found") };
    let arguments = match (program.chore, program.arguments) {
        (Some(Chore::ReleaseFinalizers), _) => {
            let released = uninstall::release_finalizers(&client().await?).await?;
            tracing::info!(released, "{released} devices had a finalizer, none has one now");
            return Ok(());
        }
        (None, Some(arguments)) => arguments,
        (None, None) => anyhow::bail!("ENLACE_NAMESPACE and ENLACE_POD_NAME are needed"),
    };
    let Arguments { config, namespace, pod_name, listen, metrics_listen } = arguments;
    let config = OperatorConfig::read(&config)?;
    let client = client().await?;
    let recorder = telemetry::metrics().context("metrics could not start")?;
    let stop = CancellationToken::new();
    let asked_to_stop = asked_to_stop().context("signals cannot be heard")?;
    let asked = stop.clone();
    tokio::spawn(async move {
        asked_to_stop.await;
        asked.cancel();
    });
    let ports = Ports { health: listen, metrics: metrics_listen };
    Ok(run(Options { config, namespace, pod_name }, client, ports, recorder, stop).await?)
}
