//! What pods are allowed: the restricted Pod Security level, and what else an installation should hold to.

use k8s_openapi::api::apps::v1::{Deployment, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::fixture::{DEFAULTS, EVERYTHING, Objects};

/// What the level asks for that a pod does not have (<https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted>).
fn violations(pod: &PodSpec) -> Vec<String> {
    let mut violations = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            violations.push(what.to_owned());
        }
    };
    must(![pod.host_network, pod.host_pid, pod.host_ipc].contains(&Some(true)), "no host namespaces");
    must(pod.init_containers.is_none() && pod.ephemeral_containers.is_none(), "no containers beside its own");
    let security = pod.security_context.clone().unwrap_or_default();
    must(security.run_as_non_root == Some(true), "runAsNonRoot");
    must(security.run_as_user.is_some_and(|user| user != 0), "a user that is not root");
    must(security.seccomp_profile.is_some_and(|profile| profile.type_ == "RuntimeDefault"), "seccomp");
    must(security.sysctls.is_none() && security.windows_options.is_none(), "no sysctls, no host process");
    must(pod.volumes.iter().flatten().all(is_allowed), "volumes of the allowed kinds");
    for container in &pod.containers {
        let security = container.security_context.clone().unwrap_or_default();
        must(security.privileged != Some(true), "not privileged");
        must(security.allow_privilege_escalation == Some(false), "no privilege escalation");
        must(security.run_as_non_root != Some(false), "runAsNonRoot in the container");
        must(security.run_as_user != Some(0), "not root in the container");
        must(security.proc_mount.is_none(), "the default proc mount");
        let capabilities = security.capabilities.unwrap_or_default();
        must(capabilities.drop.is_some_and(|drop| drop == ["ALL"]), "all capabilities dropped");
        must(capabilities.add.is_none(), "no capability added");
        must(container.ports.iter().flatten().all(|port| port.host_port.is_none()), "no port of the host");
        // Not of the level, but of ours.
        must(security.read_only_root_filesystem == Some(true), "a read-only root filesystem");
        must(has_resources(container), "requests and a memory limit");
    }
    must(pod.enable_service_links == Some(false), "no service links");
    must(pod.automount_service_account_token.is_some(), "a word on the service account's token");
    violations
}

fn is_allowed(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.empty_dir.is_some()
        || volume.projected.is_some()
        || volume.persistent_volume_claim.is_some()
}

fn has_resources(container: &Container) -> bool {
    let resources = container.resources.clone().unwrap_or_default();
    let (requests, limits) = (resources.requests.unwrap_or_default(), resources.limits.unwrap_or_default());
    requests.contains_key("cpu") && requests.contains_key("memory") && limits.contains_key("memory")
}

#[test]
fn every_pod_meets_the_restricted_level() {
    for (values, workloads) in [(DEFAULTS, 3), (EVERYTHING, 4)] {
        let pods = Objects::of(values).pods();
        assert_eq!(pods.len(), workloads);
        for (name, pod) in pods {
            assert_eq!(violations(&pod), [""; 0], "{name}");
        }
    }
}

#[test]
fn a_pod_that_is_not_restricted_is_found() {
    let pod =
        PodSpec { containers: vec![Container::default()], host_network: Some(true), ..PodSpec::default() };
    let found = violations(&pod);
    for what in
        ["no host namespaces", "runAsNonRoot", "seccomp", "all capabilities dropped", "no service links"]
    {
        assert!(found.iter().any(|violation| violation == what), "{what} is not in {found:?}");
    }
}

#[test]
fn everything_that_runs_on_is_probed() {
    for deployment in Objects::of(EVERYTHING).kind("Deployment") {
        let deployment: Deployment = serde_json::from_value(deployment.clone()).unwrap();
        for container in deployment.spec.unwrap().template.spec.unwrap().containers {
            let path = |probe: Option<k8s_openapi::api::core::v1::Probe>| {
                probe.and_then(|probe| probe.http_get).and_then(|get| get.path).unwrap_or_default()
            };
            let expected = match container.name.as_str() {
                "operator" => ("/livez", "/readyz"),
                "api" => ("/healthz", "/readyz"),
                "cloudflared" => ("/healthcheck", "/ready"),
                other => panic!("a new container: {other}"),
            };
            let probes = (path(container.liveness_probe), path(container.readiness_probe));
            assert_eq!((probes.0.as_str(), probes.1.as_str()), expected);
        }
    }
}

#[test]
fn labels_of_a_user_are_added_but_never_replace_ours() {
    let objects = Objects::of(EVERYTHING);
    let operator: Deployment = objects.get("Deployment", "enlace-operator");
    let spec = operator.spec.unwrap();
    let labels = spec.template.metadata.unwrap().labels.unwrap();
    assert_eq!(labels["team"], "messaging");
    assert_eq!(labels["app.kubernetes.io/component"], "operator");
    for (key, value) in spec.selector.match_labels.unwrap() {
        assert_eq!(labels.get(&key), Some(&value), "{key}");
    }
}

#[test]
fn one_process_at_a_time_has_the_database_open() {
    let api: Deployment = Objects::of(DEFAULTS).get("Deployment", "enlace-api");
    let spec = api.spec.unwrap();
    assert_eq!(spec.replicas, Some(1));
    assert_eq!(spec.strategy.unwrap().type_.as_deref(), Some("Recreate"));
}

#[test]
fn with_a_database_server_there_are_several_processes_and_no_volume() {
    let objects = Objects::of("api: {replicas: 3, database: {existingSecret: database}}\n");
    assert_eq!(objects.kind("PersistentVolumeClaim").count(), 0);
    let api: Deployment = objects.get("Deployment", "enlace-api");
    let spec = api.spec.unwrap();
    assert_eq!(spec.replicas, Some(3));
    // It must be said whole: what Kubernetes adds itself would be in the way of Recreate, if the API ever goes back to a volume.
    let rolling = RollingUpdateDeployment {
        max_surge: Some(IntOrString::Int(1)),
        max_unavailable: Some(IntOrString::Int(0)),
    };
    let strategy = spec.strategy.unwrap();
    assert_eq!((strategy.type_.as_deref(), strategy.rolling_update), (Some("RollingUpdate"), Some(rolling)));
    let pod = spec.template.spec.unwrap();
    assert!(pod.volumes.unwrap().iter().all(|volume| volume.persistent_volume_claim.is_none()));
    let environment = pod.containers[0].env.clone().unwrap();
    let url = environment.iter().find(|variable| variable.name == "DATABASE_URL").unwrap();
    let reference = url.value_from.clone().unwrap().secret_key_ref.unwrap();
    assert_eq!((reference.name.as_str(), reference.key.as_str()), ("database", "DATABASE_URL"));
    assert_eq!(url.value, None);
}

#[test]
fn a_drain_leaves_one_of_several_replicas_and_is_never_stopped_by_a_single_one() {
    let budgets = |values: &str| {
        let objects = Objects::of(values);
        let budgets = objects.kind("PodDisruptionBudget").map(|budget| {
            let budget: PodDisruptionBudget = serde_json::from_value(budget.clone()).unwrap();
            (
                budget.metadata.name.unwrap(),
                serde_json::to_value(budget.spec.unwrap().max_unavailable).unwrap(),
            )
        });
        let mut budgets: Vec<_> = budgets.collect();
        budgets.sort_by(|one, other| one.0.cmp(&other.0));
        budgets
    };
    assert_eq!(budgets(DEFAULTS), []);
    assert_eq!(
        budgets(EVERYTHING),
        [("enlace-cloudflared".to_owned(), 1.into()), ("enlace-operator".to_owned(), 1.into())]
    );
    assert_eq!(
        budgets("api: {replicas: 2, database: {existingSecret: database}}\n"),
        [("enlace-api".to_owned(), 1.into())]
    );
}

#[test]
fn a_change_of_the_configuration_restarts_the_operator() {
    let annotation = |values: &str| {
        let operator: Deployment = Objects::of(values).get("Deployment", "enlace-operator");
        let annotations = operator.spec.unwrap().template.metadata.unwrap().annotations.unwrap();
        annotations["enlace.dev/configuration"].clone()
    };
    assert_eq!(annotation(DEFAULTS), annotation("api: {log: debug}\n"));
    assert_ne!(annotation(DEFAULTS), annotation("operator: {rollout: {maxConcurrent: 6}}\n"));
}
