//! What a device is told, from its resource. The texts of the spec are parsed here, once.

use enlace_contract::config::{Connection, DeviceConfig, Pairing, Sending};
use enlace_contract::duration::{InvalidPeriod, Period};
use enlace_contract::name::{DeviceKey, InvalidName};
use enlace_contract::number::{InvalidNumber, PhoneNumber};

use crate::WhatsAppDevice;
use crate::rules::pairing;

/// The resource does not say what a device can be told. The schema lets none of these in; a resource that was stored under another schema
/// may still have them.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It was never stored.
    #[error("the device has no UID")]
    NoUid,
    /// Its name is not one.
    #[error("metadata.name is not a device's name")]
    Name(#[source] InvalidName),
    /// Its number is not one.
    #[error("spec.phoneNumber is not a phone number")]
    PhoneNumber(#[source] InvalidNumber),
    /// A duration is not one.
    #[error("spec.{field} is not a duration")]
    Duration {
        /// Which.
        field: &'static str,
        /// Why.
        #[source]
        source: InvalidPeriod,
    },
}

/// What a device is told; `token_keys` are the public keys whose tokens open it.
///
/// # Errors
/// When the resource has no UID, or a text in it does not have its form.
pub fn device_config(device: &WhatsAppDevice, token_keys: Vec<String>) -> Result<DeviceConfig, ConfigError> {
    let spec = &device.spec;
    Ok(DeviceConfig {
        uid: device.metadata.uid.clone().ok_or(ConfigError::NoUid)?,
        key: device_key(device)?,
        phone_number: phone_number(device)?,
        display_name: spec.display_name.clone(),
        pairing: Pairing { method: spec.pairing.method },
        connection: Connection {
            reconnect_delay: period("connection.reconnectDelay", &spec.connection.reconnect_delay)?,
        },
        sending: Sending { interval: period("sending.interval", &spec.sending.interval)? },
        pair_requested: pairing::requested(device),
        token_keys,
    })
}

/// The device's key; a device without a namespace is in the default one.
///
/// # Errors
/// When the namespace or the name is not a DNS label.
pub fn device_key(device: &WhatsAppDevice) -> Result<DeviceKey, ConfigError> {
    let namespace = device.metadata.namespace.as_deref().unwrap_or(DeviceKey::DEFAULT_NAMESPACE);
    let name = device.metadata.name.as_deref().unwrap_or_default();
    DeviceKey::new(namespace, name).map_err(ConfigError::Name)
}

/// The declared number.
///
/// # Errors
/// When it is not one.
pub fn phone_number(device: &WhatsAppDevice) -> Result<Option<PhoneNumber>, ConfigError> {
    device.spec.phone_number.as_deref().map(str::parse).transpose().map_err(ConfigError::PhoneNumber)
}

/// After how long a device that was never linked is cleaned up.
///
/// # Errors
/// When `pairing.timeout` is not a duration.
pub fn pairing_timeout(device: &WhatsAppDevice) -> Result<Period, ConfigError> {
    period("pairing.timeout", &device.spec.pairing.timeout)
}

fn period(field: &'static str, text: &str) -> Result<Period, ConfigError> {
    text.parse().map_err(|source| ConfigError::Duration { field, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WhatsAppDeviceSpec;
    use crate::names;
    use serde_json::json;

    fn device() -> WhatsAppDevice {
        let mut device = WhatsAppDevice::new("billing", WhatsAppDeviceSpec::default());
        device.metadata.uid = Some("uid-1".into());
        device
    }

    #[test]
    fn a_device_is_told_its_part_of_the_spec() {
        let mut device = device();
        device.metadata.namespace = Some("shop".into());
        device.metadata.annotations =
            Some([(names::PAIR_REQUESTED.to_owned(), "2030-01-31T12:00:00Z".to_owned())].into());
        device.spec.phone_number = Some("525550000001".into());
        device.spec.display_name = Some("Billing".into());
        device.spec.sending.interval = "1m30s".into();
        let config = device_config(&device, vec!["key".into()]).unwrap();
        assert_eq!(
            serde_json::to_value(config).unwrap(),
            json!({
                "uid": "uid-1",
                "key": "shop/billing",
                "phoneNumber": "525550000001",
                "displayName": "Billing",
                "pairing": { "method": "QRCode" },
                "connection": { "reconnectDelay": "5s" },
                "sending": { "interval": "1m30s" },
                "pairRequested": "2030-01-31T12:00:00Z",
                "tokenKeys": ["key"],
            })
        );
    }

    #[test]
    fn what_cannot_be_told_is_an_error_that_names_the_field() {
        let mut unstored = device();
        unstored.metadata.uid = None;
        assert_eq!(device_config(&unstored, vec![]).unwrap_err().to_string(), "the device has no UID");
        let mut wrong = device();
        wrong.spec.connection.reconnect_delay = "soon".into();
        let error = device_config(&wrong, vec![]).unwrap_err().to_string();
        assert_eq!(error, "spec.connection.reconnectDelay is not a duration");
    }
}
