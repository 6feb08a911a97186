//! Runs devices as tasks of this process.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use enlace_api::directory::{DeviceHost, RunningDevice, StartError};
use enlace_contract::client::DeviceClient;
use enlace_contract::config::DeviceConfig;
use enlace_device_pod::Device;
use enlace_device_pod::endpoints::Endpoints;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Between the starts of two devices: hundreds that log in at once, from one address, are nothing that people do.
const APART: Duration = Duration::from_millis(500);

/// Devices in this process, all with the same way to WhatsApp.
pub(super) struct InProcess {
    endpoints: Endpoints,
    turns: Mutex<Turns>,
}

/// When the next device may start.
#[derive(Debug, Default)]
struct Turns(Option<Instant>);

impl Turns {
    /// The next turn; the first one is at once.
    fn next(&mut self, now: Instant) -> Instant {
        let turn = self.0.map_or(now, |free| free.max(now));
        self.0 = Some(turn + APART);
        turn
    }
}

impl InProcess {
    pub(super) fn new(endpoints: Endpoints) -> Self {
        Self { endpoints, turns: Mutex::default() }
    }
}

#[async_trait]
impl DeviceHost for InProcess {
    async fn start(
        &self,
        config: DeviceConfig,
        data_dir: PathBuf,
    ) -> Result<Box<dyn RunningDevice>, StartError> {
        let turn = self.turns.lock().await.next(Instant::now());
        tokio::time::sleep_until(turn).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_start_one_after_the_other_and_none_waits_for_nothing() {
        let mut turns = Turns::default();
        let begun = Instant::now();
        let waits: Vec<_> = (0..3).map(|_| turns.next(begun) - begun).collect();
        assert_eq!(waits, [Duration::ZERO, APART, 2 * APART]);
        let later = begun + 10 * APART;
        assert_eq!(turns.next(later), later);
    }
}
