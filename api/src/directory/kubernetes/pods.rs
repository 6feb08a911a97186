//! The pods of devices: where each is, whether it is ready, and the connections to it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use enlace_contract::client::DeviceClient;
use enlace_contract::name::DeviceKey;
use enlace_contract::token::TokenSigner;
use enlace_crds::names;
use http::Uri;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

/// The port of a device's HTTP interface.
pub const DEVICE_PORT: u16 = 8080;

/// The pods, by device.
pub(super) type Pods = BTreeMap<DeviceKey, DevicePod>;

/// What is kept of a device's pod.
#[derive(Clone, Debug)]
pub(super) struct DevicePod {
    pub(super) facts: Facts,
    connections: Arc<Connections>,
}

/// What the cluster says of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) uid: String,
    pub(super) ip: Option<IpAddr>,
    pub(super) ready: bool,
    /// It was told to stop.
    pub(super) stopping: bool,
}

/// The client of a pod, made when it is first asked for: its connections are kept for the next request.
#[derive(Default)]
struct Connections(Mutex<Option<Client>>);

struct Client {
    device: String,
    client: DeviceClient,
}

impl Client {
    fn new(ip: IpAddr, port: u16, device: &str, signer: &TokenSigner) -> Result<Self, http::Error> {
        let authority = std::net::SocketAddr::new(ip, port).to_string();
        let base = Uri::builder().scheme("http").authority(authority).path_and_query("/").build()?;
        metrics::gauge!("enlace_api_device_clients").increment(1);
        Ok(Self { device: device.to_owned(), client: DeviceClient::http(base, device, signer.clone()) })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        metrics::gauge!("enlace_api_device_clients").decrement(1);
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connections")
    }
}

/// Which device a pod is of, and what is kept of it; none when it is no device's.
pub(super) fn read(pod: &Pod) -> Option<(DeviceKey, Facts)> {
    let key = DeviceKey::new(pod.metadata.namespace.as_deref()?, pod.labels().get(names::DEVICE)?).ok()?;
    // Whoever may label a pod must not draw the requests of a device to it.
    if pod.metadata.name.as_deref() != Some(names::pod(&key).as_str()) {
        return None;
    }
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let facts = Facts {
        uid: pod.metadata.uid.clone()?,
        ip: status.and_then(|status| status.pod_ip.as_deref()?.parse().ok()),
        ready: conditions
            .into_iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        stopping: pod.metadata.deletion_timestamp.is_some(),
    };
    Some((key, facts))
}

/// Takes a pod in. False: it is known like this.
pub(super) fn put(pods: &mut Pods, key: DeviceKey, facts: Facts) -> bool {
    if let Some(known) = pods.get_mut(&key) {
        if known.facts == facts {
            return false;
        }
        // The same container behind the same address: its connections go on.
        if known.facts.uid == facts.uid && known.facts.ip == facts.ip {
            known.facts = facts;
            return true;
        }
    }
    pods.insert(key, DevicePod { facts, connections: Arc::default() });
    true
}

/// Lets a pod go, unless another one has its place already. False: it was not known.
pub(super) fn remove(pods: &mut Pods, key: &DeviceKey, uid: &str) -> bool {
    let known = pods.get(key).is_some_and(|pod| pod.facts.uid == uid);
    known && pods.remove(key).is_some()
}

impl DevicePod {
    /// The client, when the pod can be asked.
    pub(super) fn client(&self, device_uid: &str, port: u16, signer: &TokenSigner) -> Option<DeviceClient> {
        let Facts { uid: _, ip, ready, stopping } = &self.facts;
        let ip = ip.filter(|_| *ready && !stopping)?;
        // A thread that panicked left a whole client or none.
        let mut client = self.connections.0.lock().unwrap_or_else(PoisonError::into_inner);
        if client.as_ref().is_none_or(|client| client.device != device_uid) {
            *client = Client::new(ip, port, device_uid, signer).ok();
        }
        client.as_ref().map(|client| client.client.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, labelled: &str, status: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": { "namespace": "shop", "name": name, "uid": "u1", "labels": { "enlace.dev/device": labelled } },
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_is_read_with_its_address_and_readiness() {
        let ready = |status: &str| serde_json::json!({"podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": status}]});
        let (key, facts) = read(&pod("billing-0", "billing", ready("True"))).unwrap();
        assert_eq!(key.to_string(), "shop/billing");
        let ip = "10.0.0.7".parse().ok();
        assert_eq!(facts, Facts { uid: "u1".into(), ip, ready: true, stopping: false });
        assert!(!read(&pod("billing-0", "billing", ready("False"))).unwrap().1.ready);
    }

    #[test]
    fn a_pod_with_the_label_of_a_device_and_another_name_is_not_its_pod() {
        assert!(read(&pod("intruder", "billing", serde_json::json!({}))).is_none());
        assert!(read(&pod("billing-0", "Not A Name", serde_json::json!({}))).is_none());
    }

    #[test]
    fn the_end_of_a_former_pod_does_not_hide_the_new_one() {
        let mut pods = Pods::new();
        let key: DeviceKey = "shop/billing".parse().unwrap();
        let facts = |uid: &str| Facts { uid: uid.into(), ip: None, ready: false, stopping: false };
        assert!(put(&mut pods, key.clone(), facts("old")));
        assert!(!put(&mut pods, key.clone(), facts("old")));
        assert!(put(&mut pods, key.clone(), facts("new")));
        assert!(!remove(&mut pods, &key, "old"));
        assert!(remove(&mut pods, &key, "new") && pods.is_empty());
    }
}
