//! An API server in memory: objects, versions, generations, watches, finalizers and preconditions, as far as the operator depends on them. It
//! writes down each call.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::Body as Answer;
use futures::StreamExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// One call, as an RBAC rule would have it.
#[derive(Clone, Debug)]
pub struct Call {
    pub verb: &'static str,
    /// `resource` or `resource/subresource`.
    pub resource: String,
    pub group: String,
    pub name: String,
    pub query: String,
    pub body: Value,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, Value>,
    version: u64,
    calls: Vec<Call>,
    watches: Vec<Watch>,
    failures: VecDeque<(&'static str, &'static str, u16)>,
}

struct Watch {
    resource: String,
    namespace: Option<String>,
    selector: Vec<(String, String)>,
    sender: mpsc::UnboundedSender<Value>,
}

/// Resource, namespace, name.
type Key = (String, String, String);

#[derive(Clone, Default)]
pub struct Server(Arc<Mutex<State>>);

struct Target {
    group: String,
    api_version: String,
    resource: String,
    namespace: Option<String>,
    name: Option<String>,
    subresource: Option<String>,
}

impl Server {
    pub fn client(&self) -> Client {
        let server = self.clone();
        Client::new(
            tower::service_fn(move |request: Request<Body>| {
                let server = server.clone();
                async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
            }),
            "default",
        )
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// What a person or a controller does: creates or replaces an object.
    pub fn put(&self, resource: &str, object: Value) -> Value {
        let namespace = object["metadata"]["namespace"].as_str().unwrap().to_owned();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        self.lock().store((resource.to_owned(), namespace, name), object)
    }

    /// What a person or a controller changes, by a merge patch.
    pub fn change(&self, resource: &str, name: &str, patch: Value) {
        let key = (resource.to_owned(), "shop".to_owned(), name.to_owned());
        let mut state = self.lock();
        let mut object = state.objects[&key].clone();
        merge(&mut object, &patch);
        state.store(key, object);
    }

    /// What a person deletes.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) {
        self.lock().delete(&(resource.to_owned(), namespace.to_owned(), name.to_owned()));
    }

    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.lock().objects.get(&(resource.to_owned(), namespace.to_owned(), name.to_owned())).cloned()
    }

    pub fn all(&self, resource: &str) -> Vec<Value> {
        let state = self.lock();
        state
            .objects
            .iter()
            .filter(|((kind, ..), _)| kind == resource)
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// The next call of a verb on a resource fails.
    pub fn fail_next(&self, verb: &'static str, resource: &'static str, code: u16) {
        self.lock().failures.push_back((verb, resource, code));
    }

    /// The calls since the last time, without the watches.
    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.lock().calls)
    }

    async fn answer(&self, request: Request<Body>) -> Response<Answer> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let target = Target::of(parts.uri.path());
        let is_watch = query.contains("watch=true");
        let verb = match (&parts.method, &target.name) {
            (&Method::GET, None) if is_watch => "watch",
            (&Method::GET, None) => "list",
            (&Method::GET, Some(_)) => "get",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            (&Method::DELETE, _) => "delete",
            other => panic!("{other:?} is not spoken here"),
        };
        let full = match &target.subresource {
            Some(subresource) => format!("{}/{subresource}", target.resource),
            None => target.resource.clone(),
        };
        let mut state = self.lock();
        state.calls.push(Call {
            verb,
            resource: full.clone(),
            group: target.group.clone(),
            name: target.name.clone().unwrap_or_default(),
            query: query.clone(),
            body: body.clone(),
        });
        let failure = state.failures.iter().position(|(on, what, _)| *on == verb && *what == full);
        if let Some((.., code)) = failure.and_then(|at| state.failures.remove(at)) {
            return refusal(code);
        }
        match verb {
            "watch" => state.watch(&target, &selector(&query)),
            "list" => state.list(&target, &selector(&query)),
            "get" => state
                .objects
                .get(&target.key())
                .cloned()
                .map_or_else(|| refusal(404), |object| answer(&object)),
            "create" => {
                let key = target.key_of(&body);
                if state.objects.contains_key(&key) {
                    return refused(409, "AlreadyExists");
                }
                answer(&state.store(key, target.typed(body)))
            }
            "update" => match state.objects.get(&target.key()) {
                None => refusal(404),
                Some(old) if old["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] => {
                    refusal(409)
                }
                Some(old) => {
                    let mut object = target.typed(body);
                    object["metadata"]["uid"] = old["metadata"]["uid"].clone();
                    object["metadata"]["generation"] = old["metadata"]["generation"].clone();
                    answer(&state.store(target.key(), object))
                }
            },
            "patch" => {
                let apply = parts.headers["content-type"].to_str().unwrap().contains("apply");
                state.patch(&target, body, apply)
            }
            "delete" => state.delete_if(&target.key(), &body["preconditions"]),
            _ => unreachable!(),
        }
    }
}

impl State {
    fn store(&mut self, key: Key, mut object: Value) -> Value {
        self.version += 1;
        let old = self.objects.get(&key).cloned();
        let meta = object["metadata"].as_object_mut().unwrap();
        meta.insert("namespace".into(), key.1.clone().into());
        meta.insert("resourceVersion".into(), self.version.to_string().into());
        meta.entry("uid").or_insert_with(|| format!("uid-{}-{}", key.2, self.version).into());
        meta.entry("creationTimestamp").or_insert_with(|| "2030-01-01T00:00:00Z".into());
        // Only these kinds have one.
        if matches!(key.0.as_str(), "statefulsets" | "networkpolicies" | "whatsappdevices") {
            let before = old.as_ref().map_or(0, |old| old["metadata"]["generation"].as_i64().unwrap_or(0));
            let grows = old.as_ref().is_none_or(|old| old["spec"] != object["spec"]);
            object["metadata"]["generation"] = (before + i64::from(grows)).into();
        }
        let leaves = object["metadata"]["deletionTimestamp"].is_string()
            && object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        let event = match (&old, leaves) {
            (_, true) => "DELETED",
            (Some(_), _) => "MODIFIED",
            (None, _) => "ADDED",
        };
        if leaves {
            self.objects.remove(&key);
        } else {
            self.objects.insert(key.clone(), object.clone());
        }
        self.tell(&key, event, old.as_ref(), &object);
        object
    }

    fn delete(&mut self, key: &Key) {
        let mut object = self.objects[key].clone();
        object["metadata"]["deletionTimestamp"] = jiff::Timestamp::now().to_string().into();
        self.store(key.clone(), object);
    }

    fn delete_if(&mut self, key: &Key, preconditions: &Value) -> Response<Answer> {
        let Some(object) = self.objects.get(key) else { return refusal(404) };
        for field in ["uid", "resourceVersion"] {
            if preconditions[field].is_string() && preconditions[field] != object["metadata"][field] {
                return refusal(409);
            }
        }
        let object = object.clone();
        self.delete(key);
        answer(&object)
    }

    fn patch(&mut self, target: &Target, body: Value, apply: bool) -> Response<Answer> {
        let key = target.key();
        let Some(old) = self.objects.get(&key).cloned() else {
            return if apply && target.subresource.is_none() {
                let object = self.store(key, target.typed(body));
                answer(&object)
            } else {
                refusal(404)
            };
        };
        let version = &body["metadata"]["resourceVersion"];
        if version.is_string() && *version != old["metadata"]["resourceVersion"] {
            return refusal(409);
        }
        let mut object = old.clone();
        if target.subresource.as_deref() == Some("status") {
            object["status"] = body["status"].clone();
        } else if apply {
            merge(&mut object["metadata"], &body["metadata"]);
            for part in ["spec", "data", "stringData"] {
                if body.get(part).is_some() {
                    object[part] = body[part].clone();
                }
            }
        } else {
            merge(&mut object, &body);
        }
        // What changes nothing makes no version.
        if object == old {
            return answer(&old);
        }
        let object = self.store(key, object);
        answer(&object)
    }

    fn list(&self, target: &Target, selector: &[(String, String)]) -> Response<Answer> {
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(key, object)| target.covers(key) && selected(object, selector))
            .map(|(_, object)| object)
            .collect();
        answer(&json!({
            "apiVersion": target.api_version, "kind": "List",
            "metadata": { "resourceVersion": self.version.to_string() }, "items": items,
        }))
    }

    fn watch(&mut self, target: &Target, selector: &[(String, String)]) -> Response<Answer> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.watches.push(Watch {
            resource: target.resource.clone(),
            namespace: target.namespace.clone(),
            selector: selector.to_vec(),
            sender,
        });
        let lines = futures::stream::unfold(receiver, async |mut receiver| {
            let event: Value = receiver.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(format!("{event}\n")), receiver))
        });
        Response::new(Answer::from_stream(lines.boxed()))
    }

    /// To a watch that selects labels, an object that loses them is gone, and one that gets them is new.
    fn tell(&mut self, (resource, namespace, _): &Key, event: &str, old: Option<&Value>, object: &Value) {
        self.watches.retain(|watch| {
            let within = watch.resource == *resource
                && watch.namespace.as_ref().is_none_or(|within| within == namespace);
            let was = old.is_some_and(|old| selected(old, &watch.selector));
            let event = match (was, selected(object, &watch.selector)) {
                _ if !within => return true,
                (false, false) => return true,
                (true, false) => "DELETED",
                (false, true) if event == "MODIFIED" => "ADDED",
                (_, true) => event,
            };
            watch.sender.send(json!({ "type": event, "object": object })).is_ok()
        });
    }
}

impl Target {
    fn of(path: &str) -> Self {
        let mut parts: VecDeque<&str> = path.trim_matches('/').split('/').collect();
        let group = if parts.pop_front() == Some("api") {
            String::new()
        } else {
            parts.pop_front().unwrap().to_owned()
        };
        let version = parts.pop_front().unwrap();
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let namespace = (parts.front() == Some(&"namespaces") && parts.len() > 2).then(|| {
            parts.pop_front();
            parts.pop_front().unwrap().to_owned()
        });
        let mut next = || parts.pop_front().map(ToOwned::to_owned);
        Self { group, api_version, resource: next().unwrap(), namespace, name: next(), subresource: next() }
    }

    fn key(&self) -> Key {
        (self.resource.clone(), self.namespace.clone().unwrap(), self.name.clone().unwrap())
    }

    fn key_of(&self, body: &Value) -> Key {
        let name =
            body["metadata"]["name"].as_str().map_or_else(|| "generated".to_owned(), ToOwned::to_owned);
        (self.resource.clone(), self.namespace.clone().unwrap(), name)
    }

    fn covers(&self, (resource, namespace, _): &Key) -> bool {
        *resource == self.resource && self.namespace.as_ref().is_none_or(|within| within == namespace)
    }

    fn typed(&self, mut object: Value) -> Value {
        object["apiVersion"] = self.api_version.clone().into();
        object
    }
}

fn selector(query: &str) -> Vec<(String, String)> {
    let Some(text) = query.split('&').find_map(|pair| pair.strip_prefix("labelSelector=")) else {
        return Vec::new();
    };
    let text = text.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/");
    text.split(',')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .collect()
}

fn selected(object: &Value, selector: &[(String, String)]) -> bool {
    selector.iter().all(|(label, value)| object["metadata"]["labels"][label] == **value)
}

fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    let fields = object.as_object_mut().unwrap();
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), value);
        }
    }
}

fn answer(object: &Value) -> Response<Answer> {
    Response::new(Answer::from(object.to_string()))
}

fn refusal(code: u16) -> Response<Answer> {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        403 => "Forbidden",
        _ => "InternalError",
    };
    refused(code, reason)
}

fn refused(code: u16, reason: &str) -> Response<Answer> {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "message": reason, "reason": reason, "code": code,
    });
    let mut response = answer(&status);
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}
