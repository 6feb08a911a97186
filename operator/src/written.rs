//! What was written and is not in a cache yet.
//!
//! A watch brings back what was written some time later. A decision that is made in between on the cache alone would be made on the past: a
//! transition would be told twice, a child applied twice. So the answer to each write is remembered until the cache has it, or something
//! newer.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The newest answers to writes of one kind, by namespace and name.
pub struct Written<V>(Mutex<HashMap<(String, String), Answer<V>>>);

/// The answer to a write.
#[derive(Clone, Debug)]
pub struct Answer<V> {
    version: u64,
    value: V,
}

impl<V> Answer<V> {
    /// What was written, when it is newer than what the cache has.
    pub fn newer_than(self, cached: Option<&str>) -> Option<V> {
        (order(cached).unwrap_or(0) < self.version).then_some(self.value)
    }
}

impl<V> Default for Written<V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V: Clone> Written<V> {
    /// Remembers the answer to a write. An answer without a resource version says nothing of order and is not remembered.
    pub fn note(&self, namespace: &str, name: &str, version: Option<&str>, value: V) {
        if let Some(version) = order(version) {
            self.lock().insert((namespace.to_owned(), name.to_owned()), Answer { version, value });
        }
    }

    /// The remembered answer. To be asked for before the cache is: what is not remembered any more is in the cache then.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Answer<V>> {
        self.lock().get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// Forgets an answer once the cache has it or something newer, be it that the object is gone.
    pub fn seen(&self, namespace: &str, name: &str, version: Option<&str>) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut all = self.lock();
        if all.get(&key).is_some_and(|written| order(version).is_none_or(|seen| seen >= written.version)) {
            all.remove(&key);
        }
    }

    /// Forgets all: a list was read anew.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Answer<V>>> {
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
        let newer_than = |cached| {
            written.get("shop", "billing").and_then(|answer: Answer<&str>| answer.newer_than(cached))
        };
        written.note("shop", "billing", Some("10"), "new");
        assert_eq!(newer_than(Some("9")), Some("new"));
        assert_eq!(newer_than(None), Some("new"), "the cache has nothing yet");
        written.seen("shop", "billing", Some("9"));
        assert_eq!(newer_than(Some("9")), Some("new"), "an older event");
        assert_eq!(newer_than(Some("10")), None);
        written.seen("shop", "billing", Some("11"));
        assert_eq!(newer_than(None), None, "it was deleted since");
    }
}
