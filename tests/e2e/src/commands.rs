//! kubectl and helm, as a person runs them.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

/// The variable that names the kubeconfig of the cluster under test.
const CLUSTER: &str = "ENLACE_TEST_KUBECONFIG";

/// What a command said and that it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(
    /// Its standard error.
    pub String,
);

/// Runs kubectl; its standard output.
pub fn kubectl(arguments: &[&str]) -> String {
    must("kubectl", arguments, None)
}

/// [`kubectl`], which may be refused.
///
/// # Errors
/// It ended with another code than 0.
pub fn try_kubectl(arguments: &[&str]) -> Result<String, Refused> {
    run("kubectl", arguments, None)
}

/// `kubectl … --output json`.
pub fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&kubectl(&[arguments, &["--output", "json"]].concat())).unwrap()
}

/// `kubectl … --filename -` with one object.
pub fn with_object(arguments: &[&str], object: &Value) -> String {
    must("kubectl", &[arguments, &["--filename", "-"]].concat(), Some(&object.to_string()))
}

/// [`with_object`], which may be refused.
///
/// # Errors
/// It ended with another code than 0.
pub fn try_with_object(arguments: &[&str], object: &Value) -> Result<String, Refused> {
    run("kubectl", &[arguments, &["--filename", "-"]].concat(), Some(&object.to_string()))
}

/// Runs helm, with values on its standard input when there are some (`--values -`).
pub fn helm(arguments: &[&str], values: Option<&Value>) -> String {
    must("helm", arguments, values.map(Value::to_string).as_deref())
}

/// [`helm`], which may be refused.
///
/// # Errors
/// It ended with another code than 0.
pub fn try_helm(arguments: &[&str], values: Option<&Value>) -> Result<String, Refused> {
    run("helm", arguments, values.map(Value::to_string).as_deref())
}

/// A command that is told the cluster under test, and nothing else yet.
pub fn command(program: &str, arguments: &[&str]) -> Command {
    let kubeconfig = std::env::var_os(CLUSTER).unwrap_or_else(|| {
        panic!("{CLUSTER} names no cluster: run these tests with cargo xtask cluster test")
    });
    let mut command = Command::new(program);
    command.args(arguments).env("KUBECONFIG", kubeconfig);
    command
}

fn must(program: &str, arguments: &[&str], input: Option<&str>) -> String {
    let done = run(program, arguments, input);
    done.unwrap_or_else(|Refused(words)| panic!("{program} {}: {words}", arguments.join(" ")))
}

fn run(program: &str, arguments: &[&str], input: Option<&str>) -> Result<String, Refused> {
    let mut child = command(program, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    // A command that fails at once does not read it.
    let _ = stdin.write_all(input.unwrap_or_default().as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}
