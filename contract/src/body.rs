//! Bodies of JSON, and what is wrong with one, for a person: the field first, then what it must be. What serde says is for programmers.

use http::{HeaderValue, StatusCode};
use serde::de::{DeserializeOwned, IgnoredAny};

/// Why a body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// 400 for what is no JSON, 422 for what has other fields than it must.
    pub status: StatusCode,
    /// A sentence for a person.
    pub sentence: String,
}

/// Whether a `Content-Type` is one of JSON.
pub fn is_json(kind: &HeaderValue) -> bool {
    let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    kind == "application/json" || kind.starts_with("application/") && kind.ends_with("+json")
}

/// Reads a map of fields.
///
/// # Errors
/// When it is something else, or not as `T` has it.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Wrong> {
    let syntax =
        |error: &serde_json::Error| Wrong { status: StatusCode::BAD_REQUEST, sentence: of_syntax(error) };
    let fields = |sentence| Wrong { status: StatusCode::UNPROCESSABLE_ENTITY, sentence };
    // To serde a list would do for a struct, by position.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        // Nothing is kept of it: it may have millions of values.
        serde_json::from_slice::<IgnoredAny>(bytes).map_err(|error| syntax(&error))?;
        let kind = match bytes.trim_ascii_start().first() {
            Some(b'[') => "a list",
            Some(b'"') => "a text",
            Some(b't' | b'f') => "true or false",
            Some(b'n') => "nothing",
            _ => "a number",
        };
        return Err(fields(format!("the body: must be a map of fields, not {kind}")));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| match error.inner() {
        inner if inner.is_data() => fields(of_value(&error.path().to_string(), &inner.to_string())),
        inner => syntax(inner),
    })?;
    json.end().map_err(|error| syntax(&error))?;
    Ok(read)
}

fn of_syntax(error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "the body is not JSON: it ends too early".to_owned();
    }
    format!("the body is not JSON: look at line {}, column {}", error.line(), error.column())
}

/// Of a value at a path, from serde's words.
pub fn of_value(path: &str, said: &str) -> String {
    // Where it stands is said by the path.
    let said = said.rsplit_once(" at line ").map_or(said, |(said, _)| said);
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
pub fn plain(type_: &str) -> String {
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
            (json!(true), "the body: must be a map of fields, not true or false"),
            (json!(["a", []]), "the body: must be a map of fields, not a list"),
        ] {
            let wrong = read::<Order>(body.to_string().as_bytes()).unwrap_err();
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            assert_eq!(wrong, Wrong { status, sentence: sentence.to_owned() }, "{body}");
        }
    }

    #[test]
    fn a_body_that_is_no_json_is_said_with_its_place() {
        for (text, sentence) in [
            ("{", "the body is not JSON: it ends too early"),
            ("", "the body is not JSON: it ends too early"),
            ("{\n x}", "the body is not JSON: look at line 2, column 2"),
            ("[1", "the body is not JSON: it ends too early"),
            (r#"{"to":"a"}{"#, "the body is not JSON: look at line 1, column 11"),
        ] {
            let wrong = read::<Order>(text.as_bytes()).unwrap_err();
            assert_eq!(
                wrong,
                Wrong { status: StatusCode::BAD_REQUEST, sentence: sentence.to_owned() },
                "{text}"
            );
        }
    }
}
