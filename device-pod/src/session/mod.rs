//! One WhatsApp session, from the first QR code to its end.
//!
//! * [`machine`]: what happens next, as a pure function,
//! * `supervisor`: the one task that feeds the machine and carries its effects out,
//! * `engine`: the WhatsApp client, its events in our words,
//! * `transport`, `media_http`: its way to the network,
//! * `journal`: incoming messages, on disk before WhatsApp is told.

pub mod machine;

mod engine;
mod incoming;
mod journal;
mod media_http;
mod supervisor;
mod transport;

pub(crate) use engine::{AckResult, Acks, RECEIPTS, Receipt, number_of};
pub(crate) use supervisor::{Command, Supervisor, plausible, policy};
