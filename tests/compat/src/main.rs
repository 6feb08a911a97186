//! Replays recorded requests and answers of the compatible API against the real programs, and says of each pair whether Enlace answers
//! the same, more, or what was decided; anything else fails.
//!
//! * [`golden`]: the recorded file, [`decided`]: where Enlace answers otherwise on purpose, and what,
//! * [`world`]: the programs of one mode, [`gate`]: the way to WhatsApp, which can be closed,
//! * [`play`]: what happens outside of the requests, [`ask`]: the requests, [`live`]: the live events,
//! * [`matching`]: whether an answer is as recorded, [`names`]: values that stand for something else in each run,
//! * [`replay`]: a mode from its first entry to its last.

mod ask;
mod decided;
mod gate;
mod golden;
mod live;
mod matching;
mod names;
mod play;
mod program;
mod replay;
mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;

use replay::{Verdict, Word};

/// Replays a file of recorded pairs.
#[derive(Parser)]
struct Flags {
    /// The recorded pairs.
    file: PathBuf,
    /// The program `enlace`, with the simulator's trust.
    #[arg(long)]
    enlace: PathBuf,
    /// The program `whatsapp-simulator`.
    #[arg(long)]
    simulator: PathBuf,
    /// Where Enlace answers otherwise on purpose.
    #[arg(long)]
    decided: PathBuf,
    /// Only this mode.
    #[arg(long)]
    mode: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let flags = Flags::parse();
    let entries = golden::read(&flags.file)?;
    let decided = decided::read(&flags.decided)?;
    let programs = world::Programs { enlace: flags.enlace, simulator: flags.simulator };
    let mut verdicts = Vec::new();
    for (mode, entries) in golden::by_mode(entries) {
        if flags.mode.as_ref().is_some_and(|only| *only != mode) {
            continue;
        }
        println!("{mode}");
        if let Some(missing) = world::missing(&mode) {
            let pairs = entries.iter().filter(|step| matches!(step, golden::Step::Pair(_))).count();
            // On standard error, in these words, as tests say it.
            eprintln!("SKIPPED: recorded pairs of the mode {mode}: {missing}");
            verdicts.extend((0..pairs).map(|_| Verdict { word: Word::Skipped }));
            continue;
        }
        let of_mode = replay::mode(&programs, &mode, &entries, &decided).await;
        verdicts.extend(of_mode.with_context(|| format!("mode {mode}"))?);
    }
    Ok(report(&verdicts))
}

fn report(verdicts: &[Verdict]) -> ExitCode {
    let mut counts: BTreeMap<Word, usize> = BTreeMap::new();
    for verdict in verdicts {
        *counts.entry(verdict.word).or_default() += 1;
    }
    let count = |word| counts.get(&word).copied().unwrap_or_default();
    println!(
        "\n{} pairs: {} same, {} superset, {} decided, {} skipped, {} FAIL",
        verdicts.len(),
        count(Word::Same),
        count(Word::Superset),
        count(Word::Decided),
        count(Word::Skipped),
        count(Word::Fail)
    );
    if verdicts.is_empty() {
        eprintln!("error: no pair was replayed");
        return ExitCode::FAILURE;
    }
    if count(Word::Fail) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
