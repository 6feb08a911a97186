//! What was read a moment ago of a database that nobody else writes: a file. A server may have other clients, and is asked each time.
//!
//! Every statement that could change what is known makes all of it forgotten, when it is done ([`changes`]). What was being read meanwhile
//! is not kept.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Instance, InstanceId, TokenRecord, User};

/// Values of a kind that are kept; when there are more, all are forgotten.
const MOST: usize = 4096;
/// For how long a value is good: a statement that was given up for lost may still be done later.
const GOOD: Duration = Duration::from_secs(5);

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By their hashes.
    pub(super) tokens: Values<String, (TokenRecord, User)>,
    pub(super) instances: Values<InstanceId, Instance>,
}

/// Values of a kind.
#[derive(Debug)]
pub(super) struct Values<K, V>(Mutex<Kept<K, V>>);

#[derive(Debug)]
struct Kept<K, V> {
    /// How often all was forgotten.
    forgotten: u64,
    values: HashMap<K, (V, Instant)>,
}

/// That a value is being read: from before to after.
#[derive(Clone, Copy, Debug)]
struct Reading(u64);

impl Known {
    pub(super) fn forget(&self) {
        self.tokens.forget();
        self.instances.forget();
    }
}

impl<K: Eq + Hash, V: Clone> Values<K, V> {
    /// A value that is known, else what is read.
    pub(super) async fn or_read<Q, E>(
        &self,
        key: &Q,
        read: impl Future<Output = Result<Option<V>, E>>,
    ) -> Result<Option<V>, E>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let reading = match self.get(key, Instant::now()) {
            Ok(value) => return Ok(Some(value)),
            Err(reading) => reading,
        };
        let read = read.await?;
        if let Some(value) = &read {
            self.keep(reading, key.to_owned(), value.clone());
        }
        Ok(read)
    }

    /// A value, or that it must be read.
    fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q, now: Instant) -> Result<V, Reading>
    where
        K: Borrow<Q>,
    {
        let kept = self.kept();
        match kept.values.get(key) {
            Some((value, until)) if now < *until => Ok(value.clone()),
            _ => Err(Reading(kept.forgotten)),
        }
    }

    /// Keeps what was read, unless all was forgotten meanwhile.
    fn keep(&self, Reading(began): Reading, key: K, value: V) {
        let mut kept = self.kept();
        if began != kept.forgotten {
            return;
        }
        if kept.values.len() >= MOST {
            kept.values.clear();
        }
        kept.values.insert(key, (value, Instant::now() + GOOD));
    }

    /// Changes a value that is known.
    pub(super) fn change<Q: Eq + Hash + ?Sized>(&self, key: &Q, change: impl FnOnce(&mut V))
    where
        K: Borrow<Q>,
    {
        if let Some((value, _)) = self.kept().values.get_mut(key) {
            change(value);
        }
    }

    fn forget(&self) {
        let mut kept = self.kept();
        kept.forgotten += 1;
        kept.values.clear();
    }

    fn kept(&self) -> MutexGuard<'_, Kept<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> Default for Values<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Kept { forgotten: 0, values: HashMap::new() }))
    }
}

/// Whether a statement could change what is known. What is new was not known; when a token was used last is changed here as well.
pub(super) fn changes(sql: &str) -> bool {
    !(sql.starts_with("SELECT ")
        || sql.starts_with("INSERT ")
        || sql.contains("enlace_queue")
        || sql == LAST_USED)
}

/// The one change that is made again and again.
pub(super) const LAST_USED: &str = "UPDATE enlace_tokens SET last_used_at = ? WHERE id = ?";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_while_it_is_read_is_not_kept() {
        let values = Values::<String, u8>::default();
        let now = Instant::now();
        let Err(reading) = values.get("a", now) else { panic!("nothing is known") };
        values.keep(reading, "a".to_owned(), 1);
        assert_eq!(values.get("a", now).ok(), Some(1));
        let Err(reading) = values.get("b", now) else { panic!("b is not known") };
        values.forget();
        values.keep(reading, "b".to_owned(), 2);
        assert!(values.get("a", now).is_err() && values.get("b", now).is_err());
    }

    #[test]
    fn nothing_is_known_for_long() {
        let values = Values::<String, u8>::default();
        let Err(reading) = values.get("a", Instant::now()) else { panic!("nothing is known") };
        values.keep(reading, "a".to_owned(), 1);
        assert!(values.get("a", Instant::now() + GOOD).is_err());
    }

    #[test]
    fn every_other_change_makes_forget() {
        assert!(changes("DELETE FROM enlace_tokens WHERE id = ?"));
        assert!(changes("UPDATE enlace_users SET name = ? WHERE id = ?"));
        assert!(changes("WITH gone AS (SELECT 1) DELETE FROM enlace_instances"));
        assert!(!changes("SELECT * FROM enlace_tokens"));
        assert!(!changes(LAST_USED));
    }
}
