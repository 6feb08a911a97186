//! What a device is called.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A device's key: `namespace/name`, each a DNS label of RFC 1123.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, ToSchema,
)]
#[serde(into = "String", try_from = "String")]
#[schema(example = "default/billing")]
pub struct DeviceKey {
    namespace: String,
    name: String,
}

/// The text names no device.
#[derive(Debug, thiserror::Error)]
#[error(
    "{text:?} is not a name: use lower-case letters, digits and '-', begin and end with a letter or digit, {max} characters at most"
)]
pub struct InvalidName {
    text: String,
    max: usize,
}

impl DeviceKey {
    /// The longest name of a device: what its pod is called is longer, and must still be a DNS label.
    pub const MAX_NAME: usize = 52;
    /// The namespace of a manifest that names none.
    pub const DEFAULT_NAMESPACE: &'static str = "default";

    /// A key of checked parts.
    ///
    /// # Errors
    /// When one of the two is not a DNS label, or the name is longer than [`Self::MAX_NAME`].
    pub fn new(namespace: &str, name: &str) -> Result<Self, InvalidName> {
        check_label(namespace, 63)?;
        check_label(name, Self::MAX_NAME)?;
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name within its namespace.
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn check_label(text: &str, max: usize) -> Result<(), InvalidName> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let ok = !text.is_empty()
        && text.len() <= max
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if ok { Ok(()) } else { Err(InvalidName { text: text.to_owned(), max }) }
}

impl FromStr for DeviceKey {
    type Err = InvalidName;

    /// `namespace/name`, or `name` alone in the default namespace.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (namespace, name) = text.split_once('/').unwrap_or((Self::DEFAULT_NAMESPACE, text));
        Self::new(namespace, name)
    }
}

impl TryFrom<String> for DeviceKey {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<DeviceKey> for String {
    fn from(key: DeviceKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_with_and_without_a_namespace() {
        assert_eq!("billing".parse::<DeviceKey>().unwrap().to_string(), "default/billing");
        assert_eq!("shop/billing".parse::<DeviceKey>().unwrap().name(), "billing");
    }

    #[test]
    fn nothing_that_could_be_a_path_is_a_name() {
        for text in ["", "..", "a/../b", "a/b/c", "A", "-a", "a-", "a b", "a.b", &"a".repeat(53)] {
            assert!(text.parse::<DeviceKey>().is_err(), "{text:?}");
        }
    }
}
