//! What was written and is not in a cache yet.
//!
//! A watch brings back what was written some time later. A decision that is made in between on the cache alone would be made on the past: a
//! transition would be told twice, a child applied twice. So the answer to each write is remembered until the cache has it, or something
//! newer.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The newest answers to writes of one kind, by namespace and name.
pub struct Written<V>(Mutex<HashMap<(String, String), (u64, V)>>);

impl<V> Default for Written<V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V: Clone> Written<V> {
    /// Remembers the answer to a write. An answer without a resource version says nothing of order and is not remembered.
    pub fn note(&self, namespace: &str, name: &str, version: Option<&str>, value: V) {
        if let Some(version) = order(version) {
            self.lock().insert((namespace.to_owned(), name.to_owned()), (version, value));
        }
    }

    /// The remembered answer, when it is newer than what the cache has.
    pub fn newer_than(&self, namespace: &str, name: &str, cached: Option<&str>) -> Option<V> {
        let all = self.lock();
        let (version, value) = all.get(&(namespace.to_owned(), name.to_owned()))?;
        (order(cached).unwrap_or(0) < *version).then(|| value.clone())
    }

    /// Forgets an answer once the cache has it or something newer, be it that the object is gone.
    pub fn seen(&self, namespace: &str, name: &str, version: Option<&str>) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut all = self.lock();
        if all.get(&key).is_some_and(|(written, _)| order(version).is_none_or(|seen| seen >= *written)) {
            all.remove(&key);
        }
    }

    /// Forgets all: a list was read anew.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), (u64, V)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resource versions of one resource are ordered whole numbers (KEP-5504; true of every API server before it too).
fn order(version: Option<&str>) -> Option<u64> {
    version?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_until_the_cache_has_caught_up() {
        let written = Written::default();
        written.note("shop", "billing", Some("10"), "new");
        assert_eq!(written.newer_than("shop", "billing", Some("9")), Some("new"));
        assert_eq!(written.newer_than("shop", "billing", None), Some("new"), "the cache has nothing yet");
        written.seen("shop", "billing", Some("9"));
        assert_eq!(written.newer_than("shop", "billing", Some("9")), Some("new"), "an older event");
        assert_eq!(written.newer_than("shop", "billing", Some("10")), None);
        written.seen("shop", "billing", Some("11"));
        assert_eq!(written.newer_than("shop", "billing", None), None, "it was deleted since");
    }
}
