//! The chart, rendered by helm.
//!
//! * `fixture`: values, and objects by kind and name,
//! * `rendering`: the same text each time, of objects that Kubernetes knows,
//! * `values`: what is refused, and how it is said,
//! * `workloads`: what pods are allowed,
//! * `permissions`: what the programs may ask of the API server,
//! * `wiring`: what one part of the installation expects of another.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where something is missing")]

mod fixture;
mod permissions;
mod rendering;
mod values;
mod wiring;
mod workloads;
