//! helm, which Go builds once and which is then kept for all checkouts: the chart's tests and the test cluster use the same.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::run;
use crate::setup;

/// The version that is built.
pub(crate) const VERSION: &str = "v4.3.1";

/// Where it is or will be; none without a home folder.
pub(crate) fn kept() -> Option<PathBuf> {
    Some(setup::cache()?.join(format!("helm-{VERSION}")).join("helm"))
}

/// Builds it, after saying so.
///
/// # Errors
/// There is no Go, or it fails.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let helm = kept().context("HOME is not set")?;
    let folder = helm.parent().context("helm is in no folder")?;
    ensure!(setup::answers(Command::new("go").arg("version")), "Go, which builds it, is not installed");
    println!("Building helm {VERSION} into {}: about 3 minutes, once.", folder.display());
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut command = Command::new("go");
    // Outside of any module, and with the flags of the test cluster's build, so that what is common is compiled once. Go writes a program
    // only when it is whole, so what was broken off is not found the next time.
    command
        .current_dir(folder)
        .env("CGO_ENABLED", "0")
        .env("GOBIN", folder)
        .args(["install", "-trimpath", "-ldflags", "-s -w"])
        .arg(format!("helm.sh/helm/v4/cmd/helm@{VERSION}"));
    run::run(&mut command)?;
    Ok(helm)
}
