//! Runs devices as tasks of this process.

use std::path::PathBuf;

use async_trait::async_trait;
use enlace_api::directory::{DeviceHost, RunningDevice, StartError};
use enlace_contract::client::DeviceClient;
use enlace_contract::config::DeviceConfig;
use enlace_device_pod::Device;
use enlace_device_pod::endpoints::Endpoints;

/// Devices in this process, all with the same way to WhatsApp.
pub(super) struct InProcess {
    endpoints: Endpoints,
}

impl InProcess {
    pub(super) fn new(endpoints: Endpoints) -> Self {
        Self { endpoints }
    }
}

#[async_trait]
impl DeviceHost for InProcess {
    async fn start(
        &self,
        config: DeviceConfig,
        data_dir: PathBuf,
    ) -> Result<Box<dyn RunningDevice>, StartError> {
        let device = Device::start(config, &data_dir, self.endpoints.clone(), false)
            .await
            .map_err(|error| StartError(Box::new(error)))?;
        Ok(Box::new(Running { client: DeviceClient::in_process(device.router()), device }))
    }
}

struct Running {
    device: Device,
    client: DeviceClient,
}

#[async_trait]
impl RunningDevice for Running {
    fn client(&self) -> DeviceClient {
        self.client.clone()
    }

    async fn apply(&self, config: DeviceConfig) {
        self.device.configure(config).await;
    }

    async fn stop(self: Box<Self>) {
        self.device.stop().await;
    }
}
