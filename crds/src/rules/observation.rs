//! What is known of a device at one moment.

use std::time::Duration;

use enlace_contract::name::DeviceKey;
use enlace_contract::state::DeviceState;
use jiff::Timestamp;

use super::claims::{self, Mismatch};
use super::pairing::{self, Window};
use crate::resource::PublishIn;
use crate::{WhatsAppDevice, WhatsAppDeviceStatus, config};

/// For how long a device that does not answer is still what it last said: the time after which its stream counts as dead. So the old
/// status stays over a change of leader and a restart of the operator.
pub const UNREACHABLE_AFTER: Duration = enlace_contract::events::SILENCE;

/// What is known of a device at one moment: the spec's part, and what was seen.
#[derive(Clone, Debug)]
pub struct Observation<'a> {
    /// The generation of the spec.
    pub generation: Option<i64>,
    /// `spec.suspend`.
    pub suspend: bool,
    /// `spec.phoneNumber`.
    pub phone_number: Option<String>,
    /// `spec.pairing.publishIn`.
    pub publish_in: PublishIn,
    /// Why the spec cannot be followed.
    pub invalid: Option<String>,
    /// The annotation `enlace.dev/pair-requested`.
    pub pair_requested: Option<Timestamp>,
    /// `spec.pairing.timeout`.
    pub pairing_timeout: Duration,
    /// What became of the claim of its number.
    pub claim: ClaimOutcome,
    /// Set when the device is linked to another number than the declared one.
    pub mismatch: Option<Mismatch>,
    /// What the device says.
    pub device: Observed<'a>,
    /// The pod (in standalone mode: the task that stands in for one).
    pub pod: Option<PodFacts>,
    /// The name of the volume claim.
    pub volume_claim: Option<String>,
    /// Where it runs, for the words of the conditions.
    pub place: Place,
}

/// Where a device runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// In a pod.
    #[default]
    Pod,
    /// In the process that watches it: there is no pod to speak of.
    Process,
}

/// What the device says.
#[derive(Clone, Copy, Debug)]
pub enum Observed<'a> {
    /// Nothing runs that could say something.
    NotRunning,
    /// Something runs, and cannot be reached.
    Unreachable {
        /// Since when: the last word, or when it was first tried.
        since: Timestamp,
    },
    /// The newest state.
    State(&'a DeviceState),
}

impl<'a> Observed<'a> {
    /// What the device says, when it is heard.
    pub const fn state(self) -> Option<&'a DeviceState> {
        match self {
            Self::State(state) => Some(state),
            Self::NotRunning | Self::Unreachable { .. } => None,
        }
    }
}

/// What became of the claim of a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// It is the device's.
    Granted,
    /// It is another device's.
    Duplicate {
        /// Whose; none when it is not to be told, or only a claim without a name is known.
        holder: Option<DeviceKey>,
    },
    /// It is not decided.
    Pending,
    /// No number is known yet.
    NotNeeded,
}

impl ClaimOutcome {
    /// The number is another device's, as its owner may hear it: who holds it is named within their own namespace only, since other
    /// namespaces are other people's.
    pub fn duplicate(device: &DeviceKey, holder: Option<DeviceKey>) -> Self {
        Self::Duplicate { holder: holder.filter(|holder| holder.namespace() == device.namespace()) }
    }
}

/// What is known of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    /// Its name.
    pub name: String,
    /// Whether it is ready.
    pub ready: bool,
    /// The image that it runs.
    pub image: Option<String>,
    /// Why it cannot start, as the cluster says: `ErrImagePull: …`.
    pub stuck: Option<String>,
}

impl<'a> Observation<'a> {
    /// An observation with the resource's part filled in: its spec, and by its status and what the device says whether it is linked to
    /// another number than the declared one. A text of the spec that cannot be read makes it invalid.
    pub fn new(
        device: &WhatsAppDevice,
        claim: ClaimOutcome,
        observed: Observed<'a>,
        pod: Option<PodFacts>,
        volume_claim: Option<String>,
    ) -> Self {
        let spec = &device.spec;
        let timeout = config::pairing_timeout(device);
        let config = config::device_config(device, Vec::new());
        let invalid = config.as_ref().err().or(timeout.as_ref().err());
        let declared = config::phone_number(device).ok().flatten();
        let status = device.status.clone().unwrap_or_default();
        let wanted = claims::wanted(declared.as_ref(), observed.state(), &status);
        Self {
            generation: device.metadata.generation,
            suspend: spec.suspend,
            phone_number: spec.phone_number.clone(),
            publish_in: spec.pairing.publish_in,
            invalid: invalid.map(ToString::to_string),
            pair_requested: pairing::requested(device),
            // A timeout that cannot be read lets nothing expire.
            pairing_timeout: timeout.map_or(Duration::MAX, enlace_contract::duration::Period::get),
            claim,
            mismatch: wanted.mismatch,
            device: observed,
            pod,
            volume_claim,
            place: Place::Pod,
        }
    }

    /// What the device says, when it is heard.
    pub fn state(&self) -> Option<&'a DeviceState> {
        self.device.state()
    }

    /// Whether the device may still be linked.
    pub fn window(&self, previous: &WhatsAppDeviceStatus, now: Timestamp) -> Window {
        let facts = pairing::Facts {
            unlinked_since: pairing::unlinked_since(previous, self.state(), now),
            requested: self.pair_requested,
            timeout: self.pairing_timeout,
            linked: pairing::ever_linked(previous, self.state()),
        };
        pairing::window(&facts, now)
    }

    /// Until when a device that is not heard is still what it last said. None: it is heard, or nothing runs.
    pub fn unreachable_from(&self) -> Option<Timestamp> {
        match self.device {
            Observed::Unreachable { since } => {
                Some(since.checked_add(UNREACHABLE_AFTER).unwrap_or(Timestamp::MAX))
            }
            Observed::NotRunning | Observed::State(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_number_is_told_within_the_namespace_only() {
        let key = |namespace| DeviceKey::new(namespace, "first").unwrap();
        let told = |holder| ClaimOutcome::duplicate(&DeviceKey::new("shop", "second").unwrap(), holder);
        let named = |holder| ClaimOutcome::Duplicate { holder };
        assert_eq!(told(Some(key("shop"))), named(Some(key("shop"))));
        assert_eq!(told(Some(key("other"))), named(None));
        assert_eq!(told(None), named(None));
    }
}
