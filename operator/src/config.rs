//! The operator's configuration: a YAML file, in which a field that is not known is an error.

use std::path::Path;

use k8s_openapi::api::core::v1::{LocalObjectReference, ResourceRequirements};
use serde::Deserialize;

use enlace_crds::resource::AccessMode;

/// The configuration of the operator.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OperatorConfig {
    /// The name of the installation: its lease and its Secrets begin with it.
    pub installation: String,
    /// What the pods of devices are like, where a device does not say otherwise.
    pub device: DeviceDefaults,
    /// The namespaces in which `pairing.publishIn: Secret` is allowed: the operator has a Role in each.
    #[serde(default)]
    pub secret_namespaces: Vec<String>,
    /// How many devices are looked at at a time.
    #[serde(default)]
    pub reconcile: Reconcile,
    /// How pods are restarted.
    #[serde(default)]
    pub rollout: Rollout,
}

/// What the pods of devices are like.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeviceDefaults {
    /// The image.
    pub image: String,
    /// When it is pulled; absent: as Kubernetes decides.
    #[serde(default)]
    pub image_pull_policy: Option<String>,
    /// Secrets that open its registry.
    #[serde(default)]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Environment of every device.
    #[serde(default)]
    pub environment: Vec<Variable>,
    /// Requests and limits.
    #[serde(default)]
    pub resources: ResourceRequirements,
    /// The storage class; absent: the cluster's default.
    #[serde(default)]
    pub storage_class_name: Option<String>,
    /// The access mode.
    #[serde(default = "default_access_mode")]
    pub access_mode: AccessMode,
}

/// One variable of the environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// How many devices are looked at at a time.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reconcile {
    /// At least 1: without a bound, a start would ask the API server about all devices at once.
    pub concurrency: u16,
}

/// How pods are restarted when what they are made from changes.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rollout {
    /// How many devices may be away at a time because of it; at least 1.
    pub max_concurrent: u16,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    File {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not of its form.
    #[error("the configuration is not of its form")]
    Form(#[source] serde_saphyr::Error),
    /// A value makes no sense.
    #[error("{field} {problem}")]
    Value {
        /// Which.
        field: &'static str,
        /// What would be right.
        problem: &'static str,
    },
}

impl Default for Reconcile {
    fn default() -> Self {
        Self { concurrency: 16 }
    }
}

impl Default for Rollout {
    fn default() -> Self {
        Self { max_concurrent: 5 }
    }
}

fn default_access_mode() -> AccessMode {
    AccessMode::ReadWriteOncePod
}

impl OperatorConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, is not of its form, or a value makes no sense.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::File { path: path.display().to_string(), source })?;
        Self::parse(&text)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// When it is not of its form, or a value makes no sense.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = serde_saphyr::from_str(text).map_err(ConfigError::Form)?;
        let wrong = |field, problem| Err(ConfigError::Value { field, problem });
        if config.installation.is_empty() {
            return wrong("installation", "must be the name of the installation");
        }
        if config.device.image.is_empty() {
            return wrong("device.image", "must name an image");
        }
        if config.reconcile.concurrency == 0 {
            return wrong("reconcile.concurrency", "must be at least 1");
        }
        if config.rollout.max_concurrent == 0 {
            return wrong("rollout.maxConcurrent", "must be at least 1");
        }
        Ok(config)
    }

    /// The lease of the leader.
    pub fn leader_lease(&self) -> String {
        format!("{}-operator", self.installation)
    }

    /// The Secret with the operator's own key.
    pub fn operator_key(&self) -> String {
        format!("{}-operator-key", self.installation)
    }

    /// The Secret with the API's key.
    pub fn api_key(&self) -> String {
        format!("{}-api-key", self.installation)
    }

    /// The Secret with the first administrator.
    pub fn admin(&self) -> String {
        format!("{}-admin", self.installation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_configuration_is_read() {
        let config = OperatorConfig::parse(
            "installation: enlace
device:
  image: enlace-device:0.1.0
  imagePullPolicy: IfNotPresent
  imagePullSecrets: [{name: registry}]
  environment: [{name: ENLACE_LOG, value: info}]
  resources: {limits: {memory: 128Mi}}
  storageClassName: null
  accessMode: ReadWriteOnce
secretNamespaces: [shop]
reconcile: {concurrency: 4}
rollout: {maxConcurrent: 2}
",
        )
        .unwrap();
        assert_eq!(config.device.access_mode, AccessMode::ReadWriteOnce);
        assert_eq!(config.device.storage_class_name, None);
        assert_eq!(config.device.environment[0].name, "ENLACE_LOG");
        assert_eq!((config.reconcile.concurrency, config.rollout.max_concurrent), (4, 2));
        assert_eq!(config.api_key(), "enlace-api-key");
    }

    #[test]
    fn an_unknown_field_and_a_senseless_value_are_refused() {
        let unknown = "installation: enlace\ndevice: {image: a, imagePolicy: Always}\n";
        let error = OperatorConfig::parse(unknown).unwrap_err();
        assert!(format!("{:?}", error).contains("imagePolicy"), "{error:?}");
        let none = "installation: enlace\ndevice: {image: a}\nreconcile: {concurrency: 0}\n";
        assert_eq!(
            OperatorConfig::parse(none).unwrap_err().to_string(),
            "reconcile.concurrency must be at least 1"
        );
    }
}
