//! The operator as a whole: caches, leader, queue.

use std::time::{Duration, Instant};

use enlace_operator::run::{Options, Ports, run};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::server::Server;
use crate::stage::{NAMESPACE, config, until};

struct Operator {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), enlace_operator::run::RunError>>,
}

fn start(server: &Server, pod_name: &str) -> Operator {
    let options = Options { config: config(), namespace: NAMESPACE.into(), pod_name: pod_name.into() };
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let ports = Ports { health: anywhere, metrics: anywhere };
    let recorder = PrometheusBuilder::new().build_recorder().handle();
    let stop = CancellationToken::new();
    let task = tokio::spawn(run(options, server.client(), ports, recorder, stop.clone()));
    Operator { stop, task }
}

fn create(server: &Server, name: &str, spec: serde_json::Value) {
    let meta = json!({ "name": name, "namespace": "shop" });
    let device = json!({ "apiVersion": "enlace.dev/v1alpha1", "kind": "WhatsAppDevice", "metadata": meta, "spec": spec });
    server.put("whatsappdevices", device);
}

fn has_pod(server: &Server, name: &str) -> bool {
    server.get("statefulsets", "shop", name).is_some_and(|set| set["spec"]["replicas"] == 1)
}

#[tokio::test]
async fn malformed_cr_does_not_stop_others() {
    let server = Server::default();
    create(&server, "malformed", json!({ "suspend": "perhaps" }));
    create(&server, "billing", json!({}));
    let operator = start(&server, "operator-0");
    until("the other has its pod", || has_pod(&server, "billing")).await;
    let unreadable = || server.all("events").into_iter().find(|event| event["reason"] == "Unreadable");
    until("somebody is told", || unreadable().is_some()).await;
    assert_eq!(unreadable().unwrap()["regarding"]["name"], "malformed");
    assert!(server.get("statefulsets", "shop", "malformed").is_none());
    // Mended, it is a device like others.
    create(&server, "malformed", json!({}));
    until("it has its pod", || has_pod(&server, "malformed")).await;
    operator.stop.cancel();
    operator.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn conflict_409_requeues_fast() {
    let server = Server::default();
    server.fail_next("patch", "whatsappdevices", 409);
    let operator = start(&server, "operator-0");
    until("it leads", || server.get("secrets", NAMESPACE, "enlace-admin").is_some()).await;
    create(&server, "billing", json!({}));
    let began = Instant::now();
    until("it has its pod", || has_pod(&server, "billing")).await;
    // The pause after another error is a second at least.
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    operator.stop.cancel();
    operator.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_second_replica_writes_nothing_until_the_first_lets_go() {
    let server = Server::default();
    let first = start(&server, "operator-0");
    until("it leads", || server.get("secrets", NAMESPACE, "enlace-admin").is_some()).await;
    let leader =
        || server.get("leases", NAMESPACE, "enlace-operator").unwrap()["spec"]["holderIdentity"].clone();
    assert!(leader().as_str().unwrap().starts_with("operator-0_"));
    let second = start(&server, "operator-1");
    create(&server, "billing", json!({}));
    until("it has its pod", || has_pod(&server, "billing")).await;
    first.stop.cancel();
    first.task.await.unwrap().unwrap();
    create(&server, "sales", json!({}));
    until("the other has its pod", || has_pod(&server, "sales")).await;
    assert!(leader().as_str().unwrap().starts_with("operator-1_"));
    second.stop.cancel();
    second.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_leader_whose_lease_is_taken_ends() {
    let server = Server::default();
    let operator = start(&server, "operator-0");
    until("it leads", || server.get("secrets", NAMESPACE, "enlace-admin").is_some()).await;
    let mut lease = server.get("leases", NAMESPACE, "enlace-operator").unwrap();
    lease["spec"]["holderIdentity"] = "another".into();
    server.put("leases", lease);
    let outcome = operator.task.await.unwrap();
    assert_eq!(outcome.unwrap_err().to_string(), "the leader's lease was lost");
    assert_eq!(
        server.get("leases", NAMESPACE, "enlace-operator").unwrap()["spec"]["holderIdentity"],
        "another"
    );
}
