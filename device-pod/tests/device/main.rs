//! A device against the simulated WhatsApp: each test has a simulator, a data directory and ports of its own.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod crash;
mod endings;
mod events;
mod fixture;
mod http;
mod pairing;
mod process;
mod receiving;
mod restoring;
mod sending;
#[path = "../../../tests/skipped.rs"]
mod skipped;
