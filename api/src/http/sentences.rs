//! What is wrong with a request, for a person: the field first, then what it must be. What serde and axum say is for programmers.

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use enlace_crds::manifest;
use serde_json::Value;

/// Of `limit`.
pub(super) const LIMIT: &str = "limit: must be a whole number from 1 to 500";

/// Of a body that is not JSON.
pub(super) fn of_syntax(error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "the body is not JSON: it ends too early".to_owned();
    }
    format!("the body is not JSON: look at line {}, column {}", error.line(), error.column())
}

/// Of a body that is no map of fields.
pub(super) fn not_fields(body: &Value) -> String {
    format!("the body: must be a map of fields, not {}", manifest::name_of(body))
}

/// Of a value at a path, from serde's words.
pub(super) fn of_value(path: &str, said: &str) -> String {
    let named = |rest: &str| rest.split('`').nth(1).unwrap_or_default().to_owned();
    let at = |path: &str| if matches!(path, "." | "") { "the body".to_owned() } else { path.to_owned() };
    // A field that is missing or too much is below the path; serde names it itself.
    let field = |name: String| match path {
        "." | "" => name,
        path if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        path => format!("{path}.{name}"),
    };
    if let Some(rest) = said.strip_prefix("missing field ") {
        return format!("{}: is missing", field(named(rest)));
    }
    if let Some(rest) = said.strip_prefix("unknown field ") {
        return format!("{}: is not a field{}", field(named(rest)), known("; the fields are", rest));
    }
    if let Some(rest) = said.strip_prefix("unknown variant ") {
        return format!("{}: must be {}, not {}", at(path), alternatives(rest), named(rest));
    }
    if let Some(rest) = said.strip_prefix("duplicate field ") {
        return format!("{}: is there twice", named(rest));
    }
    for prefix in ["invalid type: ", "invalid value: ", "invalid length: "] {
        if let Some((found, wanted)) =
            said.strip_prefix(prefix).and_then(|rest| rest.split_once(", expected "))
        {
            return format!("{}: must be {}, not {}", at(path), plain(wanted), plain(found));
        }
    }
    format!("{}: {said}", at(path))
}

/// Of a query string, from axum's words.
pub(super) fn of_query(said: &str) -> String {
    let said = said.strip_prefix("Failed to deserialize query string: ").unwrap_or(said);
    let Some((name, why)) = said.split_once(": ") else { return of_value("", said) };
    match (name, why) {
        ("limit", _) => LIMIT.to_owned(),
        (name, "provided string was not `true` or `false`") => format!("{name}: must be true or false"),
        (name, why) if why.contains("invalid digit") => format!("{name}: must be a whole number"),
        (name, why) => format!("{name}: {why}"),
    }
}

/// Of the segments of a path.
pub(super) fn of_path(rejection: &PathRejection) -> String {
    let PathRejection::FailedToDeserializePathParams(error) = rejection else {
        return "the path cannot be read".to_owned();
    };
    match error.kind() {
        ErrorKind::ParseErrorAtKey { key, expected_type, .. } => {
            format!("{key}: must be {}", plain(expected_type))
        }
        ErrorKind::InvalidUtf8InPathParam { key } => format!("{key}: is not UTF-8"),
        ErrorKind::DeserializeError { key, message, .. } => format!("{key}: {message}"),
        _ => "the path cannot be read".to_owned(),
    }
}

/// What serde lists after "expected", as a list.
fn listed(rest: &str) -> Vec<&str> {
    let expected = rest.split_once(", expected ").map_or("", |(_, expected)| expected);
    expected.split('`').skip(1).step_by(2).collect()
}

fn known(words: &str, rest: &str) -> String {
    let known = listed(rest);
    if known.is_empty() { String::new() } else { format!("{words} {}", known.join(", ")) }
}

fn alternatives(rest: &str) -> String {
    let known = listed(rest);
    match known.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        _ => known.join(""),
    }
}

/// A type of serde or Rust in plain words.
fn plain(type_: &str) -> String {
    let kind = type_.split([' ', '`']).find(|word| !word.is_empty()).unwrap_or_default();
    let words = match kind {
        "null" | "unit" => "nothing",
        "boolean" | "bool" => "true or false",
        "integer" | "i32" | "i64" | "u16" | "u32" | "u64" => "a whole number",
        "floating" | "f64" => "a number with a fraction",
        "string" => "a text",
        "map" | "struct" => "a map of fields",
        "sequence" => "a list",
        "a" => match type_ {
            "a string" => "a text",
            "a boolean" => "true or false",
            "a map" => "a map of fields",
            "a sequence" => "a list",
            other => other,
        },
        _ => type_,
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        #[expect(dead_code, reason = "it is read by no test")]
        to: String,
        #[expect(dead_code, reason = "it is read by no test")]
        #[serde(default)]
        items: Vec<Item>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum Item {
        First,
        Second,
    }

    #[test]
    fn a_wrong_body_is_said_with_its_field() {
        for (body, sentence) in [
            (json!({}), "to: is missing"),
            (json!({"to": 1}), "to: must be a text, not a whole number"),
            (json!({"to": null}), "to: must be a text, not nothing"),
            (json!({"to": "a", "too": 1}), "too: is not a field; the fields are to, items"),
            (json!({"to": "a", "items": "first"}), "items: must be a list, not a text"),
            (json!({"to": "a", "items": ["third"]}), "items[0]: must be first or second, not third"),
        ] {
            let error = serde_path_to_error::deserialize::<_, Order>(body.clone()).unwrap_err();
            let said = of_value(&error.path().to_string(), &error.inner().to_string());
            assert_eq!(said, sentence, "{body}");
        }
        assert_eq!(not_fields(&json!(true)), "the body: must be a map of fields, not true or false");
    }

    #[test]
    fn a_wrong_query_is_said_with_its_parameter() {
        let of = |said: &str| of_query(&format!("Failed to deserialize query string: {said}"));
        assert_eq!(of("limit: invalid digit found in string"), LIMIT);
        assert_eq!(of("after: invalid digit found in string"), "after: must be a whole number");
        assert_eq!(of("duplicate field `limit`"), "limit: is there twice");
    }

    #[test]
    fn a_body_that_is_no_json_is_said_with_its_place() {
        let error = |text: &str| of_syntax(&serde_json::from_str::<Value>(text).unwrap_err());
        assert_eq!(error("{"), "the body is not JSON: it ends too early");
        assert_eq!(error("{\n x}"), "the body is not JSON: look at line 2, column 2");
    }
}
