//! The operator against an API server in memory.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![expect(unreachable_pub, reason = "the modules of a test have no outside")]

mod children;
mod claims;
mod departure;
mod permissions;
mod program;
mod restarts;
mod server;
mod stage;
mod status;
