//! The table, and the same for machines.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::environment::Environment;
use crate::series::{Series, Summary, Unit};

/// Everything that a run found.
#[derive(Serialize)]
pub(crate) struct Report {
    environment: Environment,
    measures: Vec<Measure>,
}

/// One line of it.
#[derive(Serialize)]
struct Measure {
    key: &'static str,
    what: String,
    unit: Unit,
    #[serde(flatten)]
    summary: Summary,
}

impl Report {
    /// The report of what was measured.
    pub(crate) fn new(environment: Environment, series: Vec<Series>) -> Self {
        let measures = series.into_iter().filter_map(|series| {
            let summary = series.summary()?;
            let Series { key, what, unit, .. } = series;
            Some(Measure { key, what, unit, summary })
        });
        Self { environment, measures: measures.collect() }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_FULL_CONDENSED)
            .set_header(["measure", "samples", "min", "median", "p99", "max"]);
        for Measure { key: _, what, unit, summary } in &self.measures {
            let Summary { samples, min, median, p99, max } = *summary;
            // What was measured once is its own median.
            let several = |sample| if samples > 1 { unit.show(sample) } else { String::new() };
            table.add_row([
                what.clone(),
                samples.to_string(),
                several(min),
                unit.show(median),
                p99.map(|sample| unit.show(sample)).unwrap_or_default(),
                several(max),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        write!(f, "{table}\n{}", self.environment)
    }
}
