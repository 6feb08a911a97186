//! How long a device may wait to be linked, and the way back.
//!
//! A device that no phone linked within `pairing.timeout`, or within that time of the last request to pair, is expired: its pod and its
//! empty volume go. The time runs from when the device itself said that it has no session, and ends only while it still says so: a volume that
//! nobody heard of may be one with a session, adopted or restored, and a phone may link while nobody listens. A device that was linked once
//! never expires: its volume has messages.

use std::time::Duration;

use enlace_contract::state::{DeviceState, Phase};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::conditions::PAIRED;
use crate::{WhatsAppDevice, WhatsAppDeviceStatus, names};

/// What decides whether a device's time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Since when the device is known to have no session, see [`unlinked_since`].
    pub unlinked_since: Option<Timestamp>,
    /// When pairing was last asked for, see [`requested`].
    pub requested: Option<Timestamp>,
    /// `pairing.timeout`.
    pub timeout: Duration,
    /// See [`ever_linked`].
    pub linked: bool,
}

/// Whether a device may still be linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// It is linked, or was.
    Linked,
    /// It may be linked.
    Open {
        /// Until when; then the device is to be looked at again. None: its time does not run yet.
        until: Option<Timestamp>,
    },
    /// Its time is over.
    Expired {
        /// Since when.
        since: Timestamp,
    },
}

/// The window of a device at a moment.
pub fn window(facts: &Facts, now: Timestamp) -> Window {
    let Facts { unlinked_since, requested, timeout, linked } = *facts;
    if linked {
        return Window::Linked;
    }
    let Some(since) = unlinked_since else { return Window::Open { until: None } };
    let start = requested.map_or(since, |requested| requested.max(since));
    let end = SignedDuration::try_from(timeout).ok().and_then(|timeout| start.checked_add(timeout).ok());
    match end {
        Some(end) if end <= now => Window::Expired { since: end },
        until => Window::Open { until },
    }
}

/// Whether a device was ever linked, by its status and by what it says now. The status keeps the last account when a session ends.
pub fn ever_linked(status: &WhatsAppDeviceStatus, state: Option<&DeviceState>) -> bool {
    status.account.is_some()
        || status.is_true(PAIRED)
        || state.is_some_and(|state| state.paired || state.account.is_some())
}

/// Since when a device is known to have no session: since `Paired` is False, or since this moment, when it says so for the first time.
///
/// Only its own word counts. What its status says of a device that is not heard may be from before a phone linked, while nobody listened;
/// only one that has expired already stays so.
pub fn unlinked_since(
    status: &WhatsAppDeviceStatus,
    state: Option<&DeviceState>,
    now: Timestamp,
) -> Option<Timestamp> {
    let says_so = state.is_some_and(|state| !state.paired && state.phase != Phase::Starting);
    if !says_so && status.phase != Some(Phase::PairingExpired) {
        return None;
    }
    let known = status.condition(PAIRED).filter(|paired| paired.status == "False");
    known.map(|paired| paired.last_transition_time.0).or_else(|| says_so.then_some(now))
}

/// The newest request to pair, of the annotation. A text that is no time counts as none.
pub fn requested(device: &WhatsAppDevice) -> Option<Timestamp> {
    device.annotations().get(names::PAIR_REQUESTED)?.trim().parse().ok()
}

/// Whether a request starts pairing again: it is newer than the newest that was heeded.
pub fn is_new_request(requested: Option<Timestamp>, observed: Option<Timestamp>) -> bool {
    requested.is_some_and(|requested| observed.is_none_or(|observed| requested > observed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WhatsAppDeviceSpec;
    use enlace_contract::state::Account;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_device_that_was_never_linked_expires_after_its_timeout() {
        let waiting = Facts {
            unlinked_since: Some(at(1_000)),
            requested: None,
            timeout: Duration::from_secs(60),
            linked: false,
        };
        let open = |until: i64| Window::Open { until: Some(at(until)) };
        for (facts, now, expected) in [
            (waiting, 1_000, open(1_060)),
            (waiting, 1_059, open(1_060)),
            (waiting, 1_060, Window::Expired { since: at(1_060) }),
            (Facts { requested: Some(at(5_000)), ..waiting }, 5_059, open(5_060)),
            (Facts { requested: Some(at(5_000)), ..waiting }, 5_060, Window::Expired { since: at(5_060) }),
            // A request from before does not shorten its time.
            (Facts { requested: Some(at(10)), ..waiting }, 1_059, open(1_060)),
            (Facts { linked: true, ..waiting }, 9_000, Window::Linked),
            // Nothing is known of a device that was never heard.
            (Facts { unlinked_since: None, ..waiting }, 9_000, Window::Open { until: None }),
            // No overflow.
            (Facts { timeout: Duration::MAX, ..waiting }, 9_000, Window::Open { until: None }),
        ] {
            assert_eq!(window(&facts, at(now)), expected, "{facts:?} at {now}");
        }
    }

    #[test]
    fn only_a_request_newer_than_the_last_one_starts_pairing() {
        for (requested, observed, expected) in [
            (None, None, false),
            (Some(10), None, true),
            (Some(10), Some(10), false),
            (Some(9), Some(10), false),
            (Some(11), Some(10), true),
            (None, Some(10), false),
        ] {
            assert_eq!(
                is_new_request(requested.map(at), observed.map(at)),
                expected,
                "{requested:?} {observed:?}"
            );
        }
    }

    #[test]
    fn a_request_is_read_from_the_annotation() {
        let mut device = WhatsAppDevice::new("billing", WhatsAppDeviceSpec::default());
        assert_eq!(requested(&device), None);
        device.annotations_mut().insert(names::PAIR_REQUESTED.into(), "1970-01-01T00:00:10Z".into());
        assert_eq!(requested(&device), Some(at(10)));
        device.annotations_mut().insert(names::PAIR_REQUESTED.into(), "now".into());
        assert_eq!(requested(&device), None);
    }

    #[test]
    fn a_session_that_ended_was_linked_nevertheless() {
        let account = Account {
            phone_number: "525550000001".parse().unwrap(),
            jid: "jid".into(),
            lid: None,
            push_name: None,
            platform: None,
        };
        let unlinked = DeviceState::default();
        let status = WhatsAppDeviceStatus { account: Some(account), ..WhatsAppDeviceStatus::default() };
        assert!(ever_linked(&status, Some(&unlinked)));
        assert!(!ever_linked(&WhatsAppDeviceStatus::default(), Some(&unlinked)));
        let paired = DeviceState { paired: true, ..DeviceState::default() };
        assert!(ever_linked(&WhatsAppDeviceStatus::default(), Some(&paired)));
    }
}
