//! An API server that is played: objects in memory, with versions, watches, merge patches, preconditions and finalizers.
//!
//! It knows the paths of the Kubernetes API by their form only, so any resource can be kept in it. It is used as a service in the same
//! process or behind a port.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use futures::StreamExt as _;
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

/// A cluster. Clones are the same.
#[derive(Clone)]
pub(crate) struct Cluster {
    state: Arc<Mutex<Store>>,
    /// Changes with each version, and ends watches when it is told to.
    version: Arc<watch::Sender<Moment>>,
}

#[derive(Clone, Copy, Default)]
struct Moment {
    version: u64,
    cuts: u64,
}

#[derive(Default)]
struct Store {
    version: u64,
    objects: BTreeMap<Place, Value>,
    log: Vec<(u64, &'static str, Place, Value)>,
    namespaces: BTreeSet<String>,
    /// Resources that the server knows.
    resources: BTreeSet<String>,
    requests: Vec<String>,
    refusals: VecDeque<(Method, Value)>,
    interruptions: usize,
}

/// Where an object is: resource, namespace, name.
type Place = (String, String, String);

/// What a path names.
struct Target {
    resource: String,
    namespace: Option<String>,
    name: Option<String>,
}

type Answer = Result<(StatusCode, Value), (StatusCode, Value)>;

impl Cluster {
    /// A cluster with the namespaces `default` and `shop`, that knows devices, pods and Secrets.
    pub(crate) fn new() -> Self {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let store = Store {
            namespaces: names(&["default", "shop"]),
            resources: names(&["whatsappdevices", "pods", "secrets"]),
            ..Store::default()
        };
        Self { state: Arc::new(Mutex::new(store)), version: Arc::new(watch::Sender::default()) }
    }

    /// The server's routes.
    pub(crate) fn router(&self) -> Router {
        Router::new().fallback(handle).with_state(self.clone())
    }

    /// Puts an object there as it is, with a version and, when it has none, a UID.
    pub(crate) fn put(&self, resource: &str, mut object: Value) -> Value {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let place =
            (resource.to_owned(), text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(uuid_of(&place.2));
        }
        self.store(|store| store.write(place, object))
    }

    /// Changes an object by a merge patch.
    pub(crate) fn change(&self, resource: &str, namespace: &str, name: &str, patch: &Value) -> Value {
        let place = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        self.store(|store| {
            let mut object = store.objects[&place].clone();
            json_patch::merge(&mut object, patch);
            store.write(place, object)
        })
    }

    /// Removes an object, whatever finalizers it has.
    pub(crate) fn remove(&self, resource: &str, namespace: &str, name: &str) {
        let place = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        self.store(|store| store.erase(&place));
    }

    /// The object as it is.
    pub(crate) fn object(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let place = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        self.state.lock().unwrap().objects.get(&place).cloned()
    }

    /// The next request with this method is refused with a Status.
    pub(crate) fn refuse(&self, method: Method, status: Value) {
        self.state.lock().unwrap().refusals.push_back((method, status));
    }

    /// The server no longer knows a resource, or knows it again.
    pub(crate) fn know(&self, resource: &str, known: bool) {
        let mut store = self.state.lock().unwrap();
        if known {
            store.resources.insert(resource.to_owned())
        } else {
            store.resources.remove(resource)
        };
    }

    /// Before so many of the next writes, somebody else changes the object.
    pub(crate) fn interrupt(&self, times: usize) {
        self.state.lock().unwrap().interruptions = times;
    }

    /// Ends every watch.
    pub(crate) fn cut_watches(&self) {
        self.version.send_modify(|moment| moment.cuts += 1);
    }

    /// Waits until something can be found.
    pub(crate) async fn until<T>(&self, find: impl Fn(&Self) -> Option<T>) -> T {
        let mut moments = self.version.subscribe();
        loop {
            moments.borrow_and_update();
            if let Some(found) = find(self) {
                return found;
            }
            moments.changed().await.unwrap();
        }
    }

    /// `METHOD resource` of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    fn store<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let (done, version) = {
            let mut store = self.state.lock().unwrap();
            (change(&mut store), store.version)
        };
        self.version.send_modify(|moment| moment.version = version);
        done
    }

    fn answer(
        &self,
        method: &Method,
        target: Target,
        query: &BTreeMap<String, String>,
        body: &[u8],
    ) -> Answer {
        self.store(|store| store.answer(method, target, query, body))
    }

    fn watch(&self, target: Target, query: &BTreeMap<String, String>) -> Response<Body> {
        let cluster = self.clone();
        let mut moments = self.version.subscribe();
        let cuts = moments.borrow_and_update().cuts;
        let seen: u64 = query.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or_default();
        let (fields, labels) = selectors(query);
        let lines = futures::stream::unfold((moments, seen), move |(mut moments, mut seen)| {
            let (cluster, target, fields, labels) = (
                cluster.clone(),
                (target.resource.clone(), target.namespace.clone()),
                fields.clone(),
                labels.clone(),
            );
            async move {
                loop {
                    if moments.borrow_and_update().cuts != cuts {
                        return None;
                    }
                    let next = {
                        let store = cluster.state.lock().unwrap();
                        store
                            .log
                            .iter()
                            .find(|entry| entry.0 > seen && matches(entry, &target, &fields, &labels))
                            .cloned()
                    };
                    if let Some((version, kind, _, object)) = next {
                        seen = version;
                        let line = format!("{}\n", json!({ "type": kind, "object": object }));
                        return Some((Ok::<_, std::convert::Infallible>(Bytes::from(line)), (moments, seen)));
                    }
                    moments.changed().await.ok()?;
                }
            }
        });
        Response::builder()
            .header("content-type", "application/json")
            .body(Body::from_stream(lines.boxed()))
            .unwrap()
    }
}

impl Store {
    fn write(&mut self, place: Place, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let kind = if self.objects.contains_key(&place) { "MODIFIED" } else { "ADDED" };
        self.log.push((self.version, kind, place.clone(), object.clone()));
        self.objects.insert(place, object.clone());
        object
    }

    fn erase(&mut self, place: &Place) {
        let mut object = self.objects.remove(place).unwrap();
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.log.push((self.version, "DELETED", place.clone(), object));
    }

    fn answer(
        &mut self,
        method: &Method,
        target: Target,
        query: &BTreeMap<String, String>,
        body: &[u8],
    ) -> Answer {
        let Target { resource, namespace, name } = target;
        let Some(name) = name else {
            return match *method {
                Method::GET => Ok((StatusCode::OK, self.list(&resource, namespace.as_deref(), query))),
                Method::POST => self.create(&resource, &namespace.unwrap(), body),
                _ => Err(status(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "MethodNotAllowed",
                    "no such method",
                    json!({}),
                )),
            };
        };
        let place = (resource.clone(), namespace.unwrap_or_default(), name.clone());
        if !self.objects.contains_key(&place) {
            return Err(status(
                StatusCode::NOT_FOUND,
                "NotFound",
                &format!("{resource} \"{name}\" not found"),
                json!({ "kind": resource, "name": name }),
            ));
        }
        if *method != Method::GET && self.interruptions > 0 {
            self.interruptions -= 1;
            let object = self.objects[&place].clone();
            self.write(place.clone(), object);
        }
        let object = self.objects[&place].clone();
        let conflict = || {
            let text = "the object has been modified; please apply your changes to the latest version";
            Err(status(StatusCode::CONFLICT, "Conflict", text, json!({ "kind": resource, "name": name })))
        };
        let other = |wanted: &Value, field: &str| !wanted.is_null() && *wanted != object["metadata"][field];
        match *method {
            Method::GET => Ok((StatusCode::OK, object)),
            Method::PATCH => {
                let patch: Value = serde_json::from_slice(body).unwrap();
                if ["uid", "resourceVersion"].iter().any(|field| other(&patch["metadata"][*field], field)) {
                    return conflict();
                }
                let mut changed = object.clone();
                json_patch::merge(&mut changed, &patch);
                Ok((StatusCode::OK, self.write(place, changed)))
            }
            Method::DELETE => {
                let options: Value = serde_json::from_slice(body).unwrap_or_default();
                if ["uid", "resourceVersion"]
                    .iter()
                    .any(|field| other(&options["preconditions"][*field], field))
                {
                    return conflict();
                }
                let finalizers =
                    object["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
                if finalizers {
                    let mut ending = object.clone();
                    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                    return Ok((StatusCode::OK, self.write(place, ending)));
                }
                self.erase(&place);
                Ok((StatusCode::OK, object))
            }
            _ => Err(status(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "no such method", json!({}))),
        }
    }

    fn list(&self, resource: &str, namespace: Option<&str>, query: &BTreeMap<String, String>) -> Value {
        let (fields, labels) = selectors(query);
        let target = (resource.to_owned(), namespace.map(str::to_owned));
        let items: Vec<Value> = self
            .objects
            .iter()
            .filter(|(place, object)| {
                matches(&(0, "", (*place).clone(), (*object).clone()), &target, &fields, &labels)
            })
            .map(|(_, object)| object.clone())
            .collect();
        json!({
            "apiVersion": "v1", "kind": "List",
            "metadata": { "resourceVersion": self.version.to_string() }, "items": items,
        })
    }

    fn create(&mut self, resource: &str, namespace: &str, body: &[u8]) -> Answer {
        if !self.namespaces.contains(namespace) {
            let text = format!("namespaces \"{namespace}\" not found");
            let details = json!({ "kind": "namespaces", "name": namespace });
            return Err(status(StatusCode::NOT_FOUND, "NotFound", &text, details));
        }
        let mut object: Value = serde_json::from_slice(body).unwrap();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let place = (resource.to_owned(), namespace.to_owned(), name.clone());
        if self.objects.contains_key(&place) {
            let text = format!("{resource} \"{name}\" already exists");
            return Err(status(StatusCode::CONFLICT, "AlreadyExists", &text, json!({ "name": name })));
        }
        object["metadata"]["uid"] = json!(format!("{}-{}", uuid_of(&name), self.version));
        object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        object["metadata"]["generation"] = json!(1);
        Ok((StatusCode::CREATED, self.write(place, object)))
    }
}

async fn handle(State(cluster): State<Cluster>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1024 * 1024).await.unwrap();
    let query: BTreeMap<String, String> =
        serde_urlencoded(parts.uri.query().unwrap_or_default()).into_iter().collect();
    let refusal = |(code, status): (StatusCode, Value)| {
        Response::builder()
            .status(code)
            .header("content-type", "application/json")
            .body(Body::from(status.to_string()))
    };
    let Some(target) = target(parts.uri.path()) else {
        return refusal(status(StatusCode::NOT_FOUND, "", "404 page not found", json!(null))).unwrap();
    };
    let watching = query.get("watch").is_some_and(|watch| watch == "true" || watch == "1");
    {
        let mut store = cluster.state.lock().unwrap();
        let verb = if watching { "WATCH".to_owned() } else { parts.method.to_string() };
        store.requests.push(format!("{verb} {}", target.resource));
        cluster.version.send_modify(|_| {});
        if !store.resources.contains(&target.resource) {
            let text = "the server could not find the requested resource";
            return refusal(status(StatusCode::NOT_FOUND, "NotFound", text, json!({}))).unwrap();
        }
        if let Some(at) = store.refusals.iter().position(|(method, _)| *method == parts.method) {
            let (_, refused) = store.refusals.remove(at).unwrap();
            let code =
                StatusCode::from_u16(u16::try_from(refused["code"].as_u64().unwrap()).unwrap()).unwrap();
            return refusal((code, refused)).unwrap();
        }
    }
    if watching {
        return cluster.watch(target, &query);
    }
    match cluster.answer(&parts.method, target, &query, &body) {
        Ok(answer) | Err(answer) => refusal(answer).unwrap(),
    }
}

/// `/apis/GROUP/VERSION/…` or `/api/v1/…`, then `[namespaces/NAMESPACE/]RESOURCE[/NAME]`.
fn target(path: &str) -> Option<Target> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let rest = match parts.as_slice() {
        ["apis", _, _, rest @ ..] | ["api", _, rest @ ..] => rest,
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
        rest => (None, rest),
    };
    let (resource, name) = match rest {
        [resource] => (*resource, None),
        [resource, name] => (*resource, Some((*name).to_owned())),
        _ => return None,
    };
    Some(Target { resource: resource.to_owned(), namespace, name })
}

type Selector = Vec<(String, String)>;

fn selectors(query: &BTreeMap<String, String>) -> (Selector, Selector) {
    let parse = |name: &str| {
        let text = query.get(name).cloned().unwrap_or_default();
        text.split(',').filter_map(|term| term.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect()
    };
    (parse("fieldSelector"), parse("labelSelector"))
}

fn matches(
    (_, _, place, object): &(u64, &'static str, Place, Value),
    (resource, namespace): &(String, Option<String>),
    fields: &Selector,
    labels: &Selector,
) -> bool {
    place.0 == *resource
        && namespace.as_ref().is_none_or(|namespace| place.1 == *namespace)
        && fields.iter().all(|(field, value)| field == "metadata.name" && place.2 == *value)
        && labels.iter().all(|(label, value)| object["metadata"]["labels"][label] == json!(value))
}

fn status(code: StatusCode, reason: &str, message: &str, details: Value) -> (StatusCode, Value) {
    let mut status = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16(),
    });
    if !details.is_null() {
        status["details"] = details;
    }
    (code, status)
}

/// The pairs of a query, decoded.
fn serde_urlencoded(query: &str) -> Vec<(String, String)> {
    let uri: http::Uri = format!("/?{query}").parse().unwrap();
    axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap().0
}

fn uuid_of(name: &str) -> String {
    format!("uid-{name}")
}
