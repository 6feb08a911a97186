//! Programs that are run, and the report of a run of steps.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// How a line begins with which a test says past its harness that it is skipped: `tests/skipped.rs` writes it.
const SKIPPED: &str = "SKIPPED: ";

/// What a step that did not fail says.
pub(crate) enum Outcome {
    /// It ran whole.
    Passed,
    /// It ran, but for these parts of it, each with its reason.
    PassedWithout(Vec<String>),
    /// It did not run, for a reason.
    Skipped(String),
}

impl Outcome {
    /// [`Self::Passed`] when nothing was left out.
    pub(crate) fn without(parts: Vec<String>) -> Self {
        if parts.is_empty() { Self::Passed } else { Self::PassedWithout(parts) }
    }
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
            println!("{SKIPPED}nothing");
        } else {
            println!("{SKIPPED}{}", skipped.join("; "));
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

/// What a program wrote.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// To its standard output.
    pub(crate) output: String,
    /// What it said that it left out, and why: the lines `SKIPPED: …` of its standard error, each once.
    pub(crate) skipped: Vec<String>,
}

/// [`run`], and what it wrote, which is also shown.
///
/// # Errors
/// As for [`run`].
pub(crate) fn run_and_read(command: &mut Command) -> anyhow::Result<Written> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", line(command)))?;
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let (mut text, mut skipped) = (String::new(), Vec::new());
    std::thread::scope(|scope| {
        let errors = scope.spawn(|| {
            read_lines(errors, |line| {
                eprintln!("{line}");
                skipped.extend(line.strip_prefix(SKIPPED).map(str::to_owned));
            })
        });
        read_lines(output, |line| {
            println!("{line}");
            text.push_str(line);
            text.push('\n');
        })?;
        errors.join().unwrap_or_else(|_| bail!("its messages could not be read"))
    })?;
    std::io::stdout().flush()?;
    let status = child.wait()?;
    if !status.success() {
        bail!("{} ended with {status}", line(command));
    }
    Ok(Written { output: text, skipped: each_once(skipped) })
}

fn read_lines(stream: Option<impl Read>, mut seen: impl FnMut(&str)) -> anyhow::Result<()> {
    let Some(stream) = stream else { return Ok(()) };
    for line in BufReader::new(stream).split(b'\n') {
        seen(&String::from_utf8_lossy(&line.context("its output broke off")?));
    }
    Ok(())
}

/// Many tests may be skipped for one reason.
fn each_once(all: Vec<String>) -> Vec<String> {
    let mut counted: Vec<(String, usize)> = Vec::new();
    for one in all {
        match counted.iter_mut().find(|(known, _)| *known == one) {
            Some((_, times)) => *times += 1,
            None => counted.push((one, 1)),
        }
    }
    let told = counted.into_iter().map(|(one, times)| match times {
        1 => one,
        times => format!("{one} ({times} times)"),
    });
    told.collect()
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
        let written = run_and_read(Command::new("/bin/sh").args(["-c", "echo one; printf two"])).unwrap();
        assert_eq!(written, Written { output: "one\ntwo\n".to_owned(), skipped: Vec::new() });
    }

    #[test]
    fn what_tests_say_of_being_skipped_is_read_past_their_harness() {
        let said = "echo noise >&2; echo SKIPPED: a test with curl: no curl >&2; \
                    echo SKIPPED: a test on MariaDB: none >&2; echo SKIPPED: a test with curl: no curl >&2";
        let written = run_and_read(Command::new("/bin/sh").args(["-c", said])).unwrap();
        assert_eq!(written.skipped, ["a test with curl: no curl (2 times)", "a test on MariaDB: none"]);
        let mut report = Report::new();
        report.step("tests", || Ok(Outcome::without(written.skipped))).unwrap();
        assert_eq!(report.skipped.len(), 2);
    }
}
