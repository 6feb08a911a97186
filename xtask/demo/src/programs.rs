//! The programs that the demonstration starts, and that end with it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// No step takes this long unless something is wrong; pairing waits for two logins.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);
/// Enlace ends its connections within ten seconds; then it is over.
const PATIENCE: Duration = Duration::from_secs(12);
/// How much of a log is shown when its program fails.
const SHOWN_LOG: usize = 2000;

/// A program that runs until it is stopped.
pub(crate) struct Program {
    name: &'static str,
    child: Child,
    lines: Option<Lines<BufReader<ChildStdout>>>,
    log: Option<PathBuf>,
}

impl Program {
    /// Starts it; its log goes to a file in the folder, or into this terminal.
    pub(crate) fn start(
        name: &'static str,
        mut command: Command,
        logs: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let log = logs.map(|folder| folder.join(format!("{name}.log")));
        let stderr = match &log {
            Some(log) => File::create(log).with_context(|| format!("cannot write {}", log.display()))?.into(),
            None => Stdio::inherit(),
        };
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            // Ctrl-C is for the demonstration, which then ends the others in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let output = child.stdout.take().with_context(|| format!("{name} has no output"))?;
        Ok(Self { name, child, lines: Some(BufReader::new(output).lines()), log })
    }

    /// The next line it writes; an error with the end of its log when it ends instead.
    pub(crate) async fn line(&mut self) -> anyhow::Result<String> {
        match self.next_line().await? {
            Some(line) => Ok(line),
            None => Err(self.unexpected_end().await),
        }
    }

    /// The next line it writes, none when it has ended.
    pub(crate) async fn next_line(&mut self) -> anyhow::Result<Option<String>> {
        let Some(lines) = &mut self.lines else { return Ok(None) };
        lines.next_line().await.with_context(|| format!("the output of {} broke off", self.name))
    }

    /// From here on its lines are shown as they come.
    pub(crate) fn drain(&mut self) {
        if let Some(mut lines) = self.lines.take() {
            // It ends with the program's output.
            tokio::spawn(async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    println!("  {line}");
                }
            });
        }
    }

    /// Waits until it ends, and says how it did, with the end of its log.
    pub(crate) async fn unexpected_end(&mut self) -> anyhow::Error {
        let status = match self.child.wait().await {
            Ok(status) => status,
            Err(error) => return anyhow!(error).context(format!("{} cannot be waited for", self.name)),
        };
        let ended = anyhow!("{} ended with {status}", self.name);
        match self.log.as_ref().and_then(|log| std::fs::read_to_string(log).ok()) {
            Some(log) => {
                let shown = log.char_indices().rev().nth(SHOWN_LOG).map_or(0, |(at, _)| at);
                anyhow!("{ended}; it wrote:\n{}", log.get(shown..).unwrap_or_default().trim())
            }
            None => ended,
        }
    }

    /// Waits for the end that it comes to by itself.
    pub(crate) async fn ended(mut self) -> anyhow::Result<ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// Asks it to end and waits until it has, or ends it.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let Some(id) = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) else {
            return Ok(());
        };
        rustix::process::kill_process(id, rustix::process::Signal::TERM)
            .with_context(|| format!("cannot end {}", self.name))?;
        if tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
            println!("{} does not end by itself.", self.name);
            self.child.kill().await.with_context(|| format!("cannot end {}", self.name))?;
        }
        Ok(())
    }
}

/// A step that is over within [`LIMIT`].
pub(crate) async fn within<T>(
    what: &str,
    step: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    match tokio::time::timeout(LIMIT, step).await {
        Ok(done) => done,
        Err(_) => bail!("{what} did not come within {} seconds", LIMIT.as_secs()),
    }
}

/// Runs a program to its end and returns what it wrote.
pub(crate) async fn output(name: &str, command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name} ended with {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
