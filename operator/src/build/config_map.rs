//! The device's part of the spec, and the public keys that open its pod. The pod follows changes while it runs.

use enlace_contract::config::DeviceConfig;
use enlace_crds::{WhatsAppDevice, names};
use k8s_openapi::api::core::v1::ConfigMap;

use super::{child, seal};

/// The name of the file.
pub const FILE: &str = "device.yaml";

/// The ConfigMap of a device.
///
/// # Errors
/// When the configuration cannot be written as YAML.
pub fn config_map(
    device: &WhatsAppDevice,
    config: &DeviceConfig,
) -> Result<ConfigMap, serde_saphyr::ser::Error> {
    let yaml = serde_saphyr::to_string(config)?;
    Ok(seal(ConfigMap {
        metadata: child(device, &config.key, names::config_map(&config.key)),
        data: Some([(FILE.to_owned(), yaml)].into()),
        ..ConfigMap::default()
    }))
}
