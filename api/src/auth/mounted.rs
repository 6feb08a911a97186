//! The first administrator out of a folder with the files `username` and `password`, as a Secret is mounted.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::Passwords;
use super::password::{MAX_PASSWORD, MIN_PASSWORD, PasswordError};
use crate::database::{Database, DatabaseError};

/// The first administrator could not be made. No text of the files is in any message.
#[derive(Debug, thiserror::Error)]
pub enum MountedError {
    /// A file cannot be read.
    #[error(
        "there is no user yet, and {} cannot be read: it must hold the first administrator's {what}",
        .path.display()
    )]
    File {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("there is no user yet, and {} is not acceptable: {wanted}", .path.display())]
    NotAcceptable {
        /// Which.
        path: PathBuf,
        /// What would be.
        wanted: String,
    },
    /// The database failed.
    #[error("the first administrator cannot be stored")]
    Database(#[from] DatabaseError),
    /// The password could not be hashed.
    #[error("the first administrator's password cannot be hashed")]
    Password(#[from] PasswordError),
}

/// Makes the first administrator when there is no user yet: its name then. The files are not looked at when there is one.
///
/// # Errors
/// When the files are not what is expected, or the database fails.
pub async fn administrator_of_folder(
    database: &Database,
    folder: &Path,
) -> Result<Option<String>, MountedError> {
    if database.has_users().await? {
        return Ok(None);
    }
    let name = read(folder, "username", "name")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        let wanted = "1 to 64 letters, digits, '.', '_', '-' or '@' are wanted".to_owned();
        return Err(MountedError::NotAcceptable { path: folder.join("username"), wanted });
    }
    let password = read(folder, "password", "password")?;
    if password.chars().count() < MIN_PASSWORD || password.len() > MAX_PASSWORD {
        let wanted =
            format!("at least {MIN_PASSWORD} characters are wanted, and at most {MAX_PASSWORD} bytes");
        return Err(MountedError::NotAcceptable { path: folder.join("password"), wanted });
    }
    let hash = Passwords::default().hash(password).await?;
    // Another replica may have been faster.
    let made = database.create_first_user(&name, &hash, Timestamp::now()).await?;
    Ok(made.then_some(name))
}

/// A file's text, without the line break that editors put at its end.
fn read(folder: &Path, file: &str, what: &'static str) -> Result<String, MountedError> {
    let path = folder.join(file);
    let text = std::fs::read_to_string(&path);
    let text = text.map_err(|source| MountedError::File { path, what, source })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
