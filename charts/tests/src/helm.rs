//! The chart, rendered by the real helm.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The variable that names helm's program; without it, it is looked for in `PATH`.
pub const HELM: &str = "ENLACE_HELM";

/// What the tests call the release; its name has the chart's in it, so it is also the name of the installation.
pub const RELEASE: &str = "enlace";
/// Where it is installed.
pub const NAMESPACE: &str = "enlace-system";

/// Helm did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum HelmError {
    /// It does not start.
    #[error("{program} cannot be started: install helm, or let ENLACE_HELM name it")]
    Missing {
        /// Which program was tried.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It refuses.
    #[error("{0}")]
    Refused(String),
    /// What it wrote is not YAML.
    #[error("helm wrote something that is not YAML")]
    NotYaml(#[source] serde_saphyr::Error),
}

/// The chart's folder.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("enlace")
}

/// Every object of the chart, with these values (YAML), hooks included.
///
/// # Errors
/// Helm cannot be started, or refuses the values or the chart.
pub fn render(values: &str) -> Result<Vec<Value>, HelmError> {
    let text = render_text(values)?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(HelmError::NotYaml)?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// The same, as helm writes it.
///
/// # Errors
/// As for [`render`].
pub fn render_text(values: &str) -> Result<String, HelmError> {
    helm(&["template", RELEASE, "--namespace", NAMESPACE, "--values", "-"], values)
}

/// What helm tells the person who installs it.
///
/// # Errors
/// As for [`render`].
pub fn notes(values: &str) -> Result<String, HelmError> {
    let arguments = ["install", RELEASE, "--namespace", NAMESPACE, "--dry-run=client", "--values", "-"];
    let text = helm(&arguments, values)?;
    Ok(text.split_once("NOTES:").map(|(_, notes)| notes.trim().to_owned()).unwrap_or_default())
}

/// Helm's own check of the chart.
///
/// # Errors
/// As for [`render`]: what it found.
pub fn lint(values: &str) -> Result<String, HelmError> {
    helm(&["lint", "--strict", "--values", "-"], values)
}

/// Runs helm on the chart, which becomes the argument after the verb's own.
fn helm(arguments: &[&str], values: &str) -> Result<String, HelmError> {
    let program = std::env::var(HELM).unwrap_or_else(|_| "helm".to_owned());
    let mut command = Command::new(&program);
    // No cluster and nobody's settings have a say in it.
    command.args(arguments).arg(folder()).env("KUBECONFIG", "/dev/null");
    let missing = |source| HelmError::Missing { program: program.clone(), source };
    let output = run(&mut command, values).map_err(missing)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    let lines = told.lines().filter(|line| !line.starts_with("level=INFO"));
    Err(HelmError::Refused(lines.collect::<Vec<_>>().join("\n").trim().to_owned()))
}

fn run(command: &mut Command, input: &str) -> std::io::Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A few lines, which the pipe holds even if nobody reads them.
        stdin.write_all(input.as_bytes())?;
    }
    child.wait_with_output()
}
