//! A number has one device.
//!
//! Numbers are compared in canonical form. Whoever holds a number keeps it (the incumbent wins); a second device is a duplicate until the
//! first lets go. In Kubernetes the truth is a Lease for each number and this is its picture in memory; in standalone mode it is the truth.
//!
//! While a device has a session, the number of that session is the one that it holds, whatever is declared: a session that nobody holds the
//! number of would soon have a second client beside it. See [`wanted`].

use std::collections::BTreeMap;

use enlace_contract::name::DeviceKey;
use enlace_contract::number::{CanonicalNumber, PhoneNumber};
use enlace_contract::state::{Account, ClaimState, DeviceState, Phase};
use jiff::Timestamp;

use super::conditions::PAIRED;
use crate::WhatsAppDeviceStatus;

/// Who holds a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The UID of the device: a new resource of the same name is another device.
    pub uid: String,
    /// Its key, for messages.
    pub key: DeviceKey,
}

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The number is the device's.
    Granted,
    /// The number is another device's.
    Duplicate {
        /// Whose.
        holder: Holder,
    },
}

/// All claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    holders: BTreeMap<CanonicalNumber, Holder>,
}

/// A device that claims a number at start-up, when nobody holds any yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The number.
    pub number: CanonicalNumber,
    /// The device.
    pub holder: Holder,
    /// Since when it held this number, when it did before the start. Several may remember that: the one that got it last had it last.
    pub held_since: Option<Timestamp>,
    /// Whether it is linked to this number: then it held the number once.
    pub linked: bool,
    /// When the resource was created.
    pub created: Option<Timestamp>,
}

impl Claims {
    /// The claims of a start-up. Whoever held a number last keeps it. Where nobody did, linked devices come first, then older ones, then by
    /// key: the order in which devices were found does not matter.
    pub fn at_start(mut candidates: Vec<Candidate>) -> Self {
        candidates.sort_by(|a, b| {
            let age = |candidate: &Candidate| candidate.created.unwrap_or(Timestamp::MAX);
            // None is less than any time.
            let order = b.held_since.cmp(&a.held_since);
            order.then_with(|| (!a.linked, age(a), &a.holder.key).cmp(&(!b.linked, age(b), &b.holder.key)))
        });
        let mut claims = Self::default();
        for Candidate { number, holder, held_since: _, linked: _, created: _ } in candidates {
            claims.claim(number, holder);
        }
        claims
    }

    /// Claims a number for a device. A device has one number at most: with a new one that is granted it lets go of the one before. So only
    /// the number that [`wanted`] names may be claimed: it names no other while a session exists.
    pub fn claim(&mut self, number: CanonicalNumber, holder: Holder) -> Decision {
        match self.holders.get(&number) {
            Some(other) if other.uid != holder.uid => Decision::Duplicate { holder: other.clone() },
            _ => {
                self.release(&holder.uid);
                self.holders.insert(number, holder);
                Decision::Granted
            }
        }
    }

    /// Releases what a device holds: to be called only when the device and what runs it are gone. The number that is free now.
    pub fn release(&mut self, uid: &str) -> Option<CanonicalNumber> {
        let number = self.holders.iter().find(|(_, holder)| holder.uid == uid)?.0.clone();
        self.holders.remove(&number);
        Some(number)
    }

    /// Who holds a number.
    pub fn holder(&self, number: &CanonicalNumber) -> Option<&Holder> {
        self.holders.get(number)
    }

    /// The number that a device holds.
    pub fn number_of(&self, uid: &str) -> Option<&CanonicalNumber> {
        self.holders.iter().find(|(_, holder)| holder.uid == uid).map(|(number, _)| number)
    }

    /// All claims, by number.
    pub fn iter(&self) -> impl Iterator<Item = (&CanonicalNumber, &Holder)> {
        self.holders.iter()
    }
}

/// The number that a device has to claim, and whether its declaration contradicts it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The number. None: a device of which no number is known yet needs no claim.
    pub number: Option<CanonicalNumber>,
    /// Set when a session exists and another number is declared.
    pub mismatch: Option<Mismatch>,
}

/// A device is linked to another number than the declared one. It goes on with its session; a person has to put it right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "spec.phoneNumber is {declared}, but the device is linked to {linked}: put it right, or log the device out first"
)]
pub struct Mismatch {
    /// The declared number.
    pub declared: PhoneNumber,
    /// The number of the session.
    pub linked: PhoneNumber,
}

/// The number that a device has to claim. While a session exists it is the linked one; otherwise the declared one, else the one that was
/// linked last.
pub fn wanted(
    declared: Option<&PhoneNumber>,
    state: Option<&DeviceState>,
    status: &WhatsAppDeviceStatus,
) -> Wanted {
    if let Some(Account { phone_number: linked, .. }) = session(state, status) {
        let number = linked.canonical();
        let mismatch = declared
            .filter(|declared| declared.canonical() != number)
            .map(|declared| Mismatch { declared: declared.clone(), linked: linked.clone() });
        return Wanted { number: Some(number), mismatch };
    }
    let last = || state.and_then(|state| state.account.as_ref()).or(status.account.as_ref());
    let number = declared.or_else(|| last().map(|account| &account.phone_number));
    Wanted { number: number.map(PhoneNumber::canonical), mismatch: None }
}

/// The account of a device's session: what the device says, and what its status says of a device that has not spoken yet.
///
/// A session that was refused is none: the device is about to end it, and never sends with it.
pub fn session<'a>(state: Option<&'a DeviceState>, status: &'a WhatsAppDeviceStatus) -> Option<&'a Account> {
    match state {
        Some(state) if state.paired => state.account.as_ref().filter(|_| state.claim != ClaimState::Refused),
        Some(state) if state.phase != Phase::Starting => None,
        // A device that starts may not have looked yet.
        _ => status.account.as_ref().filter(|_| status.is_true(PAIRED)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> CanonicalNumber {
        text.parse::<PhoneNumber>().unwrap().canonical()
    }

    fn holder(name: &str) -> Holder {
        Holder { uid: format!("uid-{name}"), key: name.parse().unwrap() }
    }

    fn candidate(name: &str, linked: bool, created: i64) -> Candidate {
        Candidate {
            number: number("525550000001"),
            holder: holder(name),
            held_since: None,
            linked,
            created: Some(Timestamp::from_second(created).unwrap()),
        }
    }

    #[test]
    fn the_incumbent_wins_whatever_form_the_number_is_written_in() {
        let mut claims = Claims::default();
        assert_eq!(claims.claim(number("5215550000001"), holder("first")), Decision::Granted);
        let duplicate = Decision::Duplicate { holder: holder("first") };
        assert_eq!(claims.claim(number("525550000001"), holder("second")), duplicate);
        assert_eq!(claims.claim(number("525550000001"), holder("first")), Decision::Granted, "it asks again");
    }

    #[test]
    fn a_released_number_is_free_for_the_next_that_asks() {
        let mut claims = Claims::default();
        claims.claim(number("525550000001"), holder("first"));
        assert_eq!(claims.release("uid-other"), None);
        assert_eq!(claims.release("uid-first"), Some(number("525550000001")));
        assert_eq!(claims.claim(number("525550000001"), holder("second")), Decision::Granted);
        assert_eq!(claims.number_of("uid-second"), Some(&number("525550000001")));
    }

    #[test]
    fn a_device_that_was_made_again_under_its_name_is_another_device() {
        let mut claims = Claims::default();
        claims.claim(number("525550000001"), holder("billing"));
        let again = Holder { uid: "uid-2".into(), ..holder("billing") };
        assert_eq!(
            claims.claim(number("525550000001"), again),
            Decision::Duplicate { holder: holder("billing") }
        );
    }

    #[test]
    fn a_device_holds_one_number() {
        let mut claims = Claims::default();
        claims.claim(number("525550000001"), holder("first"));
        claims.claim(number("525550000002"), holder("first"));
        assert_eq!(claims.holder(&number("525550000001")), None);
        assert_eq!(claims.iter().count(), 1);
    }

    #[test]
    fn a_refused_claim_takes_nothing_away() {
        let mut claims = Claims::default();
        claims.claim(number("525550000001"), holder("first"));
        claims.claim(number("525550000002"), holder("second"));
        claims.claim(number("525550000001"), holder("second"));
        assert_eq!(claims.holder(&number("525550000002")), Some(&holder("second")));
    }

    #[test]
    fn at_start_the_linked_then_the_oldest_then_the_first_by_key_wins() {
        for (candidates, winner) in [
            (vec![candidate("old", false, 1), candidate("new", false, 2)], "old"),
            (vec![candidate("old", false, 1), candidate("linked", true, 2)], "linked"),
            (vec![candidate("a", false, 1), candidate("b", false, 1)], "a"),
        ] {
            let mut reversed = candidates.clone();
            reversed.reverse();
            for order in [candidates, reversed] {
                let claims = Claims::at_start(order);
                assert_eq!(claims.holder(&number("525550000001")), Some(&holder(winner)));
            }
        }
    }

    #[test]
    fn at_start_the_one_that_held_the_number_last_keeps_it() {
        let held = |name: &str, linked: bool, since: i64| Candidate {
            held_since: Some(Timestamp::from_second(since).unwrap()),
            ..candidate(name, linked, 9)
        };
        for (candidates, winner) in [
            (vec![candidate("linked", true, 1), held("holder", false, 5)], "holder"),
            (vec![held("before", true, 4), held("last", false, 5)], "last"),
            (
                vec![candidate("oldest", false, 1), candidate("linked", true, 2), held("holder", true, 5)],
                "holder",
            ),
        ] {
            let mut reversed = candidates.clone();
            reversed.reverse();
            for order in [candidates, reversed] {
                let claims = Claims::at_start(order);
                assert_eq!(claims.holder(&number("525550000001")), Some(&holder(winner)));
            }
        }
    }

    fn account(digits: &str) -> Account {
        Account {
            phone_number: digits.parse().unwrap(),
            jid: "jid".into(),
            lid: None,
            push_name: None,
            platform: None,
        }
    }

    fn status(paired: &str, digits: &str) -> WhatsAppDeviceStatus {
        let condition = serde_json::json!({
            "type": PAIRED, "status": paired, "reason": "Test", "message": "",
            "lastTransitionTime": "2030-01-01T00:00:00Z",
        });
        WhatsAppDeviceStatus {
            account: Some(account(digits)),
            conditions: vec![serde_json::from_value(condition).unwrap()],
            ..WhatsAppDeviceStatus::default()
        }
    }

    fn linked(digits: &str) -> DeviceState {
        DeviceState {
            phase: Phase::Connected,
            paired: true,
            account: Some(account(digits)),
            claim: ClaimState::Granted,
            ..DeviceState::default()
        }
    }

    fn only(digits: &str) -> Wanted {
        Wanted { number: Some(number(digits)), mismatch: None }
    }

    #[test]
    fn without_a_session_the_number_to_claim_is_the_declared_else_the_last_one() {
        let declared: PhoneNumber = "525550000001".parse().unwrap();
        let none = WhatsAppDeviceStatus::default();
        let logged_out = DeviceState { phase: Phase::LoggedOut, ..DeviceState::default() };
        for before in [status("False", "525550000003"), status("True", "525550000003")] {
            assert_eq!(wanted(Some(&declared), Some(&logged_out), &before), only("525550000001"));
            assert_eq!(wanted(None, Some(&logged_out), &before), only("525550000003"));
        }
        assert_eq!(wanted(Some(&declared), None, &status("False", "525550000003")), only("525550000001"));
        assert_eq!(wanted(Some(&declared), None, &none), only("525550000001"));
        assert_eq!(wanted(None, None, &none), Wanted::default());
    }

    #[test]
    fn while_a_session_exists_the_number_to_claim_is_the_linked_one() {
        let declared: PhoneNumber = "525550000009".parse().unwrap();
        let now = linked("5215550000001");
        let starting = DeviceState { phase: Phase::Starting, ..DeviceState::default() };
        let none = WhatsAppDeviceStatus::default();
        // What the device says, and what is known of one that did not speak yet.
        for (state, status) in [
            (Some(&now), &none),
            (Some(&now), &status("True", "525550000003")),
            (None, &status("True", "5215550000001")),
            (Some(&starting), &status("True", "5215550000001")),
        ] {
            assert_eq!(wanted(None, state, status), only("525550000001"));
            let Wanted { number: held, mismatch } = wanted(Some(&declared), state, status);
            assert_eq!(held, Some(number("525550000001")));
            assert_eq!(
                mismatch.unwrap().to_string(),
                "spec.phoneNumber is 525550000009, but the device is linked to 5215550000001: put it right, or log the device out first"
            );
        }
    }

    #[test]
    fn the_declared_number_may_be_another_form_of_the_linked_one() {
        let declared: PhoneNumber = "525550000001".parse().unwrap();
        let now = linked("5215550000001");
        let none = WhatsAppDeviceStatus::default();
        assert_eq!(wanted(Some(&declared), Some(&now), &none), only("525550000001"));
    }

    #[test]
    fn a_session_that_was_refused_takes_no_number() {
        let declared: PhoneNumber = "525550000001".parse().unwrap();
        let refused = DeviceState { claim: ClaimState::Refused, ..linked("525550000002") };
        let none = WhatsAppDeviceStatus::default();
        assert_eq!(wanted(Some(&declared), Some(&refused), &none), only("525550000001"));
    }
}
