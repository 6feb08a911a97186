//! The recorded file: a sequence of pairs to assert, requests to send, and things that happen.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Map, Value};

/// What comes next.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Step {
    /// A pair to assert.
    Pair(Box<Pair>),
    /// A request whose answer is not in the file.
    Perform {
        /// The request.
        perform: Request,
        /// The fields of the answer that hold a placeholder's value from then on.
        #[serde(default)]
        capture: BTreeMap<String, String>,
    },
    /// Something outside of the requests.
    Happens(Action),
}

/// A recorded request with its answer.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Pair {
    /// What it is called.
    pub(crate) name: String,
    /// The request.
    pub(crate) request: Request,
    /// The answer.
    pub(crate) response: Answer,
    /// Fields of the answer whose value is free.
    #[serde(default)]
    pub(crate) volatile: Vec<String>,
}

/// A request.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) body: Value,
}

/// An answer, as far as it is compared.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) body: Value,
}

/// Something that happens outside of the requests.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Action {
    pub(crate) action: String,
    #[serde(flatten)]
    pub(crate) with: Map<String, Value>,
}

impl Action {
    /// A text that goes with it.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.with.get(name)?.as_str()
    }
}

#[derive(Deserialize)]
struct Entry {
    mode: String,
    #[serde(flatten)]
    step: Step,
}

/// Reads a file.
///
/// # Errors
/// It cannot be read, or is of another form.
pub(crate) fn read(file: &Path) -> anyhow::Result<Vec<(String, Step)>> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let entries: Vec<Value> =
        serde_json::from_slice(&text).with_context(|| format!("{} is not a list", file.display()))?;
    let read = entries.into_iter().enumerate().map(|(at, entry)| {
        let Entry { mode, step } = serde_json::from_value(entry)
            .with_context(|| format!("{}: entry {at} is of no known form", file.display()))?;
        Ok((mode, step))
    });
    read.collect()
}

/// The entries of each mode in their order; the modes in the order in which they begin.
pub(crate) fn by_mode(entries: Vec<(String, Step)>) -> Vec<(String, Vec<Step>)> {
    let mut modes: Vec<(String, Vec<Step>)> = Vec::new();
    for (mode, step) in entries {
        match modes.iter_mut().find(|(known, _)| *known == mode) {
            Some((_, steps)) => steps.push(step),
            None => modes.push((mode, vec![step])),
        }
    }
    modes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_entry_is_read_as_that_kind() {
        let of = |text: &str| serde_json::from_str::<Step>(text).unwrap();
        let pair = r#"{"name":"a","request":{"method":"GET","path":"/"},"response":{"status":200}}"#;
        assert!(matches!(of(pair), Step::Pair(_)));
        assert!(matches!(of(r#"{"perform":{"method":"GET","path":"/"}}"#), Step::Perform { .. }));
        assert!(
            matches!(of(r#"{"action":"wait_seconds","seconds":5}"#), Step::Happens(Action { action, .. }) if action == "wait_seconds")
        );
    }

    #[test]
    fn entries_of_a_mode_that_come_later_belong_to_its_one_run() {
        let step = || serde_json::from_str::<Step>(r#"{"action":"note"}"#).unwrap();
        let entries = ["a", "b", "a"].map(|mode| (mode.to_owned(), step())).to_vec();
        let modes: Vec<_> = by_mode(entries).into_iter().map(|(mode, steps)| (mode, steps.len())).collect();
        assert_eq!(modes, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
    }

    #[test]
    fn recordings_have_no_secret_and_no_real_number() {
        let text = include_str!("../golden.json");
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        for word in words {
            let hexadecimal = word.len() >= 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(!hexadecimal, "a token: {word}");
            // Numbers of the recording's country begin with 51; the invented ones are these.
            let peruvian =
                word.len() == 11 && word.starts_with("519") && word.bytes().all(|byte| byte.is_ascii_digit());
            let invented = ["519000", "5191111", "5199999"].iter().any(|known| word.starts_with(known));
            assert!(!peruvian || invented, "a number: {word}");
        }
    }
}
