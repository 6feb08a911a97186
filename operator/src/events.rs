//! What is told as an Event: transitions only, and never a number or a code.

use enlace_contract::state::Phase;
use enlace_crds::WhatsAppDeviceStatus;
use enlace_crds::rules::conditions::{
    ACCEPTED, CONNECTED, DUPLICATE_NUMBER, INVALID_SPEC, NUMBER_MISMATCH, PAIRED, POD_UNREACHABLE,
};
use kube::runtime::events::{Event, EventType};

/// What is told of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whether somebody should act.
    pub warning: bool,
    /// A word for it.
    pub reason: String,
    /// A sentence for a person.
    pub note: String,
}

impl Told {
    /// Something that is as it should be.
    pub fn normal(reason: impl Into<String>, note: impl Into<String>) -> Self {
        Self { warning: false, reason: reason.into(), note: note.into() }
    }

    /// Something that somebody should act on.
    pub fn warning(reason: impl Into<String>, note: impl Into<String>) -> Self {
        Self { warning: true, reason: reason.into(), note: note.into() }
    }

    /// The Event.
    pub fn event(self, action: &str) -> Event {
        let Self { warning, reason, mut note } = self;
        // An Event's note has at most 1 kB.
        let end =
            note.char_indices().map(|(at, _)| at).take_while(|at| *at <= 1000).last().unwrap_or_default();
        if note.len() > 1000 {
            note.truncate(end);
        }
        Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason,
            note: (!note.is_empty()).then_some(note),
            action: action.to_owned(),
            secondary: None,
        }
    }
}

/// What is told when a status follows another.
pub fn between(before: &WhatsAppDeviceStatus, after: &WhatsAppDeviceStatus) -> Vec<Told> {
    [accepted(before, after), paired(before, after), phase(before, after), unreachable(before, after)]
        .into_iter()
        .flatten()
        .collect()
}

fn accepted(before: &WhatsAppDeviceStatus, after: &WhatsAppDeviceStatus) -> Option<Told> {
    let now = after.condition(ACCEPTED)?;
    let was = before.condition(ACCEPTED);
    if was.is_some_and(|was| was.reason == now.reason && was.message == now.message) {
        return None;
    }
    match now.reason.as_str() {
        DUPLICATE_NUMBER | INVALID_SPEC => Some(Told::warning(&now.reason, &now.message)),
        NUMBER_MISMATCH => Some(Told::warning(
            &now.reason,
            "the device is linked to another number than spec.phoneNumber; it goes on running",
        )),
        _ => None,
    }
}

fn paired(before: &WhatsAppDeviceStatus, after: &WhatsAppDeviceStatus) -> Option<Told> {
    let (was, now) = (before.is_true(PAIRED), after.condition(PAIRED)?);
    match (was, now.status.as_str()) {
        (false, "True") => Some(Told::normal("Linked", "a phone is linked")),
        (true, "False") => Some(Told::warning(&now.reason, &now.message)),
        _ => None,
    }
}

fn phase(before: &WhatsAppDeviceStatus, after: &WhatsAppDeviceStatus) -> Option<Told> {
    let now = after.phase.filter(|now| before.phase != Some(*now))?;
    let message = after.condition(CONNECTED).map(|connected| connected.message.clone()).unwrap_or_default();
    match now {
        Phase::Connected => Some(Told::normal("Connected", "connected to WhatsApp")),
        Phase::Suspended => Some(Told::normal("Suspended", "stopped, as declared; the session is kept")),
        Phase::PairingExpired => Some(Told::normal(
            "PairingExpired",
            "no phone linked within pairing.timeout; `kubectl enlace pair` starts again",
        )),
        Phase::Conflict | Phase::Banned | Phase::Outdated => Some(Told::warning(now.to_string(), message)),
        // What was not accepted is told already.
        Phase::Failed if after.is_true(ACCEPTED) => Some(Told::warning(now.to_string(), message)),
        Phase::Failed
        | Phase::Pending
        | Phase::Starting
        | Phase::AwaitingScan
        | Phase::AwaitingCode
        | Phase::PasskeyRequired
        | Phase::Reconnecting
        | Phase::Disconnected
        | Phase::LoggedOut => None,
    }
}

fn unreachable(before: &WhatsAppDeviceStatus, after: &WhatsAppDeviceStatus) -> Option<Told> {
    let is = |status: &WhatsAppDeviceStatus| {
        status.condition(CONNECTED).is_some_and(|c| c.reason == POD_UNREACHABLE)
    };
    (is(after) && !is(before)).then(|| Told::warning(POD_UNREACHABLE, "the pod runs and does not answer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(phase: Phase, conditions: &[(&str, &str, &str)]) -> WhatsAppDeviceStatus {
        let conditions = conditions.iter().map(|(type_, status, reason)| {
            serde_json::from_value(serde_json::json!({
                "type": type_, "status": status, "reason": reason, "message": "why",
                "lastTransitionTime": "2030-01-01T00:00:00Z",
            }))
            .unwrap()
        });
        WhatsAppDeviceStatus {
            phase: Some(phase),
            conditions: conditions.collect(),
            ..WhatsAppDeviceStatus::default()
        }
    }

    #[test]
    fn only_transitions_are_told() {
        let scan =
            status(Phase::AwaitingScan, &[(ACCEPTED, "True", "Accepted"), (PAIRED, "False", "NotLinked")]);
        let online = status(Phase::Connected, &[(ACCEPTED, "True", "Accepted"), (PAIRED, "True", "Linked")]);
        let lost = status(Phase::Reconnecting, &[(ACCEPTED, "True", "Accepted"), (PAIRED, "True", "Linked")]);
        let out = status(
            Phase::LoggedOut,
            &[(ACCEPTED, "True", "Accepted"), (PAIRED, "False", "LoggedOutOnPhone")],
        );
        let duplicate = status(Phase::Failed, &[(ACCEPTED, "False", DUPLICATE_NUMBER)]);
        let reasons = |before: &WhatsAppDeviceStatus, after: &WhatsAppDeviceStatus| {
            between(before, after).into_iter().map(|told| (told.warning, told.reason)).collect::<Vec<_>>()
        };
        let told = |warning: bool, reason: &str| (warning, reason.to_owned());
        assert_eq!(reasons(&scan, &online), [told(false, "Linked"), told(false, "Connected")]);
        assert_eq!(reasons(&online, &online), []);
        assert_eq!(reasons(&online, &lost), [], "retries are not told");
        assert_eq!(reasons(&lost, &out), [told(true, "LoggedOutOnPhone")]);
        assert_eq!(reasons(&WhatsAppDeviceStatus::default(), &duplicate), [told(true, DUPLICATE_NUMBER)]);
        assert_eq!(reasons(&duplicate, &duplicate), []);
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let event = Told::warning("Reason", "é".repeat(2_000)).event("Reconcile");
        assert!(event.note.unwrap().len() <= 1_000);
    }
}
