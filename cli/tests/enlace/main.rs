//! The real `enlace`, against a simulated WhatsApp.
//!
//! * [`world`]: a simulator, a folder of manifests and a data directory; [`standalone`]: `enlace standalone` on them,
//! * [`program`]: a running program and what it writes, [`eye`]: the camera of a phone before a terminal,
//!   [`relay`]: a way to WhatsApp that can be cut,
//! * the others: what is proven, a file for each subject.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod eye;
mod program;
mod relay;
mod standalone;
mod world;

mod deleting;
mod folder;
mod linking;
mod neighbours;
mod pairing;
mod refusals;
mod restarting;
mod secrets;
mod showing;
