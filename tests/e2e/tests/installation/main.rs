//! Enlace on a real Kubernetes, installed with helm: what a person does with it, and what it must survive.
//!
//! Each test has a namespace and numbers of its own; all share one installation and one simulated WhatsApp. After each of them the record of
//! logins must show no moment in which a number had two clients.
#![expect(clippy::unwrap_used, reason = "tests")]

mod declared_by_the_api;
mod edits;
mod keeping;
mod lifecycle;
mod linking;
#[path = "../../../compat/src/live.rs"]
#[expect(dead_code, reason = "recorded pairs need more of it")]
mod live;
mod messages;
mod operator;
mod replicas;
mod rules;
#[path = "../../../skipped.rs"]
mod skipped;
mod uninstalling;
mod upgrading;
