//! The compatible API (Spanish billing integrations) over a folder of manifests, with devices that are played.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod accounts;
mod defects;
mod devices;
mod lifecycle;
mod live;
mod log;
mod person;
mod repository;
mod sending;
mod states;

#[expect(dead_code, reason = "the stage of the other tests has more than these need")]
#[path = "../api/device.rs"]
mod device;
#[expect(dead_code, reason = "the fixture of the other tests has more than these need")]
#[path = "../api/fixture.rs"]
mod fixture;
#[path = "../../../tests/skipped.rs"]
mod skipped;
