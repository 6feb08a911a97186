//! What goes wrong with a database. The texts of drivers are for the log: they name hosts, tables and values.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;

use sqlx::error::ErrorKind;
use sqlx::migrate::MigrateError;

/// The database failed.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It could not be opened at the start.
    #[error("the database {place} cannot be opened")]
    Open {
        /// Where it is, without a password.
        place: String,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// Its tables could not be brought up to date.
    #[error("the database {place} cannot be migrated")]
    Migrate {
        /// Where it is, without a password.
        place: String,
        /// Why.
        #[source]
        source: MigrateError,
    },
    /// Nobody has brought its tables up to date yet ([`Database::prepare`](super::Database::prepare)).
    #[error("the database is not ready yet")]
    NotPrepared,
    /// It cannot be reached. What was asked of it may or may not have been done.
    #[error("the database cannot be reached")]
    Unavailable(#[source] sqlx::Error),
    /// It did not answer in time. What was asked of it may or may not have been done.
    #[error("the database did not answer within {limit_ms} ms")]
    TimedOut {
        /// What it was given.
        limit_ms: u128,
    },
    /// A statement failed.
    #[error("the database failed")]
    Statement(#[source] sqlx::Error),
    /// A stored value is not of the form this version knows.
    #[error("a stored value cannot be read: {0}")]
    Corrupt(String),
}

/// The database of a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    /// The directory cannot be written.
    #[error("the data directory {} cannot be written: {why}; choose another with --data-dir", directory.display())]
    NotWritten {
        /// Which.
        directory: PathBuf,
        /// What the system said: there is no more to tell.
        why: String,
    },
    /// Something else is wrong with it.
    #[error(transparent)]
    Failed(DatabaseError),
}

/// A row was not stored.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another one has what must be unique.
    #[error("{0} is taken")]
    Taken(Unique),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// What two rows must not have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unique {
    /// A user's name, without regard to case.
    Name,
    /// A user's phone number.
    PhoneNumber,
    /// A user's e-mail address, without regard to case.
    Email,
    /// An instance's identifier.
    InstanceId,
    /// An instance's device.
    Device,
}

impl std::fmt::Display for Unique {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Name => "the name",
            Self::PhoneNumber => "the phone number",
            Self::Email => "the e-mail address",
            Self::InstanceId => "the instance identifier",
            Self::Device => "the device",
        })
    }
}

impl DatabaseError {
    /// Whether it may be otherwise later, with nothing changed here.
    pub const fn is_transient(&self) -> bool {
        match self {
            // A password or a database that is missing may be put right where the database runs.
            Self::Open { .. } | Self::NotPrepared | Self::Unavailable(_) | Self::TimedOut { .. } => true,
            Self::Migrate { .. } | Self::Statement(_) | Self::Corrupt(_) => false,
        }
    }

    /// What the system said, where it is the reason: a file that may not be written, a disk that is full.
    pub fn system(&self) -> Option<&io::Error> {
        let all = std::iter::successors(self.source(), |error| (*error).source());
        all.into_iter().find_map(|error| error.downcast_ref())
    }

    /// Whether a value that must be unique was there already.
    pub(super) fn is_duplicate(&self) -> bool {
        self.statement().is_some_and(|error| error.kind() == ErrorKind::UniqueViolation)
    }

    /// Whether the database gave a statement up in favour of another one: nothing of it was done.
    pub(super) fn is_conflict(&self) -> bool {
        // Serialization failure (also MySQL's deadlock), PostgreSQL's deadlock.
        self.statement().and_then(|error| error.code()).is_some_and(|code| code == "40001" || code == "40P01")
    }

    fn statement(&self) -> Option<&dyn sqlx::error::DatabaseError> {
        match self {
            Self::Statement(error) => error.as_database_error(),
            _ => None,
        }
    }
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        let lost = match &error {
            E::Io(_) | E::Tls(_) | E::Protocol(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed => {
                true
            }
            // Connection errors, lack of resources, an operator's intervention: SQLSTATE classes of PostgreSQL and MySQL. SQLite's codes
            // are bare numbers.
            E::Database(error) => error.code().is_some_and(|code| {
                code.len() == 5 && ["08", "53", "57"].iter().any(|class| code.starts_with(class))
            }),
            _ => false,
        };
        if lost { Self::Unavailable(error) } else { Self::Statement(error) }
    }
}

impl From<io::Error> for DatabaseError {
    fn from(error: io::Error) -> Self {
        sqlx::Error::Io(error).into()
    }
}
