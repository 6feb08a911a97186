//! The database servers of the tests, and PHP with its curl, in which clients are written: Debian's packages, installed when they are missing.
//!
//! Where services are started on installation, the package's own server runs from then on; no test uses it.

use std::path::Path;
use std::process::Command;

use crate::run::{self, Outcome};

/// A package, what it is, and how it is found.
struct Package {
    name: &'static str,
    what: &'static str,
    found: Found,
}

/// What shows that a package is there.
enum Found {
    /// A program, as `tests/databases` finds it: in the path, or in a folder for each version.
    Program { name: &'static str, versions: Option<&'static str> },
    /// A program of PHP that ends well.
    Php(&'static str),
}

const POSTGRES: Package = Package {
    name: "postgresql",
    what: "PostgreSQL",
    found: Found::Program { name: "postgres", versions: Some("/usr/lib/postgresql") },
};

const PACKAGES: [Package; 4] = [
    POSTGRES,
    Package {
        name: "mariadb-server",
        what: "MariaDB",
        found: Found::Program { name: "mariadbd", versions: None },
    },
    Package { name: "php-cli", what: "PHP", found: Found::Program { name: "php", versions: None } },
    Package {
        name: "php-curl",
        what: "PHP's curl",
        found: Found::Php("exit(extension_loaded('curl') ? 0 : 1);"),
    },
];

/// Says what [`provide`] will install, when it will.
pub(super) fn announce(fast: bool) {
    let missing = missing(&PACKAGES);
    if !fast && !missing.is_empty() {
        println!("Will install through apt-get, if it may: {}.", names(&missing));
    }
}

/// Installs what is missing. What cannot be installed is named: its tests do nothing.
///
/// # Errors
/// None: a machine without the servers runs all other tests.
pub(super) fn provide() -> anyhow::Result<Outcome> {
    provide_some(&PACKAGES)
}

/// The same for PostgreSQL alone, which is what the tests on a cluster use.
///
/// # Errors
/// As for [`provide`].
pub(crate) fn provide_postgres() -> anyhow::Result<Outcome> {
    provide_some(&[POSTGRES])
}

fn provide_some(packages: &[Package]) -> anyhow::Result<Outcome> {
    let wanted = missing(packages);
    if wanted.is_empty() {
        let there: Vec<&str> = packages.iter().map(|package| package.what).collect();
        println!("Nothing to install: there is {}.", there.join(", "));
        return Ok(Outcome::Passed);
    }
    let why = match install(&wanted) {
        Ok(()) => "the package is not found where it was looked for".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    let left = missing(packages);
    if left.is_empty() {
        return Ok(Outcome::Passed);
    }
    Ok(Outcome::PassedWithout(
        left.iter()
            .map(|package| {
                format!("tests on {}: the package {} is not installed ({why})", package.what, package.name)
            })
            .collect(),
    ))
}

fn install(packages: &[&Package]) -> anyhow::Result<()> {
    println!("Installing: {}.", names(packages));
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet");
        command
    };
    run::run(apt().arg("update"))?;
    run::run(
        apt()
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages.iter().map(|package| package.name)),
    )
}

fn missing(packages: &[Package]) -> Vec<&Package> {
    packages.iter().filter(|package| !package.is_installed()).collect()
}

fn names(packages: &[&Package]) -> String {
    packages.iter().map(|package| package.name).collect::<Vec<_>>().join(", ")
}

impl Package {
    fn is_installed(&self) -> bool {
        let (name, versions) = match self.found {
            Found::Program { name, versions } => (name, versions),
            Found::Php(program) => {
                let ran = Command::new("php").args(["-r", program]).output();
                return ran.is_ok_and(|output| output.status.success());
            }
        };
        let versions = versions.map(std::fs::read_dir).into_iter().flatten().flatten().flatten();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders = versions
            .map(|version| version.path().join("bin"))
            .chain(std::env::split_paths(&path))
            .chain([Path::new("/usr/sbin").to_owned()]);
        folders.any(|folder| folder.join(name).is_file())
    }
}
