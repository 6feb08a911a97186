//! Enlace on a real Kubernetes, installed with helm: what a person does with it, and what it must survive.
//!
//! Each test has a namespace and numbers of its own; all share one installation and one simulated WhatsApp. After each of them the record of
//! logins must show no moment in which a number had two clients.
#![expect(clippy::unwrap_used, reason = "tests")]

mod declared_by_the_api;
mod edits;
mod lifecycle;
mod linking;
mod messages;
mod operator;
mod rules;
mod uninstalling;
