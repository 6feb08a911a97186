//! A server that runs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use crate::kind::{Kind, Line};
use crate::process::{Account, Process};

/// A new server is ready within this time on a busy machine, or never.
const READY: Duration = Duration::from_secs(60);
/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(50);
/// How often another port is taken when somebody else was faster.
const PORTS: usize = 5;

/// A server of a test. Dropped, it is killed and its directory removed; so it is when the test's process ends.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    address: SocketAddr,
    tls: bool,
    account: Option<Account>,
    /// Before the directory, so that it is dropped before.
    process: Option<Process>,
    directory: TempDir,
}

impl Server {
    /// Makes a new server and waits until it takes connections.
    ///
    /// # Errors
    /// When its programs are not installed ([`Kind::program`] says so before), or it does not start: the end of its log is in the text.
    pub async fn start(kind: Kind) -> anyhow::Result<Self> {
        Self::start_at(kind, Ipv4Addr::LOCALHOST.into()).await
    }

    /// The same on another address of this machine, and on no other: who reaches that one reaches the server.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub async fn start_at(kind: Kind, address: IpAddr) -> anyhow::Result<Self> {
        Self::start_with(kind, address, false).await
    }

    /// The same with a certificate of its own for `127.0.0.1`, which [`Self::certificate`] names.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub async fn start_with_tls(kind: Kind) -> anyhow::Result<Self> {
        Self::start_with(kind, Ipv4Addr::LOCALHOST.into(), true).await
    }

    async fn start_with(kind: Kind, address: IpAddr, tls: bool) -> anyhow::Result<Self> {
        sqlx::any::install_default_drivers();
        let directory = tempfile::Builder::new().prefix("enlace-database-").tempdir()?;
        let account = Account::choose(kind.account())?;
        for (name, contents) in kind.files() {
            std::fs::write(directory.path().join(name), contents)?;
        }
        if tls {
            certificate(directory.path())?;
        }
        give(directory.path(), account)?;
        let missing = || format!("{} is not installed: install the package {}", kind.name(), kind.package());
        let install = kind.install(directory.path()).with_context(missing)?;
        run(account, &install)?;
        let mut server = Self { kind, address: (address, 0).into(), tls, account, process: None, directory };
        for _ in 1..PORTS {
            server.address.set_port(free_port(address)?);
            match server.start_again().await {
                Err(error) if format!("{error:#}").to_lowercase().contains("address already in use") => {}
                result => return result.map(|()| server),
            }
        }
        bail!("no port stays free for {}", kind.name())
    }

    /// The address of one of its databases, with user and password.
    pub fn url(&self, database: &str) -> String {
        self.kind.url(self.address, database)
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its process, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// The certificate, which is its own authority.
    pub fn certificate(&self) -> std::path::PathBuf {
        self.directory.path().join("server.crt")
    }

    /// Makes a new database, and gives its address. MariaDB's is one whose defaults do not suit: whoever keeps texts in it must say how.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn new_database(&self) -> anyhow::Result<String> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let more = match self.kind {
            Kind::Postgres => "",
            Kind::MariaDb => " CHARACTER SET latin1",
        };
        let mut connection = self.connect(&self.url(self.kind.first_database())).await?;
        connection.execute(sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}{more}")))).await?;
        connection.close().await?;
        Ok(self.url(&name))
    }

    async fn connect(&self, url: &str) -> anyhow::Result<AnyConnection> {
        let options: AnyConnectOptions = url.parse()?;
        Ok(timeout(READY, options.connect()).await.context("the server does not answer")??)
    }

    /// Stands it still, as a server does whose machine hangs: connections stay, and nothing answers.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.process.as_ref().context("the server does not run")?.signal_all(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.process.as_ref().context("the server does not run")?.signal_all(Signal::CONT)
    }

    /// Ends it in order, cutting its connections; the data stays.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let signal = match self.kind {
            // PostgreSQL would wait for its clients on the other one.
            Kind::Postgres => Signal::INT,
            Kind::MariaDb => Signal::TERM,
        };
        self.process.take().context("the server does not run")?.end(signal)
    }

    /// Starts it on the same port with the same data, and waits until it takes connections.
    ///
    /// # Errors
    /// When it does not start: the end of its log is in the text.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        let serve = self.kind.serve(self.directory.path(), self.address, self.tls);
        let serve = serve.context("the server's program is gone")?;
        let mut process = Process::start(self.account, self.directory.path(), &serve)?;
        let deadline = Instant::now() + READY;
        let url: AnyConnectOptions = self.url(self.kind.first_database()).parse()?;
        loop {
            let error = match timeout(READY, url.connect()).await {
                Ok(Ok(connection)) => break connection.close().await?,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it does not answer".to_owned(),
            };
            if process.has_ended()? || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
                let end = log.lines().rev().take(15).collect::<Vec<_>>();
                let end = end.into_iter().rev().collect::<Vec<_>>().join("\n");
                bail!("{} did not start: {error}\n{end}", self.kind.name());
            }
            sleep(PAUSE).await;
        }
        self.process = Some(process);
        Ok(())
    }
}

/// A port that is free now.
fn free_port(address: IpAddr) -> anyhow::Result<u16> {
    Ok(TcpListener::bind((address, 0))?.local_addr()?.port())
}

/// The directory with what is in it, for the account alone.
fn give(directory: &Path, account: Option<Account>) -> anyhow::Result<()> {
    let mut all: Vec<_> = std::fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    for file in &all {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600))?;
    }
    all.push(directory.to_owned());
    if let Some(Account { uid, gid }) = account {
        for path in all {
            std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
        }
    }
    Ok(())
}

fn certificate(directory: &Path) -> anyhow::Result<()> {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    std::fs::write(directory.join("server.crt"), made.cert.pem())?;
    std::fs::write(directory.join("server.key"), made.signing_key.serialize_pem())?;
    Ok(())
}

fn run(account: Option<Account>, line: &Line) -> anyhow::Result<()> {
    let Some((program, arguments)) = line.split_first() else { bail!("there is nothing to run") };
    let output = Account::command(account, program).args(arguments).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{} cannot be started", program.display()))?;
    let text = || String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{} failed: {}", program.display(), text());
    Ok(())
}
