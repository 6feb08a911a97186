//! Who runs devices in this process. The API knows no WhatsApp: whoever starts it brings this.

use std::path::PathBuf;

use async_trait::async_trait;
use enlace_contract::client::DeviceClient;
use enlace_contract::config::DeviceConfig;

/// Starts devices.
#[async_trait]
pub trait DeviceHost: Send + Sync + 'static {
    /// Starts a device on its data directory, which exists and is its own.
    ///
    /// # Errors
    /// When it cannot be started: then nothing runs and nothing holds the directory.
    async fn start(
        &self,
        config: DeviceConfig,
        data_dir: PathBuf,
    ) -> Result<Box<dyn RunningDevice>, StartError>;
}

/// A running device.
#[async_trait]
pub trait RunningDevice: Send + Sync + 'static {
    /// The way to it.
    fn client(&self) -> DeviceClient;

    /// Follows a change of its configuration.
    async fn apply(&self, config: DeviceConfig);

    /// Stops it. When this returns, nothing of it runs and its data directory is free.
    async fn stop(self: Box<Self>);
}

/// A device could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the device cannot be started")]
pub struct StartError(#[source] pub Box<dyn std::error::Error + Send + Sync>);
