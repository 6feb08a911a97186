//! Packages of npm, installed once for the tests that run a program under Node.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use tokio::process::Command;

/// Installs a program with what its lock file names, in a folder of the build products; what is there and
/// unchanged stays. `files` are the program's own, with `package.json` and `package-lock.json`.
///
/// # Errors
/// Why it cannot be installed.
pub(crate) async fn install(name: &str, files: &[(&str, &str)]) -> Result<PathBuf, String> {
    // Installed or not: without it nothing of this runs.
    let node = Command::new("node").arg("--version").output().await;
    node.map_err(|error| format!("node cannot be started ({error}): install Node"))?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let unchanged = files
        .iter()
        .all(|(name, text)| std::fs::read_to_string(folder.join(name)).is_ok_and(|found| found == *text));
    if unchanged && folder.join("node_modules/.package-lock.json").exists() {
        return Ok(folder);
    }
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    say(&format!("Installing {name} with npm ci into {}.", folder.display()));
    let mut npm = Command::new("npm");
    // A Node that is too old is a reason to skip, not a fault.
    npm.args(["ci", "--ignore-scripts", "--engine-strict", "--omit=peer", "--no-audit", "--no-fund"]);
    npm.current_dir(&folder);
    match npm.output().await {
        Err(error) => Err(format!("npm cannot be started ({error}): install it")),
        Ok(output) if !output.status.success() => {
            let text = String::from_utf8_lossy(&output.stderr);
            let line = text.lines().next().unwrap_or_default();
            // What is half installed would count as installed.
            let _ = std::fs::remove_dir_all(folder.join("node_modules"));
            Err(format!("npm ci failed: {line}"))
        }
        Ok(_) => Ok(folder),
    }
}

/// Past what the test harness holds back, in one piece: other tests write at the same time.
pub(crate) fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}
