//! What the API server is given: nothing was lost on the way into the schema, and it is one that an API server takes.

use kube::CustomResourceExt as _;
use kube::core::cel::{compile_schema, estimate_rule_cost};
use serde_json::{Value, json};

use super::WhatsAppDevice;
use super::cel;

fn definition() -> Value {
    serde_json::to_value(WhatsAppDevice::crd()).unwrap()
}

fn schema() -> Value {
    definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Calls for each node of a schema, with its path.
fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        walk(inner, &format!("{path}.{name}"), visit);
    }
    for (keyword, step) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[keyword].is_object() {
            walk(&schema[keyword], &format!("{path}{step}"), visit);
        }
    }
}

#[test]
fn every_rule_is_in_the_yaml_with_its_message() {
    let yaml: Value = serde_saphyr::from_str(&crate::yaml::crd_yaml().unwrap()).unwrap();
    let mut found = Vec::new();
    walk(&yaml["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "", &mut |_, node| {
        for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
            found.push((
                rule["rule"].as_str().unwrap().to_owned(),
                rule["message"].as_str().unwrap().to_owned(),
            ));
        }
    });
    for text in cel::ALL {
        let wanted = (text.rule.to_owned(), text.message.to_owned());
        assert!(found.contains(&wanted), "{wanted:?} was dropped");
    }
    assert_eq!(found.len(), cel::ALL.len(), "a rule is in the schema that no test knows");
}

#[test]
fn every_rule_compiles_and_its_cost_is_bounded() {
    let mut rules = 0;
    walk(&schema(), "", &mut |path, node| {
        let compiled = compile_schema(node);
        assert!(!compiled.has_errors(), "{path}: {:?}", compiled.compilation_errors());
        for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
            rules += 1;
            let text = rule["rule"].as_str().unwrap();
            // The name of a resource is bounded by Kubernetes, not by this schema.
            if text == cel::NAME.rule {
                continue;
            }
            let warnings = estimate_rule_cost(text, &compiled);
            assert!(warnings.is_empty(), "{path}: {warnings:?}");
        }
    });
    assert_eq!(rules, cel::ALL.len());
}

#[test]
fn what_rules_touch_has_an_upper_bound() {
    walk(&schema(), "", &mut |path, node| {
        if node.get("x-kubernetes-validations").is_none() {
            return;
        }
        let bound = match node["type"].as_str().unwrap() {
            "string" => "maxLength",
            "array" => "maxItems",
            _ if node["additionalProperties"].is_object() => "maxProperties",
            _ => return,
        };
        assert!(node[bound].is_u64(), "{path} has no {bound}");
    });
}

#[test]
fn the_schema_is_structural() {
    walk(&schema(), "", &mut |path, node| {
        for forbidden in
            ["$ref", "$defs", "definitions", "oneOf", "anyOf", "allOf", "not", "const", "$schema"]
        {
            assert!(node.get(forbidden).is_none(), "{path} has {forbidden}");
        }
        assert!(
            node["type"].is_string() || node["x-kubernetes-int-or-string"] == json!(true),
            "{path} has no type: {node}"
        );
        assert!(
            node.get("properties").is_none() || node.get("additionalProperties").is_none(),
            "{path} has properties and additionalProperties"
        );
    });
}

#[test]
fn an_absent_field_and_a_null_one_are_the_same() {
    walk(&schema()["properties"]["spec"], "spec", &mut |path, node| {
        assert_ne!(node["nullable"], json!(true), "{path} is nullable");
        assert_ne!(node.get("default"), Some(&Value::Null), "{path} has a null default");
    });
}

#[test]
fn the_resource_is_named_and_shown_as_documented() {
    let definition = definition();
    let spec = &definition["spec"];
    assert_eq!(definition["metadata"]["name"], "whatsappdevices.enlace.dev");
    assert_eq!(spec["group"], crate::names::GROUP);
    assert_eq!(spec["scope"], "Namespaced");
    assert_eq!(
        spec["names"],
        json!({
            "kind": crate::names::KIND,
            "plural": crate::names::PLURAL,
            "singular": "whatsappdevice",
            "shortNames": ["wad", "wadev"],
            "categories": ["whatsapp"],
        })
    );
    let version = &spec["versions"][0];
    assert_eq!(version["name"], crate::names::VERSION);
    assert_eq!(version["subresources"], json!({ "status": {} }));
    let columns: Vec<_> = version["additionalPrinterColumns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| (column["name"].as_str().unwrap(), column["priority"].as_i64().unwrap_or(0)))
        .collect();
    let wide = [("Number", 0), ("Phase", 0), ("Connected-For", 0), ("Reason", 0), ("Pod", 1), ("Age", 0)];
    assert_eq!(columns, wide);
}

#[test]
fn conditions_are_a_list_map_by_type() {
    let conditions = &schema()["properties"]["status"]["properties"]["conditions"];
    assert_eq!(conditions["x-kubernetes-list-type"], "map");
    assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]));
}

#[test]
fn the_spec_has_these_fields_and_no_others() {
    let mut fields = Vec::new();
    walk(&schema()["properties"]["spec"], "", &mut |path, _| {
        if path.matches(['.', '[', '{']).count() <= 2 && !path.contains(['[', '{']) {
            fields.push(path.trim_start_matches('.').to_owned());
        }
    });
    fields
        .retain(|field| !field.is_empty() && (!field.starts_with("pod.") || field.matches('.').count() == 1));
    assert_eq!(
        fields,
        [
            "connection",
            "connection.reconnectDelay",
            "deletionPolicy",
            "displayName",
            "pairing",
            "pairing.method",
            "pairing.publishIn",
            "pairing.timeout",
            "phoneNumber",
            "pod",
            "pod.affinity",
            "pod.annotations",
            "pod.image",
            "pod.imagePullSecrets",
            "pod.labels",
            "pod.nodeSelector",
            "pod.priorityClassName",
            "pod.resources",
            "pod.tolerations",
            "pod.topologySpreadConstraints",
            "sending",
            "sending.interval",
            "storage",
            "storage.accessMode",
            "storage.size",
            "storage.storageClassName",
            "suspend",
        ]
    );
}

#[test]
fn the_definition_stays_small() {
    // kubectl apply keeps a copy in an annotation, of which Kubernetes allows 256 KiB for all together.
    let size = serde_json::to_vec(&WhatsAppDevice::crd()).unwrap().len();
    assert!(size < 32 * 1024, "{size} bytes");
}
