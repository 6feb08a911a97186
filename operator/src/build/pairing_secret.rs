//! The code to link, where `pairing.publishIn` is `Secret`.

use std::collections::BTreeMap;

use enlace_contract::name::DeviceKey;
use enlace_contract::state::DeviceState;
use enlace_crds::{WhatsAppDevice, names};
use k8s_openapi::api::core::v1::Secret;

use super::child;

/// The Secret with the code that a device shows; none when it shows none.
pub fn pairing_secret(device: &WhatsAppDevice, key: &DeviceKey, state: &DeviceState) -> Option<Secret> {
    let mut data = BTreeMap::new();
    if let Some(qr) = &state.qr {
        data.insert("qr".to_owned(), qr.code.clone());
        data.insert("qr.text".to_owned(), qr.text.clone());
        data.insert("expiresAt".to_owned(), qr.expires_at.to_string());
    }
    if let Some(code) = &state.pairing_code {
        data.insert("pairingCode".to_owned(), code.code.clone());
        data.insert("expiresAt".to_owned(), code.expires_at.to_string());
    }
    (!data.is_empty()).then(|| Secret {
        metadata: child(device, key, names::pairing_secret(key)),
        string_data: Some(data),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    })
}
