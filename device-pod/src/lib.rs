//! One linked number: its WhatsApp session, outbox, inbox journal and HTTP server.
//!
//! * [`Device`]: a running device,
//! * [`session`]: the session and its life,
//! * [`sending`]: the sender,
//! * [`store`]: what must survive,
//! * [`server`]: the HTTP interface,
//! * [`volume`]: the data directory, [`endpoints`]: where WhatsApp is, [`logging`]: what may be in a log.
//!
//! Nothing here knows Kubernetes.

pub mod endpoints;
pub mod logging;
pub mod sending;
pub mod server;
pub mod session;
pub mod store;
pub mod volume;

mod device;

pub use device::{Device, StartError};

/// Whose certificates this program trusts, for `--version`.
pub const TRUST: &str =
    if cfg!(feature = "simulator-trust") { "simulator (not for production)" } else { "WhatsApp" };
