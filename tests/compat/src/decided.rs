//! Where Enlace answers otherwise on purpose: the exact answer, and what decides it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::Value;

/// One decided answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decided {
    /// The mode of the pair.
    pub(crate) mode: String,
    /// The name of the pair.
    pub(crate) name: String,
    /// What decides it: a section of the behaviour specification.
    pub(crate) section: String,
    /// Why, in a sentence.
    pub(crate) because: String,
    /// The status.
    pub(crate) status: u16,
    /// Headers that the answer has.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// The whole body, with no field more or less.
    pub(crate) body: Value,
    /// Fields whose value is free.
    #[serde(default)]
    pub(crate) volatile: Vec<String>,
}

/// The decisions by mode and name.
pub(crate) type Decisions = BTreeMap<(String, String), Decided>;

/// Reads the list.
///
/// # Errors
/// It cannot be read, is of another form, says no reason, or decides a pair twice.
pub(crate) fn read(file: &Path) -> anyhow::Result<Decisions> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let list: Vec<Decided> =
        serde_saphyr::from_str(&text).with_context(|| format!("{} is of another form", file.display()))?;
    let mut decisions = Decisions::new();
    for decided in list {
        let pair = (decided.mode.clone(), decided.name.clone());
        ensure!(!decided.section.is_empty() && !decided.because.is_empty(), "{pair:?} has no reason");
        ensure!(decisions.insert(pair.clone(), decided).is_none(), "{pair:?} is decided twice");
    }
    Ok(decisions)
}
