//! The simulator from outside: a bare companion, the control client, and the records.

mod companion;
mod controls;
mod logins;
mod pairing;
