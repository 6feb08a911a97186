//! The cluster's programs as processes: started apart from this one, and found again by the number and start time that were written
//! down, so that no other process is ever taken for one of them.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal};

use super::layout;

/// How long the kernel may take to end a killed process: it may be in the middle of writing.
const END: Duration = Duration::from_secs(20);
/// How often a condition is looked at again while it is waited for.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// A process, and not another that got its number later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pid: Pid,
    /// In ticks since the machine started.
    started: u64,
}

impl Process {
    /// The process with this number, if there is one that has not ended.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self { pid: Pid::from_raw(pid)?, started: start_time(&stat)? })
    }

    /// The one that was started under this name.
    pub(super) fn recorded(name: &str) -> Option<Self> {
        let text = fs::read_to_string(record(name)).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        let recorded = Self { pid: Pid::from_raw(pid.parse().ok()?)?, started: started.parse().ok()? };
        recorded.is_alive().then_some(recorded)
    }

    /// All that were started and have not ended.
    pub(super) fn all_recorded() -> Vec<Self> {
        let entries = fs::read_dir(layout::path("run")).into_iter().flatten().flatten();
        entries.filter_map(|entry| Self::recorded(entry.file_name().to_str()?)).collect()
    }

    fn is_alive(self) -> bool {
        Self::of(self.pid.as_raw_nonzero().get()) == Some(self)
    }

    /// Ends it at once: what it would save is thrown away with the cluster.
    fn kill(self) {
        if self.is_alive() {
            // It may have ended since; there is nothing else to do then.
            let _ = rustix::process::kill_process(self.pid, Signal::KILL);
        }
    }
}

/// Ends processes, and waits until they have.
///
/// # Errors
/// One does not end.
pub(super) fn end(processes: &[Process]) -> anyhow::Result<()> {
    for process in processes {
        process.kill();
    }
    let all_ended = || Ok(processes.iter().all(|process| !process.is_alive()));
    wait_for("the cluster's processes to end", END, all_ended)
}

/// Starts a program, with its output in a log of the cluster's.
///
/// # Errors
/// It cannot be started.
pub(super) fn start(name: &str, program: &Command) -> anyhow::Result<()> {
    let log = File::create(log(name)).with_context(|| format!("cannot write the log of {name}"))?;
    // In a session of its own: closing the terminal that started it does not end it.
    let mut command = Command::new("setsid");
    command.arg(program.get_program()).args(program.get_args());
    for (variable, value) in program.get_envs() {
        command.env(variable, value.unwrap_or_default());
    }
    let child = command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let process = i32::try_from(child.id()).ok().and_then(Process::of);
    let Some(Process { pid, started }) = process else { bail!("{name} ended at once: {}", last_words(name)) };
    fs::write(record(name), format!("{} {started}\n", pid.as_raw_nonzero()))
        .with_context(|| format!("cannot write down the process of {name}"))
}

/// Waits for a condition.
///
/// # Errors
/// The condition's own, or that the time is over.
pub(super) fn wait_for(
    what: &str,
    patience: Duration,
    mut condition: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let started = Instant::now();
    while !condition()? {
        if started.elapsed() > patience {
            bail!("waited {} s in vain for {what}", patience.as_secs());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Where a program's output goes.
pub(super) fn log(name: &str) -> PathBuf {
    layout::path(format!("logs/{name}.log"))
}

/// The end of a program's output.
pub(super) fn last_words(name: &str) -> String {
    let text = fs::read_to_string(log(name)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

fn record(name: &str) -> PathBuf {
    layout::path(format!("run/{name}"))
}

/// The 22nd word of `/proc/PID/stat`, unless the process is one that has ended and was not yet collected. The second word is the
/// program's name in parentheses, which may have anything in it.
fn start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_ascii_whitespace();
    let state = words.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    words.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_time_is_read_past_a_strange_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1 2";
        assert_eq!(start_time(stat), Some(4242));
        assert_eq!(start_time(&stat.replace(" S ", " Z ")), None);
    }

    #[test]
    fn a_number_that_is_used_again_is_another_process() {
        let own = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.is_alive());
        assert!(!Process { started: own.started + 1, ..own }.is_alive());
    }
}
