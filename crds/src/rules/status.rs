//! The status of a device, from the one before and what was observed.
//!
//! The same facts give the same status, to the byte: what is written to the API server is only what changed. Fields that the device alone
//! knows stay while it is not heard for a short time, and what would be a lie afterwards (a code to scan, a connection) goes.

use enlace_contract::state::{Account, ClaimState, Disconnect, PairingText, Phase, QrCode};
use jiff::Timestamp;

use super::claims;
use super::conditions::conditions;
use super::observation::{Observation, Observed};
use super::phase::phase;
use crate::WhatsAppDeviceStatus;
use crate::resource::PublishIn;

/// The status of a device at a moment.
pub fn status(
    previous: &WhatsAppDeviceStatus,
    observed: &Observation<'_>,
    now: Timestamp,
) -> WhatsAppDeviceStatus {
    let phase = phase(previous, observed, now);
    let account = account(previous, observed);
    let Heard { qr, pairing_code, connected_at, disconnected_at, last_disconnect, reconnects } =
        heard(previous, observed, phase, now);
    let published = observed.publish_in == PublishIn::Status;
    WhatsAppDeviceStatus {
        phase: Some(phase),
        phone_number: number(previous, observed, account.as_ref()),
        qr: qr.filter(|_| published),
        pairing_code: pairing_code.filter(|_| published),
        account,
        connected_at,
        disconnected_at,
        last_disconnect,
        reconnects,
        pod_name: observed.pod.as_ref().map(|pod| pod.name.clone()),
        volume_claim_name: observed.volume_claim.clone(),
        image: observed.pod.as_ref().and_then(|pod| pod.image.clone()),
        observed_generation: observed.generation,
        observed_pair_request: observed
            .state()
            .and_then(|state| state.observed_pair_request)
            .max(previous.observed_pair_request),
        conditions: conditions(previous, observed, phase, now),
    }
}

/// When a device is to be looked at again although nothing changes: its pairing expires, or its silence is too long.
pub fn next_change(
    previous: &WhatsAppDeviceStatus,
    observed: &Observation<'_>,
    now: Timestamp,
) -> Option<Timestamp> {
    let expiry = match observed.window(previous, now) {
        super::pairing::Window::Open { until } if !observed.suspend => until,
        _ => None,
    };
    let silence = observed.unreachable_from().filter(|from| now < *from);
    expiry.into_iter().chain(silence).min()
}

/// The wire has whole seconds for times in conditions, and people need no more.
pub(super) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The account that is the device's. One that may yet be refused is not; one whose session ended stays, since the device was linked.
fn account(previous: &WhatsAppDeviceStatus, observed: &Observation<'_>) -> Option<Account> {
    observed
        .state()
        .filter(|state| !matches!(state.claim, ClaimState::Pending | ClaimState::Refused))
        .and_then(|state| state.account.clone())
        .or_else(|| previous.account.clone())
}

/// The effective number: that of the session; without one the declared one, else that of the account that was linked last.
fn number(
    previous: &WhatsAppDeviceStatus,
    observed: &Observation<'_>,
    account: Option<&Account>,
) -> Option<String> {
    let decided = observed.state().is_none_or(|state| state.claim != ClaimState::Pending);
    let linked = claims::session(observed.state(), previous).filter(|_| decided);
    let text = |account: &Account| account.phone_number.to_string();
    linked.map(text).or_else(|| observed.phone_number.clone()).or_else(|| account.map(text))
}

/// What the device alone knows.
struct Heard {
    qr: Option<QrCode>,
    pairing_code: Option<PairingText>,
    connected_at: Option<Timestamp>,
    disconnected_at: Option<Timestamp>,
    last_disconnect: Option<Disconnect>,
    reconnects: Option<i64>,
}

fn heard(previous: &WhatsAppDeviceStatus, observed: &Observation<'_>, phase: Phase, now: Timestamp) -> Heard {
    let kept = Heard {
        qr: previous.qr.clone(),
        pairing_code: previous.pairing_code.clone(),
        connected_at: previous.connected_at,
        disconnected_at: previous.disconnected_at,
        last_disconnect: previous.last_disconnect.clone(),
        reconnects: previous.reconnects,
    };
    let heard = match observed.device {
        Observed::State(state) => Heard {
            qr: state.qr.clone(),
            pairing_code: state.pairing_code.clone(),
            connected_at: state.connected_at.map(whole_seconds),
            disconnected_at: state.disconnected_at.map(whole_seconds),
            last_disconnect: state.last_disconnect.clone().or(kept.last_disconnect),
            reconnects: Some(i64::try_from(state.reconnects).unwrap_or(i64::MAX)),
        },
        Observed::Unreachable { .. } if observed.unreachable_from().is_some_and(|from| now < from) => kept,
        // What is not known is not said.
        Observed::Unreachable { .. } => Heard { qr: None, pairing_code: None, connected_at: None, ..kept },
        Observed::NotRunning => Heard {
            qr: None,
            pairing_code: None,
            connected_at: None,
            disconnected_at: match kept.connected_at {
                Some(_) => Some(whole_seconds(now)),
                None => kept.disconnected_at,
            },
            ..kept
        },
    };
    // A device that is to stop may still show a code; it is not to be scanned any more.
    match phase {
        Phase::Suspended | Phase::PairingExpired | Phase::Failed => {
            Heard { qr: None, pairing_code: None, ..heard }
        }
        _ => heard,
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
