//! Who may depend on whom.
//!
//! * [`graph`]: the packages and their dependencies, from cargo or made up by a test,
//! * [`rules`]: the directions, and who crosses them,
//! * [`manifests`]: what each manifest must say in the same way.

mod graph;
mod manifests;
mod rules;

use anyhow::bail;

use crate::workspace::Workspace;
use graph::Graph;

/// Checks the directions and the manifests of the whole workspace.
///
/// # Errors
/// One line for each violation.
pub(crate) fn check(workspace: &Workspace) -> anyhow::Result<()> {
    let everything = Graph::from_metadata(&workspace.with_all_features()?);
    let mut violations = rules::check(&everything);
    violations.extend(rules::check_defaults(&Graph::from_metadata(&workspace.with_defaults)));
    for package in workspace.with_defaults.workspace_packages() {
        let text = std::fs::read_to_string(&package.manifest_path)?;
        violations.extend(manifests::check(&package.name, &text));
    }
    if violations.is_empty() {
        println!("{} packages, {} of them ours.", everything.len(), everything.members().count());
        return Ok(());
    }
    for violation in &violations {
        println!("{violation}");
    }
    match violations.len() {
        1 => bail!("1 violation, above"),
        several => bail!("{several} violations, above"),
    }
}
