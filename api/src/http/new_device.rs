//! What may be said of a new device: its spec, and of its metadata the names, labels and annotations. The rest is the server's, and a caller
//! who gives it is told so.

use enlace_contract::name::DeviceKey;
use enlace_crds::resource::Storage;
use enlace_crds::{WhatsAppDevice, manifest, names};
use serde_json::{Map, Value};

/// What a caller may give of the metadata.
const METADATA: [&str; 4] = ["name", "namespace", "labels", "annotations"];
/// What an API server of Kubernetes would take or set itself.
const OF_THE_SERVER: [&str; 11] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "ownerReferences",
    "finalizers",
    "selfLink",
    "generateName",
];
/// The longest prefix of a label's or annotation's key: a DNS subdomain.
const MAX_PREFIX: usize = 253;
/// The longest name in such a key, and the longest value of a label.
const MAX_NAME: usize = 63;

/// The device of a request's body, of which `apiVersion` and `kind` may be left out.
///
/// # Errors
/// A line for each thing that is wrong, with its path.
pub(super) fn read(mut body: Map<String, Value>) -> Result<WhatsAppDevice, String> {
    body.entry("apiVersion").or_insert_with(|| names::API_VERSION.into());
    body.entry("kind").or_insert_with(|| names::KIND.into());
    for (field, wanted) in [("apiVersion", names::API_VERSION), ("kind", names::KIND)] {
        if body.get(field).and_then(Value::as_str) != Some(wanted) {
            return Err(format!("{field}: must be {wanted}"));
        }
    }
    if body.contains_key("status") {
        return Err("status: is set by the server: leave it out".to_owned());
    }
    let metadata = body.get("metadata").ok_or("metadata: is missing")?;
    let metadata = metadata.as_object().ok_or("metadata: must be a map of fields")?;
    let faults: Vec<String> = metadata.iter().flat_map(|(field, value)| faults(field, value)).collect();
    if !faults.is_empty() {
        return Err(faults.join("\n"));
    }
    manifest::from_value(Value::Object(body)).map_err(|error| error.to_string())
}

/// The parts of a spec that spend what is the installation's: which program runs with which rights where, and how much it stores.
const OF_ADMINISTRATORS: [&str; 2] = ["pod", "storage"];

/// Whether a user who is no administrator may create this device: it is in the namespace for users, and of pod and volume it has the
/// installation's defaults.
///
/// # Errors
/// What only an administrator may do.
pub(super) fn for_users(device: &WhatsAppDevice, namespace: &str) -> Result<(), String> {
    let given = device.metadata.namespace.as_deref().unwrap_or(DeviceKey::DEFAULT_NAMESPACE);
    if given != namespace {
        return Err(format!(
            "metadata.namespace: only administrators choose it; for users it is {namespace}"
        ));
    }
    if !device.spec.pod.is_empty() {
        return Err(of_administrators("pod"));
    }
    if device.spec.storage != Storage::default() {
        return Err(of_administrators("storage"));
    }
    Ok(())
}

/// Whether a user who is no administrator may change these parts of a spec.
///
/// # Errors
/// What only an administrator may do.
pub(super) fn patch_for_users(spec: &Map<String, Value>) -> Result<(), String> {
    let field = OF_ADMINISTRATORS.into_iter().find(|field| spec.contains_key(*field));
    field.map_or(Ok(()), |field| Err(of_administrators(field)))
}

fn of_administrators(field: &str) -> String {
    format!("spec.{field}: only administrators set it")
}

/// What is wrong with a field of the metadata.
fn faults(field: &str, value: &Value) -> Vec<String> {
    let at = |problem: &str| vec![format!("metadata.{field}: {problem}")];
    match field {
        "name" | "namespace" if value.is_string() => Vec::new(),
        "name" | "namespace" => at("must be a text"),
        "labels" | "annotations" => match value {
            Value::Object(entries) => entries_faults(field, entries),
            Value::Null => Vec::new(),
            _ => at("must be a map of texts"),
        },
        field if OF_THE_SERVER.contains(&field) => at("is set by the server: leave it out"),
        _ => at(&format!("is not a field; the fields are {}", METADATA.join(", "))),
    }
}

fn entries_faults(field: &str, entries: &Map<String, Value>) -> Vec<String> {
    let mut faults = Vec::new();
    for (key, value) in entries {
        let mut say = |problem: &str| faults.push(format!("metadata.{field}[{key}]: {problem}"));
        if !is_key(key) {
            say(
                "the key must be letters, digits, '-', '_' and '.', 63 at most, that begin and end with a letter or digit; before it a domain and '/' may stand",
            );
        }
        let Some(text) = value.as_str() else {
            say("must be a text");
            continue;
        };
        if field == "labels" && !(text.is_empty() || is_name(text)) {
            say(
                "must be letters, digits, '-', '_' and '.', 63 at most, that begin and end with a letter or digit",
            );
        }
        if field == "labels" && key == names::CREATED_BY {
            say("is set by the server: leave it out");
        }
    }
    faults
}

fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_domain(prefix) && is_name(name),
        None => is_name(key),
    }
}

fn is_domain(prefix: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.iter().all(|c| plain(*c) || *c == b'-')
            && bytes.first().copied().is_some_and(plain)
            && bytes.last().copied().is_some_and(plain)
    };
    prefix.len() <= MAX_PREFIX && prefix.split('.').all(label)
}

fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let ends = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    name.len() <= MAX_NAME
        && bytes.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
        && ends(bytes.first())
        && ends(bytes.last())
}
