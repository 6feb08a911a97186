//! What the API server wrote down of each request, and what the roles allow.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use crate::commands::json as get;
use crate::installation::{RELEASE, SYSTEM};

/// The variable that names the audit log of the cluster under test.
const LOG: &str = "ENLACE_TEST_AUDIT_LOG";

/// The code of an answer that something was made.
const CREATED: u64 = 201;

/// A request of a service account of the installation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// The service account's name.
    pub account: String,
    /// What was asked for.
    pub permission: Permission,
    /// The namespace of what was asked for; none for all namespaces.
    pub namespace: Option<String>,
    /// The code of the answer.
    pub code: u64,
    /// Why it was refused, if it was.
    pub message: String,
    /// When it came.
    pub at: Timestamp,
}

/// A verb on a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// `get`, `list` and so on.
    pub verb: String,
    /// The API group; empty for the core.
    pub group: String,
    /// The resource, with its subresource: `whatsappdevices/status`.
    pub resource: String,
    /// The name of the object, where it matters.
    pub name: Option<String>,
}

/// What a role allows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Granted {
    /// The service account that has the role.
    pub account: String,
    /// The namespace of a Role; none for a ClusterRole.
    pub namespace: Option<String>,
    /// What it allows.
    pub permission: Permission,
}

impl Granted {
    /// Whether a request needed this. A patch that makes an object, as server-side apply does, is checked for `create` too.
    pub fn is_used_by(&self, request: &Request) -> bool {
        let Self { account, namespace, permission: Permission { verb, group, resource, name } } = self;
        let asked = &request.permission;
        let same_verb =
            *verb == asked.verb || (verb == "create" && asked.verb == "patch" && request.code == CREATED);
        *account == request.account
            && same_verb
            && (namespace.is_none() || *namespace == request.namespace)
            && (group, resource) == (&asked.group, &asked.resource)
            && (name.is_none() || *name == asked.name)
    }
}

/// The log's text; none for a cluster whose log cannot be read.
pub fn log() -> Option<String> {
    let file = std::env::var_os(LOG)?;
    Some(
        std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display())),
    )
}

/// The requests of the installation's accounts since a time.
pub fn requests(log: &str, since: Timestamp) -> Vec<Request> {
    let whole = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    whole.filter_map(|event| request(&event)).filter(|request| request.at >= since).collect()
}

fn request(event: &Value) -> Option<Request> {
    let text = |path: &str| event.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let user = text("/user/username")?;
    let account = user.strip_prefix(&format!("system:serviceaccount:{SYSTEM}:"))?.to_owned();
    let resource = text("/objectRef/resource")?;
    let resource = match text("/objectRef/subresource") {
        Some(sub) => format!("{resource}/{sub}"),
        None => resource,
    };
    Some(Request {
        account,
        permission: Permission {
            verb: text("/verb")?,
            group: text("/objectRef/apiGroup").unwrap_or_default(),
            resource,
            name: text("/objectRef/name"),
        },
        namespace: text("/objectRef/namespace"),
        code: event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default(),
        message: text("/responseStatus/message").unwrap_or_default(),
        at: text("/requestReceivedTimestamp")?.parse().ok()?,
    })
}

/// What the roles of the installation allow its accounts, one line for each verb on each resource.
pub fn granted() -> BTreeSet<Granted> {
    let instance = format!("app.kubernetes.io/instance={RELEASE}");
    let list = |kind: &str| {
        let found = get(&["get", kind, "--all-namespaces", "--selector", &instance]);
        found["items"].as_array().cloned().unwrap_or_default()
    };
    let roles: Vec<Value> = ["clusterroles", "roles"].into_iter().flat_map(list).collect();
    let mut granted = BTreeSet::new();
    for binding in ["clusterrolebindings", "rolebindings"].into_iter().flat_map(list) {
        let namespace = binding.pointer("/metadata/namespace").and_then(Value::as_str);
        let role = roles.iter().find(|role| {
            role["metadata"]["name"] == binding["roleRef"]["name"]
                && role.pointer("/metadata/namespace").and_then(Value::as_str) == namespace
        });
        let role =
            role.unwrap_or_else(|| panic!("{} binds no role of the chart", binding["metadata"]["name"]));
        for subject in binding["subjects"].as_array().into_iter().flatten() {
            let account = subject["name"].as_str().unwrap_or_default();
            for rule in role["rules"].as_array().into_iter().flatten() {
                granted.extend(permissions(rule).into_iter().map(|permission| Granted {
                    account: account.to_owned(),
                    namespace: namespace.map(str::to_owned),
                    permission,
                }));
            }
        }
    }
    granted
}

fn permissions(rule: &Value) -> Vec<Permission> {
    let texts = |name: &str| -> Vec<String> {
        let found = rule[name].as_array().into_iter().flatten().filter_map(Value::as_str);
        found.map(str::to_owned).collect()
    };
    let named: Vec<Option<String>> = match texts("resourceNames") {
        names if names.is_empty() => vec![None],
        names => names.into_iter().map(Some).collect(),
    };
    let mut permissions = Vec::new();
    for group in texts("apiGroups") {
        for resource in texts("resources") {
            for verb in texts("verbs") {
                for name in &named {
                    permissions.push(Permission {
                        verb: verb.clone(),
                        group: group.clone(),
                        resource: resource.clone(),
                        name: name.clone(),
                    });
                }
            }
        }
    }
    permissions
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const LINE: &str = r#"{"verb":"patch","user":{"username":"system:serviceaccount:enlace-e2e-system:enlace-operator"},"objectRef":{"resource":"whatsappdevices","subresource":"status","apiGroup":"enlace.dev","namespace":"a","name":"b"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-02T00:00:00.000001Z"}"#;

    fn rule(namespace: Option<&str>, resource: &str, names: &[&str]) -> Granted {
        let rule = json!({"apiGroups": ["enlace.dev"], "resources": [resource], "verbs": ["patch"], "resourceNames": names});
        Granted {
            account: "enlace-operator".to_owned(),
            namespace: namespace.map(str::to_owned),
            permission: permissions(&rule).remove(0),
        }
    }

    #[test]
    fn a_permission_is_used_by_a_request_for_the_same_thing() {
        let requests = requests(LINE, Timestamp::UNIX_EPOCH);
        assert_eq!(requests.len(), 1);
        let used = |granted: Granted| granted.is_used_by(&requests[0]);
        assert!(used(rule(None, "whatsappdevices/status", &[])));
        assert!(used(rule(Some("a"), "whatsappdevices/status", &["b"])));
        assert!(!used(rule(None, "whatsappdevices", &[])));
        assert!(!used(rule(Some("c"), "whatsappdevices/status", &[])));
        assert!(!used(rule(None, "whatsappdevices/status", &["c"])));
    }

    #[test]
    fn a_patch_that_made_the_object_used_the_right_to_create() {
        let mut create = rule(None, "whatsappdevices/status", &[]);
        create.permission.verb = "create".to_owned();
        assert!(!create.is_used_by(&requests(LINE, Timestamp::UNIX_EPOCH)[0]));
        assert!(create.is_used_by(&requests(&LINE.replace("200", "201"), Timestamp::UNIX_EPOCH)[0]));
    }

    #[test]
    fn requests_of_others_and_of_before_do_not_count() {
        assert_eq!(requests(LINE, "2026-01-03T00:00:00Z".parse().unwrap()), []);
        assert_eq!(requests(&LINE.replace("enlace-e2e-system", "elsewhere"), Timestamp::UNIX_EPOCH), []);
    }
}
