//! How the schema is kept structural and small.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

/// A list in the resource has at most this many items.
const MAX_ITEMS: usize = 32;

/// Takes `null` out of what the properties accept. An absent field and a null one then mean the same: the API server drops the null
/// before defaults and rules, and `has()` in a rule tells the truth.
pub(super) fn not_nullable(schema: &mut Schema) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for property in properties.values_mut().filter_map(Value::as_object_mut) {
        drop_null(property);
    }
}

fn drop_null(property: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = property.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            property.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(mut branches)) = property.remove("anyOf") else { return };
    branches.retain(|branch| branch.get("type").is_none_or(|name| name != "null"));
    match <[Value; 1]>::try_from(branches) {
        Ok([Value::Object(only)]) => {
            for (key, value) in only {
                property.entry(key).or_insert(value);
            }
        }
        Ok([other]) => drop(property.insert("anyOf".to_owned(), Value::Array(vec![other]))),
        Err(branches) => drop(property.insert("anyOf".to_owned(), Value::Array(branches))),
    }
}

/// The schema of a Kubernetes type without its descriptions, which are many times its size and in Kubernetes' own documentation.
pub(super) fn plain<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = T::json_schema(generator);
    if let Some(object) = schema.as_object_mut() {
        drop_descriptions(object);
    }
    schema
}

/// A bounded list of a Kubernetes type.
pub(super) fn plain_list<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let items = plain::<T>(generator);
    json_schema!({ "type": "array", "maxItems": MAX_ITEMS, "items": items })
}

/// A bounded map of texts; keys and values are at most as long as a label's, or as `longest`.
pub(super) fn texts<const LONGEST: u32>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MAX_ITEMS,
        "additionalProperties": { "type": "string", "maxLength": LONGEST },
    })
}

/// A point in time.
pub(super) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}

/// The end of a connection. Its reason is any word: a device may be newer than the resource definition.
pub(super) fn disconnect(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": { "reason": { "type": "string" }, "message": { "type": "string" }, "at": time(generator) },
        "required": ["reason", "at"],
    })
}

/// Removes each `description` of a schema, but no property of that name.
fn drop_descriptions(schema: &mut Map<String, Value>) {
    schema.remove("description");
    for (key, value) in schema {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                for property in properties.values_mut().filter_map(Value::as_object_mut) {
                    drop_descriptions(property);
                }
            }
            ("items" | "additionalProperties", Value::Object(inner)) => drop_descriptions(inner),
            _ => {}
        }
    }
}
