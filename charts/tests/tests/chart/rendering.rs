//! The same text each time, of objects that Kubernetes knows.

use enlace_chart_tests::helm::{self, NAMESPACE, folder, lint, notes, render_text};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fixture::{DEFAULTS, EVERYTHING, Objects};

/// Kinds that are of the whole cluster.
const CLUSTERED: [&str; 3] = ["ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"];

#[test]
fn two_renderings_are_the_same_text() {
    for values in [DEFAULTS, EVERYTHING] {
        assert!(render_text(values).unwrap() == render_text(values).unwrap());
    }
}

#[test]
fn helm_finds_no_fault() {
    for values in [DEFAULTS, EVERYTHING] {
        let told = lint(values).unwrap();
        assert!(told.contains("0 chart(s) failed"), "{told}");
        assert!(!told.contains("[WARNING]"), "{told}");
    }
}

/// What a type does not know is lost when it is read and written again.
fn unknown<T: DeserializeOwned + Serialize>(object: &Value) -> Option<String> {
    let typed: T = match serde_json::from_value(object.clone()) {
        Ok(typed) => typed,
        Err(error) => return Some(error.to_string()),
    };
    lost(object, &serde_json::to_value(typed).unwrap(), "")
}

fn lost(given: &Value, kept: &Value, path: &str) -> Option<String> {
    match (given, kept) {
        // `null` and nothing are the same to the API server, and so are an empty list and nothing.
        (Value::Null, _) => None,
        (Value::Object(given), Value::Object(kept)) => given.iter().find_map(|(key, value)| {
            lost(value, kept.get(key).unwrap_or(&Value::Null), &format!("{path}.{key}"))
        }),
        (Value::Array(given), Value::Array(kept)) if given.len() == kept.len() => given
            .iter()
            .zip(kept)
            .enumerate()
            .find_map(|(index, (given, kept))| lost(given, kept, &format!("{path}[{index}]"))),
        (given, kept) => (given != kept).then(|| format!("{path}: {given} became {kept}")),
    }
}

#[test]
fn kubernetes_knows_every_field_of_every_object() {
    for values in [DEFAULTS, EVERYTHING] {
        for object in Objects::of(values).0 {
            let kind = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
            let unknown = match kind {
                ("v1", "ConfigMap") => unknown::<ConfigMap>(&object),
                ("v1", "PersistentVolumeClaim") => unknown::<PersistentVolumeClaim>(&object),
                ("v1", "Service") => unknown::<Service>(&object),
                ("v1", "ServiceAccount") => unknown::<ServiceAccount>(&object),
                ("apps/v1", "Deployment") => unknown::<Deployment>(&object),
                ("batch/v1", "Job") => unknown::<Job>(&object),
                ("networking.k8s.io/v1", "Ingress") => unknown::<Ingress>(&object),
                ("networking.k8s.io/v1", "NetworkPolicy") => unknown::<NetworkPolicy>(&object),
                ("policy/v1", "PodDisruptionBudget") => unknown::<PodDisruptionBudget>(&object),
                ("rbac.authorization.k8s.io/v1", "ClusterRole") => unknown::<ClusterRole>(&object),
                ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => {
                    unknown::<ClusterRoleBinding>(&object)
                }
                ("rbac.authorization.k8s.io/v1", "Role") => unknown::<Role>(&object),
                ("rbac.authorization.k8s.io/v1", "RoleBinding") => unknown::<RoleBinding>(&object),
                ("apiextensions.k8s.io/v1", "CustomResourceDefinition") => {
                    unknown::<CustomResourceDefinition>(&object)
                }
                other => {
                    panic!("the chart has a new kind of object: say here which type it is of: {other:?}")
                }
            };
            assert_eq!(unknown, None, "{kind:?} {}", object["metadata"]["name"]);
        }
    }
}

#[test]
fn every_object_is_labelled_and_in_a_namespace_that_is_named() {
    for object in Objects::of(EVERYTHING).0 {
        let (kind, metadata) = (object["kind"].as_str().unwrap(), &object["metadata"]);
        let name = format!("{kind} {}", metadata["name"]);
        assert_eq!(metadata["labels"]["app.kubernetes.io/name"], "enlace", "{name}");
        assert_eq!(metadata["labels"]["app.kubernetes.io/instance"], "enlace", "{name}");
        let namespace = metadata["namespace"].as_str();
        if CLUSTERED.contains(&kind) {
            assert_eq!(namespace, None, "{name}");
        } else {
            assert!([NAMESPACE, "shop", "warehouse"].contains(&namespace.unwrap()), "{name}");
        }
    }
}

#[test]
fn the_definition_is_the_generated_one_and_is_kept() {
    let mut rendered: Value =
        Objects::of(DEFAULTS).get("CustomResourceDefinition", "whatsappdevices.enlace.dev");
    assert_eq!(rendered["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    let metadata = rendered["metadata"].as_object_mut().unwrap();
    metadata.remove("annotations");
    metadata.remove("labels");
    assert_eq!(rendered, serde_json::to_value(enlace_crds::WhatsAppDevice::crd()).unwrap());
    let without = Objects::of("crds: {install: false}\n");
    assert_eq!(without.kind("CustomResourceDefinition").count(), 0);
}

#[test]
fn the_volume_of_users_and_tokens_is_kept_unless_told_otherwise() {
    let annotation = |values: &str| {
        let claim: PersistentVolumeClaim = Objects::of(values).get("PersistentVolumeClaim", "enlace-api");
        claim.metadata.annotations.unwrap_or_default().get("helm.sh/resource-policy").cloned()
    };
    assert_eq!(annotation(DEFAULTS).as_deref(), Some("keep"));
    assert_eq!(annotation("api: {database: {keep: false}}\n"), None);
    let existing = Objects::of("api: {database: {existingClaim: mine}}\n");
    assert_eq!(existing.kind("PersistentVolumeClaim").count(), 0);
    let api: Deployment = existing.get("Deployment", "enlace-api");
    let volumes = api.spec.unwrap().template.spec.unwrap().volumes.unwrap();
    assert!(volumes.iter().any(|volume| {
        volume.persistent_volume_claim.as_ref().is_some_and(|claim| claim.claim_name == "mine")
    }));
}

#[test]
fn who_installs_it_is_told_the_next_three_commands() {
    let told = notes(DEFAULTS).unwrap();
    for command in [
        "kubectl -n enlace-system get secret enlace-admin -o jsonpath='{.data.password}' | base64 -d",
        "kubectl -n enlace-system port-forward service/enlace-api 8080:80",
        "kubectl enlace qr billing -n default",
    ] {
        assert!(told.contains(command), "{command} is not in: {told}");
    }
    let tunnel = notes("cloudflared: {enabled: true, tokenSecret: {name: tunnel}}\n").unwrap();
    assert!(tunnel.contains("http://enlace-api.enlace-system:80"), "{tunnel}");
}

#[test]
fn the_chart_has_the_version_of_the_programs() {
    let text = std::fs::read_to_string(folder().join("Chart.yaml")).unwrap();
    let chart: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    let images = Objects::of(DEFAULTS);
    let operator: Deployment = images.get("Deployment", &format!("{}-operator", helm::RELEASE));
    let image = operator.spec.unwrap().template.spec.unwrap().containers.remove(0).image.unwrap();
    assert_eq!(image, format!("enlace-operator:{}", env!("CARGO_PKG_VERSION")));
}
