//! What the keeper knows of one device, and what follows from it.

use std::sync::Arc;

use enlace_contract::client::DeviceClient;
use enlace_contract::name::DeviceKey;
use enlace_contract::state::{ClaimDecision, ClaimState, DeviceState, Phase};
use enlace_crds::rules::claims::{self, Claims, Decision, Holder, Mismatch};
use enlace_crds::rules::conditions::PAIRED;
use enlace_crds::rules::pairing::{self, Window};
use enlace_crds::rules::{ClaimOutcome, Observation, Observed, Place, PodFacts, status};
use enlace_crds::{WhatsAppDevice, WhatsAppDeviceStatus, config, names};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::data::Record;
use super::keeper::Waiting;
use super::worker::{Desired, Worker};
use crate::directory::{Away, Device, Managed};

/// One device.
pub(super) struct Entry {
    pub(super) key: DeviceKey,
    /// Which file declares it.
    pub(super) file: String,
    /// The declaration, with the defaults filled in.
    pub(super) declared: WhatsAppDevice,
    /// The number of the last declaration that was accepted: it is set once.
    pub(super) accepted_number: Option<String>,
    pub(super) ours: bool,
    pub(super) generation: i64,
    pub(super) record: Record,
    pub(super) worker: Worker,
    /// What the worker was told last.
    pub(super) wanted: Desired,
    /// Whether something may run, or still run.
    pub(super) busy: bool,
    pub(super) client: Option<DeviceClient>,
    pub(super) heard: Heard,
    pub(super) life: Life,
    /// Whether an answer to its claim is on the way.
    pub(super) answering: bool,
    pub(super) status: WhatsAppDeviceStatus,
}

/// What is heard of a device.
pub(super) enum Heard {
    /// Nothing runs.
    Nothing,
    /// It runs, and is not heard since then.
    Silent(Timestamp),
    /// It could not be started; this state stands in for what it would say.
    Broken(Box<DeviceState>),
    /// Its newest state.
    State(Box<DeviceState>),
}

/// Whether a device is there.
pub(super) enum Life {
    /// It is declared.
    Declared,
    /// Its file is gone; it is forgotten, with its data kept, when it has stopped.
    Leaving(Vec<Waiting>),
    /// The API deleted it; it is forgotten when its data is gone.
    Deleting(Vec<Waiting>),
}

/// What follows from what is known.
pub(super) struct Verdict {
    pub(super) status: WhatsAppDeviceStatus,
    pub(super) desired: Desired,
    /// The answer to the device's claim.
    pub(super) decision: Option<ClaimDecision>,
    /// When to look again although nothing happens.
    pub(super) next: Option<Timestamp>,
}

impl Entry {
    /// The resource as an API server would have it.
    pub(super) fn resource(&self) -> WhatsAppDevice {
        let mut resource = self.declared.clone();
        resource.metadata.uid = Some(self.record.uid.clone());
        resource.metadata.creation_timestamp = Some(Time(self.record.created_at));
        resource.metadata.generation = Some(self.generation);
        if let Some(at) = self.record.pair_requested.max(pairing::requested(&self.declared)) {
            let annotations = resource.metadata.annotations.get_or_insert_default();
            annotations.insert(names::PAIR_REQUESTED.to_owned(), at.to_string());
        }
        resource.status = Some(self.status.clone());
        resource
    }

    pub(super) fn device(&self) -> Device {
        let managed = if self.ours { Managed::ByApi } else { Managed::By(self.file.clone()) };
        Device { key: self.key.clone(), resource: self.resource(), managed }
    }

    pub(super) fn holder(&self) -> Holder {
        Holder { uid: self.record.uid.clone(), key: self.key.clone() }
    }

    fn state(&self) -> Option<&DeviceState> {
        match &self.heard {
            Heard::State(state) => Some(state),
            Heard::Nothing | Heard::Silent(_) | Heard::Broken(_) => None,
        }
    }

    /// The status, and what is to become of the device. It may claim a number, and lets go of another one then.
    pub(super) fn judge(&self, claims: &mut Claims, now: Timestamp) -> Verdict {
        let resource = self.resource();
        // A text that is no number makes the spec invalid below.
        let declared = config::phone_number(&resource).ok().flatten();
        let state = self.state();
        let wanted = claims::wanted(declared.as_ref(), state, &self.status).number;
        // Of a session that is not heard, the number may be known by the claim alone: it is kept.
        let unheard = state.is_none() && self.status.is_true(PAIRED);
        let held = claims.number_of(&self.record.uid).filter(|_| unheard).cloned();
        let wanted = held.or(wanted);
        let claim = match &wanted {
            None => ClaimOutcome::NotNeeded,
            Some(number) => match claims.claim(number.clone(), self.holder()) {
                Decision::Granted => ClaimOutcome::Granted,
                Decision::Duplicate { holder } => ClaimOutcome::Duplicate { holder: Some(holder.key) },
            },
        };
        let duplicate = matches!(claim, ClaimOutcome::Duplicate { .. });
        let pod = self.busy.then(|| PodFacts {
            name: self.key.name().to_owned(),
            ready: self.client.is_some(),
            image: None,
            stuck: None,
        });
        let observed = match &self.heard {
            Heard::Nothing => Observed::NotRunning,
            Heard::Silent(since) => Observed::Unreachable { since: *since },
            Heard::Broken(state) | Heard::State(state) => Observed::State(state),
        };
        let mut observation = Observation::new(&resource, claim, observed, pod, None);
        observation.place = Place::Process;
        let expired = matches!(observation.window(&self.status, now), Window::Expired { .. });
        // A device that linked to another's number goes on running: it is told so, and unlinks itself. One that has the number already
        // would be its second client: it stops.
        let unlinks = state.is_some_and(|state| {
            let linked = state.account.as_ref().map(|account| account.phone_number.canonical());
            linked == wanted && matches!(state.claim, ClaimState::Pending | ClaimState::Refused)
        });
        let runs = !observation.suspend && observation.invalid.is_none() && !expired;
        let configuration = config::device_config(&resource, Vec::new()).ok();
        let held = wanted.as_ref().filter(|_| !duplicate);
        let desired = configuration
            .filter(|_| runs && (!duplicate || unlinks))
            .map_or(Desired::Stop, |config| Desired::Run(Box::new(config.holding(held))));
        let decision = state.and_then(|state| {
            let number = state.account.as_ref()?.phone_number.canonical();
            let undecided = state.claim == ClaimState::Pending && wanted.as_ref() == Some(&number);
            undecided.then_some(ClaimDecision { number, granted: !duplicate })
        });
        Verdict {
            status: status::status(&self.status, &observation, now),
            desired,
            decision,
            next: status::next_change(&self.status, &observation, now),
        }
    }

    /// What a change is checked against: the declaration that there is, with the number that was accepted last. A number that never was may
    /// be taken back.
    pub(super) fn accepted(&self) -> WhatsAppDevice {
        let mut accepted = self.declared.clone();
        accepted.spec.phone_number.clone_from(&self.accepted_number);
        accepted
    }

    /// Why a declaration contradicts the device's session.
    pub(super) fn mismatch(&self, declaration: &WhatsAppDevice) -> Option<Mismatch> {
        let declared = config::phone_number(declaration).ok().flatten();
        claims::wanted(declared.as_ref(), self.state(), &self.status).mismatch
    }

    /// Whether a phone may list the device.
    pub(super) fn may_be_linked(&self) -> bool {
        // The condition forgets it when the device is suspended, see [`enlace_crds::rules::status`].
        let unlinked = self.record.linked == Some(false)
            || self.status.condition(PAIRED).is_some_and(|paired| paired.status == "False");
        !unlinked && pairing::ever_linked(&self.status, None)
    }

    /// The worker is to bring this about.
    pub(super) fn want(&mut self, desired: Desired) {
        if desired == self.wanted {
            return;
        }
        if desired != Desired::Stop {
            self.busy = true;
        }
        self.wanted = desired.clone();
        self.worker.want(desired);
    }

    /// The way to the device, while it is meant to run.
    pub(super) fn open_client(&self) -> Option<&DeviceClient> {
        self.client.as_ref().filter(|_| matches!(self.wanted, Desired::Run(_)))
    }
}

/// The state of a device that could not be started.
pub(super) fn broken(message: String) -> Heard {
    Heard::Broken(Box::new(DeviceState {
        phase: Phase::Failed,
        message: Some(message),
        ..DeviceState::default()
    }))
}

/// Why there is no way to a device.
pub(super) fn away(key: &DeviceKey, device: Option<&Device>) -> Away {
    let Some(device) = device else {
        return Away { phase: Phase::Pending, detail: format!("there is no device {key}"), retry_after: 30 };
    };
    let phase = device.phase();
    let (detail, retry_after) = match phase {
        Phase::Suspended => ("is suspended; resume it first".to_owned(), 60),
        Phase::PairingExpired => {
            ("was not linked in time and is stopped; ask for new codes with POST …/pair".to_owned(), 60)
        }
        Phase::Failed => (format!("does not run: {}", why(device)), 30),
        _ => ("is starting".to_owned(), 2),
    };
    Away { phase, detail: format!("{key} {detail}"), retry_after }
}

fn why(device: &Device) -> String {
    let conditions = device.resource.status.iter().flat_map(|status| &status.conditions);
    let failed = conditions
        .filter(|condition| matches!(condition.type_.as_str(), "Accepted" | "Connected"))
        .find(|condition| condition.status != "True" && !condition.message.is_empty());
    failed.map_or_else(|| "see its conditions".to_owned(), |condition| condition.message.clone())
}

impl Life {
    /// Whoever waits for the end.
    pub(super) fn waiting(&mut self) -> Vec<Waiting> {
        match self {
            Self::Declared => Vec::new(),
            Self::Leaving(waiting) | Self::Deleting(waiting) => std::mem::take(waiting),
        }
    }
}

/// The device as it is published, the same value while nothing about it changed.
pub(super) fn published(before: Option<&Arc<Device>>, now: Device) -> Arc<Device> {
    match before {
        Some(before) if **before == now => Arc::clone(before),
        _ => Arc::new(now),
    }
}
