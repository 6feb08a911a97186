//! The benchmark that needs a Kubernetes.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{bail, ensure};

use super::testing::obstacle;
use super::{OWN_CLUSTER, down, layout, load, own_cluster, up};
use crate::run;
use crate::workspace::Workspace;

/// Says why nothing can be measured here, before anything is built for it.
///
/// # Errors
/// No cluster can run on this machine, or one's own is named, whose nodes are other machines.
pub(crate) fn can_measure(workspace: &Workspace) -> anyhow::Result<()> {
    ensure!(
        own_cluster().is_none(),
        "{OWN_CLUSTER} is set: the memory of programs is read on this machine, so the cluster must be this machine's"
    );
    if let Some(obstacle) = obstacle(workspace)? {
        bail!("no test cluster can run here: {obstacle}");
    }
    Ok(())
}

/// Runs a benchmark with these images on the cluster that runs, or on one that is started for it and ended again, whatever became of it.
///
/// # Errors
/// The cluster does not start, or the benchmark fails.
pub(crate) fn measure(
    workspace: &Workspace,
    archives: &[PathBuf],
    bench: &mut Command,
) -> anyhow::Result<()> {
    let was_there = layout::folder().exists();
    let cluster = up(workspace)?;
    let measured = load(archives)
        .and_then(|()| cluster.tell(bench))
        .and_then(|()| run::run(bench.arg("--data").arg(layout::folder())));
    if !was_there {
        down()?;
    }
    measured
}
