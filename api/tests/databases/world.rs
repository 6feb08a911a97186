//! A database that nothing is in yet.

use enlace_api::database::{Database, DatabaseUrl, User};
use enlace_databases::{Kind, Server};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::skipped::skipped;

pub(crate) struct World {
    pub(crate) url: String,
    /// None for SQLite.
    pub(crate) kind: Option<Kind>,
    /// SQLite's file is in it.
    _root: Option<TempDir>,
}

impl World {
    pub(crate) fn sqlite() -> Self {
        let root = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", root.path().join("enlace.db").display());
        Self { url, kind: None, _root: Some(root) }
    }

    /// A new database on the server that all tests share; none when the server is not installed.
    pub(crate) async fn on_server(kind: Kind) -> Option<Self> {
        static POSTGRES: OnceCell<Server> = OnceCell::const_new();
        static MARIADB: OnceCell<Server> = OnceCell::const_new();
        let shared = match kind {
            Kind::Postgres => &POSTGRES,
            Kind::MariaDb => &MARIADB,
        };
        if !installed(kind) {
            return None;
        }
        let server = shared.get_or_init(|| async { Server::start(kind).await.unwrap() }).await;
        Some(Self { url: server.new_database().await.unwrap(), kind: Some(kind), _root: None })
    }

    pub(crate) fn url(&self) -> DatabaseUrl {
        self.url.parse().unwrap()
    }

    pub(crate) async fn database(&self) -> Database {
        Database::connect(self.url()).await.unwrap()
    }
}

/// Whether a server's programs are there; if not, that is said where it is seen.
pub(crate) fn installed(kind: Kind) -> bool {
    let installed = kind.program().is_some();
    if !installed {
        let (name, package) = (kind.name(), kind.package());
        skipped(&format!("a test on {name}"), &format!("install the package {package}"));
    }
    installed
}

/// A moment with fewer digits than the clock has: what is stored is exact to a millisecond.
pub(crate) fn moment(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + milliseconds).unwrap()
}

/// A user that is no administrator.
pub(crate) async fn user(database: &Database, name: &str) -> User {
    database.create_user(name, "hash", false, moment(0)).await.unwrap().unwrap()
}

/// What a database must keep as it is: other alphabets, four bytes for a character, quotes, a NUL that PostgreSQL cannot keep.
pub(crate) const TEXT: &str = "Ñandú 'q' \"d\" \\ % _ ? $1 日本 🚀 e\u{301}\r\n\t end ";
