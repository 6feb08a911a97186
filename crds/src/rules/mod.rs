//! The decisions that the operator and standalone mode share. They are pure: the clock is an argument, and the same facts give the same
//! answer.
//!
//! * [`claims`]: a number has one device,
//! * [`pairing`]: how long a device may wait to be linked,
//! * [`phase`]: where a device is in its life,
//! * [`conditions`]: the five conditions,
//! * [`observation`]: what is known of a device at one moment,
//! * [`status`]: the whole status, from what was observed.

pub mod claims;
pub mod conditions;
pub mod observation;
pub mod pairing;
pub mod phase;
pub mod status;

pub use observation::{ClaimOutcome, Observation, Observed, Place, PodFacts, UNREACHABLE_AFTER};
