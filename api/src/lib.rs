//! The shared API: who may do what with which number, and the way to the device that does it.
//!
//! * [`directory`]: which devices there are, through one trait; [`directory::folder`] finds them in a folder of manifests and runs them
//!   in this process,
//! * [`database`]: users and tokens,
//! * [`auth`]: from a token to a [`auth::Principal`], passwords, the first administrator,
//! * [`http`]: the routes under `/v1`, and what guards them,
//! * [`seed`]: the compatible API under `/api`, for billing programs in Spanish,
//! * [`server`]: the listener.
//!
//! Nothing here knows WhatsApp: a request for a number is passed on to its device.

pub mod auth;
pub mod database;
pub mod directory;
pub mod http;
pub mod seed;
pub mod server;
