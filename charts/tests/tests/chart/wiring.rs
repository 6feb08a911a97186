//! What one part of the installation expects of another.

use std::collections::BTreeMap;

use enlace_crds::resource::AccessMode;
use enlace_operator::config::OperatorConfig;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy, NetworkPolicyIngressRule};
use serde_json::json;

use super::fixture::{DEFAULTS, EVERYTHING, Objects};

fn configuration(values: &str) -> OperatorConfig {
    let map: ConfigMap = Objects::of(values).get("ConfigMap", "enlace-operator");
    OperatorConfig::parse(&map.data.unwrap()["operator.yaml"]).expect("the operator reads its configuration")
}

fn container(objects: &Objects, deployment: &str) -> Container {
    let deployment: Deployment = objects.get("Deployment", deployment);
    deployment.spec.unwrap().template.spec.unwrap().containers.remove(0)
}

#[test]
fn the_operator_reads_the_configuration_that_the_chart_writes() {
    let plain = configuration(DEFAULTS);
    assert_eq!(plain.installation, "enlace");
    assert_eq!(plain.device.image, format!("enlace-device:{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(plain.device.storage_class_name, None);
    assert_eq!(plain.device.access_mode, AccessMode::ReadWriteOncePod);
    assert_eq!((plain.reconcile.concurrency, plain.rollout.max_concurrent), (16, 5));
    assert_eq!(plain.secret_namespaces, [""; 0]);

    let whole = configuration(EVERYTHING);
    let zeroes = "0".repeat(64);
    assert_eq!(whole.device.image, format!("registry.example.com/team/enlace-device@sha256:{zeroes}"));
    assert_eq!(whole.device.image_pull_policy.as_deref(), Some("IfNotPresent"));
    assert_eq!(whole.device.image_pull_secrets[0].name, "registry");
    assert_eq!(whole.device.environment[0].value, "debug");
    assert_eq!(whole.device.storage_class_name.as_deref(), Some("fast"));
    assert_eq!(whole.device.access_mode, AccessMode::ReadWriteOnce);
    assert_eq!(whole.device.resources.limits.unwrap()["memory"].0, "192Mi");
    assert_eq!(whole.secret_namespaces, ["shop", "warehouse"]);
}

#[test]
fn the_secrets_that_the_operator_makes_are_those_that_the_api_mounts() {
    let config = configuration(DEFAULTS);
    let api: Deployment = Objects::of(DEFAULTS).get("Deployment", "enlace-api");
    let pod = api.spec.unwrap().template.spec.unwrap();
    let secrets: BTreeMap<String, String> = pod
        .volumes
        .unwrap()
        .into_iter()
        .filter_map(|volume| Some((volume.name, volume.secret?.secret_name?)))
        .collect();
    let mounts: BTreeMap<String, String> = pod.containers[0]
        .volume_mounts
        .clone()
        .unwrap()
        .into_iter()
        .filter_map(|mount| Some((mount.mount_path, secrets.get(&mount.name)?.clone())))
        .collect();
    assert_eq!(
        mounts,
        BTreeMap::from([
            ("/etc/enlace/device-key".to_owned(), config.api_key()),
            ("/etc/enlace/admin".to_owned(), config.admin()),
        ])
    );
}

/// What the API's environment says of the compatible API.
fn compatible(values: &str) -> BTreeMap<String, String> {
    let environment = container(&Objects::of(values), "enlace-api").env.unwrap();
    let said = environment.into_iter().filter_map(|variable| Some((variable.name, variable.value?)));
    said.filter(|(name, _)| name.starts_with("ENLACE_COMPATIBLE_") || name == "ENLACE_SEED_LOG").collect()
}

#[test]
fn the_compatible_api_is_told_what_the_values_say() {
    let of = |said: &[(&str, &str)]| {
        said.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
    };
    // What is empty is not said: the API has its own defaults.
    assert_eq!(
        compatible(DEFAULTS),
        of(&[
            ("ENLACE_COMPATIBLE_NAMESPACE", "default"),
            ("ENLACE_COMPATIBLE_REGISTRATION", "false"),
            ("ENLACE_COMPATIBLE_ANONYMOUS_COUNTS", "false"),
            ("ENLACE_COMPATIBLE_MAX_DEVICES", "100"),
            ("ENLACE_COMPATIBLE_MAX_TOKENS", "100"),
            ("ENLACE_SEED_LOG", "false"),
        ])
    );
    assert_eq!(
        compatible(EVERYTHING),
        of(&[
            ("ENLACE_COMPATIBLE_NAMESPACE", "shop"),
            ("ENLACE_COMPATIBLE_REGISTRATION", "true"),
            ("ENLACE_COMPATIBLE_ANONYMOUS_COUNTS", "true"),
            ("ENLACE_COMPATIBLE_MAX_DEVICES", "2000000"),
            ("ENLACE_COMPATIBLE_MAX_TOKENS", "5"),
            ("ENLACE_COMPATIBLE_TOKEN_LIFETIME", "720h"),
            ("ENLACE_COMPATIBLE_MEDIA_ALLOW", "10.1.0.0/16,fd00::/8"),
            ("ENLACE_SEED_LOG", "true"),
        ])
    );
}

#[test]
fn services_and_ingress_lead_to_ports_that_the_pods_have() {
    let objects = Objects::of(EVERYTHING);
    for (service, deployment, port, target, number) in [
        ("enlace-api", "enlace-api", 80, "http", 8080),
        ("enlace-api-metrics", "enlace-api", 9090, "metrics", 9090),
        ("enlace-operator-metrics", "enlace-operator", 9090, "metrics", 9090),
    ] {
        let service: Service = objects.get("Service", service);
        let spec = service.spec.unwrap();
        assert_eq!(serde_json::to_value(&spec.ports.unwrap()[0]).unwrap()["targetPort"], target);
        let ports = container(&objects, deployment).ports.unwrap();
        assert!(
            ports.iter().any(|port| port.name.as_deref() == Some(target) && port.container_port == number)
        );
        let workload: Deployment = objects.get("Deployment", deployment);
        assert_eq!(spec.selector, workload.spec.unwrap().selector.match_labels);
        let service: Service = objects.get("Service", &service.metadata.name.unwrap());
        let spec = service.spec.unwrap();
        assert_eq!(spec.ports.unwrap()[0].port, port);
        // Who is outside of the cluster comes through what is asked for.
        assert_eq!(spec.type_.as_deref().unwrap_or("ClusterIP"), "ClusterIP");
    }
    let ingress: Ingress = objects.get("Ingress", "enlace-api");
    let spec = ingress.spec.unwrap();
    assert_eq!(spec.tls.unwrap()[0].hosts.clone().unwrap(), ["enlace.example.com"]);
    let rule = spec.rules.unwrap().remove(0);
    assert_eq!(rule.host.as_deref(), Some("enlace.example.com"));
    let backend = rule.http.unwrap().paths.remove(0).backend.service.unwrap();
    assert_eq!((backend.name.as_str(), backend.port.unwrap().name.as_deref()), ("enlace-api", Some("http")));
}

/// Who may connect to which port of a component.
fn allowed(objects: &Objects, policy: &str) -> Vec<(String, serde_json::Value)> {
    let policy: NetworkPolicy = objects.get("NetworkPolicy", policy);
    let rules = policy.spec.unwrap().ingress.unwrap_or_default();
    let allowed = rules.into_iter().map(|rule| {
        let NetworkPolicyIngressRule { from, ports } = rule;
        let port = serde_json::to_value(&ports.unwrap()[0].port).unwrap();
        (port.as_str().unwrap().to_owned(), serde_json::to_value(from).unwrap())
    });
    allowed.collect()
}

#[test]
fn only_who_is_named_may_connect() {
    let objects = Objects::of(EVERYTHING);
    let namespace = |name: &str| json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } } });
    let tunnel = json!({ "podSelector": { "matchLabels": {
        "app.kubernetes.io/name": "enlace", "app.kubernetes.io/instance": "enlace", "app.kubernetes.io/component": "cloudflared",
    } } });
    let metrics = ("metrics".to_owned(), json!([namespace("monitoring")]));
    assert_eq!(
        allowed(&objects, "enlace-api"),
        [("http".to_owned(), json!([namespace("ingress"), tunnel])), metrics.clone()]
    );
    assert_eq!(allowed(&objects, "enlace-operator"), std::slice::from_ref(&metrics));
    assert_eq!(allowed(&objects, "enlace-cloudflared"), [metrics]);

    let closed = Objects::of("networkPolicy: {enabled: true}\n");
    assert_eq!(allowed(&closed, "enlace-api"), []);
    assert_eq!(Objects::of(DEFAULTS).kind("NetworkPolicy").count(), 0);
}

#[test]
fn the_tunnel_reaches_the_api_and_the_internet_but_no_private_network() {
    let objects = Objects::of(EVERYTHING);
    let policy: NetworkPolicy = objects.get("NetworkPolicy", "enlace-cloudflared");
    let spec = policy.spec.unwrap();
    assert_eq!(spec.policy_types.unwrap(), ["Ingress", "Egress"]);
    let excepted: Vec<String> = spec
        .egress
        .unwrap()
        .into_iter()
        .flat_map(|rule| rule.to.unwrap_or_default())
        .filter_map(|peer| peer.ip_block?.except)
        .flatten()
        .collect();
    for network in ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7"] {
        assert!(excepted.iter().any(|except| except == network), "{network}");
    }
}

#[test]
fn the_tunnels_token_is_taken_from_the_secret_and_is_nowhere_in_the_text() {
    let tunnel = container(&Objects::of(EVERYTHING), "enlace-cloudflared");
    let environment = tunnel.env.unwrap();
    assert_eq!(environment[0].name, "TUNNEL_TOKEN");
    assert_eq!(environment[0].value, None);
    let reference = environment[0].value_from.clone().unwrap().secret_key_ref.unwrap();
    assert_eq!((reference.name.as_str(), reference.key.as_str()), ("tunnel", "token"));
    let arguments = tunnel.args.unwrap();
    assert!(arguments.contains(&"--no-autoupdate".to_owned()));
    let protocol = arguments.iter().position(|argument| argument == "--protocol").unwrap();
    assert_eq!(arguments[protocol + 1], "http2");
    let image = tunnel.image.unwrap();
    assert!(!image.ends_with(":latest") && image.starts_with("docker.io/cloudflare/cloudflared:"), "{image}");
}

#[test]
fn an_uninstallation_runs_the_operators_chore_after_its_permissions_are_gone() {
    let objects = Objects::of(DEFAULTS);
    let job: Job = objects.get("Job", "enlace-uninstall");
    let annotations = job.metadata.annotations.unwrap();
    assert_eq!(annotations["helm.sh/hook"], "post-delete");
    let pod = job.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.service_account_name.as_deref(), Some("enlace-uninstall"));
    assert_eq!(pod.containers[0].args.as_deref(), Some(&["release-finalizers".to_owned()][..]));
    assert_eq!(pod.containers[0].image, container(&objects, "enlace-operator").image);
    // Its account and its permissions are there before it, and are gone after it.
    for kind in ["ServiceAccount", "ClusterRole", "ClusterRoleBinding"] {
        let object: serde_json::Value = objects.get(kind, "enlace-uninstall");
        let annotations = &object["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/hook"], "post-delete", "{kind}");
        assert_eq!(annotations["helm.sh/hook-weight"], "-1", "{kind}");
        assert!(
            annotations["helm.sh/hook-delete-policy"].as_str().unwrap().contains("hook-failed"),
            "{kind}"
        );
    }
    assert_eq!(Objects::of("uninstall: {releaseFinalizers: false}\n").kind("Job").count(), 0);
}
