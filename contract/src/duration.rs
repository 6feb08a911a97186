//! Durations as people write them in a manifest: `5s`, `1h30m`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A length of time, written as whole numbers with the units `ms`, `s`, `m`, `h`, `d` (`250ms`, `5s`, `1h30m`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(Duration);

/// The text is not a duration.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a duration: write whole numbers with the units ms, s, m, h or d, like 5s or 1h30m")]
pub struct InvalidPeriod {
    text: String,
}

impl Period {
    /// The regular expression of what is accepted, for the resource's schema.
    pub const PATTERN: &'static str = "^([0-9]+(ms|s|m|h|d))+$";

    /// A period of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The standard library's form.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Duration> for Period {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl FromStr for Period {
    type Err = InvalidPeriod;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidPeriod { text: text.to_owned() };
        if !is_plain(text) {
            return Err(invalid());
        }
        humantime::parse_duration(text).map(Self).map_err(|_| invalid())
    }
}

/// Only what [`Period::PATTERN`] accepts: `humantime` alone also takes spaces and long unit names.
fn is_plain(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let unit = rest[digits..].bytes().take_while(u8::is_ascii_lowercase).count();
        if digits == 0 || !matches!(&rest[digits..digits + unit], "ms" | "s" | "m" | "h" | "d") {
            return false;
        }
        rest = &rest[digits + unit..];
    }
    !text.is_empty()
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut milliseconds = self.0.as_millis();
        if milliseconds == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            let count = milliseconds / size;
            milliseconds %= size;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": Self::PATTERN, "maxLength": 32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_read_and_written_as_people_write_them() {
        for (text, millis, written) in [
            ("5s", 5_000, "5s"),
            ("250ms", 250, "250ms"),
            ("1h30m", 5_400_000, "1h30m"),
            ("90m", 5_400_000, "1h30m"),
            ("1d", 86_400_000, "24h"),
            ("0s", 0, "0s"),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!(period.get(), Duration::from_millis(millis), "{text}");
            assert_eq!(period.to_string(), written, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_period_is_refused_with_the_form() {
        for text in ["", "5", "s", "5 s", "-5s", "1.5h", "5sec", "5y", "99999999999999999999s"] {
            let error = text.parse::<Period>().unwrap_err().to_string();
            assert!(error.contains("like 5s or 1h30m"), "{text}: {error}");
        }
    }
}
