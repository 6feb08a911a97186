//! Values, and the objects that the chart makes of them.

use enlace_chart_tests::helm::render;
use k8s_openapi::api::core::v1::PodSpec;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The values that nobody has changed.
pub(crate) const DEFAULTS: &str = "{}\n";

/// Everything that can be turned on.
pub(crate) const EVERYTHING: &str = r#"
image:
  registry: registry.example.com/team/
  pullSecrets: [{name: registry}]
operator:
  replicas: 2
  pod:
    labels: {team: messaging, app.kubernetes.io/component: other}
    annotations: {example.com/note: "1"}
    nodeSelector: {disk: ssd}
    tolerations: [{operator: Exists}]
    topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway}
    priorityClassName: high
api:
  compatible:
    namespace: shop
    registration: true
    anonymousCounts: true
    maxDevices: 2000000
    maxTokens: 5
    tokenLifetime: 720h
    mediaAllow: [10.1.0.0/16, "fd00::/8"]
    log: true
  database: {storageClassName: fast, size: 2Gi}
  service: {annotations: {example.com/note: "1"}}
  ingress:
    enabled: true
    className: nginx
    annotations: {example.com/note: "1"}
    hosts: [enlace.example.com]
    tlsSecretName: certificate
  pod:
    affinity:
      nodeAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          nodeSelectorTerms: [{matchExpressions: [{key: disk, operator: Exists}]}]
devices:
  image: {digest: "sha256:0000000000000000000000000000000000000000000000000000000000000000"}
  imagePullSecrets: [{name: registry}]
  environment: [{name: ENLACE_LOG, value: "debug"}]
  storageClassName: fast
  accessMode: ReadWriteOnce
  secretNamespaces: [shop, warehouse]
networkPolicy:
  enabled: true
  apiFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress}}}]
  metricsFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]
cloudflared:
  enabled: true
  tokenSecret: {name: tunnel}
"#;

/// The objects of a rendering.
pub(crate) struct Objects(pub(crate) Vec<Value>);

impl Objects {
    pub(crate) fn of(values: &str) -> Self {
        Self(render(values).expect("the chart is rendered"))
    }

    /// Those of a kind.
    pub(crate) fn kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    /// One of them, as its type.
    pub(crate) fn get<T: DeserializeOwned>(&self, kind: &str, name: &str) -> T {
        let found = self.kind(kind).find(|object| object["metadata"]["name"] == name);
        let found = found.unwrap_or_else(|| panic!("there is no {kind} {name}"));
        serde_json::from_value(found.clone()).unwrap()
    }

    /// The pods of all workloads, each with the workload's name.
    pub(crate) fn pods(&self) -> Vec<(String, PodSpec)> {
        let workloads = self.0.iter().filter(|object| !object["spec"]["template"].is_null());
        let pods: Vec<_> = workloads
            .map(|workload| {
                let name = workload["metadata"]["name"].as_str().unwrap().to_owned();
                (name, serde_json::from_value(workload["spec"]["template"]["spec"].clone()).unwrap())
            })
            .collect();
        assert!(!pods.is_empty(), "there is no workload");
        pods
    }
}
