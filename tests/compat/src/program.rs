//! A program that is started, and that ends with the replay.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// No program takes this long to listen.
const LIMIT: Duration = Duration::from_secs(60);
/// Devices end within ten seconds.
const PATIENCE: Duration = Duration::from_secs(15);
/// How much of a log is shown when its program fails.
const SHOWN_LOG: usize = 3000;

/// A program that runs.
pub(crate) struct Program {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it and waits for the line of its output that `listens` reads something from. Its log goes into a folder.
    ///
    /// # Errors
    /// It cannot be started, ends, or says nothing.
    pub(crate) async fn start<T>(
        name: &'static str,
        mut command: Command,
        folder: &Path,
        listens: impl Fn(&str) -> Option<T>,
    ) -> anyhow::Result<(Self, T)> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let output = child.stdout.take().with_context(|| format!("{name} has no output"))?;
        let mut lines = BufReader::new(output).lines();
        let program = Self { name, child, log };
        let listening = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(said) = listens(&line) {
                    return Ok(said);
                }
            }
            Err(anyhow!("{name} ended before it listened; it wrote:\n{}", program.shown()))
        };
        let said = tokio::time::timeout(LIMIT, listening)
            .await
            .with_context(|| format!("{name} does not say where it listens"))??;
        // The pipe must not fill up. It ends with the program.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok((program, said))
    }

    /// The end of its log.
    pub(crate) fn shown(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let from = log.char_indices().rev().nth(SHOWN_LOG).map_or(0, |(at, _)| at);
        log.get(from..).unwrap_or_default().trim().to_owned()
    }

    /// Asks it to end, waits until it has, and ends it if it does not.
    ///
    /// # Errors
    /// It cannot be ended.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let Some(id) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) else { return Ok(()) };
        kill_process(id, Signal::TERM).with_context(|| format!("cannot end {}", self.name))?;
        if tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
            self.child.kill().await.with_context(|| format!("cannot end {}", self.name))?;
        }
        Ok(())
    }
}
