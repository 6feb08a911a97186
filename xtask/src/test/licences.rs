//! Licences, banned crates and sources, by cargo-deny and `deny.toml`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::run::{self, Outcome};
use crate::setup;
use crate::workspace::Workspace;

/// The version that `deny.toml` is written for.
const VERSION: &str = "0.20.2";

/// Says what [`check`] will install, when it will.
pub(super) fn announce(fast: bool) {
    if !fast && find().is_none() {
        match cache() {
            Some(folder) => println!(
                "Will install cargo-deny {VERSION} from crates.io into {}: a few minutes, once.",
                folder.display()
            ),
            None => println!("Will not install cargo-deny: HOME is not set."),
        }
    }
}

/// Runs the check.
///
/// # Errors
/// A crate of the graph breaks `deny.toml`.
pub(super) fn check(workspace: &Workspace, fast: bool) -> anyhow::Result<Outcome> {
    let program = match find() {
        Some(program) => program,
        None if fast => {
            let reason = "cargo-deny is not installed and --fast installs nothing";
            return Ok(Outcome::Skipped(reason.to_owned()));
        }
        None => match install(workspace) {
            Ok(program) => program,
            // Without the tool nothing is known of the licences; that is not a fault of the code.
            Err(error) => {
                return Ok(Outcome::Skipped(format!("cargo-deny could not be installed: {error:#}")));
            }
        },
    };
    let mut command = Command::new(program);
    command
        .current_dir(&workspace.root)
        .args(["--offline", "--locked", "--all-features", "check", "--hide-inclusion-graph"])
        .args(["bans", "licenses", "sources"]);
    run::run(&mut command)?;
    Ok(Outcome::Passed)
}

/// cargo-deny of [`VERSION`]: a person's own, or the one that was installed by an earlier run.
fn find() -> Option<PathBuf> {
    let installed = cache().map(|folder| folder.join("bin/cargo-deny"));
    [Some(PathBuf::from("cargo-deny")), installed].into_iter().flatten().find(|program| {
        let answer = Command::new(program).arg("--version").stderr(Stdio::null()).output();
        answer.is_ok_and(|answer| {
            String::from_utf8_lossy(&answer.stdout).trim() == format!("cargo-deny {VERSION}")
        })
    })
}

fn install(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let Some(folder) = cache() else { anyhow::bail!("HOME is not set") };
    std::fs::create_dir_all(&folder)?;
    println!("Installing cargo-deny {VERSION} into {}.", folder.display());
    // In the checkout, for its toolchain; the output goes to a folder that cargo removes.
    let mut command = workspace.plain_cargo();
    command
        .env_remove("CARGO_TARGET_DIR")
        .args(["install", "cargo-deny", "--locked", "--version", VERSION, "--root"])
        .arg(&folder);
    run::run(&mut command)?;
    Ok(folder.join("bin/cargo-deny"))
}

/// Where the tool is kept from one run to the next, for all checkouts.
fn cache() -> Option<PathBuf> {
    Some(setup::cache()?.join(format!("cargo-deny-{VERSION}")))
}
