//! What was measured, and what it comes to.

use serde::Serialize;

/// From how many samples on a 99th percentile says more than the greatest one.
const ENOUGH_FOR_P99: usize = 100;
/// Bytes of a mebibyte.
const MEBIBYTE: f64 = 1_048_576.0;

/// What a sample counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "messages/s")]
    MessagesPerSecond,
    #[serde(rename = "MiB")]
    Mebibytes,
    #[serde(rename = "count")]
    Count,
}

impl Unit {
    /// A length of time as a sample.
    pub(crate) fn time(time: std::time::Duration) -> (Self, f64) {
        (Self::Milliseconds, time.as_secs_f64() * 1_000.0)
    }

    /// Messages in a time as a sample.
    pub(crate) fn rate(messages: u32, time: std::time::Duration) -> (Self, f64) {
        (Self::MessagesPerSecond, f64::from(messages) / time.as_secs_f64())
    }

    /// A size as a sample.
    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52 bytes")]
    pub(crate) fn bytes(bytes: u64) -> (Self, f64) {
        (Self::Mebibytes, bytes as f64 / MEBIBYTE)
    }

    /// A sample for a person, with three digits that count.
    pub(crate) fn show(self, sample: f64) -> String {
        let decimals = match sample {
            ..10.0 => 2,
            10.0..100.0 => 1,
            _ => 0,
        };
        match self {
            Self::Milliseconds => format!("{sample:.decimals$} ms"),
            Self::MessagesPerSecond => format!("{sample:.decimals$} /s"),
            Self::Mebibytes => format!("{sample:.1} MiB"),
            Self::Count => format!("{sample:.0}"),
        }
    }
}

/// The samples of one thing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    /// Its name for a machine.
    pub(crate) key: &'static str,
    /// Its name for a person.
    pub(crate) what: String,
    /// What its samples count.
    pub(crate) unit: Unit,
    samples: Vec<f64>,
}

/// What the samples of a series come to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    pub(crate) samples: usize,
    pub(crate) min: f64,
    pub(crate) median: f64,
    /// The least sample that 99 of 100 do not exceed; none for a few samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99: Option<f64>,
    pub(crate) max: f64,
}

impl Series {
    /// A series without samples yet.
    pub(crate) fn new(key: &'static str, what: impl Into<String>, unit: Unit) -> Self {
        Self { key, what: what.into(), unit, samples: Vec::new() }
    }

    /// What is measured once.
    pub(crate) fn single(key: &'static str, what: impl Into<String>, (unit, sample): (Unit, f64)) -> Self {
        Self { key, what: what.into(), unit, samples: vec![sample] }
    }

    /// Adds a sample, which is of this series' unit.
    pub(crate) fn add(&mut self, (unit, sample): (Unit, f64)) {
        debug_assert_eq!(unit, self.unit, "{}", self.key);
        self.samples.push(sample);
    }

    /// What the samples come to; none when there are none.
    pub(crate) fn summary(&self) -> Option<Summary> {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let samples = sorted.len();
        let middle = samples / 2;
        let median = match samples.is_multiple_of(2) {
            true => f64::midpoint(*sorted.get(middle - 1)?, *sorted.get(middle)?),
            false => *sorted.get(middle)?,
        };
        // The nearest rank.
        let rank = (samples * 99).div_ceil(100);
        let p99 = if samples < ENOUGH_FOR_P99 { None } else { sorted.get(rank - 1).copied() };
        Some(Summary { samples, min, median, p99, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(samples: impl IntoIterator<Item = u32>) -> Option<Summary> {
        let mut series = Series::new("key", "what", Unit::Count);
        for sample in samples {
            series.add((Unit::Count, f64::from(sample)));
        }
        series.summary()
    }

    #[test]
    fn the_order_of_the_samples_does_not_matter() {
        let summary = Summary { samples: 4, min: 1.0, median: 2.5, p99: None, max: 9.0 };
        assert_eq!(of([9, 2, 1, 3]), Some(summary));
    }

    #[test]
    fn the_percentile_is_a_sample_and_leaves_one_in_a_hundred_above_it() {
        let summary = Summary { samples: 200, min: 1.0, median: 100.5, p99: Some(198.0), max: 200.0 };
        assert_eq!(of((1..=200).rev()), Some(summary));
    }

    #[test]
    fn nothing_measured_comes_to_nothing() {
        assert_eq!(of([]), None);
    }

    #[test]
    fn small_and_large_samples_show_three_digits() {
        let shown = [1.234, 12.34, 123.4, 1234.0].map(|sample| Unit::Milliseconds.show(sample));
        assert_eq!(shown, ["1.23 ms", "12.3 ms", "123 ms", "1234 ms"]);
    }
}
