//! Where a database is: `DATABASE_URL`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::ConnectOptions as _;
use sqlx::any::AnyConnectOptions;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

/// The address of a database: `sqlite:<path>`, `postgres://…` or `mysql://…` (`mariadb://…`). Its password is never shown.
#[derive(Clone)]
pub struct DatabaseUrl {
    pub(super) location: Location,
    pub(super) options: AnyConnectOptions,
}

/// A database by its driver.
#[derive(Clone)]
pub(super) enum Location {
    Sqlite(PathBuf),
    Postgres(PgConnectOptions),
    MySql(MySqlConnectOptions),
}

/// What differs in their SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
    MySql,
}

/// The text is no address of a database.
#[derive(Debug, thiserror::Error)]
pub enum InvalidDatabaseUrl {
    /// It is no URL.
    #[error(
        "DATABASE_URL is not of the form sqlite:<path>, postgres://<host>/<database> or mysql://<host>/<database>"
    )]
    Form,
    /// It is of a database that is not supported.
    #[error("DATABASE_URL begins with {0}: sqlite:, postgres: and mysql: (or mariadb:) are supported")]
    Scheme(String),
    /// It has a part that its driver does not know.
    #[error("DATABASE_URL has a part that cannot be used")]
    Part(#[source] sqlx::Error),
    /// The database would be gone with the process.
    #[error("DATABASE_URL names no file: a database in memory is not supported")]
    NoFile,
    /// The host is none.
    #[error("{0:?} is not the name or address of a host")]
    Host(String),
    /// A database server has many databases.
    #[error("DATABASE_URL names no database: add it after the host, as in …/enlace")]
    NoDatabase,
}

impl DatabaseUrl {
    /// The address of a file.
    ///
    /// # Errors
    /// When the path cannot be written as a URL.
    pub fn of_file(file: &Path) -> Result<Self, InvalidDatabaseUrl> {
        format!("sqlite:{}", encoded(file.as_os_str().as_encoded_bytes(), b"/._-")).parse()
    }

    /// The address of a database of a MySQL or MariaDB server.
    ///
    /// # Errors
    /// When the host cannot be part of a URL, or the database has no name.
    pub fn of_mysql(
        host: &str,
        port: u16,
        user: &str,
        password: &str,
        database: &str,
    ) -> Result<Self, InvalidDatabaseUrl> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let [user, password, database] =
            [user, password, database].map(|text| encoded(text.as_bytes(), b"._-"));
        let url: AnyConnectOptions = format!("mysql://{user}:{password}@{host}:{port}/{database}")
            .parse()
            .map_err(|_| InvalidDatabaseUrl::Host(host.clone()))?;
        // What is no host could end it, and begin something else.
        match url.database_url.host_str().is_some_and(|read| read.eq_ignore_ascii_case(&host)) {
            true => url.database_url.as_str().parse(),
            false => Err(InvalidDatabaseUrl::Host(host)),
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        match &self.location {
            Location::Sqlite(_) => Dialect::Sqlite,
            Location::Postgres(_) => Dialect::Postgres,
            Location::MySql(_) => Dialect::MySql,
        }
    }
}

/// Bytes of a part of a URL.
fn encoded(bytes: &[u8], plain: &[u8]) -> String {
    let encode = |byte: &u8| match byte {
        byte if byte.is_ascii_alphanumeric() || plain.contains(byte) => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    bytes.iter().map(encode).collect()
}

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let options: AnyConnectOptions = text.parse().map_err(|_| InvalidDatabaseUrl::Form)?;
        let url = &options.database_url;
        let location = match url.scheme() {
            "sqlite" => {
                let sqlite = SqliteConnectOptions::from_url(url).map_err(InvalidDatabaseUrl::Part)?;
                let file = sqlite.get_filename();
                if file.as_os_str().is_empty() || file.to_string_lossy().starts_with("file:sqlx-in-memory") {
                    return Err(InvalidDatabaseUrl::NoFile);
                }
                Location::Sqlite(file.to_owned())
            }
            "postgres" | "postgresql" => {
                let postgres = PgConnectOptions::from_url(url).map_err(InvalidDatabaseUrl::Part)?;
                postgres.get_database().ok_or(InvalidDatabaseUrl::NoDatabase)?;
                Location::Postgres(postgres)
            }
            "mysql" | "mariadb" => {
                let mysql = MySqlConnectOptions::from_url(url).map_err(InvalidDatabaseUrl::Part)?;
                mysql.get_database().ok_or(InvalidDatabaseUrl::NoDatabase)?;
                Location::MySql(mysql)
            }
            other => return Err(InvalidDatabaseUrl::Scheme(other.to_owned())),
        };
        Ok(Self { location, options })
    }
}

/// Where it is, without user and password.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Location::Sqlite(file) => write!(f, "{}", file.display()),
            Location::Postgres(options) => {
                let database = options.get_database().unwrap_or_default();
                match options.get_socket() {
                    Some(socket) => write!(f, "{database} at {}:{}", socket.display(), options.get_port()),
                    None => write!(f, "{database} at {}:{}", options.get_host(), options.get_port()),
                }
            }
            Location::MySql(options) => {
                let database = options.get_database().unwrap_or_default();
                match options.get_socket() {
                    Some(socket) => write!(f, "{database} at {}", socket.display()),
                    None => write!(f, "{database} at {}:{}", options.get_host(), options.get_port()),
                }
            }
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<DatabaseUrl>().unwrap().to_string()
    }

    #[test]
    fn the_scheme_chooses_the_database() {
        let dialect = |text: &str| text.parse::<DatabaseUrl>().unwrap().dialect();
        assert_eq!(dialect("sqlite:/var/lib/enlace/enlace.db"), Dialect::Sqlite);
        assert_eq!(dialect("postgres://enlace@db/enlace"), Dialect::Postgres);
        assert_eq!(dialect("postgresql://enlace@db/enlace"), Dialect::Postgres);
        assert_eq!(dialect("mysql://enlace@db/enlace"), Dialect::MySql);
        assert_eq!(dialect("mariadb://enlace@db/enlace"), Dialect::MySql);
    }

    #[test]
    fn what_is_shown_has_host_and_port_and_no_password() {
        assert_eq!(shown("postgres://enlace:s3cret@db.example/shop"), "shop at db.example:5432");
        assert_eq!(shown("mysql://enlace:s3cret@db.example:3307/shop"), "shop at db.example:3307");
        let url: DatabaseUrl = "mysql://enlace:s3cret@db.example/shop".parse().unwrap();
        assert_eq!(format!("{url:?}"), "DatabaseUrl(shop at db.example:3306)");
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_what_would_be_right() {
        let error = |text: &str| text.parse::<DatabaseUrl>().unwrap_err().to_string();
        assert!(error("enlace.db").contains("sqlite:<path>"));
        assert!(error("oracle://db/enlace").contains("sqlite:, postgres: and mysql:"));
        assert!(error("sqlite::memory:").contains("in memory"));
        assert!(error("mysql://user:s3cret@db").contains("names no database"));
    }

    #[test]
    fn a_file_of_any_name_is_found_again() {
        for name in ["/tmp/a b/100%25 #1?.db", "/tmp/ñandú.db", "relative/Enlace.db"] {
            let Location::Sqlite(file) = DatabaseUrl::of_file(Path::new(name)).unwrap().location else {
                panic!("no file")
            };
            assert_eq!(file, Path::new(name));
        }
    }
}
