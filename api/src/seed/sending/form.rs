//! Forms (`application/x-www-form-urlencoded`) as PHP's `http_build_query` writes them: `venta[tipocomp]=01` is a field of a field.

use serde_json::{Map, Value};

/// The most fields of a form: PHP's own limit.
const MAX_FIELDS: usize = 1000;
/// How deep fields may be in fields.
const MAX_DEPTH: usize = 5;

/// A form that is too large or too deep.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreasonable;

/// The fields of a form. Of two with the same name the last one counts; lists become objects with the index as name.
pub(super) fn fields(bytes: &[u8]) -> Result<Map<String, Value>, Unreasonable> {
    let mut fields = Map::new();
    for (count, (name, value)) in form_urlencoded::parse(bytes).enumerate() {
        let path = path(&name);
        if count >= MAX_FIELDS || path.len() > MAX_DEPTH {
            return Err(Unreasonable);
        }
        insert(&mut fields, &path, value.into_owned());
    }
    Ok(fields)
}

/// `a[b][c]` as `a`, `b`, `c`. What is not written in this way is a name as it stands.
fn path(name: &str) -> Vec<&str> {
    let plain = || vec![name];
    let Some((first, rest)) = name.split_once('[') else { return plain() };
    let Some(rest) = rest.strip_suffix(']').filter(|_| !first.is_empty()) else { return plain() };
    std::iter::once(first).chain(rest.split("][")).collect()
}

fn insert(fields: &mut Map<String, Value>, path: &[&str], value: String) {
    let Some((name, rest)) = path.split_first() else { return };
    // `a[]` is the next one of a list.
    let name = if name.is_empty() { fields.len().to_string() } else { (*name).to_owned() };
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(text: &str) -> Value {
        Value::Object(fields(text.as_bytes()).unwrap())
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
    }

    #[test]
    fn a_plus_is_a_space_unless_it_is_written_as_one() {
        assert_eq!(of("pdf=a%2Bb+c"), json!({ "pdf": "a+b c" }));
    }

    #[test]
    fn odd_names_stand_as_they_are_and_the_last_value_counts() {
        assert_eq!(of("[a]=1&b[c=2&d=1&d=2"), json!({ "[a]": "1", "b[c": "2", "d": "2" }));
        assert_eq!(of("a=1&a[b]=2"), json!({ "a": { "b": "2" } }));
        assert_eq!(of(""), json!({}));
    }

    #[test]
    fn a_form_has_an_end() {
        assert_eq!(fields("a=1&".repeat(1001).as_bytes()), Err(Unreasonable));
        assert_eq!(fields(b"a[b][c][d][e][f]=1"), Err(Unreasonable));
    }
}
