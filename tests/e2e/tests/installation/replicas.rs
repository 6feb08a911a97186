//! Two replicas of the API on a database server.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use enlace_databases::{Kind, Server};
use enlace_e2e::api::Api;
use enlace_e2e::commands::{json as get, kubectl, with_object};
use enlace_e2e::device::Device;
use enlace_e2e::eventually;
use enlace_e2e::installation::SYSTEM;
use enlace_e2e::scene::Scene;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::live::Listener;
use crate::skipped::skipped;

/// The variable with the address of this machine at which pods reach a server, and others do not.
const ADDRESS: &str = "ENLACE_TEST_DATABASE_ADDRESS";
const SECRET: &str = "enlace-e2e-database";
const PODS: &str = "--selector=app.kubernetes.io/component=api";

const NUMBER: &str = "525550000019";
const CUSTOMER: &str = "525550000020";
const ANA: &str = "525550000021";

/// A server that pods reach; none where there can be none, which is said.
async fn server() -> Option<Server> {
    let Ok(address) = std::env::var(ADDRESS) else {
        skipped(
            "tests of two replicas of the API",
            &format!("{ADDRESS} names no address for their database"),
        );
        return None;
    };
    if Kind::Postgres.program().is_none() {
        let why = format!("install the package {}", Kind::Postgres.package());
        skipped("tests of two replicas of the API", &why);
        return None;
    }
    let address: IpAddr = address.parse().unwrap();
    Some(Server::start_at(Kind::Postgres, address).await.unwrap())
}

/// One of the API's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pod {
    name: String,
    uid: String,
    restarts: u64,
    address: String,
}

/// The API's pods that stay.
fn pods() -> Vec<Pod> {
    let pods = get(&["--namespace", SYSTEM, "get", "pods", PODS]);
    let staying = pods["items"].as_array().unwrap().iter();
    let staying = staying.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    staying
        .map(|pod| Pod {
            name: format!("pod/{}", pod["metadata"]["name"].as_str().unwrap()),
            uid: pod["metadata"]["uid"].as_str().unwrap().to_owned(),
            restarts: pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap(),
            address: pod["status"]["podIP"].as_str().unwrap().to_owned(),
        })
        .collect()
}

fn wait_for(pods: &[Pod], condition: &str) {
    let condition = format!("--for=condition={condition}");
    let names = pods.iter().map(|pod| pod.name.as_str());
    let before = ["--namespace", SYSTEM, "wait", &condition, "--timeout=120s"];
    kubectl(&before.into_iter().chain(names).collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "runs in the step of the cluster tests"]
async fn two_replicas_of_the_api_on_a_database_server_are_one() {
    let Some(mut server) = server().await else { return };
    let scene = Scene::alone("replicas").await;
    let url = server.new_database().await.unwrap();
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": SYSTEM, "name": SECRET},
        "stringData": {"DATABASE_URL": url},
    });
    with_object(&["apply"], &secret);
    scene.upgrade(&json!({"api": {
        "replicas": 2,
        "database": {"existingSecret": SECRET},
        "compatible": {"namespace": scene.namespace, "registration": true},
    }}));
    let pods = pods();
    let [first, second] = pods.as_slice() else { panic!("{pods:?}") };
    wait_for(&pods, "Ready");
    let replicas = [first, second].map(|pod| Api::at(&format!("{}:8080", pod.address)));

    polling_clients_are_told(&replicas).await;
    let ana = an_account_is_known_to_both(&replicas).await;
    a_token_ends_at_both(&ana).await;
    let device = changes_are_heard_at_both(&scene, &ana).await;
    let office = Office { scene: &scene, device: &device, ana: &ana };
    office.messages_go_out_once_and_in_their_order().await;
    office.the_database_goes_away_and_comes_back(&mut server, &pods).await;
    scene.end().await;
    kubectl(&["--namespace", SYSTEM, "delete", "secret", SECRET]);
}

async fn polling_clients_are_told(replicas: &[Api; 2]) {
    for api in replicas {
        let (status, answer) = api.ask(Method::GET, "/socket.io/?EIO=4&transport=polling", None).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        assert!(answer["message"].as_str().unwrap().contains("transports: [\"websocket\"]"), "{answer}");
    }
}

/// Ana at each replica, with the token of the other one.
async fn an_account_is_known_to_both([first, second]: &[Api; 2]) -> [Api; 2] {
    let account = json!({"numero": ANA, "password": "clave-larga"});
    let registered = first.post("/api/registro", &account).await;
    let logged_in = second.post("/api/login", &account).await;
    let token = |answer: &Value| answer["token"].as_str().unwrap().to_owned();
    assert_ne!(token(&registered), token(&logged_in));
    let ana = [first.with_token(&token(&logged_in)), second.with_token(&token(&registered))];
    let users = [ana[0].get("/v1/me").await, ana[1].get("/v1/me").await];
    assert_eq!(users[0]["user"]["id"].as_str().unwrap(), users[1]["user"]["id"]);
    ana
}

async fn a_token_ends_at_both([first, second]: &[Api; 2]) {
    for (one, other) in [(first, second), (second, first)] {
        let made = one.post("/v1/tokens", &json!({"name": "till"})).await;
        let till = other.with_token(made["value"].as_str().unwrap());
        till.get("/v1/me").await;
        let path = format!("/v1/tokens/{}", made["id"].as_str().unwrap());
        one.done(Method::DELETE, &path, None).await;
        let (status, answer) = till.ask(Method::GET, "/v1/me", None).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{answer}");
    }
}

/// Waits until both have heard what the test looks for, the last time they heard anything.
async fn both_hear(listeners: &[Listener; 2], what: &str, is: impl Fn(&Value) -> bool) {
    let told = json!([{"ev": "deviceStatusChanged"}]);
    for listener in listeners {
        eventually(what, async || {
            let noted = listener.noted(&told);
            noted.as_array()?.last().is_some_and(|event| is(&event["d"])).then_some(())
        })
        .await;
    }
}

/// Makes a device at one replica and links it, then stops it at the other one, and starts it again.
async fn changes_are_heard_at_both<'a>(scene: &'a Scene, ana: &[Api; 2]) -> Device<'a> {
    let [first, second] = ana;
    let listeners = [first, second].map(|api| Listener::connect(api.base(), api.token()));
    let [one, other] = listeners;
    let listeners = [one.await.unwrap(), other.await.unwrap()];
    let made = json!({
        "metadata": {"namespace": scene.namespace, "name": "ventas"},
        "spec": {"phoneNumber": NUMBER, "sending": {"interval": "0s"}},
    });
    first.post("/v1/devices", &made).await;
    let device = Device::existing(scene, "ventas");
    device.code();
    both_hear(&listeners, "a code", |event| event["qr"].is_string()).await;
    let linked = device.link(NUMBER).await;
    let connected = |event: &Value| event["status"] == "conectado" && event["numero"] == NUMBER;
    both_hear(&listeners, "a link", connected).await;

    let path = format!("/v1/devices/{}/ventas", scene.namespace);
    let suspend = |suspend: bool| json!({"spec": {"suspend": suspend}});
    second.done(Method::PATCH, &path, Some(&suspend(true))).await;
    both_hear(&listeners, "an end", |event| event["status"] == "desconectado").await;
    let logins = scene.logins(&linked).await.len();
    device.wait_of(&format!("pod/{}", device.pod()), "delete");
    first.done(Method::PATCH, &path, Some(&suspend(false))).await;
    both_hear(&listeners, "a return", connected).await;
    device.logged_in(&linked, logins + 1).await;
    device
}

/// Ana, who sends from her device through both replicas.
struct Office<'a> {
    scene: &'a Scene,
    device: &'a Device<'a>,
    ana: &'a [Api; 2],
}

impl Office<'_> {
    /// Both replicas reach the device.
    async fn is_open(&self) {
        self.device.wait("condition=Ready");
        let path = format!("/v1/devices/{}/{}/status", self.scene.namespace, self.device.name);
        for api in self.ana {
            eventually("the API to reach the device", async || {
                api.ask(Method::GET, &path, None).await.0.is_success().then_some(())
            })
            .await;
        }
    }

    /// Sends through one replica; the message's number in the queue.
    async fn send(&self, replica: usize, text: &str) -> i64 {
        let message = json!({"fromNumber": NUMBER, "number": CUSTOMER, "message": text});
        self.ana[replica].post("/api/send-message", &message).await["queue_id"].as_i64().unwrap()
    }

    /// Sends one message after the other through one replica.
    async fn send_all(&self, replica: usize, texts: &[String]) -> Vec<i64> {
        let mut ids = Vec::new();
        for text in texts {
            ids.push(self.send(replica, text).await);
        }
        ids
    }

    /// What the customer has got, once the last text is there.
    async fn received(&self, last: &str) -> Vec<String> {
        let customer = self.scene.whatsapp.phone(CUSTOMER);
        customer.wait_for_text(last, Duration::from_secs(60)).await.unwrap();
        customer.inbox().await.unwrap().into_iter().filter_map(|message| message.text).collect()
    }

    async fn messages_go_out_once_and_in_their_order(&self) {
        self.is_open().await;
        let turns: Vec<String> = (0..6).map(|number| format!("turn {number}")).collect();
        let mut ids = Vec::new();
        for (number, text) in turns.iter().enumerate() {
            ids.push(self.send(number % 2, text).await);
        }
        assert!(ids.is_sorted_by(|before, after| before < after), "{ids:?}");

        let texts = |replica: usize| (0..6).map(|number| format!("{replica}: {number}")).collect();
        let both: [Vec<String>; 2] = [texts(0), texts(1)];
        let (first, second) = tokio::join!(self.send_all(0, &both[0]), self.send_all(1, &both[1]));
        for one in [&first, &second] {
            assert!(one.is_sorted_by(|before, after| before < after), "{one:?}");
            ids.extend(one);
        }
        let different: BTreeSet<i64> = ids.iter().copied().collect();
        assert_eq!(different.len(), ids.len(), "{ids:?}");

        self.send(0, "the end").await;
        let received = self.received("the end").await;
        let of = |begins: &str| -> Vec<String> {
            received.iter().filter(|text| text.starts_with(begins)).cloned().collect()
        };
        assert_eq!(received.len(), ids.len() + 1, "{received:?}");
        assert_eq!(received[..turns.len()], turns);
        assert_eq!([of("0: "), of("1: ")], both, "{received:?}");
    }

    async fn the_database_goes_away_and_comes_back(&self, server: &mut Server, pods: &[Pod]) {
        server.stop().unwrap();
        for api in self.ana {
            let response = api.send(Method::GET, "/v1/devices", None).await;
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            assert!(response.headers().contains_key("retry-after"));
            let problem: Value = response.json().await.unwrap();
            assert_eq!(problem["reason"], "DatabaseFailed", "{problem}");
            assert_eq!(api.ask(Method::GET, "/healthz", None).await.0, StatusCode::OK);
        }
        // The Service sends nobody to them.
        wait_for(pods, "Ready=false");
        assert_eq!(self::pods(), pods, "a pod was restarted");

        server.start_again().await.unwrap();
        wait_for(pods, "Ready");
        for (replica, api) in self.ana.iter().enumerate() {
            api.get("/v1/devices").await;
            let text = format!("{replica}: again");
            self.send(replica, &text).await;
            self.received(&text).await;
        }
        assert_eq!(self::pods(), pods, "a pod was restarted");
    }
}
