//! What must survive: one SQLite database with the outbox, the inbox journal and the memory of the session.
//!
//! `synchronous=FULL`: what was answered with a success is on disk, also after a power loss.

pub mod inbox;
pub mod memory;
pub mod outbox;
pub mod storing;

use std::path::Path;
use std::time::Duration;

use enlace_contract::together::Together;
use jiff::Timestamp;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

/// One connection writes while another reads; each costs a thread.
const CONNECTIONS: u32 = 2;
/// How long a statement waits for another connection's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// The device's database.
#[derive(Clone)]
pub struct Store {
    pool: SqlitePool,
    writer: Together<storing::Writer>,
}

/// The database failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
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
    /// It was closed.
    #[error("the database is closed")]
    Closed,
}

impl Store {
    /// Opens the database file, creating it if need be, and brings its tables up to date.
    ///
    /// # Errors
    /// When the file cannot be opened or migrated.
    pub async fn open(file: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(StoreError::Open)?;
        MIGRATIONS.run(&pool).await.map_err(StoreError::Migrate)?;
        let writer = Together::new(storing::Writer::new(pool.clone()), storing::MAX_TOGETHER);
        Ok(Self { pool, writer })
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Closes the database; what runs is finished first.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn time(milliseconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(milliseconds).map_err(|error| StoreError::Corrupt(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_connection_has_on_disk_what_it_committed() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("device.db")).await.unwrap();
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(store.pool.acquire().await.unwrap());
        }
        for connection in &mut connections {
            let synchronous: i64 =
                sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut **connection).await.unwrap();
            let journal: String =
                sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut **connection).await.unwrap();
            assert_eq!((synchronous, journal.as_str()), (2, "wal"), "2 is FULL");
        }
    }
}
