//! From a manifest to a connected number, one device after the other.

use std::time::Instant;

use enlace_crds::rules::conditions::CONNECTED;
use enlace_crds::{WhatsAppDevice, WhatsAppDeviceStatus, names};
use enlace_e2e::device::Device;
use enlace_e2e::scene::Scene;
use serde_json::{Value, json};

use crate::series::{Series, Unit};
use crate::watch::Watch;

/// Links the devices; they are left running and connected.
///
/// # Errors
/// A step does not happen, or not in time.
pub(crate) async fn measure(scene: &Scene, count: u32) -> anyhow::Result<(Vec<Device<'_>>, Vec<Series>)> {
    let namespace = &scene.namespace;
    let mut heard = Heard {
        pods: Watch::open(&format!("/api/v1/namespaces/{namespace}/pods"))?,
        resources: Watch::open(&format!(
            "/apis/{}/namespaces/{namespace}/{}",
            names::API_VERSION,
            names::PLURAL
        ))?,
    };
    let mut times = Times::new();
    let mut devices = Vec::new();
    for number in 1..=count {
        eprintln!("Linking a number: {number} of {count}");
        devices.push(times.take(scene, &mut heard, number).await?);
    }
    Ok((devices, times.into_series()))
}

struct Heard {
    pods: Watch,
    resources: Watch,
}

struct Times {
    applied: Series,
    ready: Series,
    code: Series,
    linked: Series,
    whole: Series,
}

impl Times {
    fn new() -> Self {
        let series = |key, what: &str| Series::new(key, what, Unit::Milliseconds);
        Self {
            applied: series("applied", "kubectl apply itself"),
            ready: series("applyToReady", "kubectl apply -> pod Ready"),
            code: series("applyToQr", "kubectl apply -> QR code in the status"),
            linked: series("scanToConnected", "scan -> Connected in the status"),
            whole: series("applyToConnected", "kubectl apply -> Connected, scanned at once"),
        }
    }

    /// One device. The times are those at which something was heard of, in whichever order it is looked for here.
    async fn take<'a>(
        &mut self,
        scene: &'a Scene,
        heard: &mut Heard,
        number: u32,
    ) -> anyhow::Result<Device<'a>> {
        let (name, number) = (format!("device-{number}"), format!("5255500000{number:02}"));
        let began = Instant::now();
        let device = Device::apply(scene, &name, json!({"phoneNumber": number}));
        self.applied.add(Unit::time(began.elapsed()));

        let code = |object: &Value| Some(status(object, &name)?.qr?.code);
        let (shown, code) = heard.resources.until("a code in the status", code).await?;
        self.code.add(Unit::time(shown - began));

        let scanned = Instant::now();
        scene.whatsapp.phone(&number).scan(&code).await?;
        let connected = |object: &Value| status(object, &name)?.is_true(CONNECTED).then_some(());
        let (connected, ()) = heard.resources.until("Connected in the status", connected).await?;
        self.linked.add(Unit::time(connected - scanned));
        self.whole.add(Unit::time(connected - began));

        let pod = device.pod();
        let (ready, ()) = heard.pods.until("a pod that is ready", |object| is_ready(object, &pod)).await?;
        self.ready.add(Unit::time(ready - began));
        Ok(device)
    }

    fn into_series(self) -> Vec<Series> {
        let Self { applied, ready, code, linked, whole } = self;
        vec![applied, ready, code, linked, whole]
    }
}

/// The status of a device, if the object is that one.
fn status(object: &Value, name: &str) -> Option<WhatsAppDeviceStatus> {
    if object["metadata"]["name"] != name {
        return None;
    }
    serde_json::from_value::<WhatsAppDevice>(object.clone()).ok()?.status
}

/// Whether the object is the pod of this name, and ready.
fn is_ready(object: &Value, pod: &str) -> Option<()> {
    let mut conditions = object["status"]["conditions"].as_array()?.iter();
    let ready = conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    (ready && object["metadata"]["name"] == pod).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_ready_by_its_condition_and_its_name() {
        let pod = |ready: &str| {
            json!({
                "metadata": {"name": "device-1-0"},
                "status": {"conditions": [
                    {"type": "Initialized", "status": "True"},
                    {"type": "Ready", "status": ready},
                ]},
            })
        };
        assert!(is_ready(&pod("True"), "device-1-0").is_some());
        assert!(is_ready(&pod("True"), "device-2-0").is_none());
        assert!(is_ready(&pod("False"), "device-1-0").is_none());
        assert!(is_ready(&json!({"metadata": {"name": "device-1-0"}}), "device-1-0").is_none());
    }
}
