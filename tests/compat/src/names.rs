//! Values that stand for something else in each run: `<TOKEN_A>`, `<INSTANCIA_1>` and the like.

use std::collections::BTreeMap;

use serde_json::Value;

/// What the placeholders stand for in this run.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeMap<String, String>);

impl Names {
    /// From now on a placeholder stands for a value.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// What a placeholder stands for.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The first token that was captured.
    pub(crate) fn any_token(&self) -> Option<&str> {
        self.0.iter().find(|(name, _)| name.starts_with("<TOKEN")).map(|(_, value)| value.as_str())
    }

    /// A text with each known placeholder replaced.
    pub(crate) fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// The same throughout a value, keys of objects too.
    pub(crate) fn fill_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.fill(text)),
            Value::Array(values) => values.iter().map(|value| self.fill_value(value)).collect(),
            Value::Object(fields) => {
                fields.iter().map(|(key, value)| (self.fill(key), self.fill_value(value))).collect()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }
}
