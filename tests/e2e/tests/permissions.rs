//! What the API server wrote down while the other tests ran: the installation asked for nothing that it may not, and may nothing that it did
//! not ask for.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../../skipped.rs"]
mod skipped;

use std::collections::BTreeSet;

use enlace_e2e::audit::{self, Granted, Request};
use enlace_e2e::commands::kubectl;
use enlace_e2e::installation::{self, SYSTEM};

use crate::skipped::skipped;

/// The requests since the namespace of the installation was made; none where the log cannot be read.
fn requests() -> Option<Vec<Request>> {
    let Some(log) = audit::log() else {
        skipped("tests of permissions", "ENLACE_TEST_AUDIT_LOG names no audit log of this cluster");
        return None;
    };
    let since = kubectl(&["get", "namespace", SYSTEM, "--output", "jsonpath={.metadata.creationTimestamp}"]);
    let requests = audit::requests(&log, since.parse().unwrap());
    assert!(!requests.is_empty(), "the log has no request of the installation since {since}");
    Some(requests)
}

#[test]
#[ignore = "runs in the step of the cluster tests"]
fn every_request_of_the_installation_was_allowed() {
    let Some(requests) = requests() else { return };
    let refused: BTreeSet<&Request> = requests
        .iter()
        .filter(|request| request.code == 403 && !installation::was_being_uninstalled(request.at))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
#[ignore = "runs in the step of the cluster tests"]
fn no_permission_went_unused() {
    let Some(requests) = requests() else { return };
    let granted = audit::granted();
    assert!(!granted.is_empty());
    let unused: Vec<&Granted> = granted
        .iter()
        .filter(|granted| !requests.iter().any(|request| granted.is_used_by(request)))
        .collect();
    assert!(unused.is_empty(), "{unused:#?}");
}
