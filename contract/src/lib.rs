//! What a device is told and what it serves.
//!
//! This crate is the only thing that the device on one side, and the operator, the API and standalone mode on the other side, have in
//! common. It knows neither Kubernetes nor WhatsApp's protocol.
//!
//! * [`number`]: phone numbers and their canonical form,
//! * [`name`]: what a device is called,
//! * [`config`]: what a device is told ([`config::DeviceConfig`]),
//! * [`state`]: what a device says of itself ([`state::DeviceState`], [`state::Phase`]),
//! * [`messages`]: what goes out, [`inbox`]: what came in,
//! * [`qr`]: QR codes for a terminal,
//! * [`events`]: the event stream,
//! * [`paging`]: pages and their cursors,
//! * [`problem`]: errors as `application/problem+json`; [`body`], [`query`]: bodies of JSON, query strings and paths, and what is wrong
//!   with one,
//! * [`token`]: the short-lived tokens that open one device,
//! * [`client`]: the typed client of a device's HTTP interface,
//! * [`program`]: what every program does alike, [`together`]: what callers share that ask at the same time.

pub mod body;
pub mod client;
pub mod config;
pub mod duration;
pub mod events;
pub mod inbox;
pub mod messages;
pub mod name;
pub mod number;
pub mod paging;
pub mod problem;
pub mod program;
pub mod qr;
pub mod query;
pub mod state;
pub mod together;
pub mod token;
