//! One linked number: its WhatsApp session, outbox, inbox journal and HTTP server.
//!
//! * [`Device`]: a running device,
//! * [`session`]: the session and its life,
//! * [`sending`]: the sender,
//! * [`store`]: what must survive,
//! * [`server`]: the HTTP interface,
//! * [`volume`]: the data directory, [`endpoints`]: where WhatsApp is.
//!
//! Nothing here knows Kubernetes.

pub mod endpoints;
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

/// What is logged of a device unless somebody asks for more. The engine logs under names of its own, and tells numbers and pairing codes at
/// `info`: only what is allowed here gets through.
pub const LOG: &str = "warn,whatsapp_rust=error,wacore=error,enlace_device_pod=info";
