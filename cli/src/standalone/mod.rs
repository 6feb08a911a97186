//! The whole system in this process, on a folder of manifests.
//!
//! `host` runs the devices; the API finds them through its folder directory and calls them in-process, with no port and no token.

mod host;

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use enlace_api::auth::{bootstrap_admin, local_token};
use enlace_api::database::Database;
use enlace_api::directory::FolderDirectory;
use enlace_api::http::{App, Settings};
use enlace_api::seed::environment;
use enlace_contract::program;
use enlace_device_pod::endpoints::Endpoints;
use enlace_device_pod::logging;
use futures::FutureExt as _;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use crate::arguments::Standalone;
use crate::remote::TOKEN_FILE;
use host::InProcess;

/// Runs until it is asked to stop.
pub(crate) async fn run(options: Standalone) -> anyhow::Result<()> {
    let listen = options.address();
    let Standalone { dir, data_dir, listen: _, port: _, database_url, compatible, front } = options;
    log_to_stderr()?;
    let endpoints = Endpoints::from_environment()?;
    let recorder = program::metrics().context("metrics could not start")?;
    // What can fail for a reason outside comes first: nothing runs until everything is there.
    readable_folder(&dir)?;
    let stop = program::asked_to_stop().context("signals cannot be heard")?;
    let stop = async move {
        stop.await;
        tracing::info!("stopping");
    };
    let stop = stop.shared();
    let listener = bind(listen).await?;
    private_directory(&data_dir)?;
    let database = open_database(database_url, &data_dir).await?;
    if let Some(administrator) = bootstrap_admin(&database).await? {
        // At once: if something below fails, nobody would ever see it.
        println!("The first administrator is {:?} with the password", administrator.user());
        println!();
        println!("    {}", administrator.expose());
        println!();
        println!("It is shown this once.");
    }
    local_token(&database, &data_dir.join(TOKEN_FILE)).await?;
    let host = Arc::new(InProcess::new(endpoints));
    let directory = FolderDirectory::open(&dir, host, &data_dir).await?;

    println!("Devices come from {}, data is in {}.", dir.display(), data_dir.display());
    if cfg!(feature = "simulator-trust") {
        println!("This build trusts a simulated WhatsApp: do not link a real phone with it.");
    }
    println!("Enlace listens on http://{}", listener.local_addr()?);

    let settings = Settings { metrics: Some(recorder), compatible, front, ..Settings::default() };
    let app = App::new(Arc::new(directory.clone()), database.clone(), settings);
    let close = async {
        stop.clone().await;
        directory.close().await;
    };
    // Both at once: a request that waits for its message ends when its device stops.
    tokio::join!(enlace_api::server::serve(listener, app, stop.clone()), close);
    database.close().await;
    Ok(())
}

/// The database that is named, else a file in the data directory.
async fn open_database(url: Option<String>, data_dir: &Path) -> anyhow::Result<Database> {
    // The URL is read here, since a password would stand in a message of the command line.
    let named = |name: &str| match name {
        "DATABASE_URL" => url.clone(),
        name => std::env::var(name).ok(),
    };
    match environment::database(named)? {
        Some(url) => {
            let place = url.to_string();
            Database::connect(url).await.with_context(|| format!("the database {place} cannot be used"))
        }
        None => Ok(Database::in_directory(data_dir).await?),
    }
}

fn log_to_stderr() -> anyhow::Result<()> {
    let filter = EnvFilter::new(logging::directives(std::env::var("ENLACE_LOG").ok().as_deref())?);
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    Ok(())
}

fn readable_folder(dir: &Path) -> anyhow::Result<()> {
    use std::io::ErrorKind;
    let problem = match std::fs::read_dir(dir).err().map(|error| error.kind()) {
        None => return Ok(()),
        Some(ErrorKind::NotFound) => "does not exist",
        Some(ErrorKind::NotADirectory) => "is not a folder",
        Some(ErrorKind::PermissionDenied) => "may not be read by this user",
        Some(_) => "cannot be read",
    };
    bail!("{} {problem}: name the folder with the manifests", dir.display())
}

async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another program listens there".to_owned(),
            std::io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
            std::io::ErrorKind::PermissionDenied => {
                "this user may not; ports from 1024 on are free to all".to_owned()
            }
            _ => error.to_string(),
        };
        anyhow::anyhow!("cannot listen on {listen}: {why}; choose another with --listen")
    })
}

/// The data directory, for this user only: whoever reads it can be each number that is linked. One that others may enter is refused and not
/// changed: it could be somebody's home.
fn private_directory(directory: &Path) -> anyhow::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).with_context(|| {
        format!("the data directory {} cannot be made; choose another with --data-dir", directory.display())
    })?;
    #[cfg(unix)]
    {
        let known = std::fs::metadata(directory)
            .with_context(|| format!("the data directory {} cannot be read", directory.display()))?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&known.permissions()) & 0o777;
        if mode & 0o077 != 0 {
            let directory = directory.display();
            bail!(
                "other users may enter the data directory {directory} (its mode is {mode:o}), and sessions are kept in it: \
                 `chmod 700 {directory}`, or choose another with --data-dir"
            );
        }
    }
    Ok(())
}
