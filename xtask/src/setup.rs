//! What a chore needs beside cargo. It says what it installs before it does.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::run;
use crate::workspace::Workspace;

/// Parts of the toolchain that some installations leave out, with the command of each.
const COMPONENTS: [(&str, &str); 2] = [("rustfmt", "fmt"), ("clippy", "clippy")];

/// Installs the parts of the toolchain that are missing.
///
/// # Errors
/// `rustup` cannot be started or fails.
pub(crate) fn toolchain(workspace: &Workspace) -> anyhow::Result<()> {
    let missing: Vec<&str> = COMPONENTS
        .into_iter()
        .filter(|(_, verb)| !answers(workspace.plain_cargo().args([verb, "--version"])))
        .map(|(component, _)| component)
        .collect();
    if missing.is_empty() {
        println!("Nothing to install: rustfmt and clippy are there.");
        return Ok(());
    }
    println!("Installing through rustup, into the Rust toolchain of this folder: {}.", missing.join(", "));
    run::run(Command::new("rustup").args(["component", "add"]).args(missing).current_dir(&workspace.root))
}

/// Where tools are kept from one run to the next, for all checkouts: none without a home folder.
pub(crate) fn cache() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))?;
    Some(caches.join("enlace"))
}

/// Whether a program can be started and ends well.
pub(crate) fn answers(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
