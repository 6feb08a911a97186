//! The forms of a result.

use std::io::{self, Write as _};

use clap::ValueEnum;
use comfy_table::{Table, presets};
use jiff::Timestamp;
use serde::Serialize;

/// The form of a result.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Names only, one to a line.
    Name,
}

/// A value as JSON or YAML; nothing for the other forms, which the caller makes.
pub(crate) fn structured(format: Format, value: &impl Serialize) -> anyhow::Result<Option<String>> {
    Ok(match format {
        Format::Json => Some(format!("{}\n", serde_json::to_string_pretty(value)?)),
        Format::Yaml => Some(serde_saphyr::to_string(value)?),
        Format::Table | Format::Name => None,
    })
}

/// Writes a result. It is there at once, also when standard output is a pipe.
pub(crate) fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Whether something failed only because the reader of standard output has gone.
pub(crate) fn nobody_reads(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A table as `kubectl` draws it.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Text of a stranger on one line, without what moves a terminal's cursor.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// How long ago something was, as `kubectl` says it: its largest unit, with the next one while it is small.
pub(crate) fn age(then: Option<Timestamp>, now: Timestamp) -> String {
    let Some(then) = then else { return String::new() };
    let seconds = now.duration_since(then).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => format!("{minutes}m{}s", seconds % 60),
        600..10_800 => format!("{minutes}m"),
        10_800..172_800 => format!("{hours}h"),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        for (seconds, text) in [
            (5, "5s"),
            (119, "119s"),
            (125, "2m5s"),
            (3_600, "60m"),
            (86_400, "24h"),
            (400_000, "4d"),
            (-3, "0s"),
        ] {
            let then = Timestamp::from_second(1_800_000_000 - seconds).unwrap();
            assert_eq!(age(Some(then), now), text);
        }
        assert_eq!(age(None, now), "");
    }

    #[test]
    fn a_table_has_no_blanks_at_the_end_of_its_lines() {
        let text = table(
            &["NAME", "PHASE"],
            vec![vec!["billing".into(), "Connected".into()], vec!["a".into(), String::new()]],
        );
        assert_eq!(text, "NAME      PHASE\nbilling   Connected\na\n");
    }

    #[test]
    fn a_strangers_text_does_not_move_the_cursor() {
        assert_eq!(printable("a\x1b[2Jb\r\nc"), "a [2Jb  c");
    }
}
