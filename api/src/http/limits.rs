//! How often callers may call.
//!
//! Each limit is a table of a fixed number of slots (GCRA, a leaky bucket): callers are spread over them by a hash with a random key. Two callers
//! may come to share a slot, which costs them some of their rate; nobody can make the table grow.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Slots of a table; a slot in use takes some dozens of bytes.
const SLOTS: u64 = 1 << 15;

/// How often callers may call.
#[derive(Clone, Debug)]
pub struct Quotas {
    /// Requests of one token.
    pub token: Rate,
    /// Requests of one address without a good token.
    pub address: Rate,
    /// Logins of one address, and separately of one user name.
    pub login: Rate,
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
    login_address: Table,
    login_name: Table,
    opening: Table,
}

struct Table {
    slots: DefaultKeyedRateLimiter<u64>,
    hash: RandomState,
}

impl Limits {
    pub(crate) fn new(quotas: &Quotas) -> Self {
        Self {
            token: Table::new(quotas.token),
            address: Table::new(quotas.address),
            login_address: Table::new(quotas.login),
            login_name: Table::new(quotas.login),
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

    /// A login.
    pub(crate) fn login(&self, address: Option<SocketAddr>, name: &str) -> Result<(), TooMany> {
        // An address that is held up takes nothing from the name: it could lock a person out.
        let taken = self.login_address.take(network(address)).and_then(|()| self.login_name.take(name));
        taken.map_err(|seconds| TooMany { seconds, detail: "too many passwords were tried" })
    }
}

impl Table {
    fn new(rate: Rate) -> Self {
        let quota = Quota::with_period(rate.one_per)
            .unwrap_or(Quota::per_second(NonZeroU32::MIN))
            .allow_burst(rate.burst);
        Self { slots: RateLimiter::keyed(quota), hash: RandomState::new() }
    }

    /// Takes one; else the seconds until there is one again.
    fn take(&self, key: impl Hash) -> Result<(), u64> {
        let slot = self.hash.hash_one(key) % SLOTS;
        self.slots.check_key(&slot).map_err(|not_until| {
            not_until.wait_time_from(DefaultClock::default().now()).as_secs().saturating_add(1)
        })
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
    fn a_network_of_ipv6_is_one_caller() {
        let of = |text: &str| network(Some(SocketAddr::new(text.parse().unwrap(), 1)));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
