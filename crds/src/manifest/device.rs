//! One device: from a value to a checked resource.

use std::sync::LazyLock;

use enlace_contract::body;
use enlace_contract::name::DeviceKey;
use kube::CustomResourceExt as _;
use kube::core::cel::{CompiledSchema, ValidationErrors, Validator, apply_defaults, compile_schema};
use serde_json::Value;

use super::check::check;
use super::{Invalid, Problem};
use crate::rules::pairing;
use crate::{WhatsAppDevice, names};

/// The schema of the resource, as the API server has it.
static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let crd = serde_json::to_value(WhatsAppDevice::crd()).unwrap_or_default();
    crd.pointer("/spec/versions/0/schema/openAPIV3Schema").cloned().unwrap_or_default()
});

/// The same with its rules compiled, which takes longer than running them.
static RULES: LazyLock<CompiledSchema> = LazyLock::new(|| compile_schema(&SCHEMA));

/// A device from a value (a manifest's document, a request's body): nulls and what only a server sets are dropped, defaults are filled in,
/// the schema and the rules are checked.
///
/// # Errors
/// Everything that is wrong, each with its path.
pub fn from_value(mut value: Value) -> Result<WhatsAppDevice, Invalid> {
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
    super::check::prune_nulls(&SCHEMA, &mut value);
    let value = apply_defaults(&SCHEMA, &value);
    refuse(check(&SCHEMA, &value))?;
    let mut device = typed(value.clone())?;
    check_metadata(&device)?;
    refuse_errors(Validator::new().validate_compiled(&RULES, &value, None))?;
    forget_what_a_server_sets(&mut device);
    Ok(device)
}

/// Checks a device that was made by a program: the schema and the rules.
///
/// # Errors
/// Everything that is wrong, each with its path.
pub fn validate(device: &WhatsAppDevice) -> Result<(), Invalid> {
    let value = value_of(device)?;
    refuse(check(&SCHEMA, &value))?;
    check_metadata(device)?;
    refuse_errors(Validator::new().validate_compiled(&RULES, &value, None))
}

/// Checks a change: what [`validate`] checks, and the rules about what cannot change.
///
/// # Errors
/// Everything that is wrong, each with its path.
pub fn validate_update(old: &WhatsAppDevice, new: &WhatsAppDevice) -> Result<(), Invalid> {
    let value = value_of(new)?;
    refuse(check(&SCHEMA, &value))?;
    check_metadata(new)?;
    refuse_errors(Validator::new().validate_compiled(&RULES, &value, Some(&value_of(old)?)))
}

/// The device's key; a device without a namespace is in the default one.
///
/// # Errors
/// When the namespace or the name is not a DNS label, or the name is missing.
pub fn key(device: &WhatsAppDevice) -> Result<DeviceKey, Invalid> {
    let namespace = device.metadata.namespace.as_deref().unwrap_or(DeviceKey::DEFAULT_NAMESPACE);
    let name = device.metadata.name.as_deref().ok_or_else(|| Invalid::one("metadata.name", "is missing"))?;
    DeviceKey::new(namespace, name).map_err(|error| Invalid::one("metadata", error.to_string()))
}

fn value_of(device: &WhatsAppDevice) -> Result<Value, Invalid> {
    let mut value = serde_json::to_value(device).map_err(|error| Invalid::one("", error.to_string()))?;
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
    Ok(value)
}

fn typed(mut value: Value) -> Result<WhatsAppDevice, Invalid> {
    // The type itself stands for these two, so to serde they would be unknown.
    if let Some(object) = value.as_object_mut() {
        object.retain(|name, _| name != "apiVersion" && name != "kind");
    }
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(value, &mut track);
    let device: Result<WhatsAppDevice, _> = serde_ignored::deserialize(deserializer, |path| {
        unknown
            .push(Problem { path: path.to_string(), message: "is not a field of the resource".to_owned() });
    });
    let device = device.map_err(|error| unlike(&track.path().to_string(), &error.to_string()))?;
    refuse(unknown)?;
    Ok(device)
}

/// A value that is not of its type, from serde's words.
fn unlike(path: &str, said: &str) -> Invalid {
    let message = body::of_value(path, said);
    let quotes = said.starts_with("invalid type: ") && message.contains("must be a text, ");
    let bare = ["true or false", "number"].iter().any(|kind| message.contains(kind));
    let help = if quotes && bare { ": put it in quotes" } else { "" };
    // The sentence begins with the path.
    Invalid::one("", format!("{message}{help}"))
}

/// What the API server checks in the metadata of every resource, as far as a device needs it.
fn check_metadata(device: &WhatsAppDevice) -> Result<(), Invalid> {
    if let Some(text) = device.metadata.annotations.as_ref().and_then(|all| all.get(names::PAIR_REQUESTED))
        && pairing::requested(device).is_none()
    {
        let path = format!("metadata.annotations[{}]", names::PAIR_REQUESTED);
        return Err(Invalid::one(&path, format!("must be a time like 2030-01-31T12:00:00Z, not {text:?}")));
    }
    let namespace = device.metadata.namespace.as_deref().unwrap_or(DeviceKey::DEFAULT_NAMESPACE);
    DeviceKey::new(namespace, "a").map_err(|error| Invalid::one("metadata.namespace", error.to_string()))?;
    match device.metadata.name {
        Some(_) => Ok(()),
        None => Err(Invalid::one("metadata.name", "is missing")),
    }
}

/// A manifest that was written out of a cluster has these; here they would be another device's.
fn forget_what_a_server_sets(device: &mut WhatsAppDevice) {
    let metadata = &mut device.metadata;
    metadata.namespace.get_or_insert_with(|| DeviceKey::DEFAULT_NAMESPACE.to_owned());
    metadata.uid = None;
    metadata.resource_version = None;
    metadata.generation = None;
    metadata.creation_timestamp = None;
    metadata.deletion_timestamp = None;
    metadata.managed_fields = None;
    metadata.owner_references = None;
    metadata.finalizers = None;
}

fn refuse(problems: Vec<Problem>) -> Result<(), Invalid> {
    if problems.is_empty() { Ok(()) } else { Err(Invalid(problems)) }
}

fn refuse_errors(result: Result<(), ValidationErrors>) -> Result<(), Invalid> {
    let Err(errors) = result else { return Ok(()) };
    refuse(
        errors.into_iter().map(|error| Problem { path: error.field_path, message: error.message }).collect(),
    )
}

#[cfg(test)]
pub(super) fn schema() -> &'static Value {
    &SCHEMA
}
