//! A directory over a cluster, each test its own.

use std::sync::Arc;
use std::time::Duration;

use enlace_api::directory::{Device, DeviceChange, DeviceDirectory as _, KubernetesDirectory};
use enlace_contract::name::DeviceKey;
use enlace_contract::token::TokenSigner;
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// What a test waits for comes within this time, or never.
pub(crate) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it did not happen in time")
}

pub(crate) fn key(text: &str) -> DeviceKey {
    text.parse().unwrap()
}

/// The resource of a device.
pub(crate) fn resource(key: &str, spec: Value, status: Value) -> Value {
    let (namespace, name) = key.split_once('/').unwrap();
    json!({
        "apiVersion": "enlace.dev/v1alpha1", "kind": "WhatsAppDevice",
        "metadata": { "namespace": namespace, "name": name }, "spec": spec, "status": status,
    })
}

/// The same, with the API's mark.
pub(crate) fn ours(key: &str, spec: Value) -> Value {
    let mut resource = resource(key, spec, json!({}));
    resource["metadata"]["labels"] = json!({ "enlace.dev/created-by": "enlace-api" });
    resource
}

/// The pod of a device.
pub(crate) fn pod(key: &str, uid: &str, ip: &str, ready: bool) -> Value {
    let (namespace, name) = key.split_once('/').unwrap();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "namespace": namespace, "name": format!("{name}-0"), "uid": uid, "labels": {
            "app.kubernetes.io/managed-by": "enlace-operator", "app.kubernetes.io/component": "device",
            "enlace.dev/device": name,
        } },
        "spec": { "containers": [] },
        "status": { "podIP": ip, "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }] },
    })
}

/// A directory of a cluster, with the key that its devices know.
pub(crate) struct Fixture {
    pub(crate) cluster: Cluster,
    pub(crate) directory: KubernetesDirectory,
    pub(crate) signer: TokenSigner,
    pub(crate) port: u16,
}

impl Fixture {
    /// A directory that has listed what is there.
    pub(crate) async fn start(cluster: Cluster, port: u16, signer: TokenSigner) -> Self {
        let fixture = Self::begin(cluster, port, signer);
        in_time(fixture.directory.listed()).await;
        fixture
    }

    /// A directory that may not have listed anything yet.
    pub(crate) fn begin(cluster: Cluster, port: u16, signer: TokenSigner) -> Self {
        let client = kube::Client::new(cluster.router(), "default");
        let directory = KubernetesDirectory::open(client, signer.clone(), port);
        Self { cluster, directory, signer, port }
    }

    pub(crate) async fn of(objects: Vec<Value>) -> Self {
        let cluster = Cluster::new();
        for object in objects {
            let resource = if object["kind"] == "Pod" { "pods" } else { "whatsappdevices" };
            cluster.put(resource, object);
        }
        Self::start(cluster, 8080, TokenSigner::generate("api").unwrap()).await
    }

    /// Waits until a device is known as wanted.
    pub(crate) async fn until(&self, name: &str, wanted: impl Fn(&Device) -> bool) -> Arc<Device> {
        let mut changes = self.directory.watch();
        in_time(async {
            loop {
                let change = changes.next().await.expect("the watch goes on");
                let gone = matches!(change, DeviceChange::Deleted(_));
                if !gone && change.device().key == key(name) && wanted(change.device()) {
                    return Arc::clone(change.device());
                }
            }
        })
        .await
    }

    /// Waits until the way to a device is open, or closed.
    pub(crate) async fn until_reachable(&self, name: &str, reachable: bool) {
        in_time(async {
            let mut ticks = self.directory.ticks();
            while self.directory.client(&key(name)).await.is_ok() != reachable {
                ticks.next().await.expect("the watch goes on");
            }
        })
        .await;
    }
}
