//! What of a pod matters.

use enlace_crds::names;
use enlace_crds::rules::PodFacts;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus, Pod, PodSpec, PodStatus};
use kube::ResourceExt as _;

/// The container of a device.
pub const CONTAINER: &str = "device";
/// Its port.
pub const PORT: u16 = 8080;

/// A device's pod, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenPod {
    /// Its UID: another pod of the same name is another pod.
    pub uid: String,
    /// For the status.
    pub facts: PodFacts,
    /// Its address, once it runs.
    pub address: Option<String>,
    /// A hash of what it was made from.
    pub template_hash: Option<String>,
    /// The UID of its device.
    pub device: Option<String>,
    /// Whether it is on its way out.
    pub stopping: bool,
    /// When it was made.
    pub created: Option<Timestamp>,
}

impl SeenPod {
    /// The pod; none when it has no UID.
    pub fn of(pod: &Pod) -> Option<Self> {
        let status = pod.status.as_ref();
        let ready = status.and_then(|status| status.conditions.as_ref()).is_some_and(|all| {
            all.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        });
        let running = status.and_then(|status| status.phase.as_deref()) == Some("Running");
        let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
        let image =
            containers.iter().find(|container| container.name == CONTAINER).and_then(|c| c.image.clone());
        Some(Self {
            uid: pod.uid()?,
            facts: PodFacts { name: pod.name_any(), ready, image, stuck: status.and_then(stuck) },
            address: status.and_then(|status| status.pod_ip.clone()).filter(|_| running),
            template_hash: pod.annotations().get(names::TEMPLATE_HASH).cloned(),
            device: pod.annotations().get(names::DEVICE_UID).cloned(),
            stopping: pod.metadata.deletion_timestamp.is_some(),
            created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
        })
    }
}

/// The most characters of what the cluster says of a pod that cannot start.
const LONGEST: usize = 300;

/// Why a pod cannot start, as the cluster says; none while it is on the way.
fn stuck(status: &PodStatus) -> Option<String> {
    let containers = status.container_statuses.iter().flatten();
    let waiting = containers.filter_map(|container| container.state.as_ref()?.waiting.as_ref());
    let waits = waiting
        .map(|waiting| (waiting.reason.as_deref().unwrap_or_default(), waiting.message.as_deref()))
        .find(|(reason, _)| !matches!(*reason, "" | "ContainerCreating" | "PodInitializing"));
    let placed = status.conditions.iter().flatten().find(|condition| condition.type_ == "PodScheduled");
    let unplaced = || {
        let condition = placed.filter(|condition| condition.status == "False")?;
        Some((condition.reason.as_deref()?, condition.message.as_deref()))
    };
    let (reason, message) = waits.or_else(unplaced)?;
    let text = message.map_or_else(|| reason.to_owned(), |message| format!("{reason}: {message}"));
    Some(text.chars().take(LONGEST).collect())
}

/// Drops from a pod what [`SeenPod`] does not read: ten thousand whole pods would be hundreds of megabytes.
pub fn prune(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    pod.metadata.owner_references = None;
    if let Some(annotations) = &mut pod.metadata.annotations {
        annotations.retain(|name, _| name == names::TEMPLATE_HASH || name == names::DEVICE_UID);
    }
    if let Some(labels) = &mut pod.metadata.labels {
        labels.retain(|name, _| name == names::DEVICE);
    }
    if let Some(spec) = &mut pod.spec {
        let containers = std::mem::take(&mut spec.containers);
        let device = containers.into_iter().filter(|container| container.name == CONTAINER);
        let containers =
            device.map(|Container { name, image, .. }| Container { name, image, ..Container::default() });
        *spec = PodSpec { containers: containers.collect(), ..PodSpec::default() };
    }
    if let Some(status) = &mut pod.status {
        let PodStatus { phase, pod_ip, conditions, mut container_statuses, .. } = std::mem::take(status);
        let matters = |name: &str| matches!(name, "Ready" | "PodScheduled");
        let conditions =
            conditions.map(|all| all.into_iter().filter(|condition| matters(&condition.type_)).collect());
        for container in container_statuses.iter_mut().flatten() {
            let waiting = container.state.take().and_then(|state| state.waiting);
            let state =
                waiting.map(|waiting| ContainerState { waiting: Some(waiting), ..ContainerState::default() });
            *container = ContainerStatus { state, ..ContainerStatus::default() };
        }
        *status = PodStatus { phase, pod_ip, conditions, container_statuses, ..PodStatus::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pruned_pod_says_all_that_matters() {
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": "billing-0", "namespace": "shop", "uid": "pod-1",
                "labels": { names::DEVICE: "billing", "other": "label" },
                "annotations": { names::TEMPLATE_HASH: "hash", names::DEVICE_UID: "uid-1", "other": "annotation" },
                "creationTimestamp": "2030-01-01T00:00:00Z",
            },
            "spec": { "containers": [{ "name": "device", "image": "enlace-device:1", "args": ["--adopt"] }, { "name": "sidecar" }] },
            "status": {
                "phase": "Running", "podIP": "10.244.0.7",
                "conditions": [{ "type": "Ready", "status": "True" }, { "type": "PodScheduled", "status": "True" }],
            },
        }))
        .unwrap();
        let whole = SeenPod::of(&pod).unwrap();
        prune(&mut pod);
        assert_eq!(SeenPod::of(&pod).unwrap(), whole);
        assert_eq!(
            whole,
            SeenPod {
                uid: "pod-1".into(),
                facts: PodFacts {
                    name: "billing-0".into(),
                    ready: true,
                    image: Some("enlace-device:1".into()),
                    stuck: None,
                },
                address: Some("10.244.0.7".into()),
                template_hash: Some("hash".into()),
                device: Some("uid-1".into()),
                stopping: false,
                created: Some("2030-01-01T00:00:00Z".parse().unwrap()),
            }
        );
    }

    #[test]
    fn a_pod_that_does_not_run_yet_has_no_address() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "billing-0", "uid": "pod-1", "deletionTimestamp": "2030-01-01T00:00:00Z" },
            "status": { "phase": "Pending", "podIP": "10.244.0.7" },
        }))
        .unwrap();
        let seen = SeenPod::of(&pod).unwrap();
        assert_eq!((seen.address, seen.stopping, seen.facts.ready), (None, true, false));
    }

    #[test]
    fn a_pod_that_cannot_start_says_why() {
        let waiting = |reason: &str| json!([{ "name": "device", "state": { "waiting": { "reason": reason, "message": "no such host" } } }]);
        let placed = |status: &str| json!([{ "type": "PodScheduled", "status": status, "reason": "Unschedulable", "message": "unbound claims" }]);
        for (containers, conditions, said) in [
            (waiting("ErrImagePull"), placed("True"), Some("ErrImagePull: no such host")),
            (waiting("ContainerCreating"), placed("True"), None),
            (json!([]), placed("False"), Some("Unschedulable: unbound claims")),
            (json!([{ "name": "device", "state": { "running": {} } }]), placed("True"), None),
        ] {
            let mut pod: Pod = serde_json::from_value(json!({
                "metadata": { "name": "billing-0", "uid": "pod-1" },
                "status": { "phase": "Pending", "containerStatuses": containers.as_array().unwrap().iter().map(|status| {
                    let mut status = status.clone();
                    for (name, value) in [("image", json!("x")), ("imageID", json!("")), ("ready", json!(false)), ("restartCount", json!(0))] {
                        status[name] = value;
                    }
                    status
                }).collect::<Vec<_>>(), "conditions": conditions },
            }))
            .unwrap();
            let whole = SeenPod::of(&pod).unwrap();
            assert_eq!(whole.facts.stuck.as_deref(), said, "{containers}");
            prune(&mut pod);
            assert_eq!(SeenPod::of(&pod).unwrap(), whole);
        }
    }
}
