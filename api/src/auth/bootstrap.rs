//! The first administrator, and the token with which programs on this machine need no login.

use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rand::TryRng as _;

use super::Principal;
use super::password::PasswordError;
use super::token::{NoRandom, TokenValue};
use crate::database::{Database, DatabaseError, NewToken};

/// The name of the first administrator.
pub const ADMINISTRATOR: &str = "admin";
/// The name of the token for this machine.
pub const LOCAL_TOKEN: &str = "local";

/// 57 letters and digits that are not taken for each other.
const ALPHABET: &[u8; 57] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// 24 of them have 139 random bits.
const LENGTH: usize = 24;

/// A password that was made here. It is shown once, in the terminal, and never goes into a log.
#[derive(Clone)]
pub struct GeneratedPassword {
    user: &'static str,
    password: String,
}

/// The first start failed.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The database failed.
    #[error("the first administrator cannot be stored")]
    Database(#[from] DatabaseError),
    /// The password could not be hashed.
    #[error("the first administrator's password cannot be made")]
    Password(#[from] PasswordError),
    /// The system gave no random numbers.
    #[error("a secret cannot be made")]
    Random(#[from] NoRandom),
    /// The token's file could not be written.
    #[error("the token file {} cannot be written", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody may have the token.
    #[error("there is no administrator for whom a token could be made")]
    NoAdministrator,
}

impl GeneratedPassword {
    /// The name to log in with.
    pub const fn user(&self) -> &'static str {
        self.user
    }

    /// The password.
    pub fn expose(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for GeneratedPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneratedPassword").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Makes the administrator `admin` with a random password when there is no user yet; none when there is one.
///
/// # Errors
/// When the database fails or the system has no random numbers.
pub async fn bootstrap_admin(database: &Database) -> Result<Option<GeneratedPassword>, BootstrapError> {
    if database.has_users().await? {
        return Ok(None);
    }
    let password = random_password()?;
    let hash = super::Passwords::default().hash(password.clone()).await?;
    let made = database.create_first_user(ADMINISTRATOR, &hash, Timestamp::now()).await?;
    Ok(made.then_some(GeneratedPassword { user: ADMINISTRATOR, password }))
}

/// The administrator's token in a file that only this user can read. A token that is there and still opens the API stays.
///
/// # Errors
/// When the database or the file system fails, or there is no administrator.
pub async fn local_token(database: &Database, path: &Path) -> Result<TokenValue, BootstrapError> {
    let now = Timestamp::now();
    if let Some(value) = std::fs::read_to_string(path).ok().and_then(|text| TokenValue::parse(text.trim()))
        && let Some(principal) = Principal::of_token(database, &value, now).await?
        && principal.user.administrator
    {
        return Ok(value);
    }
    let user = database.first_administrator().await?.ok_or(BootstrapError::NoAdministrator)?;
    // One whose file is lost opens nothing any more.
    while database.delete_oldest_token(&user.id, LOCAL_TOKEN).await? {}
    let value = TokenValue::generate()?;
    let new =
        NewToken { user_id: &user.id, name: LOCAL_TOKEN, devices: None, actions: None, expires_at: None };
    database.create_token(new, &value.hash(), now).await?;
    write_private(path, value.expose())
        .map_err(|source| BootstrapError::File { path: path.to_owned(), source })?;
    Ok(value)
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

fn random_password() -> Result<String, NoRandom> {
    let mut password = String::with_capacity(LENGTH);
    let mut bytes = [0; 64];
    while password.len() < LENGTH {
        rand::rngs::SysRng.try_fill_bytes(&mut bytes).map_err(|error| NoRandom(error.to_string()))?;
        // Bytes past the last multiple of 57 would make some letters likelier.
        let letters = bytes.iter().filter(|byte| **byte < 228).map(|byte| ALPHABET[usize::from(*byte) % 57]);
        password.extend(letters.take(LENGTH - password.len()).map(char::from));
    }
    Ok(password)
}
