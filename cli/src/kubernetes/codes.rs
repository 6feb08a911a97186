//! Where the code of a device is: in its status, or in a Secret.

use enlace_contract::name::DeviceKey;
use enlace_contract::state::{DeviceState, PairingText, QrCode};
use enlace_crds::resource::PublishIn;
use enlace_crds::{WhatsAppDevice, names};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use super::connect::{Connection, call};

/// Whether the device publishes its code in a Secret.
pub(super) fn in_secret(device: &WhatsAppDevice) -> bool {
    device.spec.pairing.publish_in == PublishIn::Secret
}

/// The code of a status, as the device itself would tell it.
pub(super) fn of_status(device: &WhatsAppDevice) -> DeviceState {
    let status = device.status.as_ref();
    DeviceState {
        qr: status.and_then(|status| status.qr.clone()),
        pairing_code: status.and_then(|status| status.pairing_code.clone()),
        ..DeviceState::default()
    }
}

/// The code of the Secret; none when there is no Secret, as when no code is shown.
pub(super) async fn of_secret(connection: &Connection, key: &DeviceKey) -> anyhow::Result<DeviceState> {
    let secrets: Api<Secret> = Api::namespaced(connection.client.clone(), key.namespace());
    let secret = call(None, secrets.get_opt(&names::pairing_secret(key))).await?;
    Ok(secret.map(|secret| read(&secret)).unwrap_or_default())
}

fn read(secret: &Secret) -> DeviceState {
    let text = |name: &str| {
        let bytes = &secret.data.as_ref()?.get(name)?.0;
        String::from_utf8(bytes.clone()).ok()
    };
    let Some(expires_at) = text("expiresAt").and_then(|text| text.parse().ok()) else {
        return DeviceState::default();
    };
    DeviceState {
        qr: text("qr").zip(text("qr.text")).map(|(code, text)| QrCode { code, text, expires_at }),
        pairing_code: text("pairingCode").map(|code| PairingText { code, expires_at }),
        ..DeviceState::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_the_code_under_the_operators_names() {
        let secret = |data: &[(&str, &str)]| Secret {
            data: Some(
                data.iter()
                    .map(|(k, v)| ((*k).to_owned(), k8s_openapi::ByteString(v.as_bytes().to_vec())))
                    .collect(),
            ),
            ..Secret::default()
        };
        let expires = ("expiresAt", "2026-01-01T00:00:20Z");
        let state = read(&secret(&[("qr", "2@code"), ("qr.text", "██"), expires]));
        let qr = state.qr.unwrap();
        assert_eq!((qr.code.as_str(), qr.text.as_str()), ("2@code", "██"));
        let state = read(&secret(&[("pairingCode", "ABCD1234"), expires]));
        assert_eq!(state.pairing_code.unwrap().code, "ABCD1234");
        assert_eq!(read(&secret(&[("qr", "2@code")])), DeviceState::default());
    }
}
