//! What the programs may ask of the API server. Each says in its documentation what it asks; the chart gives that and nothing else.

use std::collections::BTreeSet;
use std::path::Path;

use enlace_chart_tests::helm::NAMESPACE;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role, RoleBinding, Subject};
use serde_json::{Value, json};

use super::fixture::{DEFAULTS, EVERYTHING, Objects};

/// One thing that may be done, in words: `get secrets enlace-admin`.
type Permissions = BTreeSet<String>;

fn permission(group: &str, resource: &str, verb: &str, name: &str) -> String {
    let group = if group.is_empty() { "core" } else { group };
    format!("{verb} {group} {resource} {name}").trim().to_owned()
}

fn given(rules: Option<Vec<PolicyRule>>) -> Permissions {
    let mut given = Permissions::new();
    for rule in rules.unwrap_or_default() {
        assert!(rule.non_resource_urls.is_none(), "a rule for URLs");
        let names = rule.resource_names.unwrap_or_else(|| vec![String::new()]);
        for group in rule.api_groups.as_deref().unwrap_or_default() {
            for resource in rule.resources.as_deref().unwrap_or_default() {
                for verb in &rule.verbs {
                    given.extend(names.iter().map(|name| permission(group, resource, verb, name)));
                }
            }
        }
    }
    given
}

/// The rows of the table below `# Permissions` in a module's documentation: each row's cells, without back-ticks.
fn table(file: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let (_, section) = text.split_once("//! # Permissions").expect("the module lists its permissions");
    let rows = section.lines().filter_map(|line| line.strip_prefix("//! |")?.strip_suffix('|'));
    let cells = |row: &str| row.split('|').map(|cell| cell.replace('`', "").trim().to_owned()).collect();
    let rows: Vec<Vec<String>> = rows.skip(2).map(cells).collect();
    assert!(!rows.is_empty(), "{file} has no table");
    rows
}

/// What rows of `group | resource | verbs | why` ask for.
fn asked<'rows>(rows: impl Iterator<Item = &'rows [String]>) -> Permissions {
    let mut asked = Permissions::new();
    for row in rows {
        let [group, resource, verbs, _] = row else { panic!("a row of another form: {row:?}") };
        let group = if group == "core" { "" } else { group.as_str() };
        // `secrets named <installation>-operator-key, -api-key`
        let (resource, names) = resource.split_once(" named ").unwrap_or((resource, ""));
        let names: Vec<String> = names
            .split(", ")
            .map(|name| {
                if name.starts_with('-') {
                    format!("enlace{name}")
                } else {
                    name.replace("<installation>", "enlace")
                }
            })
            .collect();
        for verb in verbs.split(", ") {
            asked.extend(names.iter().map(|name| permission(group, resource, verb, name)));
        }
    }
    asked
}

#[test]
fn the_operator_may_do_what_it_asks_for_and_nothing_else() {
    let objects = Objects::of(EVERYTHING);
    let rows = table("operator/src/lib.rs");
    let scope = |scope: &str| asked(rows.iter().filter(|row| row[0] == scope).map(|row| &row[1..]));
    let cluster: ClusterRole = objects.get("ClusterRole", "enlace-operator");
    assert_eq!(given(cluster.rules), scope("cluster"));
    let own: Role = objects.get("Role", "enlace-operator");
    assert_eq!(given(own.rules), scope("own"));
    assert_eq!(own.metadata.namespace.as_deref(), Some(NAMESPACE));
    let mut namespaces = Vec::new();
    for role in objects.kind("Role").filter(|role| role["metadata"]["name"] == "enlace-pairing-secrets") {
        let role: Role = serde_json::from_value(role.clone()).unwrap();
        assert_eq!(given(role.rules), scope("listed"));
        namespaces.push(role.metadata.namespace.unwrap());
    }
    assert_eq!(namespaces, ["shop", "warehouse"]);
    assert_eq!(
        rows.len(),
        rows.iter().filter(|row| ["cluster", "own", "listed"].contains(&row[0].as_str())).count()
    );
}

#[test]
fn the_api_may_do_what_it_asks_for_and_nothing_else() {
    let objects = Objects::of(EVERYTHING);
    let rows = table("api/src/directory/kubernetes/mod.rs");
    let cluster: ClusterRole = objects.get("ClusterRole", "enlace-api");
    assert_eq!(given(cluster.rules), asked(rows.iter().map(Vec::as_slice)));
    let bound = objects.kind("RoleBinding").any(|binding| binding["subjects"][0]["name"] == "enlace-api");
    assert!(!bound, "the API needs nothing of a namespace");
}

#[test]
fn nobody_may_read_secrets_unless_they_are_named_or_a_namespace_is_listed() {
    for object in Objects::of(DEFAULTS).0 {
        let rules: Option<Vec<PolicyRule>> = serde_json::from_value(object["rules"].clone()).unwrap();
        for permission in given(rules) {
            if permission.contains(" secrets") {
                let allowed = [
                    "create core secrets",
                    "get core secrets enlace-operator-key",
                    "get core secrets enlace-api-key",
                    "get core secrets enlace-admin",
                ];
                assert!(allowed.contains(&permission.as_str()), "{permission}");
                assert_eq!(object["kind"], "Role", "{permission}");
            }
            assert!(!permission.contains('*'), "{permission}");
        }
    }
}

#[test]
fn every_role_is_bound_to_the_account_that_its_pod_has() {
    let objects = Objects::of(EVERYTHING);
    let accounts: Vec<&str> =
        objects.kind("ServiceAccount").map(|account| account["metadata"]["name"].as_str().unwrap()).collect();
    for object in objects.kind("RoleBinding").chain(objects.kind("ClusterRoleBinding")) {
        let subjects: Vec<Subject> = serde_json::from_value(object["subjects"].clone()).unwrap();
        let [subject] = subjects.as_slice() else {
            panic!("{} has several subjects", object["metadata"]["name"])
        };
        assert_eq!(
            (subject.kind.as_str(), subject.namespace.as_deref()),
            ("ServiceAccount", Some(NAMESPACE))
        );
        assert!(accounts.contains(&subject.name.as_str()), "{}", subject.name);
        let role = objects.kind(object["roleRef"]["kind"].as_str().unwrap());
        let same = |role: &&Value| {
            role["metadata"]["name"] == object["roleRef"]["name"]
                && role["metadata"]["namespace"] == object["metadata"]["namespace"]
        };
        assert_eq!(role.filter(same).count(), 1, "{}", object["metadata"]["name"]);
    }
    let used: BTreeSet<_> =
        objects.pods().into_iter().filter_map(|(_, pod)| pod.service_account_name).collect();
    assert_eq!(used, accounts.iter().map(|account| (*account).to_owned()).collect());
    let binding: RoleBinding = objects.get("RoleBinding", "enlace-operator");
    assert_eq!(binding.role_ref.name, "enlace-operator");
}

#[test]
fn roles_for_people_are_no_part_of_the_built_in_ones() {
    let objects = Objects::of(DEFAULTS);
    for role in objects.kind("ClusterRole") {
        let labels = role["metadata"]["labels"].as_object().unwrap();
        let aggregated = labels.keys().find(|key| key.contains("aggregate-to"));
        assert_eq!(aggregated, None, "{}", role["metadata"]["name"]);
    }
    let view: ClusterRole = objects.get("ClusterRole", "enlace-devices-view");
    assert!(given(view.rules).iter().all(|permission| !permission.starts_with("create")));
    assert_eq!(Objects::of("rbac: {deviceRoles: false}\n").kind("ClusterRole").count(), 3);
}

/// The whole of it in one file, so that a change of permissions is seen by whoever reviews it.
#[test]
fn the_permissions_are_those_that_were_reviewed() {
    let objects = Objects::of(EVERYTHING);
    let mut roles: Vec<Value> = objects
        .kind("ClusterRole")
        .chain(objects.kind("Role"))
        .map(|role| {
            json!({
                "kind": role["kind"], "name": role["metadata"]["name"],
                "namespace": role["metadata"]["namespace"], "rules": role["rules"],
            })
        })
        .collect();
    roles.sort_by_key(|role| format!("{} {} {}", role["kind"], role["name"], role["namespace"]));
    let mut text = String::new();
    for role in roles {
        let namespace = role["namespace"].as_str().map(|name| format!(" in {name}")).unwrap_or_default();
        text.push_str(&format!(
            "{} {}{namespace}\n",
            role["kind"].as_str().unwrap(),
            role["name"].as_str().unwrap()
        ));
        let rules: Option<Vec<PolicyRule>> = serde_json::from_value(role["rules"].clone()).unwrap();
        for permission in given(rules) {
            text.push_str(&format!("  {permission}\n"));
        }
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("permissions.txt");
    if std::env::var_os("ENLACE_UPDATE_CHART").is_some() {
        std::fs::write(&file, &text).unwrap();
        return;
    }
    let reviewed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        text == reviewed,
        "the chart gives other permissions than charts/tests/permissions.txt has; if they are meant: \
         ENLACE_UPDATE_CHART=1 cargo test -p enlace-chart-tests\n{text}"
    );
}
