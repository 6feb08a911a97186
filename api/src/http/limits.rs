//! How often callers may call.
//!
//! Each limit is a table of a fixed number of slots (GCRA, a leaky bucket): callers are spread over them by a hash with a random key. Two callers
//! may come to share a slot, which costs them some of their rate; nobody can make the table grow.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

/// Slots of a table; a slot in use takes some dozens of bytes.
const SLOTS: u64 = 1 << 15;

/// How often callers may call.
#[derive(Clone, Debug)]
pub struct Quotas {
    /// Requests of one token.
    pub token: Rate,
    /// Requests of one address without a good token, and separately its logins, with whatever password.
    pub address: Rate,
    /// Wrong passwords for one user name from one address.
    pub login: Rate,
    /// Wrong passwords from one address, for whatever names.
    pub login_address: Rate,
    /// Wrong passwords for one user name, from wherever.
    pub login_name: Rate,
    /// New accounts of one address.
    pub registration: Rate,
    /// New live connections (Socket.IO) of one address: until it has shown a token, each of them takes a place.
    pub opening: Rate,
}

/// How many at once, and how long one of them takes to come back.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// So many at once.
    pub burst: NonZeroU32,
    /// One more after this time.
    pub one_per: Duration,
}

impl Rate {
    const fn new(burst: u32, one_per: Duration) -> Self {
        let burst = match NonZeroU32::new(burst) {
            Some(burst) => burst,
            None => NonZeroU32::MIN,
        };
        Self { burst, one_per }
    }
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            // A number sends one message in five seconds by default: this is room for hundreds of them.
            token: Rate::new(400, Duration::from_millis(10)),
            // A caller with a wrong token is a mistake or a guess.
            address: Rate::new(60, Duration::from_secs(1)),
            // A person mistypes; a guess needs millions.
            login: Rate::new(10, Duration::from_secs(30)),
            // An office is one address, and a program in it that has an old password must not lock the others out.
            login_address: Rate::new(30, Duration::from_secs(10)),
            // Against guesses from many places. It is wide: who makes it full locks the user out.
            login_name: Rate::new(500, Duration::from_secs(2)),
            registration: Rate::new(10, Duration::from_secs(30)),
            // After a restart every browser of an office comes back at once.
            opening: Rate::new(100, Duration::from_millis(200)),
        }
    }
}

/// A caller calls too often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TooMany {
    /// After how many seconds it may call again.
    pub(crate) seconds: u64,
    /// What is too often, for a person.
    pub(crate) detail: &'static str,
}

/// The limits.
pub(crate) struct Limits {
    token: Table,
    address: Table,
    asking: Table,
    login: Table,
    login_address: Table,
    login_name: Table,
    registration: Table,
    opening: Table,
}

/// A login that goes on. When it ends, it counts for nothing, unless the password was wrong.
#[must_use]
pub(crate) struct Attempt<'a> {
    taken: Vec<(&'a Table, u64)>,
}

struct Table {
    rate: Rate,
    limiter: RateLimiter<u64, Slots, DefaultClock>,
    slots: Slots,
    hash: RandomState,
}

/// Until when each slot has something taken from it.
#[derive(Clone, Default)]
struct Slots(Arc<Mutex<HashMap<u64, Nanos>>>);

impl Limits {
    pub(crate) fn new(quotas: &Quotas) -> Self {
        Self {
            token: Table::new(quotas.token),
            address: Table::new(quotas.address),
            asking: Table::new(quotas.address),
            login: Table::new(quotas.login),
            login_address: Table::new(quotas.login_address),
            login_name: Table::new(quotas.login_name),
            registration: Table::new(quotas.registration),
            opening: Table::new(quotas.opening),
        }
    }

    /// A request of a token.
    pub(crate) fn token(&self, id: &str) -> Result<(), TooMany> {
        let detail = "this token calls too often";
        self.token.take(id).map_err(|seconds| TooMany { seconds, detail })
    }

    /// A request of nobody known.
    pub(crate) fn address(&self, address: Option<SocketAddr>) -> Result<(), TooMany> {
        let detail = "this address calls too often";
        self.address.take(network(address)).map_err(|seconds| TooMany { seconds, detail })
    }

    /// A new live connection.
    pub(crate) fn opening(&self, address: Option<SocketAddr>) -> Result<(), TooMany> {
        let detail = "this address connects too often";
        self.opening.take(network(address)).map_err(|seconds| TooMany { seconds, detail })
    }

    /// A login. What it takes it takes at once: many at the same moment are no more tries than one after the other.
    pub(crate) fn login(&self, address: Option<SocketAddr>, name: &str) -> Result<Attempt<'_>, TooMany> {
        // As users are found: `Ana` is `ana`.
        let (network, name) = (network(address), name.to_lowercase());
        let mut attempt = Attempt { taken: Vec::new() };
        // An address that is held up takes nothing from the name: it could lock a person out.
        for (table, slot) in [
            (&self.login, self.login.slot((network, name.as_str()))),
            (&self.login_address, self.login_address.slot(network)),
            (&self.login_name, self.login_name.slot(name.as_str())),
        ] {
            let detail = "too many passwords were tried";
            table.take_slot(slot).map_err(|seconds| TooMany { seconds, detail })?;
            attempt.taken.push((table, slot));
        }
        // A good password costs a hash, too.
        let detail = "this address logs in too often";
        self.asking.take(network).map_err(|seconds| TooMany { seconds, detail })?;
        Ok(attempt)
    }

    /// A new account.
    pub(crate) fn registration(&self, address: Option<SocketAddr>) -> Result<(), TooMany> {
        let detail = "this address makes too many accounts";
        self.registration.take(network(address)).map_err(|seconds| TooMany { seconds, detail })
    }
}

impl Attempt<'_> {
    /// The password was wrong: it counts.
    pub(crate) fn wrong(mut self) {
        self.taken.clear();
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        for (table, slot) in self.taken.drain(..) {
            table.give_back(slot);
        }
    }
}

impl Table {
    fn new(rate: Rate) -> Self {
        let quota = Quota::with_period(rate.one_per)
            .unwrap_or(Quota::per_second(NonZeroU32::MIN))
            .allow_burst(rate.burst);
        let slots = Slots::default();
        let limiter = RateLimiter::new(quota, slots.clone(), DefaultClock::default());
        Self { rate, limiter, slots, hash: RandomState::new() }
    }

    /// Takes one; else the seconds until there is one again.
    fn take(&self, key: impl Hash) -> Result<(), u64> {
        self.take_slot(self.slot(key))
    }

    fn slot(&self, key: impl Hash) -> u64 {
        self.hash.hash_one(key) % SLOTS
    }

    fn take_slot(&self, slot: u64) -> Result<(), u64> {
        self.limiter.check_key(&slot).map_err(|not_until| {
            not_until.wait_time_from(DefaultClock::default().now()).as_secs().saturating_add(1)
        })
    }

    /// Gives back one that was taken.
    fn give_back(&self, slot: u64) {
        let mut slots = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = slots.get_mut(&slot) {
            *until = until.saturating_sub(self.rate.one_per.into());
        }
    }
}

impl StateStore for Slots {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, slot: &u64, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (answer, until) = measure(slots.get(slot).copied())?;
        slots.insert(*slot, until);
        Ok(answer)
    }
}

/// What stands for an address: one customer has a whole /64 of IPv6.
fn network(address: Option<SocketAddr>) -> Option<IpAddr> {
    address.map(|address| match address.ip().to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) & !u128::from(u64::MAX)).into()),
        ip @ IpAddr::V4(_) => ip,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_next_is_told_when() {
        let table = Table::new(Rate::new(2, Duration::from_secs(30)));
        assert_eq!((table.take("a"), table.take("a")), (Ok(()), Ok(())));
        assert!(matches!(table.take("a"), Err(29..=31)));
    }

    #[test]
    fn what_is_given_back_is_there_again_and_no_more() {
        let table = Table::new(Rate::new(2, Duration::from_secs(30)));
        let slot = table.slot("a");
        table.give_back(slot);
        for _ in 0..5 {
            assert_eq!((table.take_slot(slot), table.take_slot(slot)), (Ok(()), Ok(())));
            assert!(table.take_slot(slot).is_err());
            table.give_back(slot);
            table.give_back(slot);
        }
    }

    #[test]
    fn logins_at_the_same_moment_are_as_many_tries() {
        let quotas = Quotas { login: Rate::new(2, Duration::from_secs(30)), ..Quotas::default() };
        let limits = Limits::new(&quotas);
        let open = [limits.login(None, "ana"), limits.login(None, "ana")];
        assert!(open.iter().all(Result::is_ok) && limits.login(None, "ana").is_err());
        drop(open);
        limits.login(None, "ana").map(Attempt::wrong).unwrap();
        limits.login(None, "ana").map(Attempt::wrong).unwrap();
        assert!(limits.login(None, "ana").is_err() && limits.login(None, "beto").is_ok());
        assert!(limits.login(None, "Ana").is_err(), "it is the same user");
    }

    #[test]
    fn a_network_of_ipv6_is_one_caller() {
        let of = |text: &str| network(Some(SocketAddr::new(text.parse().unwrap(), 1)));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
