//! The five conditions: `Accepted`, `PodReady`, `Paired`, `Connected`, `Ready`.
//!
//! `Ready` means "running as declared". It is True while a human has yet to scan and while a lost connection comes back, so that tools
//! that wait for it do not hang; `Connected` is the one to wait for.

use enlace_contract::state::{ClaimState, DeviceState, Phase, Reason};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::observation::{ClaimOutcome, Observation, Observed, Place, PodFacts};
use crate::WhatsAppDeviceStatus;

/// Valid, and its number claimed.
pub const ACCEPTED: &str = "Accepted";
/// The pod is ready.
pub const POD_READY: &str = "PodReady";
/// A phone is linked.
pub const PAIRED: &str = "Paired";
/// Connected to WhatsApp.
pub const CONNECTED: &str = "Connected";
/// Running as declared.
pub const READY: &str = "Ready";

/// Reason: the device cannot be reached.
pub const POD_UNREACHABLE: &str = "PodUnreachable";
/// Reason: the same of a device that has no pod.
pub const UNREACHABLE: &str = "Unreachable";
/// Reason: the number is another device's.
pub const DUPLICATE_NUMBER: &str = "DuplicateNumber";
/// Reason: the device is linked to another number than the declared one.
pub const NUMBER_MISMATCH: &str = "NumberMismatch";
/// Reason: codes are wanted in a Secret, where the operator may not write one.
pub const CODE_NOT_PUBLISHED: &str = "CodeNotPublished";
/// Reason: the spec cannot be followed.
pub const INVALID_SPEC: &str = "InvalidSpec";

/// What a condition says, before it has a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    status: &'static str,
    reason: String,
    message: String,
}

impl Verdict {
    fn yes(reason: impl ToString, message: impl Into<String>) -> Self {
        Self { status: "True", reason: reason.to_string(), message: message.into() }
    }

    fn no(reason: impl ToString, message: impl Into<String>) -> Self {
        Self { status: "False", reason: reason.to_string(), message: message.into() }
    }

    fn unknown(reason: impl ToString, message: impl Into<String>) -> Self {
        Self { status: "Unknown", reason: reason.to_string(), message: message.into() }
    }

    /// What a condition said before.
    fn before(previous: &WhatsAppDeviceStatus, type_: &str) -> Option<Self> {
        let Condition { status, reason, message, .. } = previous.condition(type_)?;
        let status = match status.as_str() {
            "True" => "True",
            "False" => "False",
            _ => "Unknown",
        };
        Some(Self { status, reason: reason.clone(), message: message.clone() })
    }

    fn is_true(&self) -> bool {
        self.status == "True"
    }
}

/// The conditions of a device whose phase is known. Each has the generation that was looked at; its time moves only when its status does.
pub(super) fn conditions(
    previous: &WhatsAppDeviceStatus,
    observed: &Observation<'_>,
    phase: Phase,
    now: Timestamp,
) -> Vec<Condition> {
    let accepted = accepted(observed);
    let pod_ready = pod_ready(observed, phase);
    let paired = paired(previous, observed, phase);
    let connected = connected(previous, observed, phase, now);
    let ready = ready(observed, phase, &accepted, &pod_ready, &connected);
    [(ACCEPTED, accepted), (POD_READY, pod_ready), (PAIRED, paired), (CONNECTED, connected), (READY, ready)]
        .into_iter()
        .map(|(type_, verdict)| condition(previous, type_, verdict, observed.generation, now))
        .collect()
}

fn condition(
    previous: &WhatsAppDeviceStatus,
    type_: &str,
    verdict: Verdict,
    observed_generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let Verdict { status, reason, message } = verdict;
    let unchanged = previous.condition(type_).filter(|before| before.status == status);
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason,
        message,
        observed_generation,
        // Conditions have whole seconds on the wire: a fraction would differ from itself after it was stored.
        last_transition_time: unchanged.map_or_else(
            || Time(super::status::whole_seconds(now)),
            |before| before.last_transition_time.clone(),
        ),
    }
}

fn accepted(observed: &Observation<'_>) -> Verdict {
    if let Some(why) = &observed.invalid {
        return Verdict::no(INVALID_SPEC, why);
    }
    match (&observed.claim, &observed.mismatch) {
        (ClaimOutcome::Granted | ClaimOutcome::NotNeeded, Some(mismatch)) => {
            Verdict::no(NUMBER_MISMATCH, mismatch.to_string())
        }
        (ClaimOutcome::Granted, None) => Verdict::yes(ACCEPTED, "the number is this device's"),
        (ClaimOutcome::NotNeeded, None) => {
            Verdict::yes(ACCEPTED, "the number will be that of the phone that links")
        }
        (ClaimOutcome::Pending, _) => {
            Verdict::unknown("ClaimPending", "the claim of the number is not decided")
        }
        (ClaimOutcome::Duplicate { holder }, _) => {
            let holder = holder.as_ref().map_or_else(|| "another device".to_owned(), ToString::to_string);
            let message = format!(
                "the number belongs to {holder}: use another number here, or delete that device first"
            );
            Verdict::no(DUPLICATE_NUMBER, message)
        }
    }
}

fn pod_ready(observed: &Observation<'_>, phase: Phase) -> Verdict {
    match &observed.pod {
        Some(pod) if pod.ready => Verdict::yes(POD_READY, ""),
        Some(PodFacts { stuck: Some(why), .. }) => {
            Verdict::no("PodNotReady", format!("the pod cannot start: {why}"))
        }
        Some(_) => match observed.place {
            Place::Pod => Verdict::no("PodNotReady", "the pod is starting, or its container is not ready"),
            Place::Process => {
                // One that cannot be started says why in place of a state.
                let failed = observed.state().filter(|_| phase == Phase::Failed);
                let why = failed.and_then(|state| state.message.as_deref());
                Verdict::no("NotStarted", why.unwrap_or("the device is starting or stopping"))
            }
        },
        None => match observed.place {
            Place::Pod => Verdict::no(without_pod(observed, phase), "there is no pod"),
            Place::Process => Verdict::no(without_pod(observed, phase), "nothing runs"),
        },
    }
}

/// Why there is no pod.
fn without_pod(observed: &Observation<'_>, phase: Phase) -> String {
    match phase {
        Phase::Failed if observed.invalid.is_some() => INVALID_SPEC.to_owned(),
        Phase::Failed => DUPLICATE_NUMBER.to_owned(),
        Phase::Suspended | Phase::PairingExpired | Phase::Pending => phase.to_string(),
        _ => match observed.place {
            Place::Pod => "NoPod".to_owned(),
            Place::Process => "NotRunning".to_owned(),
        },
    }
}

fn paired(previous: &WhatsAppDeviceStatus, observed: &Observation<'_>, phase: Phase) -> Verdict {
    if phase == Phase::PairingExpired {
        let command = pair_command(observed.place);
        let message = format!("no phone linked within pairing.timeout; `{command}` starts again");
        return Verdict::no(phase, message);
    }
    let Some(state) = observed.state().filter(|state| state.paired || state.phase != Phase::Starting) else {
        return unheard(previous, phase);
    };
    if state.paired && state.claim != ClaimState::Refused {
        return Verdict::yes("Linked", "");
    }
    let message = state.message.as_deref().unwrap_or("no phone is linked");
    match state.reason.filter(|reason| ends_a_link(*reason)) {
        Some(reason) => Verdict::no(reason, message),
        None if state.paired => {
            let message = "the number that linked is not this device's: link a phone with another one";
            Verdict::no(DUPLICATE_NUMBER, message)
        }
        None => Verdict::no("NotLinked", message),
    }
}

/// What asks for codes on the command line.
const fn pair_command(place: Place) -> &'static str {
    match place {
        Place::Pod => "kubectl enlace pair",
        Place::Process => "enlace pair",
    }
}

/// A device that is not heard is what it was. That no phone is linked is forgotten when it is suspended, so that the time to link one starts
/// anew with the device; see [`super::pairing`].
fn unheard(previous: &WhatsAppDeviceStatus, phase: Phase) -> Verdict {
    Verdict::before(previous, PAIRED)
        .filter(|before| before.status == "True" || before.status == "False" && phase != Phase::Suspended)
        .unwrap_or_else(|| Verdict::unknown(phase, "nothing is known of the session yet"))
}

/// Whether a reason says why no phone is linked, and not merely why there is no connection.
fn ends_a_link(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::LoggedOutOnPhone
            | Reason::LoggedOutByRequest
            | Reason::NumberMismatch
            | Reason::DuplicateNumber
            | Reason::NobodyScanned
            | Reason::PairingCodeRefused
            | Reason::PairingFailed
            | Reason::PasskeyRequired
    )
}

fn connected(
    previous: &WhatsAppDeviceStatus,
    observed: &Observation<'_>,
    phase: Phase,
    now: Timestamp,
) -> Verdict {
    match observed.device {
        Observed::State(state) => said(state),
        Observed::NotRunning if observed.pod.is_some() => Verdict::no(phase, "it is starting or stopping"),
        Observed::NotRunning => Verdict::no(without_pod(observed, phase), "nothing runs"),
        Observed::Unreachable { .. } => {
            let in_time = observed.unreachable_from().is_some_and(|from| now < from);
            let before = Verdict::before(previous, CONNECTED).filter(|_| in_time);
            before.unwrap_or_else(|| Verdict::unknown(unreachable(observed), "the device does not answer"))
        }
    }
}

const fn unreachable(observed: &Observation<'_>) -> &'static str {
    match observed.place {
        Place::Pod => POD_UNREACHABLE,
        Place::Process => UNREACHABLE,
    }
}

fn said(state: &DeviceState) -> Verdict {
    let message = state.message.clone().unwrap_or_default();
    match (state.phase, state.reason) {
        (Phase::Connected, _) => Verdict::yes(CONNECTED, ""),
        (_, Some(reason)) => Verdict::no(reason, message),
        (phase, None) => Verdict::no(phase, message),
    }
}

fn ready(
    observed: &Observation<'_>,
    phase: Phase,
    accepted: &Verdict,
    pod_ready: &Verdict,
    connected: &Verdict,
) -> Verdict {
    if phase == Phase::Suspended {
        return match &observed.pod {
            None => Verdict::yes(phase, "stopped, as declared"),
            Some(_) => match observed.place {
                Place::Pod => Verdict::no("Stopping", "the pod is being stopped"),
                Place::Process => Verdict::no("Stopping", "the device is being stopped"),
            },
        };
    }
    if !accepted.is_true() {
        return accepted.clone();
    }
    if phase == Phase::PairingExpired {
        return Verdict::no(phase, "no phone linked within pairing.timeout");
    }
    if !pod_ready.is_true() {
        return pod_ready.clone();
    }
    if connected.reason == unreachable(observed) {
        return connected.clone();
    }
    if let Some(obstacle) = obstacle(observed, connected) {
        return obstacle;
    }
    match phase {
        Phase::Connected => Verdict::yes(READY, ""),
        Phase::AwaitingScan | Phase::AwaitingCode | Phase::PasskeyRequired => {
            Verdict::yes(phase, "running; a phone has yet to link")
        }
        Phase::Reconnecting => Verdict::yes(phase, "running; the connection comes back by itself"),
        // Nobody scanned, and codes stopped: a human has yet to act.
        Phase::Disconnected if observed.state().is_none_or(|state| !state.paired) => {
            let command = pair_command(observed.place);
            let message = format!(
                "running; a phone has yet to link, and there is no code: `{command}` asks for new ones"
            );
            Verdict::yes(&connected.reason, message)
        }
        Phase::Pending
        | Phase::Starting
        | Phase::Disconnected
        | Phase::LoggedOut
        | Phase::PairingExpired
        | Phase::Conflict
        | Phase::Banned
        | Phase::Outdated
        | Phase::Suspended
        | Phase::Failed => Verdict::no(phase, connected.message.clone()),
    }
}

/// What keeps a device from connecting until somebody makes room or mends its files, although it is tried again and again.
fn obstacle(observed: &Observation<'_>, connected: &Verdict) -> Option<Verdict> {
    let help = match (observed.state()?.reason?, observed.place) {
        (Reason::DiskFull, Place::Pod) => "raise spec.storage.size, or make room on the volume",
        (Reason::DiskFull, Place::Process) => "make room on the disk",
        (Reason::StoreFailed, Place::Pod) => "look at the volume and at the log of the pod",
        (Reason::StoreFailed, Place::Process) => "look at the disk, the data directory and the log",
        _ => return None,
    };
    let message = match connected.message.as_str() {
        "" => help.to_owned(),
        message => format!("{help}: {message}"),
    };
    Some(Verdict::no(&connected.reason, message))
}
