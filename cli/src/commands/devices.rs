//! `enlace get`.

use enlace_contract::name::DeviceKey;
use enlace_crds::{WhatsAppDevice, WhatsAppDeviceStatus};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::arguments::{Get, Kind};
use crate::output::{Format, age, printable, structured, table, write};
use crate::remote::Remote;

/// How many declarations that are not accepted are told of: the list itself must stay in sight.
const MAX_TOLD: usize = 10;

/// A page of devices, as the API gives it.
#[derive(Deserialize)]
struct Page {
    items: Vec<WhatsAppDevice>,
    next: Option<String>,
}

/// The declarations that are not accepted, as the API gives them.
#[derive(Deserialize)]
struct Unaccepted {
    items: Vec<UnacceptedFile>,
}

#[derive(Deserialize)]
struct UnacceptedFile {
    file: String,
    message: String,
}

/// Several resources in one document, as `kubectl` writes them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct List<'a> {
    api_version: &'static str,
    kind: &'static str,
    items: &'a [WhatsAppDevice],
}

impl<'a> List<'a> {
    pub(crate) const fn of(items: &'a [WhatsAppDevice]) -> Self {
        Self { api_version: "v1", kind: "List", items }
    }
}

/// Shows devices.
pub(crate) async fn get(remote: &Remote, options: Get) -> anyhow::Result<()> {
    let Get { kind: Kind::Devices, name, output } = options;
    let one = name.is_some();
    let devices = match name {
        Some(name) => vec![remote.get(&Remote::device(&name, "")).await?],
        None => {
            let devices = all(remote).await?;
            tell_unaccepted(remote).await;
            devices
        }
    };
    let text = match (devices.as_slice(), one) {
        ([device], true) => structured(output, device)?,
        (items, _) => structured(output, &List::of(items))?,
    };
    let text = match (text, output) {
        (Some(text), _) => text,
        (None, Format::Name) => devices.iter().filter_map(key).map(|key| format!("{key}\n")).collect(),
        (None, _) if devices.is_empty() => {
            eprintln!("No devices.");
            return Ok(());
        }
        (None, _) => {
            let elsewhere = |device: &WhatsAppDevice| namespace(device) != DeviceKey::DEFAULT_NAMESPACE;
            drawn(&devices, devices.iter().any(elsewhere), Timestamp::now())
        }
    };
    Ok(write(&text)?)
}

/// Says on standard error which declarations are not accepted: their devices are missing from the list.
async fn tell_unaccepted(remote: &Remote) {
    // Administrators may ask. For everybody else, and when it fails, the list is what was asked for.
    let Ok(unaccepted) = remote.get::<Unaccepted>("/v1/declaration-errors").await else { return };
    for UnacceptedFile { file, message } in unaccepted.items.iter().take(MAX_TOLD) {
        let file = if file.is_empty() { "the folder" } else { file };
        // Most messages begin with the file.
        let named =
            if message.starts_with(&format!("{file}: ")) { String::new() } else { format!("{file}: ") };
        eprintln!("enlace: not accepted: {}", printable(&format!("{named}{message}")));
    }
    if let Some(more) = unaccepted.items.len().checked_sub(MAX_TOLD).filter(|more| *more > 0) {
        eprintln!("enlace: {more} more files are not accepted; the log has them all");
    }
}

async fn all(remote: &Remote) -> anyhow::Result<Vec<WhatsAppDevice>> {
    let mut devices = Vec::new();
    let mut after = None::<String>;
    loop {
        let query = after.map(|after| format!("&after={after}")).unwrap_or_default();
        let page: Page = remote.get(&format!("/v1/devices?limit=500{query}")).await?;
        devices.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(devices),
        }
    }
}

fn key(device: &WhatsAppDevice) -> Option<DeviceKey> {
    let namespace = device.metadata.namespace.as_deref().unwrap_or(DeviceKey::DEFAULT_NAMESPACE);
    DeviceKey::new(namespace, device.metadata.name.as_deref()?).ok()
}

fn namespace(device: &WhatsAppDevice) -> &str {
    device.metadata.namespace.as_deref().unwrap_or_default()
}

/// The columns of `kubectl get`, and the namespace where it matters.
pub(crate) fn drawn(devices: &[WhatsAppDevice], namespaces: bool, now: Timestamp) -> String {
    let mut header = vec!["NAME", "NUMBER", "PHASE", "CONNECTED-FOR", "REASON", "AGE"];
    if namespaces {
        header.insert(0, "NAMESPACE");
    }
    let rows = devices
        .iter()
        .map(|device| {
            let empty = WhatsAppDeviceStatus::default();
            let status = device.status.as_ref().unwrap_or(&empty);
            let number = status.phone_number.as_ref().or(device.spec.phone_number.as_ref());
            let mut row = vec![
                device.metadata.name.clone().unwrap_or_default(),
                number.cloned().unwrap_or_default(),
                status.phase.map(|phase| phase.to_string()).unwrap_or_default(),
                age(status.connected_at, now),
                reason(status),
                age(device.metadata.creation_timestamp.as_ref().map(|created| created.0), now),
            ];
            if namespaces {
                row.insert(0, namespace(device).to_owned());
            }
            row
        })
        .collect();
    table(&header, rows)
}

/// Why it is not connected: what the `Reason` column of `kubectl get` shows.
fn reason(status: &WhatsAppDeviceStatus) -> String {
    let of = |kind: &str| {
        status.conditions.iter().find(|condition| condition.type_ == kind && condition.status != "True")
    };
    of("Accepted").or_else(|| of("Connected")).map(|condition| condition.reason.clone()).unwrap_or_default()
}
