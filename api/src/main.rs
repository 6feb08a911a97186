//! The program of the API on Kubernetes: reads its configuration, begins to watch the cluster, serves its port, stops on SIGTERM.
//!
//! What is wrong at the start is one line on standard error and exit code 1. What can come right by itself (a cluster that does not know the
//! resource yet, an API server that is away) is none of that: the API runs and is not ready.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use enlace_api::auth::mounted::administrator_of_folder;
use enlace_api::database::Database;
use enlace_api::directory::KubernetesDirectory;
use enlace_api::directory::kubernetes::DEVICE_PORT;
use enlace_api::http::{App, Settings};
use enlace_api::seed::environment;
use enlace_contract::program;
use enlace_contract::token::TokenSigner;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// `enlace-api --version`: what a build trusts is asked of every program, and this one meets no WhatsApp.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (no WhatsApp client)");

/// The least that is logged. What the watches meet is told by the directory, once.
const LOGGED: &str = "warn,kube_client::client::builder=off,kube_runtime::watcher=off";

/// Enlace's API, in front of the devices of a Kubernetes cluster.
///
/// The cluster is the one that this pod is in, or that of the kubeconfig. The log goes to standard error, as JSON; ENLACE_LOG=warn has less of
/// it, ENLACE_LOG=debug more.
#[derive(Parser)]
#[command(name = "enlace-api", version = VERSION, max_term_width = 100)]
struct Arguments {
    /// Where the API listens.
    #[arg(long, value_name = "ADDRESS", env = "ENLACE_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// The port on which the API listens, instead of the one of --listen.
    #[arg(long, value_name = "PORT", env = "PORT")]
    port: Option<u16>,
    /// Where metrics are served.
    #[arg(long, value_name = "ADDRESS", env = "ENLACE_METRICS_LISTEN", default_value = "0.0.0.0:9090")]
    metrics_listen: SocketAddr,
    /// Where users and tokens are kept, in SQLite, unless DATABASE_URL (postgres://… or mysql://…) or DB_HOST, DB_USER, DB_PASSWORD, DB_NAME
    /// and DB_PORT name a database server.
    #[arg(long, value_name = "DIR", env = "ENLACE_DATA_DIR", default_value = "/var/lib/enlace")]
    data_dir: PathBuf,
    /// The key that opens devices: the 32 bytes of an Ed25519 seed.
    #[arg(
        long,
        value_name = "FILE",
        env = "ENLACE_DEVICE_KEY_FILE",
        default_value = "/etc/enlace/device-key/key"
    )]
    device_key_file: PathBuf,
    /// A folder with the files `username` and `password` of the first administrator; it is needed while there is no user.
    #[arg(long, value_name = "DIR", env = "ENLACE_ADMIN_DIR", default_value = "/etc/enlace/admin")]
    admin_dir: PathBuf,
    /// The port of devices' pods.
    #[arg(long, value_name = "PORT", env = "ENLACE_DEVICE_PORT", default_value_t = DEVICE_PORT, hide = true)]
    device_port: u16,
    #[command(flatten)]
    compatible: enlace_api::seed::Settings,
    #[command(flatten)]
    front: enlace_api::http::Front,
}

fn main() -> ExitCode {
    if let Err(error) = environment::load_file(Path::new(".env")) {
        eprintln!("enlace-api: {}", program::chain(&error));
        return ExitCode::FAILURE;
    }
    let matches = environment::unset_when_empty(Arguments::command()).get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = log_to_stderr()
        .and_then(|()| runtime.context("the runtime could not start"))
        .and_then(|runtime| runtime.block_on(run(arguments)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("enlace-api: {}", program::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr() -> anyhow::Result<()> {
    let wanted = std::env::var("ENLACE_LOG").ok();
    let directives = program::log_directives(LOGGED, &["enlace"], wanted.as_deref())?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(EnvFilter::new(directives))
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments {
        mut listen,
        port,
        metrics_listen,
        data_dir,
        device_key_file,
        admin_dir,
        device_port,
        compatible,
        front,
    } = arguments;
    if let Some(port) = port {
        listen.set_port(port);
    }
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        bail!("another cryptography provider is installed already");
    }
    let recorder = program::metrics().context("metrics could not start")?;
    // What can fail for a reason outside comes first.
    let stop = program::asked_to_stop().context("signals cannot be heard")?;
    let stop = async move {
        stop.await;
        tracing::info!("the API stops");
    };
    let signer = signer(&device_key_file)?;
    let config = kube::Config::infer().await.context(
        "no cluster: run it in a pod with a service account token, or set KUBECONFIG to a kubeconfig",
    )?;
    let client = kube::Client::try_from(config).context("the cluster's configuration cannot be used")?;
    let listener = bind(listen, "--listen").await?;
    let metrics_listener = bind(metrics_listen, "--metrics-listen").await?;
    // None of them is an option of the command line: everybody on a machine sees those, and there is a password.
    let database = match environment::database(|name| std::env::var(name).ok())? {
        // A server may be away for a while: see below.
        Some(url) => Database::lazy(url),
        None => {
            let database = Database::in_directory(&data_dir).await?;
            first_administrator(&database, &admin_dir).await?;
            database
        }
    };
    let directory = KubernetesDirectory::open(client, signer, device_port);
    tracing::info!(
        listen = %listener.local_addr()?,
        metrics_listen = %metrics_listener.local_addr()?,
        "the API listens on {}",
        listener.local_addr()?
    );
    let metrics =
        tokio::spawn(axum::serve(metrics_listener, program::metrics_router(recorder)).into_future());
    let settings = Settings { compatible, front, ..Settings::default() };
    let app = App::new(std::sync::Arc::new(directory), database.clone(), settings);
    let serving = enlace_api::server::serve(listener, app, stop);
    let mut serving = std::pin::pin!(serving);
    let outcome = tokio::select! {
        () = &mut serving => Ok(()),
        prepared = prepare(&database, &admin_dir) => match prepared {
            Ok(()) => {
                serving.await;
                Ok(())
            }
            Err(error) => Err(error),
        },
    };
    metrics.abort();
    database.close().await;
    tracing::info!("the API has stopped");
    outcome
}

/// Waits for a database server and brings its tables up to date; the API is not ready until then.
async fn prepare(database: &Database, admin_dir: &Path) -> anyhow::Result<()> {
    if !database.is_prepared() {
        database.prepare_with_patience().await?;
        first_administrator(database, admin_dir).await?;
    }
    Ok(())
}

async fn first_administrator(database: &Database, folder: &Path) -> anyhow::Result<()> {
    if let Some(name) = administrator_of_folder(database, folder).await? {
        tracing::info!("the first administrator {name} was created with the password of the mounted files");
    }
    Ok(())
}

fn signer(file: &Path) -> anyhow::Result<TokenSigner> {
    let key = std::fs::read(file).with_context(|| {
        format!(
            "the key that opens devices, {}, cannot be read; name its file with --device-key-file",
            file.display()
        )
    })?;
    let Ok(key) = <&[u8; 32]>::try_from(key.as_slice()) else {
        bail!("{} has {} bytes: the key that opens devices has 32", file.display(), key.len());
    };
    TokenSigner::new(key, "api").with_context(|| format!("{} holds no usable key", file.display()))
}

async fn bind(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another address with {option}"))
}
