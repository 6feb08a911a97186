//! Where a device is in its life, from outside and inside together.

use enlace_contract::state::Phase;
use jiff::Timestamp;

use super::observation::{ClaimOutcome, Observation, Observed};
use super::pairing::Window;
use crate::WhatsAppDeviceStatus;

/// The phase of a device. What was decided about it comes before what it says: a device that was suspended a moment ago may still say that
/// it is connected.
pub fn phase(previous: &WhatsAppDeviceStatus, observed: &Observation<'_>, now: Timestamp) -> Phase {
    if observed.suspend {
        return Phase::Suspended;
    }
    if observed.invalid.is_some() {
        return Phase::Failed;
    }
    if matches!(observed.window(previous, now), Window::Expired { .. }) {
        return Phase::PairingExpired;
    }
    match observed.device {
        Observed::State(state) => state.phase,
        Observed::NotRunning if matches!(observed.claim, ClaimOutcome::Duplicate { .. }) => Phase::Failed,
        Observed::NotRunning if observed.pod.is_some() => Phase::Starting,
        Observed::NotRunning => Phase::Pending,
        Observed::Unreachable { .. } => {
            let before = said_by_the_device(previous);
            let in_time = observed.unreachable_from().is_some_and(|from| now < from);
            before.filter(|phase| in_time || phase.is_final()).unwrap_or(Phase::Starting)
        }
    }
}

/// The previous phase when the device said it: the others say nothing of what the device is once it runs.
fn said_by_the_device(previous: &WhatsAppDeviceStatus) -> Option<Phase> {
    let decided_outside = |phase: Phase| match phase {
        Phase::Pending | Phase::Suspended | Phase::PairingExpired => true,
        Phase::Failed => !previous.is_true(super::conditions::ACCEPTED),
        Phase::Starting
        | Phase::AwaitingScan
        | Phase::AwaitingCode
        | Phase::PasskeyRequired
        | Phase::Connected
        | Phase::Reconnecting
        | Phase::Disconnected
        | Phase::LoggedOut
        | Phase::Conflict
        | Phase::Banned
        | Phase::Outdated => false,
    };
    previous.phase.filter(|phase| !decided_outside(*phase))
}
