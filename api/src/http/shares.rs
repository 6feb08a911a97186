//! What one user may take at a time of what all users share: nobody takes all of it.
//!
//! A user is remembered only while something of it is held, so there are never more of them than open requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Event streams of one user: some open pages and programs, of the 1024 that all have.
pub(crate) const STREAMS: usize = 64;
/// Bodies with files of one user, of the eight that are read at a time.
const LARGE_BODIES: usize = 2;
/// How long a new device waits for those that its user makes at the same moment.
const TURN: Duration = Duration::from_secs(10);

/// What users hold.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    users: Mutex<HashMap<String, Weak<Share>>>,
}

/// What one user holds.
#[derive(Debug)]
struct Share {
    streams: Arc<Semaphore>,
    large_bodies: Arc<Semaphore>,
    /// One: whoever counts a user's devices and makes another must be alone with it.
    creating: Arc<Semaphore>,
}

/// A part that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    _part: OwnedSemaphorePermit,
    /// Keeps the user remembered.
    _share: Arc<Share>,
}

impl Shares {
    /// A place for an event stream; none when the user has all that one may have.
    pub(crate) fn stream(&self, user: &str) -> Option<Held> {
        let share = self.of(user);
        let part = Arc::clone(&share.streams).try_acquire_owned().ok()?;
        Some(Held { _part: part, _share: share })
    }

    /// Room for a large body, once the user has it.
    pub(crate) async fn large_body(&self, user: &str) -> Option<Held> {
        let share = self.of(user);
        let part = Arc::clone(&share.large_bodies).acquire_owned().await.ok()?;
        Some(Held { _part: part, _share: share })
    }

    /// The turn to make a device of the user; none when it does not come in time.
    pub(crate) async fn creating(&self, user: &str) -> Option<Held> {
        let share = self.of(user);
        let turn = Arc::clone(&share.creating).acquire_owned();
        let part = tokio::time::timeout(TURN, turn).await.ok()?.ok()?;
        Some(Held { _part: part, _share: share })
    }

    fn of(&self, user: &str) -> Arc<Share> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = users.get(user).and_then(Weak::upgrade) {
            return share;
        }
        if users.len() == users.capacity() {
            // Before it would grow: who holds nothing is forgotten.
            users.retain(|_, share| share.strong_count() > 0);
        }
        let share = Arc::new(Share {
            streams: Arc::new(Semaphore::new(STREAMS)),
            large_bodies: Arc::new(Semaphore::new(LARGE_BODIES)),
            creating: Arc::new(Semaphore::new(1)),
        });
        users.insert(user.to_owned(), Arc::downgrade(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_user_has_its_part_of_the_streams_and_leaves_the_others_theirs() {
        let shares = Shares::default();
        let mut held: Vec<_> = (0..STREAMS).map(|_| shares.stream("ana").unwrap()).collect();
        assert!(shares.stream("ana").is_none());
        assert!(shares.stream("luis").is_some());
        held.pop();
        assert!(shares.stream("ana").is_some(), "one that was closed is free again");
    }

    #[test]
    fn a_user_waits_for_its_own_large_bodies_and_devices_only() {
        let shares = Shares::default();
        let held: Vec<_> =
            (0..LARGE_BODIES).map(|_| shares.large_body("ana").now_or_never().unwrap()).collect();
        assert!(shares.large_body("ana").now_or_never().is_none());
        assert!(shares.large_body("luis").now_or_never().is_some());
        drop(held);
        assert!(shares.large_body("ana").now_or_never().is_some());
    }

    #[test]
    fn users_who_hold_nothing_are_forgotten() {
        let shares = Shares::default();
        let kept = shares.stream("ana").unwrap();
        for user in 0..10_000 {
            shares.stream(&user.to_string()).unwrap();
        }
        let users = shares.users.lock().unwrap();
        assert!(users.len() < 64 && users.contains_key("ana"), "{}", users.len());
        drop(kept);
    }
}
