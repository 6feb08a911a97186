//! Fields of forms with names as PHP's `http_build_query` writes them: `venta[tipocomp]=01` is a field of a field. Those of
//! `application/x-www-form-urlencoded` are read here, those of multipart one by one.

use percent_encoding::percent_decode;
use serde_json::{Map, Value};

use crate::seed::extract::MAX_VALUES;

/// How deep fields may be in fields. What is deeper has the rest of its name as a name, as in Express.
const MAX_DEPTH: usize = 32;

/// Why a form is not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It has more than [`MAX_VALUES`] names, each level of each field counted.
    TooLarge,
    /// It is in another encoding than UTF-8.
    NotUtf8,
}

/// A form that is being read. Of two fields with the same name the last one counts; lists become objects with the index as name.
#[derive(Default)]
pub(super) struct Form {
    fields: Map<String, Value>,
    names: usize,
}

impl Form {
    /// Reads a body of `application/x-www-form-urlencoded`.
    pub(super) fn of_urlencoded(bytes: &[u8]) -> Result<Self, Wrong> {
        let mut form = Self::default();
        for field in bytes.split(|byte| *byte == b'&').filter(|field| !field.is_empty()) {
            let (name, value) = match field.iter().position(|byte| *byte == b'=') {
                Some(at) => (&field[..at], &field[at + 1..]),
                None => (field, &[][..]),
            };
            form.add(&decoded(name)?, decoded(value)?)?;
        }
        Ok(form)
    }

    /// Adds a field.
    pub(super) fn add(&mut self, name: &str, value: String) -> Result<(), Wrong> {
        let path = path(name);
        self.names += path.len();
        if self.names > MAX_VALUES {
            return Err(Wrong::TooLarge);
        }
        insert(&mut self.fields, &path, value);
        Ok(())
    }

    /// The fields.
    pub(super) fn into_fields(self) -> Map<String, Value> {
        self.fields
    }
}

/// A name or a value: a `+` is a space, a `%` with two digits a byte, and one without stands for itself.
fn decoded(text: &[u8]) -> Result<String, Wrong> {
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    let decoded = percent_decode(&spaced).decode_utf8().map_err(|_| Wrong::NotUtf8)?;
    Ok(decoded.into_owned())
}

/// `a[b][c]` as `a`, `b`, `c`. What is not written in this way is a name as it stands.
fn path(name: &str) -> Vec<&str> {
    let plain = || vec![name];
    let Some((first, rest)) = name.split_once('[') else { return plain() };
    let Some(rest) = rest.strip_suffix(']').filter(|_| !first.is_empty()) else { return plain() };
    std::iter::once(first).chain(rest.splitn(MAX_DEPTH - 1, "][")).collect()
}

fn insert(fields: &mut Map<String, Value>, path: &[&str], value: String) {
    let Some((name, rest)) = path.split_first() else { return };
    // `a[]` is the next one of a list.
    let name = if name.is_empty() { next(fields) } else { (*name).to_owned() };
    if rest.is_empty() {
        fields.insert(name, Value::String(value));
        return;
    }
    let inner = fields.entry(name).or_insert_with(|| Value::Object(Map::new()));
    if !inner.is_object() {
        *inner = Value::Object(Map::new());
    }
    if let Value::Object(inner) = inner {
        insert(inner, rest, value);
    }
}

/// The first number from the count of names on that is no name: in a list without gaps, the count.
fn next(fields: &Map<String, Value>) -> String {
    let numbers = (fields.len()..).map(|number| number.to_string());
    numbers.take(fields.len() + 1).find(|name| !fields.contains_key(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(text: &str) -> Value {
        Value::Object(Form::of_urlencoded(text.as_bytes()).unwrap().into_fields())
    }

    #[test]
    fn names_in_brackets_are_fields_of_fields() {
        assert_eq!(
            of("numws=999&venta%5Btipocomp%5D=01&emisor[ruc]=2&emisor[razon_social]=A+%26+B&a[b][c]=%C3%B1"),
            json!({
                "numws": "999", "venta": { "tipocomp": "01" }, "emisor": { "ruc": "2", "razon_social": "A & B" },
                "a": { "b": { "c": "ñ" } },
            })
        );
        assert_eq!(of("l[]=a&l[]=b&l[7][x]=c"), json!({ "l": { "0": "a", "1": "b", "7": { "x": "c" } } }));
        assert_eq!(of("l[1]=a&l[]=b"), json!({ "l": { "1": "a", "2": "b" } }));
    }

    #[test]
    fn a_plus_is_a_space_unless_it_is_written_as_one() {
        assert_eq!(of("pdf=a%2Bb+c"), json!({ "pdf": "a+b c" }));
        assert_eq!(
            of("&a=100%&b%3D=%2&c=%zz%C3%b1&&d"),
            json!({ "a": "100%", "b=": "%2", "c": "%zzñ", "d": "" })
        );
    }

    #[test]
    fn odd_names_stand_as_they_are_and_the_last_value_counts() {
        assert_eq!(of("[a]=1&b[c=2&d=1&d=2"), json!({ "[a]": "1", "b[c": "2", "d": "2" }));
        assert_eq!(of("a=1&a[b]=2"), json!({ "a": { "b": "2" } }));
        assert_eq!(of(""), json!({}));
    }

    #[test]
    fn a_form_may_have_many_fields_and_what_is_very_deep_is_flat() {
        let many: String = (0..5000).map(|line| format!("items[{line}][a][b][c][d]={line}&")).collect();
        assert_eq!(of(&many)["items"]["4999"]["a"]["b"]["c"]["d"], "4999");
        let mut inner = &of(&format!("a{}=1", "[b]".repeat(40)));
        for _ in 1..MAX_DEPTH {
            inner = inner.as_object().unwrap().values().next().unwrap();
        }
        assert_eq!(*inner, json!({ (["b"; 10].join("][")): "1" }));
    }

    #[test]
    fn a_form_has_an_end() {
        let wrong = |text: &[u8]| Form::of_urlencoded(text).err();
        assert_eq!(wrong("a[b][c][d]=1&".repeat(MAX_VALUES / 4).as_bytes()), None);
        assert_eq!(wrong("a[b][c][d]=1&".repeat(MAX_VALUES / 4 + 1).as_bytes()), Some(Wrong::TooLarge));
        // A name of many levels costs no more than one of few.
        assert_eq!(wrong(format!("a{}=1", "[]".repeat(1 << 20)).as_bytes()), None);
    }

    #[test]
    fn another_encoding_is_not_guessed() {
        for latin in [&b"message=%F1and%FA"[..], b"message=\xf1", b"%F1=1", b"a=1&b=%C3"] {
            assert_eq!(Form::of_urlencoded(latin).err(), Some(Wrong::NotUtf8), "{latin:?}");
        }
        assert_eq!(of("a=%EF%BF%BD"), json!({ "a": "\u{fffd}" }));
    }
}
