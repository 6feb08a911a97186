//! The pod of a device, as a StatefulSet of none or one.
//!
//! Kubernetes keeps the pod alive and never runs two of one name. `OnDelete`: the operator alone decides when a pod is made anew.

use enlace_contract::name::DeviceKey;
use enlace_crds::{WhatsAppDevice, names};
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar,
    HTTPGetAction, PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SeccompProfile, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{child, hash, labels, owned, seal};
use crate::config::DeviceDefaults;
use crate::pods::{CONTAINER, PORT};

/// The user and group of the image; no other user can read a session.
const USER: i64 = 65532;
/// Enough to close the connection and the database.
const GRACE_SECONDS: i64 = 30;

/// What of a StatefulSet does not come from the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Whether the pod is to run.
    pub run: bool,
    /// Whether the volume was another device's.
    pub adopt: bool,
}

/// The StatefulSet of a device.
pub fn stateful_set(
    device: &WhatsAppDevice,
    key: &DeviceKey,
    defaults: &DeviceDefaults,
    running: Running,
) -> StatefulSet {
    let template = template(device, key, defaults, running.adopt);
    seal(StatefulSet {
        metadata: child(device, key, names::stateful_set(key)),
        spec: Some(StatefulSetSpec {
            replicas: Some(i32::from(running.run)),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                rolling_update: None,
            }),
            // Templates of pods hold no state worth going back to.
            revision_history_limit: Some(1),
            selector: LabelSelector {
                match_labels: Some(owned(names::pod_selector(key))),
                ..LabelSelector::default()
            },
            template,
            ..StatefulSetSpec::default()
        }),
        status: None,
    })
}

/// The hash of what the pod of a StatefulSet is to be made from.
pub fn template_hash(stateful_set: &StatefulSet) -> Option<&str> {
    let template = &stateful_set.spec.as_ref()?.template;
    template.metadata.as_ref()?.annotations.as_ref()?.get(names::TEMPLATE_HASH).map(String::as_str)
}

fn template(
    device: &WhatsAppDevice,
    key: &DeviceKey,
    defaults: &DeviceDefaults,
    adopt: bool,
) -> PodTemplateSpec {
    let pod = &device.spec.pod;
    // A person's first, so that ours stand.
    let mut all_labels = pod.labels.clone();
    all_labels.extend(labels(key));
    let mut annotations = pod.annotations.clone();
    annotations.insert(names::DEVICE_UID.to_owned(), device.metadata.uid.clone().unwrap_or_default());
    let mut template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(all_labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(pod_spec(device, key, defaults, adopt)),
    };
    let hash = hash(&template);
    let metadata = template.metadata.get_or_insert_default();
    metadata.annotations.get_or_insert_default().insert(names::TEMPLATE_HASH.to_owned(), hash);
    template
}

fn pod_spec(device: &WhatsAppDevice, key: &DeviceKey, defaults: &DeviceDefaults, adopt: bool) -> PodSpec {
    let pod = &device.spec.pod;
    let secrets = if pod.image_pull_secrets.is_empty() {
        &defaults.image_pull_secrets
    } else {
        &pod.image_pull_secrets
    };
    PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            // A volume with many files would otherwise delay each start.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        image_pull_secrets: some(secrets),
        node_selector: (!pod.node_selector.is_empty()).then(|| pod.node_selector.clone()),
        tolerations: some(&pod.tolerations),
        affinity: pod.affinity.clone(),
        topology_spread_constraints: some(&pod.topology_spread_constraints),
        priority_class_name: pod.priority_class_name.clone(),
        containers: vec![container(device, defaults, adopt)],
        volumes: Some(volumes(key)),
        ..PodSpec::default()
    }
}

fn container(device: &WhatsAppDevice, defaults: &DeviceDefaults, adopt: bool) -> Container {
    let pod = &device.spec.pod;
    let resources = pod.resources.clone().unwrap_or_else(|| defaults.resources.clone());
    let variable = |name: &str, value: &str| EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_from: None,
    };
    Container {
        name: CONTAINER.to_owned(),
        image: Some(pod.image.clone().unwrap_or_else(|| defaults.image.clone())),
        image_pull_policy: defaults.image_pull_policy.clone(),
        args: adopt.then(|| vec!["--adopt".to_owned()]),
        env: some(&defaults.environment.iter().map(|v| variable(&v.name, &v.value)).collect::<Vec<_>>()),
        ports: Some(vec![port("http", i32::from(PORT)), port("metrics", 9090)]),
        resources: (resources != ResourceRequirements::default()).then_some(resources),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        // A slow disk may take its time at the start, and is not waited for longer than it takes; after that, silence of a minute is death.
        startup_probe: Some(probe("/readyz", 1, 120)),
        liveness_probe: Some(probe("/livez", 20, 3)),
        readiness_probe: Some(probe("/readyz", 5, 3)),
        volume_mounts: Some(vec![
            mount("session", "/var/lib/enlace", false),
            mount("config", "/etc/enlace", true),
            mount("tmp", "/tmp", false),
        ]),
        ..Container::default()
    }
}

fn volumes(key: &DeviceKey) -> Vec<Volume> {
    vec![
        Volume {
            name: "session".to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: names::volume_claim(key),
                read_only: None,
            }),
            ..Volume::default()
        },
        Volume {
            name: "config".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: names::config_map(key),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
        // The database sorts in files when memory does not suffice; the root file system is read-only.
        Volume {
            name: "tmp".to_owned(),
            empty_dir: Some(EmptyDirVolumeSource {
                size_limit: Some(Quantity("64Mi".to_owned())),
                medium: None,
            }),
            ..Volume::default()
        },
    ]
}

fn port(name: &str, number: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

/// The label selector of a StatefulSet cannot change, so it must not have what may.
#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_selector_is_a_part_of_the_labels_of_the_pod() {
        let key: DeviceKey = "shop/billing".parse().unwrap();
        let labels: BTreeMap<String, String> = labels(&key);
        for (name, value) in names::pod_selector(&key) {
            assert_eq!(labels.get(name), Some(&value));
        }
    }
}
