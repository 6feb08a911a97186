//! The API over a folder of manifests, with devices that are played by [`device`].

mod authorization;
mod bootstrap;
mod claims;
mod device;
mod devices;
mod events;
mod fixture;
mod folder;
mod forwarding;
mod limits;
mod openapi;
mod pairing;
mod serving;
mod session;
mod tokens;
mod users;
