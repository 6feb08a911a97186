//! What is refused, and how it is said.

use enlace_chart_tests::helm::{folder, render};
use serde_json::Value;

/// Values, and what must be in the answer.
const WRONG: [(&str, &[&str]); 22] = [
    ("nonsense: 1", &["additional properties 'nonsense' not allowed"]),
    ("api: {replicaCount: 1}", &["/api", "additional properties 'replicaCount' not allowed"]),
    ("operator: {replicas: 3}", &["/operator/replicas", "maximum: got 3, want 2"]),
    ("operator: {replicas: 0}", &["/operator/replicas", "minimum: got 0, want 1"]),
    ("operator: {concurrency: many}", &["/operator/concurrency", "got string, want integer"]),
    ("operator: {pod: {nodeSelector: {ssd: true}}}", &["/operator/pod/nodeSelector/ssd", "want string"]),
    (
        "api: {compatible: {mediaAllow: [everything]}}",
        &["/api/compatible/mediaAllow/0", "does not match pattern"],
    ),
    (
        "api: {compatible: {mediaAllow: [10.1.0.0]}}",
        &["/api/compatible/mediaAllow/0", "does not match pattern"],
    ),
    ("api: {compatible: {mediaAllow: [10.1.0.0/33]}}", &["/api/compatible/mediaAllow/0", "does not match"]),
    ("api: {trustedProxies: [cloudflared]}", &["/api/trustedProxies/0", "does not match pattern"]),
    ("api: {trustedProxies: [10.1.0.0/33]}", &["/api/trustedProxies/0", "does not match"]),
    (
        "api: {compatible: {mediaAllow: 10.1.0.0/16}}",
        &["/api/compatible/mediaAllow", "got string, want array"],
    ),
    (
        "api: {compatible: {tokenLifetime: a year}}",
        &["/api/compatible/tokenLifetime", "does not match pattern"],
    ),
    ("api: {compatible: {maxTokens: 0}}", &["/api/compatible/maxTokens", "minimum: got 0, want 1"]),
    ("api: {compatible: {log: 1}}", &["/api/compatible/log", "want boolean"]),
    ("api: {database: {size: big}}", &["/api/database/size", "does not match pattern"]),
    ("devices: {accessMode: ReadWriteMany}", &["/devices/accessMode", "'ReadWriteOncePod', 'ReadWriteOnce'"]),
    (
        "devices: {environment: [{name: A, valueFrom: {}}]}",
        &["/devices/environment/0", "'valueFrom' not allowed"],
    ),
    ("fullnameOverride: Big", &["/fullnameOverride", "does not match pattern"]),
    ("api: {replicas: 2}", &["api.replicas is 2", "SQLite on one volume", "set api.replicas to 1"]),
    ("cloudflared: {enabled: true}", &["cloudflared.tokenSecret.name is empty", "name the Secret"]),
    ("api: {ingress: {enabled: true}}", &["api.ingress.hosts is empty"]),
];

#[test]
fn a_wrong_or_unknown_value_is_refused_by_its_name() {
    for (values, expected) in WRONG {
        let Err(refusal) = render(values) else { panic!("{values} is accepted") };
        let told = refusal.to_string();
        for part in expected {
            assert!(told.contains(part), "{values}: {part:?} is not in: {told}");
        }
    }
}

/// Objects of Kubernetes' own, which its API server checks, and what a parent chart passes down.
const OPEN: [&str; 7] = [
    "/properties/global",
    "/properties/networkPolicy/properties/apiFrom/items",
    "/properties/networkPolicy/properties/metricsFrom/items",
    "/definitions/pod/properties/affinity",
    "/definitions/pod/properties/tolerations/items",
    "/definitions/pod/properties/topologySpreadConstraints/items",
    "/definitions",
];

#[test]
fn no_object_of_the_schema_takes_what_it_does_not_know() {
    let text = std::fs::read_to_string(folder().join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    let mut closed = 0;
    look(&schema, "", &mut closed);
    assert!(closed > 20, "only {closed} objects were found");
}

fn look(schema: &Value, path: &str, closed: &mut usize) {
    let Some(members) = schema.as_object() else { return };
    if schema["type"] == "object" && !OPEN.contains(&path) {
        let extra = &schema["additionalProperties"];
        assert!(extra == &Value::Bool(false) || extra.is_object(), "{path} takes anything");
        *closed += 1;
    }
    for (key, member) in members {
        look(member, &format!("{path}/{key}"), closed);
    }
}
