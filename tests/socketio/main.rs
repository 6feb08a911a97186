//! Live events as the real `socket.io-client` hears them: under Node, with its defaults, from the real `enlace` against a simulated
//! WhatsApp.
//!
//! * [`npm`]: its installation, * [`listener`]: the client, * [`person`]: somebody with a token of the compatible API, the others: what is proven.
//!
//! The client is installed with `npm ci` into the folder of build products; without Node the tests say that they were skipped.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod listener;
mod npm;
mod person;
#[path = "../../cli/tests/enlace/program.rs"]
#[expect(dead_code, reason = "the tests of the commands need more of it")]
mod program;
#[path = "../skipped.rs"]
mod skipped;
#[path = "../../cli/tests/enlace/standalone.rs"]
#[expect(dead_code, reason = "the tests of the commands need more of it")]
mod standalone;
#[path = "../../cli/tests/enlace/world.rs"]
#[expect(dead_code, reason = "the tests of the commands need more of it")]
mod world;

mod events;
mod refusals;
