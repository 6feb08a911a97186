//! The log of logins: the oracle of "a number never has two clients".
//!
//! A record opens when the server lets an identity (number and device) in, and closes when the server knows
//! that the socket is over. Two accepted records of one identity that were open at the same moment are an
//! [overlap](overlaps); a login that replaces a live socket always is one.
//!
//! "Knows that the socket is over" must not depend on how busy the simulator is: when a process is killed the
//! kernel closes its socket at once, while the task that reads it may run later than the task of the next
//! login. So a login asks the kernel about the older socket first (see `login::settle`), and closes its
//! record before it opens the new one.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Enough for days of reconnecting clients; the oldest closed records go first.
const MAX_RECORDS: usize = 20_000;

/// One attempt of a linked device to log in, and the life of its socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoginRecord {
    /// The number.
    pub phone: String,
    /// The device id of the number.
    pub device: u16,
    /// The simulator's number for the connection.
    pub connection: u64,
    /// The Noise pattern: `XX`, `IK` or `XXfallback`.
    pub pattern: String,
    /// When the login was decided.
    pub opened_at: Timestamp,
    /// When the server knew the socket to be over; `None` while it is live.
    pub closed_at: Option<Timestamp>,
    /// Whether the client asked for a passive login.
    pub passive: bool,
    /// Whether it was let in.
    pub outcome: LoginOutcome,
    /// Why the socket ended.
    pub end: Option<LoginEnd>,
}

/// What the server answered to a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum LoginOutcome {
    /// `<success>`.
    Accepted,
    /// `<failure reason=…>`.
    Refused {
        /// The reason code.
        reason: u32,
    },
}

/// Who ended a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LoginEnd {
    /// The client closed it, or its process died.
    Client,
    /// The server closed it: on command, or after a refusal.
    Server,
    /// A newer login of the same identity took its place while it was live.
    Replaced,
}

/// Pairs of live sockets of one identity that overlapped in time: each opened before the other closed.
///
/// Refused logins never count: they were not let in.
#[must_use]
pub fn overlaps(records: &[LoginRecord]) -> Vec<(LoginRecord, LoginRecord)> {
    overlapping(records, |first, second| first.phone == second.phone && first.device == second.device)
}

/// Pairs of live sockets of one number that overlapped in time, whichever of its linked devices they were of.
///
/// WhatsApp allows it, and a person does it with two installations; within one installation a number has one device.
#[must_use]
pub fn overlaps_by_number(records: &[LoginRecord]) -> Vec<(LoginRecord, LoginRecord)> {
    overlapping(records, |first, second| first.phone == second.phone)
}

fn overlapping(
    records: &[LoginRecord],
    same: impl Fn(&LoginRecord, &LoginRecord) -> bool,
) -> Vec<(LoginRecord, LoginRecord)> {
    let accepted: Vec<&LoginRecord> =
        records.iter().filter(|record| record.outcome == LoginOutcome::Accepted).collect();
    let ended = |record: &LoginRecord| record.closed_at.unwrap_or(Timestamp::MAX);
    let mut pairs = Vec::new();
    for (index, first) in accepted.iter().enumerate() {
        for second in accepted.iter().skip(index + 1) {
            if same(first, second) && first.opened_at < ended(second) && second.opened_at < ended(first) {
                pairs.push(((*first).clone(), (*second).clone()));
            }
        }
    }
    pairs
}

/// The records of one simulator, oldest first.
#[derive(Debug, Default)]
pub(crate) struct LoginLog {
    records: VecDeque<LoginRecord>,
    /// The latest time given out, so that two steps in one clock tick keep their order.
    last: Option<Timestamp>,
}

impl LoginLog {
    /// Adds a record; its times are set here, so that they follow the order of the calls.
    pub(crate) fn open(&mut self, mut record: LoginRecord) {
        if self.records.len() >= MAX_RECORDS {
            self.records.pop_front();
        }
        record.opened_at = self.tick();
        if record.outcome != LoginOutcome::Accepted {
            record.closed_at = Some(record.opened_at);
            record.end = Some(LoginEnd::Server);
        }
        self.records.push_back(record);
    }

    /// The socket of `connection` is over; the first call decides.
    pub(crate) fn close(&mut self, connection: u64, end: LoginEnd) {
        let now = self.tick();
        if let Some(record) = self
            .records
            .iter_mut()
            .rev()
            .find(|record| record.connection == connection && record.closed_at.is_none())
        {
            record.closed_at = Some(now);
            record.end = Some(end);
        }
    }

    pub(crate) fn records(&self) -> Vec<LoginRecord> {
        self.records.iter().cloned().collect()
    }

    /// Now, but later than every time given out before.
    fn tick(&mut self) -> Timestamp {
        let next = self.last.and_then(|last| last.checked_add(SignedDuration::from_nanos(1)).ok());
        let now = Timestamp::now().max(next.unwrap_or(Timestamp::MIN));
        self.last = Some(now);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(connection: u64, device: u16) -> LoginRecord {
        LoginRecord {
            phone: "525500000001".to_owned(),
            device,
            connection,
            pattern: "IK".to_owned(),
            opened_at: Timestamp::UNIX_EPOCH,
            closed_at: None,
            passive: false,
            outcome: LoginOutcome::Accepted,
            end: None,
        }
    }

    fn connections(log: &LoginLog) -> Vec<(u64, u64)> {
        overlaps(&log.records()).iter().map(|(a, b)| (a.connection, b.connection)).collect()
    }

    #[test]
    fn one_socket_after_the_other_does_not_overlap() {
        let mut log = LoginLog::default();
        log.open(login(1, 1));
        log.close(1, LoginEnd::Client);
        log.open(login(2, 1));
        assert!(connections(&log).is_empty());
    }

    #[test]
    fn a_login_that_replaces_a_live_socket_overlaps() {
        let mut log = LoginLog::default();
        log.open(login(1, 1));
        log.open(login(2, 1));
        log.close(1, LoginEnd::Replaced);
        log.close(1, LoginEnd::Client);
        assert_eq!(connections(&log), [(1, 2)]);
        assert_eq!(log.records()[0].end, Some(LoginEnd::Replaced));
    }

    #[test]
    fn two_open_sockets_overlap_and_other_devices_do_not() {
        let mut log = LoginLog::default();
        log.open(login(1, 1));
        log.open(login(2, 2));
        log.open(login(3, 1));
        assert_eq!(connections(&log), [(1, 3)]);
    }

    #[test]
    fn by_number_other_devices_of_it_overlap_and_other_numbers_do_not() {
        let mut log = LoginLog::default();
        log.open(login(1, 1));
        log.close(1, LoginEnd::Client);
        log.open(login(2, 1));
        log.open(login(3, 2));
        log.open(LoginRecord { phone: "525500000002".to_owned(), ..login(4, 1) });
        let pairs = overlaps_by_number(&log.records());
        let pairs: Vec<_> = pairs.iter().map(|(a, b)| (a.connection, b.connection)).collect();
        assert_eq!(pairs, [(2, 3)]);
    }

    #[test]
    fn a_refused_login_is_closed_at_once_and_never_overlaps() {
        let mut log = LoginLog::default();
        log.open(login(1, 1));
        log.open(LoginRecord { outcome: LoginOutcome::Refused { reason: 503 }, ..login(2, 1) });
        assert!(connections(&log).is_empty());
        assert!(log.records()[1].closed_at.is_some());
    }
}
