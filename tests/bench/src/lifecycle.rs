//! How long a device takes to show a code, to link, and to come back.

use std::time::Instant;

use crate::messages;
use crate::series::{Series, Unit};
use crate::world::{Device, Identity, RECONNECT_DELAY, World};

/// Devices that are linked one after the other, each with its own number and data.
const REPETITIONS: usize = 5;

/// Links the devices; the last one is left running and connected.
///
/// # Errors
/// A step does not happen, or not in time.
pub(crate) async fn measure(world: &World) -> anyhow::Result<(Device, Vec<Series>)> {
    let mut times = Times::new();
    let mut repetition = 0;
    loop {
        eprintln!("Linking, stopping, dropping and killing a device: {} of {REPETITIONS}", repetition + 1);
        let device = times.take(world, &Identity::of(repetition)).await?;
        repetition += 1;
        if repetition == REPETITIONS {
            return Ok((device, times.into_series()));
        }
        device.stop().await?;
    }
}

struct Times {
    qr: Series,
    linked: Series,
    stopped: Series,
    killed: Series,
    dropped: Series,
}

impl Times {
    fn new() -> Self {
        let series = |key, what: &str| Series::new(key, what, Unit::Milliseconds);
        Self {
            qr: series("startToQr", "process start -> QR code"),
            linked: series("scanToConnected", "scan -> connected"),
            stopped: series("restartToConnected", "stopped: process start -> connected"),
            killed: series("killToConnected", "killed (-9): process start -> connected"),
            dropped: series(
                "dropToConnected",
                &format!("connection dropped -> connected (reconnectDelay {RECONNECT_DELAY})"),
            ),
        }
    }

    /// One device from its first start on.
    async fn take(&mut self, world: &World, identity: &Identity) -> anyhow::Result<Device> {
        let mut device = world.run(identity).await?;
        let code =
            device.events.until_state(|state| state.qr.as_ref().map(|shown| shown.code.clone())).await?;
        self.qr.add(Unit::time(device.started.elapsed()));

        let scanned = Instant::now();
        let linked = world.control.phone(&identity.number).scan(&code).await?;
        device.events.until_connected().await?;
        self.linked.add(Unit::time(scanned.elapsed()));
        // A device that has done its first work is what comes back in practice.
        messages::one(&mut device, "The first message").await?;

        device.stop().await?;
        let mut device = world.run(identity).await?;
        device.events.until_connected().await?;
        self.stopped.add(Unit::time(device.started.elapsed()));

        // The first loss of a process: a second one within a minute waits longer.
        let dropped = Instant::now();
        world.control.server().drop_connection(&linked.phone, linked.device).await?;
        device.events.until_state(|state| (state.reconnects > 0).then_some(())).await?;
        self.dropped.add(Unit::time(dropped.elapsed()));

        device.kill().await?;
        let mut device = world.run(identity).await?;
        device.events.until_connected().await?;
        self.killed.add(Unit::time(device.started.elapsed()));
        Ok(device)
    }

    fn into_series(self) -> Vec<Series> {
        let Self { qr, linked, stopped, killed, dropped } = self;
        vec![qr, linked, stopped, killed, dropped]
    }
}
