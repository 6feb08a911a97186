//! The `WhatsAppDevice` resource, and the decisions that the operator and standalone mode share.
//!
//! Nothing here talks to an API server, reads a file or looks at a clock.
//!
//! * [`resource`]: the resource: its spec, its status, and its rules (CEL in the schema),
//! * [`names`]: labels, annotations, and what a device's parts are called,
//! * [`yaml`]: the resource definition as YAML,
//! * [`manifest`]: reading and checking manifests without an API server, as strictly as one would,
//! * [`config`]: what a device is told, from its resource,
//! * [`rules`]: claims of numbers, the pairing window, the phase and the status.

pub mod config;
pub mod manifest;
pub mod names;
pub mod resource;
pub mod rules;
pub mod yaml;

pub use resource::{WhatsAppDevice, WhatsAppDeviceSpec, WhatsAppDeviceStatus};
