//! Why there is no way to a device now.

use enlace_contract::name::DeviceKey;
use enlace_contract::state::Phase;
use enlace_crds::rules::conditions::{ACCEPTED, CONNECTED, POD_READY};
use enlace_crds::rules::pairing;
use enlace_crds::{WhatsAppDeviceStatus, names};

use super::pods::DevicePod;
use crate::directory::{Away, Device};

/// A person or the operator has to act first, and it is not worth asking each second.
const LATER: u64 = 60;
/// It may come back by itself.
const SOON: u64 = 30;
/// Something is on its way.
const AT_ONCE: u64 = 3;

/// Why a device cannot be asked, given that its pod cannot be.
pub(super) fn away(key: &DeviceKey, device: Option<&Device>, pod: Option<&DevicePod>) -> Away {
    let Some(device) = device else {
        return Away {
            phase: Phase::Pending,
            detail: format!("there is no device {key}"),
            retry_after: SOON,
        };
    };
    let (phase, detail, retry_after) = reason(device, pod);
    Away { phase, detail: format!("{key} {detail}"), retry_after }
}

fn reason(device: &Device, pod: Option<&DevicePod>) -> (Phase, String, u64) {
    let empty = WhatsAppDeviceStatus::default();
    let status = device.resource.status.as_ref().unwrap_or(&empty);
    if device.resource.spec.suspend {
        return (Phase::Suspended, "is suspended; resume it first".to_owned(), LATER);
    }
    if device.resource.metadata.deletion_timestamp.is_some() {
        return (device.phase(), "is being deleted".to_owned(), SOON);
    }
    let requested = pairing::requested(&device.resource);
    let asked = pairing::is_new_request(requested, status.observed_pair_request);
    match device.phase() {
        Phase::PairingExpired if !asked => {
            let detail = "was not linked in time and is stopped; ask for new codes with POST …/pair";
            (Phase::PairingExpired, detail.to_owned(), LATER)
        }
        Phase::Failed => {
            let why = message(status, ACCEPTED).or_else(|| message(status, CONNECTED));
            let why = why.unwrap_or("see its conditions");
            (Phase::Failed, format!("does not run: {why}"), SOON)
        }
        phase => {
            // What the device said of itself holds no more without its pod, but for an end that stays one.
            let phase = if phase.is_final() && !asked { phase } else { Phase::Starting };
            (phase, waiting(device, status, pod), AT_ONCE)
        }
    }
}

fn waiting(device: &Device, status: &WhatsAppDeviceStatus, pod: Option<&DevicePod>) -> String {
    let name = names::pod(&device.key);
    match pod.map(|pod| &pod.facts) {
        None => match message(status, POD_READY) {
            Some(why) => format!("has no pod now: {why}"),
            None => "has no pod yet".to_owned(),
        },
        Some(facts) if facts.stopping => format!("is restarting: its pod {name} is stopping"),
        Some(_) => format!("is starting: its pod {name} is not ready yet"),
    }
}

/// What a condition that is not True says to a person.
fn message<'a>(status: &'a WhatsAppDeviceStatus, type_: &str) -> Option<&'a str> {
    let condition = status.condition(type_).filter(|condition| condition.status != "True")?;
    Some(condition.message.as_str()).filter(|message| !message.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn device(spec: Value, status: Value) -> Device {
        let resource = json!({ "apiVersion": "enlace.dev/v1alpha1", "kind": "WhatsAppDevice",
            "metadata": {"namespace": "shop", "name": "a", "annotations": {"enlace.dev/pair-requested": "2026-01-02T00:00:00Z"}},
            "spec": spec, "status": status });
        super::super::resource::device(serde_json::from_value(resource).unwrap()).unwrap()
    }

    fn told(spec: Value, status: Value) -> (Phase, String) {
        let device = device(spec, status);
        let away = away(&device.key, Some(&device), None);
        (away.phase, away.detail)
    }

    #[test]
    fn each_phase_has_a_sentence_that_says_what_helps() {
        let suspended = told(json!({"suspend": true}), json!({"phase": "Connected", "reconnects": 0}));
        assert_eq!(suspended, (Phase::Suspended, "shop/a is suspended; resume it first".into()));
        let expired = json!({"phase": "PairingExpired", "observedPairRequest": "2026-01-02T00:00:00Z"});
        let (phase, detail) = told(json!({}), expired);
        assert_eq!(phase, Phase::PairingExpired);
        assert!(detail.contains("POST …/pair"), "{detail}");
        let failed = json!({"phase": "Failed", "conditions": [{"type": "Accepted", "status": "False",
            "reason": "DuplicateNumber", "message": "the number is shop/b's", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        assert_eq!(
            told(json!({}), failed),
            (Phase::Failed, "shop/a does not run: the number is shop/b's".into())
        );
        assert_eq!(told(json!({}), json!(null)), (Phase::Starting, "shop/a has no pod yet".into()));
    }

    #[test]
    fn a_request_to_pair_that_is_on_its_way_is_a_start() {
        assert_eq!(told(json!({}), json!({"phase": "PairingExpired"})).0, Phase::Starting);
    }
}
