//! A number has one device.
//!
//! Numbers are compared in canonical form. Whoever holds a number keeps it (the incumbent wins); a second device is a duplicate until the
//! first lets go. In Kubernetes the truth is a Lease for each number and this is its picture in memory; in standalone mode it is the truth.

use std::collections::BTreeMap;

use enlace_contract::name::DeviceKey;
use enlace_contract::number::{CanonicalNumber, PhoneNumber};
use enlace_contract::state::DeviceState;
use jiff::Timestamp;

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
    /// Whether it is linked to this number: then it held the number before.
    pub linked: bool,
    /// When the resource was created.
    pub created: Option<Timestamp>,
}

impl Claims {
    /// The claims of a start-up. Linked devices come first, then older ones, then by key: the order in which devices were found does not
    /// matter.
    pub fn at_start(mut candidates: Vec<Candidate>) -> Self {
        candidates.sort_by(|a, b| {
            let age = |candidate: &Candidate| candidate.created.unwrap_or(Timestamp::MAX);
            (!a.linked, age(a), &a.holder.key).cmp(&(!b.linked, age(b), &b.holder.key))
        });
        let mut claims = Self::default();
        for Candidate { number, holder, linked: _, created: _ } in candidates {
            claims.claim(number, holder);
        }
        claims
    }

    /// Claims a number for a device. A device has one number at most: with a new one it lets go of the one before.
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

/// The number that a device has to claim: the declared one; else the one that is linked now; else the one that was linked last. None: a
/// device of which no number is known yet needs no claim.
pub fn wanted(
    declared: Option<&PhoneNumber>,
    state: Option<&DeviceState>,
    status: &WhatsAppDeviceStatus,
) -> Option<CanonicalNumber> {
    let linked = || state.and_then(|state| state.account.as_ref()).or(status.account.as_ref());
    declared.or_else(|| linked().map(|account| &account.phone_number)).map(PhoneNumber::canonical)
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
    fn the_number_to_claim_is_the_declared_then_the_linked_then_the_last_one() {
        let account = |digits: &str| enlace_contract::state::Account {
            phone_number: digits.parse().unwrap(),
            jid: "jid".into(),
            lid: None,
            push_name: None,
            platform: None,
        };
        let declared: PhoneNumber = "525550000001".parse().unwrap();
        let state = DeviceState { account: Some(account("525550000002")), ..DeviceState::default() };
        let status = WhatsAppDeviceStatus {
            account: Some(account("525550000003")),
            ..WhatsAppDeviceStatus::default()
        };
        let none = WhatsAppDeviceStatus::default();
        assert_eq!(wanted(Some(&declared), Some(&state), &status), Some(number("525550000001")));
        assert_eq!(wanted(None, Some(&state), &status), Some(number("525550000002")));
        assert_eq!(wanted(None, Some(&DeviceState::default()), &status), Some(number("525550000003")));
        assert_eq!(wanted(None, None, &none), None);
    }
}
