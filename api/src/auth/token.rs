//! The value of a token: 32 random bytes, in 64 hexadecimal digits.

use std::fmt;

use rand::TryRng as _;
use sha2::{Digest as _, Sha256};

/// The value of a token. It is shown once, and never goes into a log.
#[derive(Clone)]
pub struct TokenValue(String);

impl TokenValue {
    /// A new one, from the system's random numbers.
    ///
    /// # Errors
    /// When the system has none.
    pub fn generate() -> Result<Self, NoRandom> {
        let mut bytes = [0; 32];
        rand::rngs::SysRng.try_fill_bytes(&mut bytes).map_err(|error| NoRandom(error.to_string()))?;
        Ok(Self(hex::encode(bytes)))
    }

    /// A value that was shown; none when it cannot be one, which saves a look-up.
    pub fn parse(text: &str) -> Option<Self> {
        let ok = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        ok.then(|| Self(text.to_owned()))
    }

    /// The value.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored of it. It has 256 random bits: a salt or a slow hash would add nothing.
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.0.as_bytes()))
    }
}

impl fmt::Debug for TokenValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenValue(…)")
    }
}

/// The system gave no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the system gave no random numbers: {0}")]
pub struct NoRandom(pub(super) String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_64_digits_and_reads_back() {
        let value = TokenValue::generate().unwrap();
        let read = TokenValue::parse(value.expose()).unwrap();
        assert_eq!(read.hash(), value.hash());
        assert!(!format!("{value:?}").contains(value.expose()));
    }

    #[test]
    fn what_cannot_be_a_value_is_none() {
        for text in ["", "abc", &"A".repeat(64), &"g".repeat(64), &"a".repeat(65)] {
            assert!(TokenValue::parse(text).is_none(), "{text:?}");
        }
    }
}
