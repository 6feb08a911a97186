//! The rules of the schema, in the API server.

use std::collections::BTreeSet;

use enlace_e2e::commands::{Refused, json as get, try_with_object, with_object};
use enlace_e2e::device::{Device, manifest};
use enlace_e2e::eventually;
use enlace_e2e::scene::Scene;
use serde_json::{Value, json};

/// A device that breaks a rule: what it is changed from, if the rule is about a change, and to.
struct Case {
    /// Where the rule stands, and how its sentence begins.
    rule: (&'static str, &'static str),
    before: Option<Value>,
    after: Value,
}

fn value(path: &'static str, sentence: &'static str, spec: Value) -> Case {
    Case { rule: (path, sentence), before: None, after: spec }
}

fn change(path: &'static str, sentence: &'static str, before: Value, after: Value) -> Case {
    Case { rule: (path, sentence), before: Some(before), after }
}

fn cases() -> Vec<Case> {
    let pod = |what: &str, key: &str, value: &str| json!({"pod": {what: {key: value}}});
    vec![
        value("spec.phoneNumber", "must be the country code", json!({"phoneNumber": "+525550000001"})),
        change(
            "spec",
            "cannot change or be removed",
            json!({"phoneNumber": "525550000001"}),
            json!({"phoneNumber": "525550000002"}),
        ),
        value("spec", "is needed for pairing.method", json!({"pairing": {"method": "PairingCode"}})),
        value("spec.displayName", "must be 1 to 100", json!({"displayName": "two\nlines"})),
        value("spec.pairing.timeout", "must be a duration from 1m", json!({"pairing": {"timeout": "59s"}})),
        value(
            "spec.connection.reconnectDelay",
            "must be a duration from 1s",
            json!({"connection": {"reconnectDelay": "6m"}}),
        ),
        value("spec.sending.interval", "must be a duration from 0s", json!({"sending": {"interval": "1d"}})),
        value("spec.storage.size", "must be a quantity", json!({"storage": {"size": "15Mi"}})),
        change(
            "spec.storage.size",
            "can grow",
            json!({"storage": {"size": "2Gi"}}),
            json!({"storage": {"size": "1Gi"}}),
        ),
        // Two rules of one sentence: each case must break its own.
        change(
            "spec.storage",
            "cannot change",
            json!({"storage": {"storageClassName": "fast"}}),
            json!({"storage": {"storageClassName": "slow"}}),
        ),
        change(
            "spec.storage",
            "cannot change",
            json!({"storage": {"accessMode": "ReadWriteOncePod"}}),
            json!({"storage": {"accessMode": "ReadWriteOnce"}}),
        ),
        value("spec.pod.labels", "must not use keys", pod("labels", "enlace.dev/device", "x")),
        value("spec.pod.labels", "values must be", pod("labels", "team", "two words")),
        value("spec.pod.annotations", "must not use keys", pod("annotations", "app.kubernetes.io/name", "x")),
    ]
}

/// Where each rule of the installed definition stands, and its sentence.
fn installed() -> Vec<(String, String)> {
    fn walk(path: &str, schema: &Value, rules: &mut Vec<(String, String)>) {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            rules.push((path.to_owned(), rule["message"].as_str().unwrap().to_owned()));
        }
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            walk(&path, inner, rules);
        }
        for inner in ["items", "additionalProperties"].into_iter().filter_map(|name| schema.get(name)) {
            walk(&format!("{path}.*"), inner, rules);
        }
    }
    let definition = get(&["get", "customresourcedefinition", "whatsappdevices.enlace.dev"]);
    let mut rules = Vec::new();
    walk("", &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut rules);
    rules
}

/// The answer to a change of a device; none when the operator was faster, which writes to the new device too.
fn answer_to(change: &Value) -> Option<Result<String, Refused>> {
    let answer = try_with_object(&["replace"], change);
    let overtaken = |Refused(words): &Refused| words.starts_with("Error from server (Conflict)");
    (!answer.as_ref().is_err_and(overtaken)).then_some(answer)
}

#[tokio::test]
#[ignore = "runs in the step of the cluster tests"]
async fn every_rule_is_enforced_by_the_api_server_with_its_sentence() {
    let scene = Scene::new("rules").await;
    let rules = installed();
    let mut met = BTreeSet::new();
    let mut expect = |rule: (&str, &str), answer: Result<String, Refused>| {
        let (path, begins) = rule;
        let found = rules.iter().find(|(at, sentence)| at == path && sentence.starts_with(begins));
        let (_, sentence) = found.unwrap_or_else(|| panic!("no rule at {path} begins with {begins:?}"));
        let Refused(words) = answer.expect_err(sentence);
        assert!(words.contains(sentence.as_str()), "{path}: {sentence:?} is not in {words:?}");
        met.insert((path.to_owned(), sentence.clone()));
    };

    let name = json!({
        "apiVersion": "enlace.dev/v1alpha1", "kind": "WhatsAppDevice", "spec": {},
        "metadata": {"namespace": scene.namespace, "name": "a.b"},
    });
    expect(("", "metadata.name must be"), try_with_object(&["create"], &name));
    for (number, Case { rule, before, after }) in cases().into_iter().enumerate() {
        let device = |mut spec: Value| {
            // None of them is to run.
            spec["suspend"] = true.into();
            manifest(&scene.namespace, &format!("case-{number}"), spec)
        };
        let answer = match before {
            None => try_with_object(&["create"], &device(after)),
            Some(before) => {
                with_object(&["create"], &device(before));
                let after = device(after);
                eventually("an answer to a change", async || answer_to(&after)).await
            }
        };
        expect(rule, answer);
    }
    let linked = Device::apply(&scene, "linked", json!({}));
    linked.link("525550000022").await;
    let declare = |number: &str| {
        let mut device = get(&linked.arguments(&["get", "whatsappdevice", &linked.name]));
        device["spec"]["phoneNumber"] = number.into();
        answer_to(&device)
    };
    let other = eventually("an answer to another number", async || declare("525550000023")).await;
    expect(("", "is not the number that is linked"), other);
    let same = eventually("an answer to the linked number", async || declare("5215550000022")).await;
    same.expect("the number that is linked, as it was written before 2019");

    let all: BTreeSet<(String, String)> = rules.iter().cloned().collect();
    assert_eq!(
        all.difference(&met).collect::<Vec<_>>(),
        Vec::<&(String, String)>::new(),
        "rules without a case"
    );
    scene.end().await;
}
