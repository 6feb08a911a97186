//! helm, by which the chart's tests render it: one's own, or one that is built once and kept.

use std::path::PathBuf;
use std::process::Command;

use crate::helm::{self, VERSION};
use crate::run::Outcome;
use crate::setup;

/// The package of the chart's tests, which do nothing useful without helm.
pub(super) const PACKAGE: &str = "enlace-chart-tests";

/// The variable by which the tests find it, and by which a person names another one.
pub(super) const VARIABLE: &str = "ENLACE_HELM";

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
pub(super) fn provide(found: &mut Option<PathBuf>) -> anyhow::Result<Outcome> {
    *found = find();
    if let Some(helm) = found {
        println!("Nothing to install: {} is there.", helm.display());
        return Ok(Outcome::Passed);
    }
    Ok(match helm::build() {
        Ok(built) => {
            *found = Some(built);
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
    [named, helm::kept(), Some(PathBuf::from("helm"))]
        .into_iter()
        .flatten()
        .find(|helm| setup::answers(Command::new(helm).arg("version")))
}
