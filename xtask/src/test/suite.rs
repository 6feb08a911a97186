//! The tests, and which of them did not run.

use std::path::Path;

use anyhow::ensure;

use super::chart;
use crate::build::Trust;
use crate::run::{self, Outcome, Written};
use crate::workspace::Workspace;

/// How the tests begin that compare a generated file with the committed one.
const GENERATED: &str = "the_committed_";

/// Why a test does not run here that has a step of its own, which says whether it ran.
const CLUSTER_TEST: &str = "runs in the step of the cluster tests";

/// Builds the tests and the programs that they start.
///
/// # Errors
/// They do not build.
pub(super) fn build(workspace: &Workspace, fast: bool) -> anyhow::Result<()> {
    if fast {
        let mut command = workspace.cargo("test", Trust::Simulator);
        return run::run(command.args(["--workspace", "--lib", "--bins", "--no-run"]));
    }
    let mut command = workspace.cargo("build", Trust::Simulator);
    run::run(command.args(["--workspace", "--all-targets"]))
}

/// Compares the generated files with the code.
///
/// # Errors
/// A file is out of date.
pub(super) fn generated_files(workspace: &Workspace, fast: bool) -> anyhow::Result<Outcome> {
    let mut command = workspace.cargo("test", Trust::Simulator);
    let targets = if fast { "--lib" } else { "--tests" };
    command.args(["--quiet", "--workspace", targets, "--", "--format", "pretty", GENERATED]);
    let Written { output, skipped } = run::run_and_read(&mut command)?;
    let Tally { passed, .. } = Tally::read(&output);
    ensure!(passed > 0, "no test's name begins with {GENERATED}: nothing was compared");
    Ok(Outcome::without(skipped))
}

/// Runs the tests; without helm, all but the chart's.
///
/// # Errors
/// One of them fails; the others ran as well.
pub(super) fn run(workspace: &Workspace, fast: bool, helm: Option<&Path>) -> anyhow::Result<Outcome> {
    let mut command = workspace.cargo("test", Trust::Simulator);
    command.args(["--workspace", "--no-fail-fast"]);
    if fast {
        command.args(["--lib", "--bins"]);
    } else {
        // The proof that a production device refuses the simulator needs a production device.
        command.env("ENLACE_PRODUCTION_DEVICE", workspace.program(Trust::Production, "device-pod"));
        match helm {
            Some(helm) => command.env(chart::VARIABLE, helm),
            None => command.args(["--exclude", chart::PACKAGE]),
        };
    }
    let Written { output, skipped } = run::run_and_read(&mut command)?;
    let Tally { passed, ignored } = Tally::read(&output);
    println!("{passed} tests passed.");
    ensure!(passed > 0, "no test ran");
    Ok(Outcome::without([ignored, skipped].concat()))
}

/// What the test programs wrote, counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    /// Each test that is marked `#[ignore]`, with its reason.
    ignored: Vec<String>,
}

impl Tally {
    fn read(output: &str) -> Self {
        let mut tally = Self::default();
        for line in output.lines() {
            let Some((name, result)) = line.strip_prefix("test ").and_then(|line| line.rsplit_once(" ... "))
            else {
                continue;
            };
            match result.split_once(", ").unwrap_or((result, "")) {
                ("ok", _) => tally.passed += 1,
                ("ignored", reason) if reason == CLUSTER_TEST => {}
                ("ignored", "") => tally.ignored.push(format!("test {name}: marked #[ignore]")),
                ("ignored", reason) => tally.ignored.push(format!("test {name}: {reason}")),
                _ => {}
            }
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_tests_are_listed_with_their_reason() {
        let output = "
running 4 tests
test queue::order_is_kept ... ok
test cluster::installs ... ignored, needs a cluster
test slow ... ignored
test devices::pods ... ignored, runs in the step of the cluster tests

test result: ok. 1 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.01s
";
        assert_eq!(
            Tally::read(output),
            Tally {
                passed: 1,
                ignored: vec![
                    "test cluster::installs: needs a cluster".to_owned(),
                    "test slow: marked #[ignore]".to_owned(),
                ],
            }
        );
    }
}
