//! The simulator from outside: a bare companion, the control client, and the records.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod companion;
mod controls;
mod logins;
mod pairing;
