//! `kubectl enlace status`.

use enlace_crds::{WhatsAppDevice, names};
use jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;

use super::Status;
use super::connect::{Connection, call};
use crate::commands::devices::{List, drawn};
use crate::output::{Format, structured, write};

/// How many devices are asked for at a time.
const PAGE: u32 = 500;

/// Shows devices.
pub(super) async fn run(connection: &Connection, options: Status) -> anyhow::Result<()> {
    let Status { name, all_namespaces, output } = options;
    let one = name.is_some();
    let mut devices = match &name {
        Some(name) => {
            let key = connection.key(name)?;
            vec![call(Some(&key), connection.devices().get(key.name())).await?]
        }
        None if all_namespaces => all(&Api::all(connection.client.clone())).await?,
        None => all(&connection.devices()).await?,
    };
    for device in &mut devices {
        // As `kubectl get` does.
        device.metadata.managed_fields = None;
    }
    let text = match (devices.as_slice(), one) {
        ([device], true) => structured(output, device)?,
        (items, _) => structured(output, &List::of(items))?,
    };
    let text = match (text, output) {
        (Some(text), _) => text,
        (None, Format::Name) => devices.iter().map(named).collect(),
        (None, _) if devices.is_empty() => {
            match all_namespaces {
                true => eprintln!("No devices."),
                false => eprintln!("No devices in namespace {}.", connection.namespace),
            }
            return Ok(());
        }
        (None, _) => drawn(&devices, all_namespaces, Timestamp::now()),
    };
    Ok(write(&text)?)
}

async fn all(devices: &Api<WhatsAppDevice>) -> anyhow::Result<Vec<WhatsAppDevice>> {
    let mut found = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = call(None, devices.list(&page)).await?;
        found.extend(list.items);
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = ListParams::default().limit(PAGE).continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// As `kubectl get -o name` has it.
fn named(device: &WhatsAppDevice) -> String {
    let kind = names::KIND.to_lowercase();
    format!("{kind}.{}/{}\n", names::GROUP, device.metadata.name.as_deref().unwrap_or_default())
}
