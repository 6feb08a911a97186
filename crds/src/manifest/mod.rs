//! Reading and checking manifests without an API server, as strictly as one would.
//!
//! A document goes through the same stages as in an API server: nulls and status are dropped, defaults are filled in, the schema is
//! checked (`check`), then the rules in CEL run; unknown fields are refused, as `kubectl` does. What comes out can be applied to a cluster
//! and is accepted there.
//!
//! Caveat: a quoted thing is a text. `phoneNumber: 525550000001` without quotes is a number in YAML, and refused here as it is there.

mod check;
mod device;

use std::collections::HashMap;
use std::fmt;

use enlace_contract::name::DeviceKey;
use serde_json::Value;

use crate::{WhatsAppDevice, names};

pub use device::{from_value, key, validate, validate_update};

/// The kind of several devices in one document.
const LIST: &str = "WhatsAppDeviceList";

/// One document of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub enum Manifest {
    /// A device, with the defaults filled in, checked.
    Device(Box<WhatsAppDevice>),
    /// Something else, which is not read.
    Other {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
}

/// A thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, like `spec.pairing.timeout`; empty for the whole document.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// A device is not valid: each thing that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines("", .0))]
pub struct Invalid(pub Vec<Problem>);

/// A manifest was not accepted. Its text has one line for each thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The text is not YAML; the message has the line.
    #[error("{source_name}: not YAML: {message}")]
    NotYaml {
        /// What the text is called.
        source_name: String,
        /// What the parser says.
        message: String,
    },
    /// A document is not what it should be.
    #[error("{}", lines(&format!("{source_name}: document {document}: "), .problems))]
    Document {
        /// What the text is called.
        source_name: String,
        /// Which of its documents, from 1; empty ones do not count.
        document: usize,
        /// What is wrong.
        problems: Vec<Problem>,
    },
}

/// Reads the documents of a manifest.
///
/// # Errors
/// At the first document that is not accepted, with everything that is wrong with it: a file counts as a whole or not at all.
pub fn parse(text: &str, source_name: &str) -> Result<Vec<Manifest>, ManifestError> {
    let options = serde_saphyr::options! { with_snippet: false };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| ManifestError::NotYaml {
            source_name: source_name.to_owned(),
            message: plain(&error.to_string().replace('\n', " ")),
        })?;
    let mut seen: HashMap<DeviceKey, usize> = HashMap::new();
    let mut manifests = Vec::with_capacity(documents.len());
    for (document, value) in (1..).zip(documents) {
        let refused = |Invalid(problems)| ManifestError::Document {
            source_name: source_name.to_owned(),
            document,
            problems,
        };
        for (place, value) in resources(value).map_err(refused)? {
            let refused = |invalid: Invalid| refused(invalid.within(&place));
            let manifest = read(value).map_err(refused)?;
            if let Manifest::Device(device) = &manifest {
                let key = key(device).map_err(refused)?;
                if let Some(first) = seen.get(&key) {
                    let message = format!("{key} is declared in document {first} already");
                    return Err(refused(Invalid::one("metadata.name", message)));
                }
                seen.insert(key, document);
            }
            manifests.push(manifest);
        }
    }
    Ok(manifests)
}

/// The resources of a document, each with its place in it: a list, as `get -o yaml` writes several, has them as items.
fn resources(mut value: Value) -> Result<Vec<(String, Value)>, Invalid> {
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
    if kind != "List" && kind != LIST {
        return Ok(vec![(String::new(), value)]);
    }
    match value.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => {
            Ok(items.into_iter().enumerate().map(|(index, item)| (format!("items[{index}]"), item)).collect())
        }
        _ => Err(Invalid::one("items", "must be a list of resources")),
    }
}

/// What the parser says, without what it says to programmers.
fn plain(said: &str) -> String {
    let said = said.replace(", set DuplicateKeyPolicy in Options if acceptable", "");
    let Some((before, breach)) = said.split_once("budget breached: ") else { return said };
    let too_many = match breach.split_whitespace().next().unwrap_or_default() {
        "Depth" | "InclusionDepth" => "it is nested too deep",
        "Documents" => "it has too many documents: write several files",
        "Aliases" | "Anchors" => "it has too many aliases",
        _ => "it has too many values: write several files",
    };
    format!("{before}{too_many}")
}

fn read(value: Value) -> Result<Manifest, Invalid> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    if !value.is_object() {
        return Err(Invalid::one("", "must be a Kubernetes resource with apiVersion, kind and metadata"));
    }
    let kind = text("/kind").ok_or_else(|| Invalid::one("kind", "is missing"))?;
    let api_version = text("/apiVersion").ok_or_else(|| Invalid::one("apiVersion", "is missing"))?;
    if kind != names::KIND {
        let group = names::API_VERSION.split('/').next();
        if api_version.split('/').next() == group || kind.eq_ignore_ascii_case(names::KIND) {
            let message = format!("must be {}, not {kind:?}", names::KIND);
            return Err(Invalid::one("kind", message));
        }
        return Ok(Manifest::Other { kind, name: text("/metadata/name").unwrap_or_default() });
    }
    if api_version != names::API_VERSION {
        let message = format!("must be {}, not {api_version:?}", names::API_VERSION);
        return Err(Invalid::one("apiVersion", message));
    }
    from_value(value).map(|device| Manifest::Device(Box::new(device)))
}

impl Invalid {
    /// The same of something at a place; empty for the whole document.
    fn within(self, place: &str) -> Self {
        if place.is_empty() {
            return self;
        }
        let at = |Problem { path, message }| match path.as_str() {
            "" => Problem { path: place.to_owned(), message },
            path => Problem { path: format!("{place}.{path}"), message },
        };
        Self(self.0.into_iter().map(at).collect())
    }

    fn one(path: &str, message: impl Into<String>) -> Self {
        Self(vec![Problem { path: path.to_owned(), message: message.into() }])
    }
}

impl Manifest {
    /// Why the document is skipped, for a log line; none for a device.
    pub fn skipped(&self) -> Option<String> {
        match self {
            Self::Device(_) => None,
            Self::Other { kind, name } => {
                Some(format!("{kind} {name:?} is skipped: only {} is read without Kubernetes", names::KIND))
            }
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, message } = self;
        if path.is_empty() { f.write_str(message) } else { write!(f, "{path}: {message}") }
    }
}

fn lines(prefix: &str, problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{prefix}{problem}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
