//! Configuration by the names of the system that Enlace can take the place of: `DB_HOST`, `DB_USER`, `DB_PASSWORD`, `DB_NAME`, `DB_PORT`,
//! and the file `.env` of the working directory. (`PORT` is an option of the programs.)
//!
//! With none of the `DB_*` there is no database server; with one of them, what is not given is as it was there.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Command;
use clap::builder::Resettable;

use super::dotenv;
use crate::database::{DatabaseUrl, InvalidDatabaseUrl};

/// The names.
const NAMES: [&str; 5] = ["DB_HOST", "DB_USER", "DB_PASSWORD", "DB_NAME", "DB_PORT"];

/// What is configured cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEnvironment {
    /// The file is there and is not read.
    #[error("the file .env cannot be read")]
    Unreadable(#[source] std::io::Error),
    /// A value of it cannot be one of the environment.
    #[error("the file .env has values that cannot be put into the environment")]
    Unusable,
    /// The port is none.
    #[error("DB_PORT is not a port: write a number from 1 to 65535, or leave it out for 3306")]
    Port,
    /// `DATABASE_URL`, or what is made of the others.
    #[error(transparent)]
    Database(#[from] InvalidDatabaseUrl),
}

/// Puts what a file `.env` has into the environment, read as Node's `dotenv` reads it; what is there already stays. No
/// file is no fault. It must be called while the process has one thread.
///
/// # Errors
/// When the file cannot be read.
pub fn load_file(file: &Path) -> Result<(), InvalidEnvironment> {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(InvalidEnvironment::Unreadable(error)),
    };
    let values = dotenv::read(&String::from_utf8_lossy(&bytes));
    // The error may have a value in it.
    dotenvy::from_read(written(&values).as_bytes()).map_err(|_| InvalidEnvironment::Unusable)
}

/// Values in the syntax of `dotenvy`. It sets them, which is `unsafe`, and reads nothing but this.
fn written(values: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (name, value) in values {
        // Other names are nobody's here.
        let usable = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.chars().all(usable) || name.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        // A variable of the environment ends with a zero.
        let value = value.split('\0').next().unwrap_or_default();
        let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('$', r"\$");
        text.push_str(&format!("{name}=\"{value}\"\n"));
    }
    text
}

/// A command whose options take a variable that is set and empty for one that is not set.
pub fn unset_when_empty(command: Command) -> Command {
    command.mut_args(|option| {
        let empty = option.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        if empty { option.env(Resettable::Reset) } else { option }
    })
}

/// The database server that the environment names; none when it names none. `DATABASE_URL` goes before the rest.
///
/// # Errors
/// When what it says cannot be used; no password is in the text.
pub fn database(get: impl Fn(&str) -> Option<String>) -> Result<Option<DatabaseUrl>, InvalidEnvironment> {
    // An empty variable is none.
    let get = |name: &str| get(name).filter(|value| !value.is_empty());
    let named = NAMES.into_iter().any(|name| get(name).is_some());
    if let Some(url) = get("DATABASE_URL") {
        if named {
            tracing::info!(
                "DATABASE_URL is set: DB_HOST, DB_USER, DB_PASSWORD, DB_NAME and DB_PORT are not used"
            );
        }
        return Ok(Some(url.parse()?));
    }
    if !named {
        return Ok(None);
    }
    let port = match get("DB_PORT") {
        None => 3306,
        Some(text) => match text.trim().parse() {
            Ok(port) if port != 0 => port,
            _ => return Err(InvalidEnvironment::Port),
        },
    };
    let or = |name: &str, default: &str| get(name).unwrap_or_else(|| default.to_owned());
    let (host, user) = (or("DB_HOST", "127.0.0.1"), or("DB_USER", "root"));
    let url = DatabaseUrl::of_mysql(&host, port, &user, &or("DB_PASSWORD", ""), &or("DB_NAME", "whatsapp"))?;
    Ok(Some(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let get = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        database(get).map(|url| url.map(|url| url.to_string())).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_name_there_is_no_server() {
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("DB_PASSWORD", ""), ("DB_HOST", ""), ("PORT", "3000")]), Ok(None));
    }

    #[test]
    fn what_is_not_given_is_as_it_was() {
        assert_eq!(of(&[("DB_HOST", "db.example")]), Ok(Some("whatsapp at db.example:3306".to_owned())));
        assert_eq!(
            of(&[("DB_NAME", "whatsapp_api"), ("DB_PORT", "3307"), ("DB_PASSWORD", "p@ss:w/rd?#%")]),
            Ok(Some("whatsapp_api at 127.0.0.1:3307".to_owned()))
        );
    }

    #[test]
    fn the_url_goes_before_the_names() {
        let both = [("DATABASE_URL", "postgres://enlace@db.example/shop"), ("DB_HOST", "other.example")];
        assert_eq!(of(&both), Ok(Some("shop at db.example:5432".to_owned())));
    }

    #[test]
    fn what_cannot_be_is_told_without_the_password() {
        for wrong in ["0", "65536", "mysql", "3306;"] {
            let error = of(&[("DB_PORT", wrong), ("DB_PASSWORD", "s3cret")]).unwrap_err();
            assert!(error.contains("DB_PORT") && !error.contains("s3cret"), "{error}");
        }
        let error = of(&[("DB_HOST", "not a host"), ("DB_PASSWORD", "s3cret")]).unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
    }

    #[test]
    fn what_the_file_has_comes_into_the_environment_as_it_is() {
        let odd = ["pa$wo${X}rd", "a\\b\\", "\"'`", "two\nlines\r\n", " a # b ", "", "ñ", "\\n"];
        let values: BTreeMap<_, _> =
            odd.iter().enumerate().map(|(at, value)| (format!("A{at}"), (*value).to_owned())).collect();
        let text = written(&values);
        let set = dotenvy::from_read_iter(text.as_bytes());
        assert_eq!(set.map(Result::unwrap).collect::<BTreeMap<_, _>>(), values);
        let nobodys = [("DB-X.Y", "1"), ("1A", "1"), ("ZERO", "a\0b")];
        let nobodys = nobodys.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(written(&nobodys.into()), "ZERO=\"a\"\n");
    }

    #[test]
    fn no_file_is_no_fault_and_one_that_cannot_be_read_is() {
        let folder = tempfile::tempdir().unwrap();
        assert!(load_file(&folder.path().join(".env")).is_ok());
        assert!(matches!(load_file(folder.path()), Err(InvalidEnvironment::Unreadable(_))));
    }
}
