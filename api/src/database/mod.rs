//! What the API remembers: users, tokens, and what the Spanish-language API needs beside them.
//!
//! * [`url`]: SQLite, PostgreSQL or MariaDB/MySQL, by `DATABASE_URL`,
//! * `migrate`: tables, brought up to date,
//! * `known`: what was read a moment ago,
//! * `statement`: SQL that is written once, within a time limit,
//! * [`error`]: what goes wrong,
//! * [`users`], [`accounts`], [`tokens`], [`instances`], [`queue`]: a table each, but for accounts, which are users as the Spanish-language
//!   API sees them.
//!
//! Every table begins with `enlace_`: another system's tables may be in the same schema. Texts are compared byte by byte; what is unique
//! without regard to case has a column of its own, in lower case. Times are milliseconds since 1970.

pub mod accounts;
pub mod error;
pub mod instances;
mod known;
mod migrate;
pub mod queue;
mod statement;
pub mod tokens;
pub mod url;
pub mod users;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use jiff::Timestamp;
use sqlx::any::AnyPoolOptions;
use sqlx::{AnyPool, AssertSqlSafe, Executor as _};

use self::known::Known;
use self::queue::Numbering;
use self::url::Dialect;
use enlace_contract::together::{Together, Work};

pub use accounts::{Account, NewAccount};
pub use error::{DatabaseError, NotOpened, Unique, WriteError};
pub use instances::{Instance, InstanceId, NewInstance};
pub use queue::{NewQueued, Queued};
pub use tokens::{NewToken, TokenDevice, TokenRecord};
pub use url::{DatabaseUrl, InvalidDatabaseUrl};
pub use users::User;

/// Connections to a server. More would not be faster, and other systems use it as well.
const CONNECTIONS: u32 = 10;
/// In SQLite, look-ups run beside one writer; each connection costs a thread.
const SQLITE_CONNECTIONS: u32 = 4;
/// What an operation may wait for a connection; the rest of its time is for what it does.
const ACQUIRE: Duration = Duration::from_secs(3);
/// How long a statement of SQLite waits for another connection's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(4);
/// What a probe waits.
const HEALTH: Duration = Duration::from_secs(2);
/// What closing may take: less than what a program has left when its requests have ended.
const CLOSE: Duration = Duration::from_secs(1);
/// How many may want to know at the same time.
const PROBES: usize = 1024;
/// Between two attempts to reach a database that is away at the start.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The database. A clone is the same.
#[derive(Clone, Debug)]
pub struct Database {
    url: Arc<DatabaseUrl>,
    pool: AnyPool,
    dialect: Dialect,
    prepared: Arc<AtomicBool>,
    /// None when others may write it as well.
    known: Option<Arc<Known>>,
    /// None within what is done for several callers together.
    shared: Option<Shared>,
}

/// What is done for several callers together.
#[derive(Clone, Debug)]
struct Shared {
    numbering: Together<Numbering>,
    probe: Together<Probe>,
}

/// Asks whether the database answers, once for all who want to know at the same time.
struct Probe(Database);

impl Database {
    /// A database that nothing was asked yet: every operation answers [`DatabaseError::NotPrepared`] until [`prepare`](Self::prepare) is
    /// done. Must be called within a Tokio runtime.
    pub fn lazy(url: DatabaseUrl) -> Self {
        sqlx::any::install_default_drivers();
        let dialect = url.dialect();
        let connections = if dialect == Dialect::Sqlite { SQLITE_CONNECTIONS } else { CONNECTIONS };
        let set_up = set_up(dialect);
        let pool = AnyPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE)
            // A server may have hung up; a file does not.
            .test_before_acquire(dialect != Dialect::Sqlite)
            .after_connect(move |connection, _| {
                let set_up = AssertSqlSafe(set_up.clone());
                Box::pin(async move { connection.execute(sqlx::raw_sql(set_up)).await.map(drop) })
            })
            .connect_lazy_with(url.options.clone());
        let known = (dialect == Dialect::Sqlite).then(Arc::default);
        let (url, prepared) = (Arc::new(url), Arc::default());
        let database = Self { url, pool, dialect, prepared, known, shared: None };
        let shared = Shared {
            numbering: Together::new(Numbering::new(database.clone()), queue::MAX_TOGETHER),
            probe: Together::new(Probe(database.clone()), PROBES),
        };
        Self { shared: Some(shared), ..database }
    }

    /// Opens a database and brings its tables up to date.
    ///
    /// # Errors
    /// When it cannot be reached or migrated.
    pub async fn connect(url: DatabaseUrl) -> Result<Self, DatabaseError> {
        let database = Self::lazy(url);
        database.prepare().await?;
        Ok(database)
    }

    /// [`connect`](Self::connect) to a file, which is created for this user only if need be.
    ///
    /// # Errors
    /// When the file cannot be opened or migrated.
    pub async fn open(file: &Path) -> Result<Self, DatabaseError> {
        let url = DatabaseUrl::of_file(file).map_err(|error| DatabaseError::Open {
            place: file.display().to_string(),
            source: sqlx::Error::Configuration(error.into()),
        })?;
        Self::connect(url).await
    }

    /// [`open`](Self::open) of the file `enlace.db` of a program's data directory.
    ///
    /// # Errors
    /// One line: what cannot be used, and the option that names another place when this one cannot be written.
    pub async fn in_directory(directory: &Path) -> Result<Self, NotOpened> {
        Self::open(&directory.join("enlace.db")).await.map_err(|error| match error.system() {
            Some(why) => NotOpened::NotWritten { directory: directory.to_owned(), why: why.to_string() },
            None => NotOpened::Failed(error),
        })
    }

    /// Brings the tables up to date; from then on the database can be used.
    ///
    /// # Errors
    /// When it cannot be reached or migrated.
    pub async fn prepare(&self) -> Result<(), DatabaseError> {
        migrate::migrate(&self.url).await?;
        self.prepared.store(true, Ordering::Release);
        Ok(())
    }

    /// [`prepare`](Self::prepare), again and again while the database is away; each failure is a line in the log.
    ///
    /// # Errors
    /// When waiting does not help: the tables are another version's.
    pub async fn prepare_with_patience(&self) -> Result<(), DatabaseError> {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .without_max_times()
            .with_jitter();
        (|| self.prepare())
            .retry(pauses)
            .when(DatabaseError::is_transient)
            .notify(|error, pause| {
                tracing::warn!(
                    error = error as &dyn std::error::Error,
                    pause_ms = pause.as_millis(),
                    "{error}; it is tried again"
                );
            })
            .await
    }

    /// Whether [`prepare`](Self::prepare) is done.
    pub fn is_prepared(&self) -> bool {
        self.prepared.load(Ordering::Acquire)
    }

    /// Where it is, without user and password.
    pub fn place(&self) -> String {
        self.url.to_string()
    }

    /// Whether the database answers, within two seconds.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), DatabaseError> {
        self.together(HEALTH, |shared| &shared.probe, ()).await
    }

    /// Has something done together with what others ask for, within a time limit: the turns of others are in it.
    async fn together<W, T>(
        &self,
        limit: Duration,
        work: fn(&Shared) -> &Together<W>,
        job: W::Job,
    ) -> Result<T, DatabaseError>
    where
        W: Work<Answer = Result<T, DatabaseError>>,
    {
        if !self.is_prepared() {
            return Err(DatabaseError::NotPrepared);
        }
        let ended = || Err(DatabaseError::Unavailable(sqlx::Error::PoolClosed));
        let Some(shared) = &self.shared else { return ended() };
        match tokio::time::timeout(limit, work(shared).ask(job)).await {
            Ok(answer) => answer.unwrap_or_else(ended),
            Err(_) => Err(DatabaseError::TimedOut { limit_ms: limit.as_millis() }),
        }
    }

    /// Closes the database; what runs is finished first.
    pub async fn close(&self) {
        // A server that stands still does not say goodbye, and a program has ten seconds to stop.
        if tokio::time::timeout(CLOSE, self.pool.close()).await.is_err() {
            tracing::warn!("the database did not close in time");
        }
    }
}

impl Work for Probe {
    type Job = ();
    type Answer = Result<(), DatabaseError>;

    async fn work(&mut self, asked: Vec<()>) -> Vec<Self::Answer> {
        match self.0.run_within(HEALTH, self.0.statement("SELECT 1")).await {
            Ok(_) => asked.into_iter().map(Ok).collect(),
            Err(error) => for_each(error, asked.len()),
        }
    }
}

/// What went wrong for several callers, for each of them.
fn for_each<T>(error: DatabaseError, callers: usize) -> Vec<Result<T, DatabaseError>> {
    let mut answers = vec![Err(error)];
    answers.resize_with(callers, || Err(DatabaseError::Unavailable(sqlx::Error::PoolTimedOut)));
    answers
}

/// What a new connection is told. Limits are also the server's: what nobody waits for any more should not go on there.
fn set_up(dialect: Dialect) -> String {
    let limit_ms = statement::LIMIT.as_millis();
    let limit_s = statement::LIMIT.as_secs();
    match dialect {
        // What was revoked stays revoked after a power loss.
        Dialect::Sqlite => format!(
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA busy_timeout = {}",
            BUSY_TIMEOUT.as_millis()
        ),
        Dialect::Postgres => format!(
            "SET statement_timeout = {limit_ms}; SET idle_in_transaction_session_timeout = {}",
            2 * limit_ms
        ),
        // Without its strict mode, what is too long would be cut. Each statement sees what is there, as in PostgreSQL.
        Dialect::MySql => format!(
            "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), innodb_lock_wait_timeout = {limit_s} \
             /*M!, max_statement_time = {limit_s} */; SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
        ),
    }
}

fn time(milliseconds: i64) -> Result<Timestamp, DatabaseError> {
    Timestamp::from_millisecond(milliseconds).map_err(|error| DatabaseError::Corrupt(error.to_string()))
}

/// What is the same without regard to case.
fn key(text: &str) -> String {
    text.to_lowercase()
}
