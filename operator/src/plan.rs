//! The third stage: what is to be done. Pure: the same facts and the same time give the same plan, and the plan leaves no choice but one to
//! who carries it out (whether a restart has its turn, which depends on the other devices).
//!
//! First the claim of the number is planned and carried out, since whether a pod may run depends on its outcome; then the rest.

use std::collections::BTreeMap;

use enlace_contract::number::CanonicalNumber;
use enlace_contract::state::{ClaimDecision, ClaimState, DeviceState, Phase};
use enlace_crds::names;
use enlace_crds::resource::DeletionPolicy;
use enlace_crds::rules::conditions::PAIRED;
use enlace_crds::rules::pairing::{self, Window};
use enlace_crds::rules::{ClaimOutcome, Observation, Observed};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde_json::Value;

use crate::build::stateful_set::Running;
use crate::build::{self, volume_claim};
use crate::caches::EDITED;
use crate::context::Settings;
use crate::observe::SeenClaim;
use crate::rollout::Before;
use crate::streams::Heard;
use crate::validate::{PublishTo, Validated};

/// For how long ending the session is tried when a device is deleted.
pub const LOGOUT_DEADLINE: SignedDuration = SignedDuration::from_secs(15);

/// What is to be done about the claim of the number.
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimStep {
    /// Nothing.
    Nothing(ClaimOutcome),
    /// The number is free: to be claimed, unless another device is faster.
    Create(Box<Lease>),
    /// An earlier device of this name, which is gone, holds it: to be taken over, if nobody changed it since.
    TakeOver(Box<Lease>),
}

/// A device whose claim is decided.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The device.
    pub validated: Validated,
    /// What became of the claim.
    pub outcome: ClaimOutcome,
}

/// What is to be done for a device, in this order.
#[derive(Debug, Default)]
pub struct Plan {
    /// An earlier device of this name has left something that has to go first; nothing else is done.
    pub leftover: Option<&'static str>,
    /// The finalizers that the device is to have.
    pub finalizers: Option<Vec<String>>,
    /// The volume.
    pub volume_claim: Option<VolumeStep>,
    /// The configuration.
    pub config_map: Option<Write<ConfigMap>>,
    /// The policy.
    pub network_policy: Option<Write<NetworkPolicy>>,
    /// The workload.
    pub stateful_set: Option<Write<StatefulSet>>,
    /// The pod that was made from something else.
    pub restart: Option<Restart>,
    /// Whether the device is not to run, so that nothing waits for it.
    pub rests: bool,
    /// The answer to the device's question for its number.
    pub answer: Option<ClaimDecision>,
    /// A request to pair, which the device has not heeded yet.
    pub pair: Option<Timestamp>,
    /// The Secret with the code.
    pub publish: Option<Publish>,
    /// Claims that the device does not need any more.
    pub release: Vec<SeenClaim>,
}

/// What is to be done with the volume.
#[derive(Debug, PartialEq)]
pub enum VolumeStep {
    /// To be made.
    Create(Box<PersistentVolumeClaim>),
    /// To be changed, by a merge patch.
    Change(Value),
    /// To be removed: it is empty. With the UID that it must have.
    Delete {
        /// Its UID.
        uid: String,
    },
}

/// An object to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Write<K> {
    /// By server-side apply; nothing of the name is there yet.
    Make(Box<K>),
    /// By server-side apply.
    Apply(Box<K>),
    /// Whole, over what somebody edited: apply would leave what they added. With the version that it must replace.
    PutRight(Box<K>),
}

/// A pod to be made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The UID that the pod must have.
    pub pod: String,
    /// What the device is.
    pub before: Before,
}

/// What is to be done with the Secret of the code.
#[derive(Clone, Debug, PartialEq)]
pub enum Publish {
    /// To be there.
    Put(Box<Secret>),
    /// Not to be there.
    Remove,
    /// Not to be there; only to be removed when it is known to be.
    RemoveIfKnown,
}

/// What is to be done for a device that is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// Nothing: there is no finalizer of ours.
    Nothing,
    /// The session is to be ended.
    LogOut {
        /// Whether this is the last attempt.
        last: bool,
    },
    /// The finalizer is to go. With a reason: the session was not ended, and somebody should know.
    Leave(Option<&'static str>),
}

/// What is to be done about the claim of the number.
pub fn claim(validated: &Validated, namespace: &str) -> ClaimStep {
    let seen = &validated.seen;
    let Some(number) = &seen.claims.wanted.number else { return ClaimStep::Nothing(ClaimOutcome::NotNeeded) };
    let Some(claim) = &seen.claims.of_number else {
        // A spec that cannot be followed takes no number from anybody.
        if validated.config.is_err() {
            return ClaimStep::Nothing(ClaimOutcome::Pending);
        }
        return ClaimStep::Create(Box::new(build::claim::claim(
            namespace,
            number,
            &validated.key,
            &seen.uid,
        )));
    };
    if claim.holder == seen.uid {
        return ClaimStep::Nothing(ClaimOutcome::Granted);
    }
    let earlier = claim.key.as_ref() == Some(&validated.key) && !claim.holder_exists;
    if earlier && validated.config.is_ok() {
        let mut lease = claim.lease.clone();
        lease.spec.get_or_insert_default().holder_identity = Some(seen.uid.clone());
        return ClaimStep::TakeOver(Box::new(lease));
    }
    ClaimStep::Nothing(ClaimOutcome::duplicate(&validated.key, claim.key.clone()))
}

impl Claimed {
    /// The facts, as the rules of both modes want them.
    pub fn observation(&self) -> Observation<'_> {
        let Self { validated: Validated { seen, config, .. }, outcome } = self;
        let heard = match &seen.heard {
            Heard::NotRunning => Observed::NotRunning,
            Heard::Unreachable { since } => Observed::Unreachable { since: *since },
            Heard::State(state) => Observed::State(state),
        };
        let pod = seen.pod.as_ref().map(|pod| pod.facts.clone());
        let volume = seen.children.volume_claim.as_ref().and_then(|volume| volume.name.clone());
        let mut observation = Observation::new(&seen.device, outcome.clone(), heard, pod, volume);
        observation.mismatch.clone_from(&seen.claims.wanted.mismatch);
        if let Err(why) = config {
            observation.invalid = Some(why.clone());
        }
        observation
    }

    fn state(&self) -> Option<&DeviceState> {
        match &self.validated.seen.heard {
            Heard::State(state) => Some(state),
            Heard::NotRunning | Heard::Unreachable { .. } => None,
        }
    }

    /// The number that the device asks for.
    fn asks(&self) -> Option<CanonicalNumber> {
        let state = self.state().filter(|state| state.claim == ClaimState::Pending)?;
        Some(state.account.as_ref()?.phone_number.canonical())
    }
}

/// What is to be done for a device.
///
/// # Errors
/// When the device's configuration cannot be written.
pub fn plan(
    claimed: &Claimed,
    settings: &Settings,
    now: Timestamp,
) -> Result<Plan, serde_saphyr::ser::Error> {
    let Validated { seen, key, config, publish } = &claimed.validated;
    let device = &seen.device;
    if let Some(leftover) = leftover(&claimed.validated) {
        return Ok(Plan { leftover: Some(leftover), rests: true, ..Plan::default() });
    }
    let observation = claimed.observation();
    let window = observation.window(&seen.previous, now);
    let expired = matches!(window, Window::Expired { .. });
    let run = config.is_ok() && !device.spec.suspend && !expired && may_have_its_number(claimed);
    let volume = seen.children.volume_claim.as_ref();
    let adopt = volume.is_some_and(|volume| volume_claim::is_adopted(device, volume));
    let stateful_set =
        build::stateful_set::stateful_set(device, key, &settings.config.device, Running { run, adopt });
    let mut plan = Plan {
        finalizers: finalizers(&claimed.validated),
        rests: !run,
        restart: run.then(|| restart(&claimed.validated, &stateful_set)).flatten(),
        answer: answer(claimed),
        pair: request_to_pair(claimed, now),
        publish: published(claimed, *publish),
        release: claimed.unneeded(),
        ..Plan::default()
    };
    let children = &seen.children;
    match config {
        Ok(config) => {
            plan.volume_claim = volume_step(&claimed.validated, settings, run, expired);
            plan.config_map = write(
                build::config_map::config_map(device, &config.clone().holding(claimed.holds()))?,
                children.config_map.as_ref(),
                Edits::Managers,
            );
            let policy = build::network_policy::network_policy(device, key, &settings.namespace);
            plan.network_policy = write(policy, children.network_policy.as_ref(), Edits::Generation);
            plan.stateful_set = write(stateful_set, children.stateful_set.as_ref(), Edits::Generation);
        }
        // A pod that runs is stopped; nothing is made of what cannot be followed.
        Err(_) if children.stateful_set.is_some() => {
            plan.stateful_set = write(stateful_set, children.stateful_set.as_ref(), Edits::Generation);
        }
        Err(_) => {}
    }
    Ok(plan)
}

/// What an earlier device of this name has left: the garbage collector has not come by yet, and applying would mix the two.
fn leftover(validated: &Validated) -> Option<&'static str> {
    let Validated { seen, .. } = validated;
    let others = |child: &Option<ObjectMeta>| {
        child.as_ref().is_some_and(|child| {
            let owners = child.owner_references.iter().flatten();
            owners.clone().any(|owner| owner.controller == Some(true) && owner.uid != seen.uid)
                || child.deletion_timestamp.is_some()
        })
    };
    let children = &seen.children;
    [
        ("StatefulSet", &children.stateful_set),
        ("PersistentVolumeClaim", &children.volume_claim),
        ("ConfigMap", &children.config_map),
        ("NetworkPolicy", &children.network_policy),
    ]
    .into_iter()
    .find_map(|(kind, child)| others(child).then_some(kind))
}

/// Whether nothing about its number keeps a device from running.
fn may_have_its_number(claimed: &Claimed) -> bool {
    match claimed.outcome {
        ClaimOutcome::Granted | ClaimOutcome::NotNeeded => true,
        ClaimOutcome::Pending => false,
        // A device whose phone just linked has to be told, and goes on until it has ended that session.
        ClaimOutcome::Duplicate { .. } => claimed.state().is_some_and(|state| {
            let linked = state.account.as_ref().map(|account| account.phone_number.canonical());
            linked.is_some()
                && linked == claimed.validated.seen.claims.wanted.number
                && matches!(state.claim, ClaimState::Pending | ClaimState::Refused)
        }),
    }
}

/// The finalizer is there for a session that is to be ended, and only then.
fn finalizers(validated: &Validated) -> Option<Vec<String>> {
    let device = &validated.seen.device;
    let now = device.metadata.finalizers.clone().unwrap_or_default();
    let has = now.iter().any(|finalizer| finalizer == names::LOGOUT_FINALIZER);
    let wants = device.spec.deletion_policy == DeletionPolicy::Logout;
    match (has, wants) {
        (false, true) => Some(now.into_iter().chain([names::LOGOUT_FINALIZER.to_owned()]).collect()),
        // It holds the device until the volume would outlive it.
        (true, false) if !owns_volume(validated) => Some(without_ours(now)),
        _ => None,
    }
}

/// Whether the volume would go with the device.
fn owns_volume(validated: &Validated) -> bool {
    let Validated { seen, .. } = validated;
    let owners =
        seen.children.volume_claim.iter().flat_map(|volume| volume.owner_references.iter().flatten());
    owners.clone().any(|owner| owner.uid == seen.uid)
}

/// What is to be done with the volume before a device goes that is to leave it: its policy may have changed a moment ago.
pub fn kept(validated: &Validated) -> Option<VolumeStep> {
    let Validated { seen, key, .. } = validated;
    let keeps = seen.device.spec.deletion_policy == DeletionPolicy::KeepSession && owns_volume(validated);
    let volume = seen.children.volume_claim.as_ref();
    let volume = volume.filter(|volume| keeps && volume.deletion_timestamp.is_none())?;
    volume_claim::change(&seen.device, key, volume).map(VolumeStep::Change)
}

/// Finalizers without the operator's own.
pub fn without_ours(finalizers: Vec<String>) -> Vec<String> {
    finalizers.into_iter().filter(|finalizer| finalizer != names::LOGOUT_FINALIZER).collect()
}

fn volume_step(validated: &Validated, settings: &Settings, run: bool, expired: bool) -> Option<VolumeStep> {
    let Validated { seen, key, .. } = validated;
    match &seen.children.volume_claim {
        // The pod has it open until it is gone. One that was made for another device, or restored, may have more in it than this device's
        // nothing.
        Some(volume) if expired => volume
            .uid
            .clone()
            .filter(|_| seen.pod.is_none() && volume.deletion_timestamp.is_none())
            .filter(|_| !volume_claim::is_adopted(&seen.device, volume))
            .map(|uid| VolumeStep::Delete { uid }),
        // A device that never ran needs none yet.
        None if !run => None,
        Some(volume) => volume_claim::change(&seen.device, key, volume).map(VolumeStep::Change),
        None => {
            let volume = volume_claim::volume_claim(&seen.device, key, &settings.config.device);
            Some(VolumeStep::Create(Box::new(volume)))
        }
    }
}

/// How it is seen that somebody else edited an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edits {
    /// By its generation, which grows with each change of its spec.
    Generation,
    /// By who manages its data; the cache has a mark for it.
    Managers,
}

/// Whether an object is to be written, and how: by what its metadata in the cache say.
fn write<K: Resource + Clone>(mut object: K, current: Option<&ObjectMeta>, edits: Edits) -> Option<Write<K>> {
    let wanted = object.meta();
    let same = current.is_some_and(|current| {
        contains(current.annotations.as_ref(), wanted.annotations.as_ref())
            && contains(current.labels.as_ref(), wanted.labels.as_ref())
            && wanted
                .owner_references
                .iter()
                .flatten()
                .all(|owner| current.owner_references.iter().flatten().any(|now| now == owner))
    });
    let edited = current.is_some_and(|current| match edits {
        Edits::Generation => {
            annotation(current, names::APPLIED_GENERATION) != current.generation.map(|now| now.to_string())
        }
        Edits::Managers => annotation(current, EDITED).is_some(),
    });
    if edits == Edits::Generation {
        // What it will be if the spec changes, as it mostly does; who writes it looks at what it became.
        let next = current.and_then(|current| current.generation).unwrap_or(0).saturating_add(1);
        let annotations = object.meta_mut().annotations.get_or_insert_default();
        annotations.insert(names::APPLIED_GENERATION.to_owned(), next.to_string());
    }
    match (current, edited, same) {
        (None, ..) => Some(Write::Make(Box::new(object))),
        (Some(current), true, _) => Some(Write::PutRight(Box::new(over(object, current)))),
        (Some(_), false, false) => Some(Write::Apply(Box::new(object))),
        (Some(_), false, true) => None,
    }
}

fn annotation(meta: &ObjectMeta, name: &str) -> Option<String> {
    meta.annotations.as_ref()?.get(name).cloned()
}

fn contains(now: Option<&BTreeMap<String, String>>, wanted: Option<&BTreeMap<String, String>>) -> bool {
    wanted.into_iter().flatten().all(|(name, value)| now.and_then(|now| now.get(name)) == Some(value))
}

/// The object in place of the one that is there: what others wrote into its metadata stays.
fn over<K: Resource>(mut object: K, current: &ObjectMeta) -> K {
    let meta = object.meta_mut();
    let mut annotations = current.annotations.clone().unwrap_or_default();
    annotations.remove(EDITED);
    annotations.extend(meta.annotations.take().unwrap_or_default());
    let mut labels = current.labels.clone().unwrap_or_default();
    labels.extend(meta.labels.take().unwrap_or_default());
    meta.annotations = Some(annotations);
    meta.labels = Some(labels);
    meta.finalizers.clone_from(&current.finalizers);
    meta.resource_version.clone_from(&current.resource_version);
    object
}

/// The pod that is not what it is to be made from.
fn restart(validated: &Validated, stateful_set: &StatefulSet) -> Option<Restart> {
    let seen = &validated.seen;
    let pod = seen.pod.as_ref().filter(|pod| !pod.stopping)?;
    if pod.template_hash.as_deref() == build::stateful_set::template_hash(stateful_set) {
        return None;
    }
    let before = match seen.previous.phase {
        Some(Phase::Connected) => Before::Connected,
        _ if pod.facts.ready => Before::Ready,
        _ => Before::Broken,
    };
    Some(Restart { pod: pod.uid.clone(), before })
}

/// The answer to a device that asks for the number that it is linked to. It is given for that number only, and granted only with its lease.
fn answer(claimed: &Claimed) -> Option<ClaimDecision> {
    let number = claimed.asks()?;
    if claimed.validated.seen.claims.wanted.number.as_ref() != Some(&number) {
        return None;
    }
    match claimed.outcome {
        ClaimOutcome::Granted => Some(ClaimDecision { number, granted: true }),
        ClaimOutcome::Duplicate { .. } => Some(ClaimDecision { number, granted: false }),
        ClaimOutcome::Pending | ClaimOutcome::NotNeeded => None,
    }
}

/// A request that the device would otherwise read from its configuration, up to a minute later.
fn request_to_pair(claimed: &Claimed, now: Timestamp) -> Option<Timestamp> {
    let state = claimed.state()?;
    let requested = pairing::requested(&claimed.validated.seen.device).filter(|requested| *requested <= now);
    requested.filter(|_| pairing::is_new_request(requested, state.observed_pair_request))
}

fn published(claimed: &Claimed, publish: PublishTo) -> Option<Publish> {
    let Validated { seen, key, .. } = &claimed.validated;
    match publish {
        PublishTo::Secret => {
            let secret = claimed
                .state()
                .and_then(|state| build::pairing_secret::pairing_secret(&seen.device, key, state));
            Some(secret.map_or(Publish::Remove, |secret| Publish::Put(Box::new(secret))))
        }
        PublishTo::Status | PublishTo::Nowhere => Some(Publish::RemoveIfKnown),
    }
}

impl Claimed {
    /// The number that the device holds.
    fn holds(&self) -> Option<&CanonicalNumber> {
        let wanted = self.validated.seen.claims.wanted.number.as_ref();
        wanted.filter(|_| self.outcome == ClaimOutcome::Granted)
    }

    /// Claims of other numbers that the device holds: one number is enough, once it has that.
    fn unneeded(&self) -> Vec<SeenClaim> {
        let seen = &self.validated.seen;
        if self.outcome != ClaimOutcome::Granted {
            return Vec::new();
        }
        let others = seen.claims.of_name.iter().filter(|claim| {
            claim.holder == seen.uid && claim.number.is_some() && claim.number != seen.claims.wanted.number
        });
        others.cloned().collect()
    }
}

/// What is to be done for a device that is being deleted.
pub fn departure(validated: &Validated, logged_out: bool, tried: bool, now: Timestamp) -> Departure {
    let Validated { seen, .. } = validated;
    let finalizers = seen.device.metadata.finalizers.iter().flatten();
    if !finalizers.clone().any(|finalizer| finalizer == names::LOGOUT_FINALIZER) {
        return Departure::Nothing;
    }
    let state = if let Heard::State(state) = &seen.heard { Some(state.as_ref()) } else { None };
    let no_session = state.is_some_and(|state| !state.paired && state.phase != Phase::Starting);
    // Of a device that is not heard, what was known last counts: at once when nothing runs, and once the time is over when its pod does, for a
    // phone may have been linked a moment ago.
    let unlinked = seen.previous.condition(PAIRED).is_some_and(|paired| paired.status == "False");
    let never_linked = state.is_none() && (unlinked || !pairing::ever_linked(&seen.previous, None));
    let keeps = seen.device.spec.deletion_policy == DeletionPolicy::KeepSession;
    let runs = seen.pod.as_ref().is_some_and(|pod| pod.address.is_some());
    if logged_out || keeps || no_session || (never_linked && !runs) {
        return Departure::Leave(None);
    }
    if seen.pod.is_none() {
        return Departure::Leave(Some("no pod runs"));
    }
    let began = seen.device.metadata.deletion_timestamp.as_ref().map_or(now, |time| time.0);
    let late = began.checked_add(LOGOUT_DEADLINE).is_ok_and(|end| end <= now);
    match (runs, late) {
        (true, false) => Departure::LogOut { last: false },
        // An operator that was away meanwhile still tries once.
        (true, true) if !tried => Departure::LogOut { last: true },
        (true, true) if never_linked => Departure::Leave(None),
        (true, true) => Departure::Leave(Some("the device could not do it in time")),
        (false, false) => Departure::LogOut { last: false },
        (false, true) => Departure::Leave(Some("the pod does not run")),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
