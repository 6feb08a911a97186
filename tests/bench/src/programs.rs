//! Starting and ending programs.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};

/// No program takes this long to listen, and no event to come, unless something is wrong.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// A device ends its connection within ten seconds; then it is over.
const PATIENCE: Duration = Duration::from_secs(12);
/// How many of the last lines of a program are shown when it fails.
const SHOWN_LINES: usize = 20;

/// Where a program says that it listens.
pub(crate) enum Says {
    /// On its standard output; its log goes to this program's.
    OnOutput,
    /// In its log, on the standard error.
    InLog,
}

/// A program that runs until it is ended.
pub(crate) struct Program {
    name: &'static str,
    child: Child,
    lines: Lines,
}

/// The last lines that a program wrote.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<VecDeque<String>>>);

impl Program {
    /// Starts it and waits for the line that `listens` reads an address from.
    ///
    /// # Errors
    /// It cannot be started, ends, or says nothing.
    pub(crate) async fn start<T: Send + 'static>(
        name: &'static str,
        mut command: Command,
        says: Says,
        listens: fn(&str) -> Option<T>,
    ) -> anyhow::Result<(Self, T)> {
        command.stdin(Stdio::null()).kill_on_drop(true);
        // Ctrl-C is for the benchmark, which then ends the others.
        command.process_group(0);
        match says {
            Says::OnOutput => command.stdout(Stdio::piped()),
            Says::InLog => command.stdout(Stdio::null()).stderr(Stdio::piped()),
        };
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let lines = Lines::default();
        let output: Option<Box<dyn AsyncRead + Send + Unpin>> = match says {
            Says::OnOutput => child.stdout.take().map(|output| Box::new(output) as _),
            Says::InLog => child.stderr.take().map(|output| Box::new(output) as _),
        };
        let mut output = BufReader::new(output.with_context(|| format!("{name} has no output"))?).lines();
        let listening = async {
            while let Some(line) = output.next_line().await? {
                if let Some(address) = listens(&line) {
                    return Ok(address);
                }
                lines.keep(line);
            }
            Err(anyhow!("{name} ended before it listened; it wrote:\n{}", lines.shown()))
        };
        let address = tokio::time::timeout(LIMIT, listening)
            .await
            .with_context(|| format!("{name} does not say where it listens"))??;
        // The pipe must not fill up. It ends with the program.
        let kept = lines.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                kept.keep(line);
            }
        });
        Ok((Self { name, child, lines }, address))
    }

    /// The last lines it wrote.
    pub(crate) fn lines(&self) -> Lines {
        self.lines.clone()
    }

    /// Its process.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn id(&self) -> anyhow::Result<u32> {
        self.child.id().with_context(|| format!("{} has ended", self.name))
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Errors
    /// It does not end in time, or not well.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let id = Pid::from_raw(self.id()?.cast_signed()).context("a process has a number")?;
        kill_process(id, Signal::TERM).with_context(|| format!("cannot end {}", self.name))?;
        let status = tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .with_context(|| format!("{} does not end when it is asked to", self.name))??;
        if !status.success() {
            bail!("{} ended with {status}; it wrote:\n{}", self.name, self.lines.shown());
        }
        Ok(())
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Errors
    /// It cannot be ended.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("cannot kill {}", self.name))
    }
}

impl Lines {
    fn keep(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= SHOWN_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// For an error message.
    pub(crate) fn shown(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}
