//! A value against the structural schema: types, required fields, unknown fields, enumerations and bounds.
//!
//! It knows the keywords that the resource's schema uses, and no others; a test holds the schema to them.

use serde_json::{Map, Value};

use super::Problem;

/// What the value has that the schema does not allow.
pub(super) fn check(schema: &Value, value: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    // The schema of a resource does not describe what every resource has.
    let root = Path::Root;
    if let (Some(properties), Value::Object(object)) = (properties(schema), value) {
        required(schema, object, &root, &mut problems);
        for (name, inner) in object {
            match properties.get(name) {
                Some(schema) => node(schema, inner, &Path::Field(&root, name), &mut problems),
                None if matches!(name.as_str(), "apiVersion" | "kind" | "metadata") => {}
                None => unknown(&Path::Field(&root, name), properties, &mut problems),
            }
        }
    }
    problems
}

/// Drops the nulls of fields that cannot be null, as the API server does before it fills in defaults.
pub(super) fn prune_nulls(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(object) => {
            let Some(properties) = properties(schema) else { return };
            object.retain(|name, inner| {
                let nullable = |schema: &Value| schema.get("nullable") == Some(&Value::Bool(true));
                !inner.is_null() || properties.get(name).is_none_or(nullable)
            });
            for (name, inner) in object {
                if let Some(schema) = properties.get(name) {
                    prune_nulls(schema, inner);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            for item in items {
                prune_nulls(schema, item);
            }
        }
        _ => {}
    }
}

#[derive(Clone, Copy)]
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl std::fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => f.write_str(name),
            Self::Field(parent, name) if name.contains(['.', '/']) => write!(f, "{parent}[{name}]"),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

fn node(schema: &Value, value: &Value, path: &Path<'_>, problems: &mut Vec<Problem>) {
    let Some(fault) = type_fault(schema, value) else {
        match value {
            Value::Object(object) => fields(schema, object, path, problems),
            Value::Array(items) => list(schema, items, path, problems),
            Value::String(text) => problems.extend(text_fault(schema, text).map(|fault| at(path, fault))),
            _ => {}
        }
        return;
    };
    problems.push(at(path, fault));
}

fn type_fault(schema: &Value, value: &Value) -> Option<String> {
    if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        let ok = value.is_string() || value.is_i64() || value.is_u64();
        return (!ok).then(|| format!("must be a whole number or a text, not {}", name_of(value)));
    }
    let (ok, wanted) = match schema.get("type").and_then(Value::as_str)? {
        "object" => (value.is_object(), "a map of fields"),
        "array" => (value.is_array(), "a list"),
        "string" => (value.is_string(), "a text"),
        "boolean" => (value.is_boolean(), "true or false"),
        "integer" => (value.is_i64() || value.is_u64(), "a whole number"),
        _ => (value.is_number(), "a number"),
    };
    let quotes = if wanted == "a text" && (value.is_number() || value.is_boolean()) {
        format!(": put it in quotes, \"{value}\"")
    } else {
        String::new()
    };
    (!ok).then(|| format!("must be {wanted}, not {}{quotes}", name_of(value)))
}

/// What a value of the wrong kind is called before a person.
const fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

fn text_fault(schema: &Value, text: &str) -> Option<String> {
    if let Some(words) = schema.get("enum").and_then(Value::as_array)
        && !words.iter().any(|word| word == text)
    {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        return Some(format!("must be {}, not {text:?}", words.join(" or ")));
    }
    let length = text.chars().count() as u64;
    if let Some(longest) = bound(schema, "maxLength").filter(|longest| length > *longest) {
        return Some(format!("must be at most {longest} characters, not {length}"));
    }
    bound(schema, "minLength")
        .filter(|shortest| length < *shortest)
        .map(|shortest| format!("must be at least {shortest} characters, not {length}"))
}

fn fields(schema: &Value, object: &Map<String, Value>, path: &Path<'_>, problems: &mut Vec<Problem>) {
    required(schema, object, path, problems);
    if let Some(most) = bound(schema, "maxProperties").filter(|most| object.len() as u64 > *most) {
        problems.push(at(path, format!("must have at most {most} entries, not {}", object.len())));
    }
    let empty = Map::new();
    let known = properties(schema).unwrap_or(&empty);
    let others = schema.get("additionalProperties").filter(|others| others.is_object());
    for (name, value) in object {
        let path = Path::Field(path, name);
        match known.get(name).or(others) {
            Some(schema) => node(schema, value, &path, problems),
            None => unknown(&path, known, problems),
        }
    }
}

fn required(schema: &Value, object: &Map<String, Value>, path: &Path<'_>, problems: &mut Vec<Problem>) {
    for name in
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    {
        if !object.contains_key(name) {
            problems.push(at(&Path::Field(path, name), "is missing".to_owned()));
        }
    }
}

fn unknown(path: &Path<'_>, known: &Map<String, Value>, problems: &mut Vec<Problem>) {
    let known: Vec<&str> = known.keys().map(String::as_str).collect();
    let hint =
        if known.is_empty() { String::new() } else { format!("; the fields are {}", known.join(", ")) };
    problems.push(at(path, format!("is not a field{hint}")));
}

fn list(schema: &Value, items: &[Value], path: &Path<'_>, problems: &mut Vec<Problem>) {
    if let Some(most) = bound(schema, "maxItems").filter(|most| items.len() as u64 > *most) {
        problems.push(at(path, format!("must have at most {most} items, not {}", items.len())));
    }
    let Some(schema) = schema.get("items") else { return };
    for (index, item) in items.iter().enumerate() {
        node(schema, item, &Path::Item(path, index), problems);
    }
}

fn bound(schema: &Value, keyword: &str) -> Option<u64> {
    schema.get(keyword).and_then(Value::as_u64)
}

fn at(path: &Path<'_>, message: String) -> Problem {
    Problem { path: path.to_string(), message }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Checked here, run by CEL, or without meaning for what is valid.
    const KNOWN: [&str; 17] = [
        "additionalProperties",
        "default",
        "description",
        "enum",
        // int32 and int64: the type itself refuses what does not fit.
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "minLength",
        "nullable",
        "properties",
        "required",
        "title",
        "type",
        "x-kubernetes-int-or-string",
        "x-kubernetes-validations",
    ];

    #[test]
    fn no_keyword_of_the_spec_goes_unchecked() {
        let schema = super::super::device::schema();
        let mut found = BTreeSet::new();
        keywords(&schema["properties"]["spec"], &mut found);
        let unknown: Vec<_> = found.iter().filter(|word| !KNOWN.contains(&word.as_str())).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    fn keywords(schema: &Value, found: &mut BTreeSet<String>) {
        for (keyword, value) in schema.as_object().unwrap() {
            found.insert(keyword.clone());
            match keyword.as_str() {
                "properties" => value.as_object().unwrap().values().for_each(|inner| keywords(inner, found)),
                "items" | "additionalProperties" => keywords(value, found),
                _ => {}
            }
        }
    }
}
