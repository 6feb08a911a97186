//! The chart, installed once for all tests, and a simulated WhatsApp beside it.

use std::sync::OnceLock;

use jiff::Timestamp;
use serde_json::{Value, json};
use whatsapp_simulator::Control;

use crate::commands::{Refused, helm, json as get, kubectl, try_helm, try_kubectl, with_object};

/// The release, which is also what its objects are called.
pub const RELEASE: &str = "enlace";
/// The namespace of the installation.
pub const SYSTEM: &str = "enlace-e2e-system";
/// The namespace in which codes may be published in Secrets.
pub const SECRETS: &str = "enlace-e2e-secrets";
/// The namespace of the simulated WhatsApp.
const WHATSAPP: &str = "enlace-e2e-whatsapp";
/// The label of every namespace that these tests make.
const OURS: &str = "enlace.dev/e2e";
const UNINSTALLED: &str = "enlace.dev/e2e-uninstalled";
const INSTALLED_AGAIN: &str = "enlace.dev/e2e-installed-again";
const SIMULATOR_PORT: u16 = 8788;
/// A prefix for the images' names on a cluster of one's own: `registry.example.com/team`.
const REGISTRY: &str = "ENLACE_TEST_REGISTRY";

/// The arguments of helm to take the chart away.
const UNINSTALL: [&str; 7] = ["uninstall", RELEASE, "--namespace", SYSTEM, "--wait", "--timeout", "120s"];

static INSTALLED: OnceLock<String> = OnceLock::new();
static CHOSEN: OnceLock<Value> = OnceLock::new();

/// Other values than the tests' from the first installation on; once, and before it.
pub fn choose(changes: Value) {
    assert!(INSTALLED.get().is_none() && CHOSEN.set(changes).is_ok(), "it is installed already");
}

/// Installs, if that was not done; a client that plays the people of the simulated WhatsApp.
pub fn whatsapp() -> Control {
    Control::new(format!("http://{}", INSTALLED.get_or_init(begin)))
}

/// `helm install`, with values that the chart's schema has looked at.
pub fn install() {
    helm(&put("install"), Some(&values(INSTALLED.get().unwrap())));
    note(INSTALLED_AGAIN);
}

/// `helm upgrade` with other values: what is not among the changes is as it was at first.
///
/// # Errors
/// helm's words: the chart refuses the values, or not everything is ready in time.
pub fn upgrade(changes: &Value) -> Result<(), Refused> {
    let mut values = values(INSTALLED.get().unwrap());
    merge(&mut values, changes);
    try_helm(&put("upgrade"), Some(&values)).map(drop)
}

fn merge(into: &mut Value, changes: &Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(into.entry(name.as_str()).or_insert(Value::Null), change);
            }
        }
        (into, changes) => into.clone_from(changes),
    }
}

/// `helm uninstall`; helm waits for what the chart does then.
pub fn uninstall() {
    note(UNINSTALLED);
    helm(&UNINSTALL, None);
}

/// Uninstalls and removes every namespace that was made, whatever became of it. The definition stays, as the chart keeps it.
pub fn remove() {
    // It may not be there, or not whole.
    let _ = try_helm(&UNINSTALL, None);
    clean();
}

/// Whether the installation was being uninstalled then: its rights go before its last pod has ended.
pub fn was_being_uninstalled(at: Timestamp) -> bool {
    let noted = |name: &str| -> Option<Timestamp> {
        let namespace = get(&["get", "namespace", SYSTEM]);
        namespace["metadata"]["annotations"][name].as_str()?.parse().ok()
    };
    noted(UNINSTALLED).is_some_and(|from| at >= from)
        && noted(INSTALLED_AGAIN).is_none_or(|until| at <= until)
}

/// Writes a time down where the tests of permissions find it, which are another process.
fn note(what: &str) {
    let now = format!("{what}={}", Timestamp::now());
    kubectl(&["annotate", "namespace", SYSTEM, "--overwrite", &now]);
}

/// A namespace with the restricted Pod Security level, ready for pods.
pub fn make_namespace(name: &str) {
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {
            OURS: "",
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/enforce-version": "latest",
        }},
    });
    with_object(&["create"], &namespace);
    // It comes a moment after the namespace; pods are refused until then.
    kubectl(&["--namespace", name, "wait", "serviceaccount/default", "--for=create", "--timeout=60s"]);
}

/// Removes what an earlier run left, then makes everything anew.
fn begin() -> String {
    clean();
    for namespace in [SYSTEM, SECRETS, WHATSAPP] {
        make_namespace(namespace);
    }
    let simulator = start_simulator();
    helm(&put("install"), Some(&values(&simulator)));
    simulator
}

/// The arguments of helm to put the chart in place.
fn put(verb: &str) -> [&str; 9] {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/enlace");
    [verb, RELEASE, chart, "--namespace", SYSTEM, "--values=-", "--wait", "--timeout", "120s"]
}

fn clean() {
    // Without its operator nobody takes a device's finalizer off.
    let _ = try_kubectl(&["--namespace", SYSTEM, "delete", "deployment", "--all", "--wait"]);
    if let Ok(list) = try_kubectl(&["get", "whatsappdevices", "--all-namespaces", "--output", "json"]) {
        let list: Value = serde_json::from_str(&list).unwrap();
        for device in list["items"].as_array().into_iter().flatten() {
            let text = |name: &str| device["metadata"][name].as_str().unwrap_or_default().to_owned();
            let (namespace, name) = (text("namespace"), text("name"));
            if namespace.starts_with("enlace-e2e") {
                let none = r#"{"metadata":{"finalizers":null}}"#;
                let patch = ["patch", "whatsappdevice", &name, "--type=merge", "--patch", none];
                let _ = try_kubectl(&[["--namespace", namespace.as_str()].as_slice(), &patch].concat());
            }
        }
    }
    kubectl(&["delete", "namespace", "--selector", OURS, "--wait", "--timeout=120s"]);
    for kind in ["clusterrole", "clusterrolebinding"] {
        let instance = format!("app.kubernetes.io/instance={RELEASE}");
        kubectl(&["delete", kind, "--selector", &instance]);
    }
}

/// A pod, not a Deployment: what it knows is in its memory, and a second one would know nothing.
fn start_simulator() -> String {
    let labels = json!({"app": "whatsapp-simulator"});
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "whatsapp", "namespace": WHATSAPP},
        "spec": {"selector": labels, "ports": [{"port": SIMULATOR_PORT}]},
    });
    with_object(&["create"], &service);
    let service = get(&["--namespace", WHATSAPP, "get", "service", "whatsapp"]);
    let address = format!("{}:{SIMULATOR_PORT}", service["spec"]["clusterIP"].as_str().unwrap());
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "whatsapp", "namespace": WHATSAPP, "labels": labels},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "simulator",
                "image": image("whatsapp-simulator"),
                "args": ["--listen", format!("0.0.0.0:{SIMULATOR_PORT}"), "--public", address],
                "readinessProbe": {"tcpSocket": {"port": SIMULATOR_PORT}, "periodSeconds": 1},
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    });
    with_object(&["create"], &pod);
    kubectl(&["--namespace", WHATSAPP, "wait", "pod/whatsapp", "--for=condition=Ready", "--timeout=60s"]);
    address
}

fn values(simulator: &str) -> Value {
    let mut values = json!({
        "image": {"registry": registry()},
        "operator": {"replicas": 2, "log": "info,enlace_operator=debug"},
        "devices": {
            "environment": [
                {"name": "ENLACE_WHATSAPP_URL", "value": format!("ws://{simulator}/ws/chat")},
                {"name": "ENLACE_WHATSAPP_MEDIA_URL", "value": format!("http://{simulator}")},
            ],
            "secretNamespaces": [SECRETS],
        },
    });
    if let Some(changes) = CHOSEN.get() {
        merge(&mut values, changes);
    }
    values
}

fn image(name: &str) -> String {
    let registry = registry();
    let separator = if registry.is_empty() { "" } else { "/" };
    format!("{registry}{separator}{name}:{}", env!("CARGO_PKG_VERSION"))
}

fn registry() -> String {
    std::env::var(REGISTRY).unwrap_or_default()
}
