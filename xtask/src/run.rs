//! Programs that are run, and the report of a run of steps.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// What a step that did not fail says.
pub(crate) enum Outcome {
    /// It ran whole.
    Passed,
    /// It ran, but for these parts of it, each with its reason.
    PassedWithout(Vec<String>),
    /// It did not run, for a reason.
    Skipped(String),
}

/// A run of steps: a heading and a time for each, and at the end what was skipped.
pub(crate) struct Report {
    started: Instant,
    done: Vec<(&'static str, Duration)>,
    skipped: Vec<String>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), done: Vec::new(), skipped: Vec::new() }
    }

    /// Runs one step under its heading.
    ///
    /// # Errors
    /// The step's own, with its name.
    pub(crate) fn step(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> anyhow::Result<Outcome>,
    ) -> anyhow::Result<()> {
        println!("\n== {name}");
        let started = Instant::now();
        let outcome = step().with_context(|| format!("step \"{name}\" failed"))?;
        let took = started.elapsed();
        match outcome {
            Outcome::Passed => {}
            Outcome::PassedWithout(parts) => self.skipped.extend(parts),
            Outcome::Skipped(reason) => {
                println!("== {name}: skipped: {reason}");
                self.skipped.push(format!("{name}: {reason}"));
                return Ok(());
            }
        }
        println!("== {name}: passed in {}", seconds(took));
        self.done.push((name, took));
        Ok(())
    }

    /// Notes something that was not run, and why.
    pub(crate) fn skip(&mut self, reason: impl Into<String>) {
        self.skipped.push(reason.into());
    }

    /// Prints the times and one line with everything that was skipped.
    pub(crate) fn finish(self) {
        let Self { started, done, skipped } = self;
        println!();
        for (name, took) in done {
            println!("{:>9}  {name}", seconds(took));
        }
        println!("{:>9}  in all", seconds(started.elapsed()));
        if skipped.is_empty() {
            println!("SKIPPED: nothing");
        } else {
            println!("SKIPPED: {}", skipped.join("; "));
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Runs a program in this terminal to its end.
///
/// # Errors
/// It cannot be started, or it ends with another code than 0.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", line(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", line(command));
    }
    Ok(())
}

/// [`run`], and what it wrote to its standard output, which is also shown.
///
/// # Errors
/// As for [`run`].
pub(crate) fn run_and_read(command: &mut Command) -> anyhow::Result<String> {
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {}", line(command)))?;
    let mut text = String::new();
    if let Some(output) = child.stdout.take() {
        for read in BufReader::new(output).split(b'\n') {
            let read = read.context("its output broke off")?;
            let read = String::from_utf8_lossy(&read);
            println!("{read}");
            text.push_str(&read);
            text.push('\n');
        }
    }
    std::io::stdout().flush()?;
    let status = child.wait()?;
    if !status.success() {
        bail!("{} ended with {status}", line(command));
    }
    Ok(text)
}

/// The command as a person would type it: the program by its name, without the environment.
fn line(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut line = program.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_fails_is_named_and_ends_the_run() {
        let mut report = Report::new();
        let error = report.step("formatting", || bail!("two files differ")).unwrap_err();
        assert_eq!(format!("{error:#}"), "step \"formatting\" failed: two files differ");
        assert!(report.done.is_empty());
    }

    #[test]
    fn a_step_that_is_skipped_is_listed_with_its_reason_and_has_no_time() {
        let mut report = Report::new();
        report.step("tests", || Ok(Outcome::PassedWithout(vec!["test slow: by hand".to_owned()]))).unwrap();
        report.step("licences", || Ok(Outcome::Skipped("no cargo-deny".to_owned()))).unwrap();
        assert_eq!(report.skipped, ["test slow: by hand", "licences: no cargo-deny"]);
        assert_eq!(report.done.len(), 1);
    }

    #[test]
    fn a_program_that_fails_is_named_as_a_person_would_type_it() {
        let error = run(Command::new("/bin/sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "sh -c exit 3 ended with exit status: 3");
    }

    #[test]
    fn what_a_program_writes_is_read_to_its_end() {
        let text = run_and_read(Command::new("/bin/sh").args(["-c", "echo one; printf two"])).unwrap();
        assert_eq!(text, "one\ntwo\n");
    }
}
