//! The API over a folder of manifests, with devices that are played by [`device`].

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod authorization;
mod bootstrap;
mod claims;
mod copies;
mod device;
mod devices;
mod events;
mod fixture;
mod folder;
mod forwarding;
mod front;
mod kept;
mod limits;
mod openapi;
mod pairing;
mod serving;
mod session;
mod tokens;
mod users;
