//! The operator on an API server in memory, with devices that say what a test wants.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::Event;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use enlace_contract::events::DeviceEvent;
use enlace_contract::state::{Account, ClaimDecision, ClaimState, DeviceState, Phase};
use enlace_contract::token::TokenSigner;
use enlace_operator::caches::Caches;
use enlace_operator::config::OperatorConfig;
use enlace_operator::context::{Context, Memories, Settings};
use enlace_operator::controller::{ReconcileError, reconcile};
use enlace_operator::rollout::Rollout;
use enlace_operator::streams::Streams;
use enlace_operator::triggers::Triggers;
use kube::runtime::controller::Action;
use kube::runtime::events::{Recorder, Reporter};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::server::Server;

/// How long anything may take to come about.
const PATIENCE: Duration = Duration::from_secs(10);
pub const NAMESPACE: &str = "enlace-system";

pub fn config() -> OperatorConfig {
    OperatorConfig::parse(
        "installation: enlace
device: {image: 'enlace-device:1', storageClassName: fast}
secretNamespaces: [secrets]
rollout: {maxConcurrent: 1}
",
    )
    .unwrap()
}

/// What all devices of a test say, and what was asked of them.
#[derive(Clone)]
pub struct Devices {
    pub state: watch::Sender<DeviceState>,
    pub claims: Arc<Mutex<Vec<ClaimDecision>>>,
    pub logouts: Arc<Mutex<usize>>,
}

pub struct Stage {
    pub server: Server,
    pub context: Arc<Context>,
    pub devices: Devices,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(Server::default(), config()).await
    }

    pub async fn with(server: Server, config: OperatorConfig) -> Self {
        let devices = Devices {
            state: watch::Sender::new(DeviceState::default()),
            claims: Arc::default(),
            logouts: Arc::default(),
        };
        let port = serve(devices.clone()).await.port();
        let client = server.client();
        let triggers = Triggers::default();
        let (caches, filled) = Caches::new(&client, NAMESPACE, &triggers);
        tokio::spawn(filled);
        caches.ready().await;
        let reporter = Reporter { controller: "test".into(), instance: None };
        let context = Arc::new(Context {
            recorder: Recorder::new(client.clone(), reporter),
            streams: Streams::new(TokenSigner::generate("operator").unwrap(), port, triggers.clone()),
            rollout: Mutex::new(Rollout::new(usize::from(config.rollout.max_concurrent))),
            memories: Memories::default(),
            settings: Settings { namespace: NAMESPACE.into(), config, token_keys: vec!["key".into()] },
            client,
            caches,
            triggers,
        });
        Self { server, context, devices }
    }

    /// A device in the namespace `shop`, as the API server would have stored it.
    pub fn create(&self, name: &str, spec: Value) {
        self.create_in("shop", name, spec);
    }

    pub fn create_in(&self, namespace: &str, name: &str, spec: Value) {
        self.server.put(
            "whatsappdevices",
            json!({
                "apiVersion": "enlace.dev/v1alpha1", "kind": "WhatsAppDevice",
                "metadata": { "name": name, "namespace": namespace }, "spec": spec,
            }),
        );
    }

    /// Looks at a device of the namespace `shop` once, when the caches have all that the server has; the calls that it made.
    pub async fn look(&self, name: &str) -> Vec<crate::server::Call> {
        let (outcome, calls) = self.try_look("shop", name).await;
        outcome.unwrap();
        calls
    }

    pub async fn try_look(
        &self,
        namespace: &str,
        name: &str,
    ) -> (Result<Action, ReconcileError>, Vec<crate::server::Call>) {
        self.caught_up().await;
        self.server.calls();
        let device = self.context.caches.device(namespace, name).expect("the device is in the cache");
        let outcome = reconcile(device, Arc::clone(&self.context)).await;
        (outcome, self.server.calls())
    }

    /// Looks at a device until nothing is left to do.
    pub async fn settle(&self, name: &str) {
        for _ in 0..20 {
            if self.look(name).await.is_empty() {
                return;
            }
        }
        panic!("device {name} never comes to rest");
    }

    /// Waits until the caches have what the server has.
    pub async fn caught_up(&self) {
        let caches = &self.context.caches;
        let names = |resource: &str| {
            let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
            let mut all: Vec<String> = self.server.all(resource).iter().map(version).collect();
            all.sort();
            all
        };
        macro_rules! cached {
            ($store:expr) => {{
                let mut all: Vec<String> = $store
                    .state()
                    .iter()
                    .map(|object| kube::Resource::meta(object.as_ref()).resource_version.clone().unwrap())
                    .collect();
                all.sort();
                all
            }};
        }
        let same = || {
            cached!(caches.devices) == names("whatsappdevices")
                && cached!(caches.volume_claims.store) == names("persistentvolumeclaims")
                && cached!(caches.config_maps.store) == names("configmaps")
                && cached!(caches.stateful_sets.store) == names("statefulsets")
                && cached!(caches.network_policies.store) == names("networkpolicies")
                && cached!(caches.pods) == names("pods")
                && cached!(caches.claims) == names("leases")
        };
        until("the caches catch up", same).await;
    }

    /// Takes labels off a child of the namespace `shop`; with them it leaves the cache, as the API server tells a watch that selects them.
    pub async fn take_out(&self, resource: &str, name: &str, patch: Value) {
        let is_cached = || {
            let caches = &self.context.caches;
            let is = |children: Option<_>| children.is_some();
            match resource {
                "persistentvolumeclaims" => is(caches.volume_claims.get("shop", name)),
                "configmaps" => is(caches.config_maps.get("shop", name)),
                "statefulsets" => is(caches.stateful_sets.get("shop", name)),
                "networkpolicies" => is(caches.network_policies.get("shop", name)),
                other => panic!("{other} are no children"),
            }
        };
        self.caught_up().await;
        self.server.change(resource, name, patch);
        until("the child leaves the cache", || !is_cached()).await;
    }

    /// The pod of a device, as the StatefulSet controller would make it: running and ready, at this machine's address.
    pub fn start_pod(&self, name: &str) {
        self.start_pod_in("shop", name);
    }

    pub fn start_pod_in(&self, namespace: &str, name: &str) {
        let set = self.server.get("statefulsets", namespace, name).expect("there is a StatefulSet");
        assert_eq!(set["spec"]["replicas"], 1, "a pod only comes from a StatefulSet that wants one");
        let template = &set["spec"]["template"];
        self.server.put(
            "pods",
            json!({
                "metadata": {
                    "name": format!("{name}-0"), "namespace": namespace,
                    "labels": template["metadata"]["labels"], "annotations": template["metadata"]["annotations"],
                },
                "spec": template["spec"],
                "status": {
                    "phase": "Running", "podIP": "127.0.0.1",
                    "conditions": [{ "type": "Ready", "status": "True" }],
                },
            }),
        );
    }

    /// All devices say this from now on, and the operator has heard it from this one.
    pub async fn says(&self, name: &str, state: DeviceState) {
        self.says_in("shop", name, state).await;
    }

    pub async fn says_in(&self, namespace: &str, name: &str, state: DeviceState) {
        self.devices.state.send_replace(state.clone());
        self.caught_up().await;
        let device = self.context.caches.device(namespace, name).unwrap();
        let device = device.0.as_ref().unwrap().clone();
        until("the operator hears the device", || {
            let seen =
                enlace_operator::observe::observe(&self.context, &device, jiff::Timestamp::now()).unwrap();
            matches!(seen.heard, enlace_operator::streams::Heard::State(heard) if *heard == state)
        })
        .await;
    }

    pub fn device(&self, name: &str) -> Value {
        self.server.get("whatsappdevices", "shop", name).expect("there is such a device")
    }

    /// `Status/Reason` of a condition.
    pub fn condition(&self, name: &str, type_: &str) -> String {
        let device = self.device(name);
        let all = device["status"]["conditions"].as_array().unwrap();
        let condition = all.iter().find(|condition| condition["type"] == type_).unwrap();
        format!("{}/{}", condition["status"].as_str().unwrap(), condition["reason"].as_str().unwrap())
    }

    pub fn replicas(&self, name: &str) -> Value {
        self.server.get("statefulsets", "shop", name).expect("there is a StatefulSet")["spec"]["replicas"]
            .clone()
    }
}

/// Waits for something that comes about in another task.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

pub fn account(number: &str) -> Account {
    Account {
        phone_number: number.parse().unwrap(),
        jid: "jid".into(),
        lid: None,
        push_name: None,
        platform: None,
    }
}

pub fn linked(number: &str, claim: ClaimState) -> DeviceState {
    DeviceState {
        phase: Phase::Connected,
        paired: true,
        account: Some(account(number)),
        claim,
        connected_at: Some("2030-01-01T00:00:00Z".parse().unwrap()),
        ..DeviceState::default()
    }
}

async fn serve(devices: Devices) -> SocketAddr {
    let router = Router::new()
        .route("/v1/events", get(events))
        .route("/v1/claim", put(claim))
        .route("/v1/logout", post(log_out))
        .with_state(devices);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

async fn events(
    State(devices): State<Devices>,
) -> Sse<impl futures::Stream<Item = Result<Event, std::convert::Infallible>>> {
    let mut states = devices.state.subscribe();
    states.mark_changed();
    Sse::new(futures::stream::unfold(states, async |mut states| {
        states.changed().await.ok()?;
        let state = states.borrow_and_update().clone();
        Some((Ok(DeviceEvent::State(state).to_sse()), states))
    }))
}

async fn claim(State(devices): State<Devices>, Json(decision): Json<ClaimDecision>) -> Json<DeviceState> {
    devices.claims.lock().unwrap().push(decision);
    Json(devices.state.borrow().clone())
}

async fn log_out(State(devices): State<Devices>) -> Json<DeviceState> {
    *devices.logouts.lock().unwrap() += 1;
    Json(DeviceState { phase: Phase::LoggedOut, ..DeviceState::default() })
}
