//! The table.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};

use crate::calls::Route;
use crate::environment::Environment;
use crate::process::Used;

/// Bytes of a mebibyte.
const MEBIBYTE: f64 = 1_048_576.0;

/// Everything that a run found.
pub(crate) struct Report {
    pub(crate) environment: Environment,
    pub(crate) requests: u32,
    /// Memory at rest, of Enlace and of Node.
    pub(crate) idle: [u64; 2],
    /// The same after all requests.
    pub(crate) busy: [u64; 2],
    pub(crate) figures: Vec<Figures>,
}

/// The rounds of a route.
pub(crate) struct Figures {
    pub(crate) route: Route,
    pub(crate) enlace: Vec<Used>,
    /// Node's process, then the database's.
    pub(crate) express: Vec<Used>,
}

impl Figures {
    pub(crate) const fn new(route: Route) -> Self {
        Self { route, enlace: Vec::new(), express: Vec::new() }
    }
}

/// The one in the middle.
fn median(samples: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = samples.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header([
            "measure",
            "Enlace",
            "Express: Node",
            "Node + MariaDB",
            "Node / Enlace",
            "both / Enlace",
        ]);
        for Figures { route, enlace, express } in &self.figures {
            let enlace_cpu = median(enlace.iter().map(|used| used.cpu_us(1)));
            let node_cpu = median(express.iter().map(|used| used.cpu_us(1)));
            let both_cpu = median(express.iter().map(|used| used.cpu_us(2)));
            table.add_row([
                format!("{}: CPU a request", route.path()),
                format!("{enlace_cpu:.0} us"),
                format!("{node_cpu:.0} us"),
                format!("{both_cpu:.0} us"),
                format!("{:.1}", node_cpu / enlace_cpu),
                format!("{:.1}", both_cpu / enlace_cpu),
            ]);
            let (enlace_rate, express_rate) =
                (median(enlace.iter().map(Used::rate)), median(express.iter().map(Used::rate)));
            table.add_row([
                format!("{}: requests a second", route.path()),
                format!("{enlace_rate:.0} /s"),
                format!("{express_rate:.0} /s"),
                String::new(),
                format!("{:.1}", express_rate / enlace_rate),
                String::new(),
            ]);
        }
        for (what, [enlace, node]) in
            [("memory at rest (VmRSS)", self.idle), ("memory after all requests", self.busy)]
        {
            #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52 bytes")]
            let (enlace, node) = (enlace as f64 / MEBIBYTE, node as f64 / MEBIBYTE);
            table.add_row([
                what.to_owned(),
                format!("{enlace:.1} MiB"),
                format!("{node:.1} MiB"),
                String::new(),
                format!("{:.1}", node / enlace),
                String::new(),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let rounds = self.figures.first().map_or(0, |figures| figures.enlace.len());
        write!(
            f,
            "{table}\n{} requests a round on 16 connections, medians of {rounds} rounds; {}",
            self.requests, self.environment
        )
    }
}
