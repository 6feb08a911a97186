//! helm, by which the chart's tests render it: one's own, or one that is built once and kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::run::{self, Outcome};
use crate::setup;

/// The package of the chart's tests, which do nothing useful without helm.
pub(super) const PACKAGE: &str = "enlace-chart-tests";

/// The variable by which the tests find it, and by which a person names another one.
pub(super) const VARIABLE: &str = "ENLACE_HELM";

/// The version that is built. The test cluster keeps its helm in the same place.
const VERSION: &str = "v4.3.1";

/// Says what [`provide`] will build, when it will.
pub(super) fn announce(fast: bool) {
    if !fast && find().is_none() {
        println!("Will build helm {VERSION} with Go, if there is one: about 3 minutes, once.");
    }
}

/// Finds helm or builds it.
///
/// # Errors
/// None: without it the chart's tests are left out, which is said.
pub(super) fn provide(helm: &mut Option<PathBuf>) -> anyhow::Result<Outcome> {
    *helm = find();
    if let Some(helm) = helm {
        println!("Nothing to install: {} is there.", helm.display());
        return Ok(Outcome::Passed);
    }
    Ok(match build() {
        Ok(built) => {
            *helm = Some(built);
            Outcome::Passed
        }
        Err(error) => {
            Outcome::PassedWithout(vec![format!("tests of the chart: there is no helm ({error:#})")])
        }
    })
}

/// The one that a person names, one that was built earlier, or one in the path.
fn find() -> Option<PathBuf> {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    [named, kept(), Some(PathBuf::from("helm"))]
        .into_iter()
        .flatten()
        .find(|helm| setup::answers(Command::new(helm).arg("version")))
}

fn kept() -> Option<PathBuf> {
    Some(setup::cache()?.join(format!("helm-{VERSION}")).join("helm"))
}

fn build() -> anyhow::Result<PathBuf> {
    let helm = kept().context("HOME is not set")?;
    let folder = helm.parent().context("helm is in no folder")?;
    ensure!(setup::answers(Command::new("go").arg("version")), "Go, which builds it, is not installed");
    println!("Building helm {VERSION} into {}.", folder.display());
    install(folder)?;
    Ok(helm)
}

/// Go writes a program only when it is whole, so what was broken off is not found the next time.
fn install(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut command = Command::new("go");
    // Outside of any module, and with the flags of the test cluster's build, so that what is common is compiled once.
    command
        .current_dir(folder)
        .env("CGO_ENABLED", "0")
        .env("GOBIN", folder)
        .args(["install", "-trimpath", "-ldflags", "-s -w"])
        .arg(format!("helm.sh/helm/v4/cmd/helm@{VERSION}"));
    run::run(&mut command)
}
