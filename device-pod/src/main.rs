//! The program of one device: reads its configuration, starts the device, serves its port, follows changes, stops on SIGTERM.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use enlace_contract::config::DeviceConfig;
use enlace_contract::program;
use enlace_device_pod::endpoints::Endpoints;
use enlace_device_pod::{Device, TRUST, logging};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// How often the configuration file is looked at: a ConfigMap reaches a pod within a minute or so anyway.
const CONFIG_INTERVAL: Duration = Duration::from_secs(2);

/// How long open requests may take when the device has stopped; with the device's own limit, less than ten seconds in all.
const SERVE_TIMEOUT: Duration = Duration::from_millis(1_500);

/// One linked WhatsApp number.
#[derive(Parser)]
#[command(name = "device-pod", version = concat!(env!("CARGO_PKG_VERSION")), disable_version_flag = true)]
struct Arguments {
    /// The device's configuration (JSON or YAML); changes are followed.
    #[arg(long, env = "ENLACE_DEVICE_CONFIG", default_value = "/etc/enlace/device.yaml")]
    config: PathBuf,
    /// The directory that holds everything of this number.
    #[arg(long, env = "ENLACE_DATA_DIR", default_value = "/var/lib/enlace")]
    data_dir: PathBuf,
    /// Where the HTTP interface listens.
    #[arg(long, env = "ENLACE_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Where metrics are served.
    #[arg(long, env = "ENLACE_METRICS_LISTEN", default_value = "0.0.0.0:9090")]
    metrics_listen: SocketAddr,
    /// Take over a data directory that belongs to another device (a restored one).
    #[arg(long)]
    adopt: bool,
    /// Print the version and whose certificates are trusted.
    #[arg(short = 'V', long)]
    version: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.version {
        println!("device-pod {} (trusts {TRUST})", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    // One number needs few threads, and each has memory of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome =
        log_to_stderr().and_then(|()| runtime.context("the runtime could not start")).and_then(|runtime| {
            let outcome = runtime.block_on(run(arguments));
            // A file that is on its way from WhatsApp must not hold the end up.
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("device-pod: {}", program::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr() -> anyhow::Result<()> {
    let wanted = std::env::var("ENLACE_LOG").ok();
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(EnvFilter::new(logging::directives(wanted.as_deref())?))
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { config: file, data_dir, listen, metrics_listen, adopt, version: _ } = arguments;
    // First of all: the first process of a container has no other answer to a signal than to ignore it.
    let asked_to_stop = program::asked_to_stop().context("signals cannot be heard")?;
    let mut asked_to_stop = std::pin::pin!(asked_to_stop);
    let config = read(&file)?;
    let endpoints = Endpoints::from_environment()?;
    let recorder = program::metrics().context("metrics could not start")?;
    let listener = bind(listen).await?;
    let metrics_listener = bind(metrics_listen).await?;
    let device = tokio::select! {
        started = Device::start(config.clone(), &data_dir, endpoints, adopt) => started?,
        () = &mut asked_to_stop => return Ok(()),
    };
    tracing::info!(
        device = %config.key,
        listen = %listener.local_addr()?,
        metrics_listen = %metrics_listener.local_addr()?,
        trust = TRUST,
        "device {} starts",
        config.key
    );

    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve(listener, device.guarded_router(), stop.clone()));
    tokio::spawn(serve(metrics_listener, program::metrics_router(recorder), stop.clone()));
    tokio::select! {
        () = follow(&file, config, &device) => {}
        () = asked_to_stop => {}
    }
    tracing::info!("the device stops");
    stop.cancel();
    // Event streams end with the device, so that the server can end.
    device.stop().await;
    if tokio::time::timeout(SERVE_TIMEOUT, serving).await.is_err() {
        tracing::debug!("a connection was cut at the end");
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<DeviceConfig> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(&text, options).map_err(|error| {
        // One line, as for everything that goes wrong.
        let why = error.to_string().replace('\n', " ");
        anyhow::anyhow!("{} is not a device's configuration: {why}", file.display())
    })
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

async fn serve(listener: TcpListener, router: axum::Router, stop: CancellationToken) {
    use axum::serve::ListenerExt as _;
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused");
        }
    });
    let served =
        axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await }).await;
    if let Err(error) = served {
        tracing::error!(%error, "the HTTP server ended");
    }
}

/// Follows changes of the configuration file for ever. A file that cannot be read changes nothing.
async fn follow(file: &Path, mut current: DeviceConfig, device: &Device) {
    let mut interval = tokio::time::interval(CONFIG_INTERVAL);
    let mut complaint = None;
    loop {
        interval.tick().await;
        match read(file) {
            Ok(config) if config == current => {}
            Ok(config) if config.uid != current.uid => {
                tracing::error!("the configuration is now another device's; it is not followed");
            }
            Ok(config) => {
                tracing::info!(device = %config.key, "the configuration of device {} changed", config.key);
                device.configure(config.clone()).await;
                current = config;
                complaint = None;
            }
            Err(error) => {
                let text = format!("{error:#}");
                if complaint.as_ref() != Some(&text) {
                    tracing::error!(
                        error = text,
                        "the configuration cannot be followed; the last good one stays"
                    );
                    complaint = Some(text);
                }
            }
        }
    }
}
