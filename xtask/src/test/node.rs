//! Packages of npm: the tests that run a program under Node install them once, among the build products.

use crate::workspace::Workspace;

/// The folder of each, and what is installed into it.
const PACKAGES: [(&str, &str); 1] = [("socketio-client", "socket.io-client")];

/// Says what the tests will install, when they will. Without npm they say that they are skipped.
pub(super) fn announce(workspace: &Workspace, fast: bool) {
    let folder = workspace.intermediate.join("tmp");
    let is_there = |name: &str| folder.join(name).join("node_modules/.package-lock.json").exists();
    let missing: Vec<&str> =
        PACKAGES.into_iter().filter(|(name, _)| !is_there(name)).map(|(_, what)| what).collect();
    if !fast && !missing.is_empty() {
        println!(
            "Will install with npm ci into {}, if there is npm: {}.",
            folder.display(),
            missing.join(", ")
        );
    }
}
