//! Tables, brought up to date by whichever process comes first.
//!
//! Migrations are in one folder for each dialect, with the same versions. The table that remembers them begins with `enlace_` as all others
//! do: another system's may be beside it.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::timeout;

use super::url::Location;
use super::{BUSY_TIMEOUT, DatabaseError, DatabaseUrl};

/// Name look-up, connection, TLS and login.
const CONNECT: Duration = Duration::from_secs(5);
/// The migrations themselves, and those of another process that is at it already.
const MIGRATE: Duration = Duration::from_secs(120);
const MIGRATE_S: i64 = 110;

/// Between two attempts to open a file that others open, too.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

const TABLE: &str = "enlace_migrations";

static SQLITE: LazyLock<Migrator> = LazyLock::new(|| ours(sqlx::migrate!("./migrations/sqlite")));
static POSTGRES: LazyLock<Migrator> = LazyLock::new(|| ours(sqlx::migrate!("./migrations/postgres")));
static MYSQL: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = ours(sqlx::migrate!("./migrations/mysql"));
    // MariaDB does not know the endless wait with which sqlx asks for its lock; ours is below.
    migrator.set_locking(false);
    migrator
});

fn ours(mut migrator: Migrator) -> Migrator {
    migrator.dangerous_set_table_name(TABLE);
    migrator
}

/// Opens a connection of its own, outside of the pool: what is wrong is told as it is, and its statements may take their time.
pub(super) async fn migrate(url: &DatabaseUrl) -> Result<(), DatabaseError> {
    let open = |source| DatabaseError::Open { place: url.to_string(), source };
    let late = |_| open(sqlx::Error::PoolTimedOut);
    let migrated = match &url.location {
        Location::Sqlite(file) => {
            create_private(file).map_err(|error| open(sqlx::Error::Io(error)))?;
            // Who turns the write-ahead log on or off beside others is refused at once: SQLite waits for nobody there.
            let pauses = ExponentialBuilder::default()
                .with_min_delay(FIRST_PAUSE)
                .with_max_delay(LONGEST_PAUSE)
                .with_jitter()
                .without_max_times()
                .with_total_delay(Some(BUSY_TIMEOUT));
            (|| migrate_file(file)).retry(pauses).when(is_busy).await.map_err(open)?
        }
        Location::Postgres(options) => {
            let mut connection = timeout(CONNECT, options.connect()).await.map_err(late)?.map_err(open)?;
            timeout(MIGRATE, run(&POSTGRES, &mut connection)).await.map_err(late)?
        }
        Location::MySql(options) => {
            let mut connection = timeout(CONNECT, options.connect()).await.map_err(late)?.map_err(open)?;
            // Names of locks are the server's, not the database's. It ends with the connection.
            let locked: Option<i64> =
                sqlx::query_scalar("SELECT CAST(GET_LOCK(CONCAT('enlace:', SHA1(DATABASE())), ?) AS SIGNED)")
                    .bind(MIGRATE_S)
                    .fetch_one(&mut connection)
                    .await
                    .map_err(open)?;
            if locked != Some(1) {
                return Err(open(sqlx::Error::PoolTimedOut));
            }
            timeout(MIGRATE, run(&MYSQL, &mut connection)).await.map_err(late)?
        }
    };
    migrated.map_err(|source| DatabaseError::Migrate { place: url.to_string(), source })
}

async fn migrate_file(file: &Path) -> Result<Result<(), MigrateError>, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT);
    let mut connection = options.connect().await?;
    // SQLite has no other lock: who begins first, migrates first.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let result = match run(&SQLITE, &mut *transaction).await {
        Ok(()) => transaction.commit().await.map_err(MigrateError::Execute),
        Err(error) => {
            transaction.rollback().await?;
            Err(error)
        }
    };
    connection.close().await?;
    Ok(result)
}

/// SQLite's `SQLITE_BUSY`, with whatever it says beyond that.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == 5)
}

/// [`Migrator::run`] under the name that sqlx has for callers whose future must be [`Send`]: with the other one, the compiler finds its trait
/// `Acquire` "not general enough".
async fn run<C: Migrate + Send>(migrator: &Migrator, connection: &mut C) -> Result<(), MigrateError> {
    migrator.run_direct(None, connection, false).await
}

/// Hashes of passwords are nobody else's business: SQLite itself would create a file that others can read.
fn create_private(file: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_has_the_same_migrations() {
        let list = |migrator: &Migrator| -> Vec<(i64, String)> {
            migrator.iter().map(|migration| (migration.version, migration.description.to_string())).collect()
        };
        assert!(!list(&SQLITE).is_empty());
        assert_eq!(list(&SQLITE), list(&POSTGRES));
        assert_eq!(list(&SQLITE), list(&MYSQL));
    }

    #[test]
    fn every_table_and_index_begins_with_our_name() {
        for migrator in [&SQLITE, &POSTGRES, &MYSQL] {
            for migration in migrator.iter() {
                for line in migration.sql.as_str().lines() {
                    let mut words = line.split_whitespace();
                    if words.next() == Some("CREATE") {
                        let name = words.find(|word| !["UNIQUE", "TABLE", "INDEX"].contains(word)).unwrap();
                        assert!(name.starts_with("enlace_"), "{line}");
                    }
                }
            }
        }
    }
}
