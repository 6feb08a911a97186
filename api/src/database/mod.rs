//! Users and tokens.
//!
//! SQLite, embedded. Every table begins with `enlace_`; migrations are in one folder for each dialect. `synchronous=FULL`: a token that was
//! revoked stays revoked after a power loss.

pub mod tokens;
pub mod users;

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

pub use tokens::{NewToken, TokenDevice, TokenRecord};
pub use users::User;

/// Look-ups run beside one writer; each connection costs a thread.
const CONNECTIONS: u32 = 4;
/// How long a statement waits for another connection's transaction, and a request for a connection.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations/sqlite");

/// The database.
#[derive(Clone, Debug)]
pub struct Database {
    pool: SqlitePool,
}

/// The database failed.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It could not be opened.
    #[error("the database cannot be opened")]
    Open(#[source] sqlx::Error),
    /// Its tables could not be brought up to date.
    #[error("the database cannot be migrated")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A statement failed.
    #[error("the database failed")]
    Statement(#[from] sqlx::Error),
    /// A stored value is not of the form this version knows.
    #[error("a stored value cannot be read: {0}")]
    Corrupt(String),
}

impl Database {
    /// Opens the database file, creating it for this user only if need be, and brings its tables up to date.
    ///
    /// # Errors
    /// When the file cannot be opened or migrated.
    pub async fn open(file: &Path) -> Result<Self, DatabaseError> {
        create_private(file).map_err(|error| DatabaseError::Open(sqlx::Error::Io(error)))?;
        let options = SqliteConnectOptions::new()
            .filename(file)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(DatabaseError::Open)?;
        MIGRATIONS.run(&pool).await.map_err(DatabaseError::Migrate)?;
        Ok(Self { pool })
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), DatabaseError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Closes the database; what runs is finished first.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Hashes of passwords are nobody else's business: SQLite itself would create a file that others can read.
fn create_private(file: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file).map(drop)
}

fn time(milliseconds: i64) -> Result<Timestamp, DatabaseError> {
    Timestamp::from_millisecond(milliseconds).map_err(|error| DatabaseError::Corrupt(error.to_string()))
}
