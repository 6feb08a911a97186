//! What tests install and build by themselves, once, among the build products: clients that others wrote.

use crate::workspace::Workspace;

/// What marks it as done, and what it is.
const INSTALLED: [(&str, &str); 3] = [
    ("socketio-client/node_modules/.package-lock.json", "install socket.io-client with npm ci"),
    ("peers-baileys/node_modules/.package-lock.json", "install Baileys with npm ci"),
    ("peers-whatsmeow", "build whatsmeow with Go"),
];

/// Says what the tests will install, when they will. Without npm or Go they say that they are skipped.
pub(super) fn announce(workspace: &Workspace, fast: bool) {
    let folder = workspace.intermediate.join("tmp");
    for (_, what) in INSTALLED.into_iter().filter(|(mark, _)| !fast && !folder.join(mark).exists()) {
        println!("The tests will {what} into {}, if they can.", folder.display());
    }
}
