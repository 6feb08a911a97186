//! Hashes of passwords: Argon2id with the parameters of the crate's authors (19 MiB, two passes; the OWASP recommendation).
//!
//! A hash takes tens of milliseconds of a core and 19 MiB: it runs on the blocking pool, few at a time, and a request that cannot begin soon is
//! refused.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;

/// Hashes at a time: more would take the memory and the cores from everything else.
const AT_A_TIME: usize = 2;
/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(3);
/// The shortest password that is accepted, in characters (NIST SP 800-63B has 8 as the least).
pub const MIN_PASSWORD: usize = 12;
/// The longest, in bytes: a hash of more says nothing more.
pub const MAX_PASSWORD: usize = 256;

/// Hashed for a user that does not exist, so that it takes as long as for one that does.
static NOBODY: LazyLock<String> = LazyLock::new(|| hash_now("nobody has this password").unwrap_or_default());

/// Hashes and verifies passwords.
#[derive(Clone, Debug)]
pub struct Passwords {
    turns: Arc<Semaphore>,
}

/// A password was not hashed or verified.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too many others are at it.
    #[error("too many passwords are being verified")]
    Busy,
    /// The hash failed.
    #[error("the password cannot be hashed: {0}")]
    Failed(String),
}

impl Default for Passwords {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_A_TIME)) }
    }
}

impl Passwords {
    /// The hash of a password, as a PHC string.
    ///
    /// # Errors
    /// When too many others are at it, or the system has no random numbers.
    pub async fn hash(&self, password: String) -> Result<String, PasswordError> {
        self.run(move || hash_now(&password)).await?
    }

    /// Whether a password is the one of a hash. Without a hash it takes the same time, and is not.
    ///
    /// # Errors
    /// When too many others are at it.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, PasswordError> {
        self.run(move || {
            let known = hash.is_some();
            let hash = hash.unwrap_or_else(|| NOBODY.clone());
            Argon2::default().verify_password(password.as_bytes(), hash.as_str()).is_ok() && known
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| PasswordError::Busy)?.map_err(|_| PasswordError::Busy)?;
        // The turn goes with the work: a caller that leaves does not make room for another hash.
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.map_err(|error| PasswordError::Failed(error.to_string()))
    }
}

fn hash_now(password: &str) -> Result<String, PasswordError> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| PasswordError::Failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_itself_is_verified() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse battery".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.verify("correct horse battery".into(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify("correct horse".into(), Some(hash)).await.unwrap());
        assert!(!passwords.verify("nobody has this password".into(), None).await.unwrap());
    }
}
