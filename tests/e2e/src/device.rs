//! One `WhatsAppDevice`.

use enlace_contract::state::QrCode;
use enlace_crds::WhatsAppDevice;
use enlace_crds::names;
use serde_json::{Value, json};
use whatsapp_simulator::Linked;

use crate::commands::{json as get, kubectl, try_kubectl, with_object};
use crate::eventually;
use crate::picture;
use crate::scene::Scene;

/// How long kubectl waits.
const TIMEOUT: &str = "--timeout=120s";

/// A device that a test declared.
pub struct Device<'a> {
    scene: &'a Scene,
    /// Its name.
    pub name: String,
}

impl<'a> Device<'a> {
    /// `kubectl apply` of a device.
    pub fn apply(scene: &'a Scene, name: &str, spec: Value) -> Self {
        with_object(&["apply"], &manifest(&scene.namespace, name, spec));
        Self { scene, name: name.to_owned() }
    }

    /// The same for a device of a user of the API.
    pub fn apply_for(scene: &'a Scene, name: &str, owner: &str, spec: Value) -> Self {
        let mut manifest = manifest(&scene.namespace, name, spec);
        manifest["metadata"]["labels"] = json!({names::OWNER: owner});
        with_object(&["apply"], &manifest);
        Self { scene, name: name.to_owned() }
    }

    /// One that is there already.
    pub fn existing(scene: &'a Scene, name: &str) -> Self {
        Self { scene, name: name.to_owned() }
    }

    /// A device whose number has scanned its code: connected.
    pub async fn linked(scene: &'a Scene, name: &str, number: &str) -> (Self, Linked) {
        let device = Self::apply(scene, name, json!({"phoneNumber": number}));
        let linked = device.link(number).await;
        (device, linked)
    }

    /// Scans its code, and waits until it is connected.
    pub async fn link(&self, number: &str) -> Linked {
        let linked = self.scene.whatsapp.phone(number).scan(&self.code().code).await.unwrap();
        self.wait("condition=Connected");
        linked
    }

    /// Waits for a code and reads it as a camera does.
    pub fn code(&self) -> QrCode {
        self.wait("jsonpath={.status.qr.code}");
        let code =
            self.get().status.and_then(|status| status.qr).expect("a code that was there a moment ago");
        assert_eq!(picture::read(&code.text).as_deref(), Ok(code.code.as_str()));
        code
    }

    /// The resource.
    pub fn get(&self) -> WhatsAppDevice {
        serde_json::from_value(get(&self.arguments(&["get", "whatsappdevice", &self.name]))).unwrap()
    }

    /// `kubectl wait --for=CONDITION` of the device.
    pub fn wait(&self, condition: &str) {
        self.wait_of(&format!("whatsappdevice/{}", self.name), condition);
    }

    /// Waits for one of the device's parts.
    pub fn wait_of(&self, object: &str, condition: &str) {
        kubectl(&self.arguments(&["wait", object, &format!("--for={condition}"), TIMEOUT]));
    }

    /// Waits until a condition has a reason.
    pub fn wait_for_reason(&self, condition: &str, reason: &str) {
        let path = format!("jsonpath={{.status.conditions[?(@.type==\"{condition}\")].reason}}={reason}");
        self.wait(&path);
    }

    /// Waits until the device is in a phase.
    pub fn wait_for_phase(&self, phase: &str) {
        self.wait(&format!("jsonpath={{.status.phase}}={phase}"));
    }

    /// `kubectl patch` of the device.
    pub fn patch(&self, patch: &Value) {
        let patch = patch.to_string();
        kubectl(&self.arguments(&["patch", "whatsappdevice", &self.name, "--type=merge", "--patch", &patch]));
    }

    /// `kubectl delete` of the device, until it is gone.
    pub fn delete(&self) {
        kubectl(&self.arguments(&["delete", "whatsappdevice", &self.name, TIMEOUT]));
    }

    /// An object of the device's namespace.
    pub fn object(&self, kind: &str, name: &str) -> Value {
        get(&self.arguments(&["get", kind, name]))
    }

    /// Its pod, by name.
    pub fn pod(&self) -> String {
        names::pod(&self.key())
    }

    /// Its pod, as an object.
    pub fn pod_object(&self) -> Value {
        self.object("pod", &self.pod())
    }

    /// The UID of its pod.
    pub fn pod_uid(&self) -> String {
        self.pod_object()["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    /// Waits for another pod than the one with this UID, and until that is ready.
    pub async fn another_pod(&self, before: &str) -> Value {
        eventually("another pod that is ready", async || {
            let pod = try_kubectl(&self.arguments(&["get", "pod", &self.pod(), "--output", "json"])).ok()?;
            let pod: Value = serde_json::from_str(&pod).unwrap();
            let ready = pod["status"]["containerStatuses"][0]["ready"] == true;
            (ready && pod["metadata"]["uid"] != before).then_some(pod)
        })
        .await
    }

    /// Waits until it has logged in as often as this in all, and is connected.
    pub async fn logged_in(&self, linked: &Linked, times: usize) {
        eventually(&format!("login {times} of {}", self.name), async || {
            let logins = self.scene.logins(linked).await;
            (logins.len() == times && logins.last()?.closed_at.is_none()).then_some(())
        })
        .await;
        self.wait("condition=Connected");
    }

    /// Its namespace and name.
    pub fn key(&self) -> enlace_contract::name::DeviceKey {
        enlace_contract::name::DeviceKey::new(&self.scene.namespace, &self.name).unwrap()
    }

    /// Arguments of kubectl in the device's namespace.
    pub fn arguments<'b>(&'b self, arguments: &[&'b str]) -> Vec<&'b str> {
        [&["--namespace", self.scene.namespace.as_str()], arguments].concat()
    }
}

/// A manifest of a device.
pub fn manifest(namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": names::API_VERSION,
        "kind": names::KIND,
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    })
}
