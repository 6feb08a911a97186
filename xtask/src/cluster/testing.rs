//! The tests that need a Kubernetes: the package `enlace-e2e`.

use anyhow::ensure;

use super::{Cluster, Programs, down, host, layout, load, own_cluster, up};
use crate::build::Trust;
use crate::images;
use crate::run::{self, Outcome, Written};
use crate::test::databases;
use crate::workspace::Workspace;

/// The test programs, in order: the second looks at what the first asked of the API server.
const PROGRAMS: [&str; 2] = ["installation", "permissions"];
/// Tests wait most of the time.
const AT_A_TIME: &str = "--test-threads=4";

/// Says what [`test`] will install and build, when it will.
///
/// # Errors
/// The sources cannot be read.
pub(crate) fn announce(workspace: &Workspace, fast: bool) -> anyhow::Result<()> {
    if fast || own_cluster().is_some() || obstacle(workspace)?.is_some() {
        return Ok(());
    }
    let packages = host::missing_packages();
    if !packages.is_empty() {
        println!("Will install through apt-get, for the test cluster: {}.", packages.join(", "));
    }
    for sentence in Programs::of(workspace)?.missing() {
        println!("Will {sentence}.");
    }
    Ok(())
}

/// Runs the tests, on the cluster that runs or on one that is started and ended for them. After a failure it stays, to be looked at.
///
/// # Errors
/// A part does not build, the cluster does not start, or a test fails.
pub(crate) fn test(workspace: &Workspace, words: &[String]) -> anyhow::Result<Outcome> {
    if let Some(obstacle) = obstacle(workspace)? {
        return Ok(Outcome::Skipped(obstacle));
    }
    let was_there = own_cluster().is_some() || layout::folder().exists();
    let cluster = up(workspace)?;
    if own_cluster().is_none() {
        load(&images::light(workspace)?)?;
    }
    let mut without = match databases::provide_postgres()? {
        Outcome::PassedWithout(parts) => parts,
        Outcome::Passed | Outcome::Skipped(_) => Vec::new(),
    };
    let mut passed = 0;
    for program in PROGRAMS {
        // Permissions that a few tests do not need are no fault.
        if program == "permissions" && !words.is_empty() {
            continue;
        }
        let Written { output, skipped } = run_program(workspace, &cluster, program, words)?;
        passed +=
            output.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ... ok")).count();
        without.extend(skipped);
    }
    ensure!(passed > 0, "no test ran");
    println!("{passed} tests passed.");
    if !was_there {
        down::stop_all()?;
        println!("The test cluster is gone.");
    }
    Ok(Outcome::without(without))
}

fn run_program(
    workspace: &Workspace,
    cluster: &Cluster,
    program: &str,
    words: &[String],
) -> anyhow::Result<Written> {
    let mut command = workspace.cargo("test", Trust::Simulator);
    // Of the whole workspace, so that nothing is built again with other features.
    command.args(["--workspace", "--test", program, "--", "--ignored", AT_A_TIME]).args(words);
    cluster.tell(&mut command)?;
    run::run_and_read(&mut command)
}

/// Why they cannot run here, if so. A cluster of one's own needs nothing of this machine.
pub(super) fn obstacle(workspace: &Workspace) -> anyhow::Result<Option<String>> {
    if own_cluster().is_some() {
        return Ok(None);
    }
    if let Some(obstacle) = host::obstacle() {
        return Ok(Some(obstacle));
    }
    Ok(Programs::of(workspace)?.obstacle())
}
