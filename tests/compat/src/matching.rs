//! Whether an answer is as it was recorded.

use serde_json::Value;

use crate::names::Names;

/// How much an answer may have beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// More fields may be there.
    Superset,
    /// No field more.
    Exact,
}

/// A value that was found where a placeholder stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The placeholder.
    pub(crate) name: String,
    /// The value.
    pub(crate) value: String,
}

/// What a comparison saw, unless it failed.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Whether there was more than was recorded.
    pub(crate) more: bool,
    /// What stood in place of placeholders.
    pub(crate) found: Vec<Found>,
}

/// Compares an answer with what is expected.
pub(crate) struct Comparison<'a> {
    pub(crate) names: &'a Names,
    pub(crate) volatile: &'a [String],
    pub(crate) strictness: Strictness,
}

impl Comparison<'_> {
    /// Compares two values.
    ///
    /// # Errors
    /// The first difference: where, what was expected, what there is.
    pub(crate) fn compare(&self, expected: &Value, actual: &Value) -> Result<Seen, String> {
        let mut seen = Seen::default();
        self.values("", expected, actual, &mut seen)?;
        Ok(seen)
    }

    fn values(&self, at: &str, expected: &Value, actual: &Value, seen: &mut Seen) -> Result<(), String> {
        let differs = || Err(format!("{}: {expected} was expected, not {actual}", place(at)));
        match (expected, actual) {
            (Value::Object(expected), Value::Object(actual)) => {
                let key_of = |key: &str| self.key(key);
                for (key, value) in expected {
                    let key = key_of(key);
                    let at = format!("{at}/{key}");
                    let Some(there) = actual.get(&key) else {
                        return Err(format!("{}: there is none", place(&at)));
                    };
                    if !self.volatile.contains(&key) {
                        self.values(&at, value, there, seen)?;
                    }
                }
                let known: Vec<String> = expected.keys().map(|key| key_of(key)).collect();
                if let Some(more) = actual.keys().find(|key| !known.contains(key)) {
                    if self.strictness == Strictness::Exact {
                        return Err(format!(
                            "{}: is there and is not expected",
                            place(&format!("{at}/{more}"))
                        ));
                    }
                    seen.more = true;
                }
                Ok(())
            }
            (Value::Array(expected), Value::Array(actual)) => {
                if expected.len() != actual.len() {
                    return Err(format!(
                        "{}: {} items were expected, not {}",
                        place(at),
                        expected.len(),
                        actual.len()
                    ));
                }
                for (index, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                    self.values(&format!("{at}/{index}"), expected, actual, seen)?;
                }
                Ok(())
            }
            (Value::String(expected), Value::String(actual)) => {
                if self.texts(expected, actual, seen) {
                    Ok(())
                } else {
                    differs()
                }
            }
            (expected, actual) if expected == actual => Ok(()),
            (Value::String(expected), actual) if expected == "<MILLISECONDS>" && actual.is_u64() => Ok(()),
            (Value::Number(expected), Value::Number(actual)) if expected.as_f64() == actual.as_f64() => {
                Ok(())
            }
            _ => differs(),
        }
    }

    fn texts(&self, expected: &str, actual: &str, seen: &mut Seen) -> bool {
        if let Some(name) = placeholder(expected) {
            let found = Found { name: expected.to_owned(), value: actual.to_owned() };
            if name.starts_with("TOKEN") {
                let hexadecimal = actual.len() == 64 && actual.bytes().all(|byte| byte.is_ascii_hexdigit());
                seen.found.push(found);
                return hexadecimal;
            }
            if name == "INSTANCIA_NEW"
                || (name.starts_with("INSTANCIA") && self.names.get(expected).is_none())
            {
                let fits = (1..=16).contains(&actual.len())
                    && actual.bytes().all(|byte| byte.is_ascii_alphanumeric());
                seen.found.push(found);
                return fits;
            }
            match name.split(' ').next().unwrap_or_default() {
                "ISO_TIMESTAMP" => return is_time(actual),
                "QR_DATA_URL" => return actual.starts_with("data:image/png;base64,iVBOR"),
                "HTML" => return actual.trim_start().to_ascii_lowercase().starts_with("<!doctype html"),
                _ => {}
            }
        }
        let expected = self.names.fill(expected);
        // What stands around a free part is compared.
        match expected.split_once("<ANY>") {
            Some((before, after)) => {
                actual.len() >= before.len() + after.len()
                    && actual.starts_with(before)
                    && actual.ends_with(after)
            }
            None => expected == actual,
        }
    }

    fn key(&self, key: &str) -> String {
        self.names.fill(key)
    }
}

/// The name of a text that is a placeholder as a whole.
fn placeholder(text: &str) -> Option<&str> {
    let name = text.strip_prefix('<')?.strip_suffix('>')?;
    (!name.contains(['<', '>']) && name.starts_with(|c: char| c.is_ascii_uppercase())).then_some(name)
}

/// `2026-01-31T12:00:00.000Z`
fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00.000Z"
}

fn place(at: &str) -> &str {
    if at.is_empty() { "the body" } else { at }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn compare(expected: Value, actual: Value, strictness: Strictness) -> Result<Seen, String> {
        let mut names = Names::default();
        names.set("<INSTANCIA_1>", "abc");
        let volatile = ["uptime".to_owned()];
        Comparison { names: &names, volatile: &volatile, strictness }.compare(&expected, &actual)
    }

    #[test]
    fn more_fields_are_a_superset_and_not_exact() {
        let (recorded, actual) = (json!({ "ok": true }), json!({ "ok": true, "more": 1 }));
        assert!(compare(recorded.clone(), actual.clone(), Strictness::Superset).unwrap().more);
        let error = compare(recorded, actual, Strictness::Exact).unwrap_err();
        assert_eq!(error, "/more: is there and is not expected");
    }

    #[test]
    fn a_value_that_differs_or_is_missing_fails() {
        let recorded = || json!({ "a": { "b": [1, "x"] } });
        for actual in
            [json!({}), json!({ "a": { "b": [1] } }), json!({ "a": { "b": [1, "y"] } }), json!(null)]
        {
            assert!(compare(recorded(), actual.clone(), Strictness::Superset).is_err(), "{actual}");
        }
    }

    #[test]
    fn placeholders_are_filled_in_keys_and_texts_and_bound_where_they_are_new() {
        let recorded =
            json!({ "<INSTANCIA_1>": "de <INSTANCIA_1>", "id": "<INSTANCIA_2>", "at": "<ISO_TIMESTAMP>" });
        let actual = json!({ "abc": "de abc", "id": "Xy9", "at": "2026-01-31T12:00:00.000Z" });
        let seen = compare(recorded, actual, Strictness::Exact).unwrap();
        assert_eq!(seen.found, [Found { name: "<INSTANCIA_2>".into(), value: "Xy9".into() }]);
    }

    #[test]
    fn a_part_of_a_text_may_be_free() {
        let recorded = || json!("0{\"sid\":\"<ANY>\",\"n\":1}");
        assert!(compare(recorded(), json!("0{\"sid\":\"abc\",\"n\":1}"), Strictness::Exact).is_ok());
        assert!(compare(recorded(), json!("0{\"sid\":\"abc\",\"n\":2}"), Strictness::Exact).is_err());
    }

    #[test]
    fn a_volatile_field_must_be_there_with_any_value() {
        assert!(compare(json!({ "uptime": 1 }), json!({ "uptime": "x" }), Strictness::Exact).is_ok());
        assert!(compare(json!({ "uptime": 1 }), json!({}), Strictness::Superset).is_err());
    }
}
