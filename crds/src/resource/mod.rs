//! The `WhatsAppDevice` resource.
//!
//! * [`spec`]: what a person declares, [`pod`]: what a person may say of the pod,
//! * [`status`]: what is so,
//! * `cel`: the rules of the schema and the sentences that people read when one is broken,
//! * `schema`: how the schema is kept structural and small.

mod cel;
mod schema;

pub mod pod;
pub mod spec;
pub mod status;

pub use pod::PodSettings;
pub use spec::{
    AccessMode, Connection, DeletionPolicy, Pairing, PublishIn, Sending, Storage, WhatsAppDevice,
    WhatsAppDeviceSpec,
};
pub use status::WhatsAppDeviceStatus;

#[cfg(test)]
mod cel_tests;
#[cfg(test)]
mod crd_tests;
