//! Which servers there are.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The user of every server of a test.
pub(crate) const USER: &str = "enlace";
/// Its password, with characters that a URL must encode.
pub(crate) const PASSWORD: &str = "s3cret/with?signs";
/// The same in a URL.
const PASSWORD_IN_URL: &str = "s3cret%2Fwith%3Fsigns";

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    MariaDb,
}

/// A command: a program and its arguments.
pub(crate) type Line = Vec<OsString>;

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Postgres, Self::MariaDb];

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::MariaDb => "MariaDB",
        }
    }

    /// The Debian package that has it.
    pub const fn package(self) -> &'static str {
        match self {
            Self::Postgres => "postgresql",
            Self::MariaDb => "mariadb-server",
        }
    }

    /// The server's program; none when it is not installed.
    pub fn program(self) -> Option<PathBuf> {
        match self {
            Self::Postgres => self.find("postgres"),
            Self::MariaDb => self.find("mariadbd"),
        }
    }

    /// The account that its package makes.
    pub(crate) const fn account(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mysql",
        }
    }

    /// Debian keeps PostgreSQL's programs out of the path, in a folder for each version.
    fn find(self, name: &str) -> Option<PathBuf> {
        let mut folders: Vec<PathBuf> = match self {
            Self::Postgres => {
                let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
                versions.map(|version| version.path().join("bin")).collect()
            }
            Self::MariaDb => vec!["/usr/sbin".into(), "/usr/bin".into()],
        };
        folders.sort();
        folders.reverse();
        folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        folders.into_iter().map(|folder| folder.join(name)).find(|program| program.is_file())
    }

    /// What makes a new data directory.
    pub(crate) fn install(self, directory: &Path) -> Option<Line> {
        let data = directory.join("data");
        Some(match self {
            Self::Postgres => line(
                self.find("initdb")?,
                &[
                    "--username",
                    USER,
                    "--auth-host=scram-sha-256",
                    "--auth-local=reject",
                    "--encoding=UTF8",
                    "--no-sync",
                ],
                &[("--pwfile=", &directory.join("password")), ("--pgdata=", &data)],
            ),
            Self::MariaDb => line(
                self.find("mariadb-install-db")?,
                &["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"],
                // A server that starts removes what looks like temporary tables: others must not use the same folder for theirs.
                &[("--datadir=", &data), ("--tmpdir=", directory)],
            ),
        })
    }

    /// What runs the server.
    pub(crate) fn serve(self, directory: &Path, address: SocketAddr, tls: bool) -> Option<Line> {
        let program = self.program()?;
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let data = directory.join("data");
        let (certificate, key) = (directory.join("server.crt"), directory.join("server.key"));
        let mut serve = match self {
            Self::Postgres => line(
                program,
                &["-h", &host, "-c", "fsync=off", "-c", "max_connections=60", "-p", &port],
                &[
                    ("--unix_socket_directories=", directory),
                    ("--hba_file=", &directory.join("who.conf")),
                    // Without a blank, as all the others.
                    ("-D", &data),
                ],
            ),
            Self::MariaDb => line(
                program,
                &[
                    "--no-defaults",
                    &format!("--bind-address={host}"),
                    "--skip-name-resolve",
                    "--skip-log-bin",
                    "--innodb-flush-log-at-trx-commit=0",
                    "--innodb-buffer-pool-size=16M",
                    &format!("--port={port}"),
                ],
                &[
                    ("--datadir=", &data),
                    ("--tmpdir=", directory),
                    ("--socket=", &directory.join("socket")),
                    ("--pid-file=", &directory.join("pid")),
                    ("--init-file=", &directory.join("init.sql")),
                ],
            ),
        };
        if tls {
            let paths: [(&str, &Path); 2] = match self {
                Self::Postgres => [("--ssl_cert_file=", &certificate), ("--ssl_key_file=", &key)],
                Self::MariaDb => [("--ssl-cert=", &certificate), ("--ssl-key=", &key)],
            };
            serve.extend(match self {
                Self::Postgres => line("--ssl=on".into(), &[], &paths),
                Self::MariaDb => line("--ssl".into(), &[], &paths),
            });
        }
        Some(serve)
    }

    /// Files that the two above read: name and contents. Whoever reaches the server's one address may show a password.
    pub(crate) fn files(self) -> Vec<(&'static str, String)> {
        match self {
            Self::Postgres => vec![
                ("password", PASSWORD.to_owned()),
                ("who.conf", "host all all all scram-sha-256\n".to_owned()),
            ],
            Self::MariaDb => vec![(
                "init.sql",
                format!(
                    "CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n\
                     GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'%';\n"
                ),
            )],
        }
    }

    /// The database that is always there.
    pub(crate) const fn first_database(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mysql",
        }
    }

    pub(crate) fn url(self, address: SocketAddr, database: &str) -> String {
        let scheme = match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadb",
        };
        format!("{scheme}://{USER}:{PASSWORD_IN_URL}@{address}/{database}")
    }
}

fn line(program: PathBuf, arguments: &[&str], paths: &[(&str, &Path)]) -> Line {
    let mut line = vec![program.into_os_string()];
    line.extend(arguments.iter().map(OsString::from));
    line.extend(paths.iter().map(|(option, path)| {
        let mut argument = OsString::from(option);
        argument.push(path);
        argument
    }));
    line
}
