//! `kubectl enlace`, on a cluster whose API server is played.

use std::path::PathBuf;

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::cluster::Cluster;
use crate::eye;
use crate::program::{Ended, PATIENCE, Program};

/// A cluster behind a port, a kubeconfig for it, and the program under the name that `kubectl` calls.
struct Plugin {
    cluster: Cluster,
    directory: TempDir,
}

impl Plugin {
    async fn new() -> Self {
        let cluster = Cluster::new();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let router = cluster.router();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let plugin = Self { cluster, directory: tempfile::tempdir().unwrap() };
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_enlace"), plugin.path("kubectl-enlace")).unwrap();
        plugin.kubeconfig("config", &server);
        plugin
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn kubeconfig(&self, name: &str, server: &str) {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "contexts": [{ "name": "here", "context": { "cluster": "here", "user": "me", "namespace": "shop" } }],
            "clusters": [{ "name": "here", "cluster": { "server": server } }],
            "users": [{ "name": "me", "user": { "token": "secret-token" } }],
        });
        std::fs::write(self.path(name), config.to_string()).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("kubectl-enlace"));
        command.env_clear().env("KUBECONFIG", self.path("config")).args(arguments);
        command
    }

    fn start(&self, arguments: &[&str]) -> Program {
        Program::start(self.command(arguments))
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).ended().await
    }

    fn declare(&self, name: &str, spec: Value, status: Value) {
        let device = json!({
            "apiVersion": "enlace.dev/v1alpha1", "kind": "WhatsAppDevice",
            "metadata": { "namespace": "shop", "name": name }, "spec": spec, "status": status,
        });
        self.cluster.put("whatsappdevices", device);
    }

    fn says(&self, status: Value) {
        self.cluster.change("whatsappdevices", "shop", "billing", &json!({ "status": status }));
    }

    /// The request that was annotated, when it is there.
    async fn request(&self) -> String {
        let asked = self.cluster.until(|cluster| {
            let device = cluster.object("whatsappdevices", "shop", "billing")?;
            device["metadata"]["annotations"]["enlace.dev/pair-requested"].as_str().map(str::to_owned)
        });
        tokio::time::timeout(PATIENCE, asked).await.expect("no codes were asked for")
    }
}

fn waits_for(code: &str) -> Value {
    let text = enlace_contract::qr::terminal(code).unwrap();
    json!({ "phase": "AwaitingScan", "qr": { "code": code, "text": text, "expiresAt": "2100-01-01T00:00:00Z" } })
}

fn ended(reason: &str) -> Value {
    json!({ "phase": "Disconnected", "qr": null, "conditions": [{ "type": "Connected", "status": "False", "reason": reason,
        "message": "nobody scanned", "lastTransitionTime": "2026-01-01T00:00:00Z" }] })
}

fn linked() -> Value {
    json!({ "phase": "Connected", "phoneNumber": "525550000001", "qr": null, "conditions": [] })
}

#[tokio::test]
async fn codes_are_drawn_as_they_come_until_a_phone_has_linked() {
    let plugin = Plugin::new().await;
    plugin.declare("billing", json!({}), waits_for("2@first"));
    let program = plugin.start(&["qr", "billing"]);
    let drawn = |wanted: &'static [&str]| move |text: &str| (eye::codes(text) == wanted).then_some(());
    program.stdout.until("the first code", drawn(&["2@first"])).await;
    plugin.says(waits_for("2@second"));
    program.stdout.until("the second code", drawn(&["2@first", "2@second"])).await;
    plugin.cluster.cut_watches();
    plugin.says(linked());
    let ended = program.ended().await;
    assert!(ended.stderr.contains("shop/billing is linked to 525550000001"), "{ended:?}");
    ended.ok();
}

#[tokio::test]
async fn new_codes_are_asked_for_when_nobody_scanned() {
    let plugin = Plugin::new().await;
    plugin.declare("billing", json!({}), ended("NobodyScanned"));
    let program = plugin.start(&["qr", "billing"]);
    let request = plugin.request().await;
    plugin.says(json!({ "observedPairRequest": request }));
    plugin.says(waits_for("2@new"));
    program.stdout.until("a code", |text| (eye::codes(text) == ["2@new"]).then_some(())).await;
    plugin.says(linked());
    program.ended().await.ok();
}

#[tokio::test]
async fn pair_shows_no_code_from_before_its_request() {
    let plugin = Plugin::new().await;
    plugin.declare("billing", json!({}), json!({ "phase": "LoggedOut" }));
    let program = plugin.start(&["pair", "billing"]);
    let request = plugin.request().await;
    plugin.says(waits_for("2@old"));
    let mut new = waits_for("2@new");
    new["observedPairRequest"] = json!(request);
    plugin.says(new);
    program.stdout.until("a code", |text| (eye::codes(text) == ["2@new"]).then_some(())).await;
    plugin.says(linked());
    program.ended().await.ok();
}

#[tokio::test]
async fn a_pairing_code_is_shown_to_be_typed() {
    let plugin = Plugin::new().await;
    let code = json!({ "code": "ABCD1234", "expiresAt": "2100-01-01T00:00:00Z" });
    let status = json!({ "phase": "AwaitingCode", "pairingCode": code });
    plugin.declare("billing", json!({ "phoneNumber": "525550000001" }), status);
    let program = plugin.start(&["qr", "billing"]);
    program.stdout.line("ABCD-1234").await;
    plugin.says(linked());
    program.ended().await.ok();
}

#[tokio::test]
async fn a_code_in_a_secret_is_read_there() {
    let plugin = Plugin::new().await;
    let spec = json!({ "pairing": { "publishIn": "Secret" } });
    plugin.declare("billing", spec, json!({ "phase": "AwaitingScan" }));
    let program = plugin.start(&["qr", "billing"]);
    let text = enlace_contract::qr::terminal("2@hidden").unwrap();
    let encoded = |text: &str| base64(text.as_bytes());
    plugin.cluster.put(
        "secrets",
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "namespace": "shop", "name": "billing-pairing" },
            "data": { "qr": encoded("2@hidden"), "qr.text": encoded(&text), "expiresAt": encoded("2100-01-01T00:00:00Z") } }),
    );
    program.stdout.until("a code", |text| (eye::codes(text) == ["2@hidden"]).then_some(())).await;
    plugin.says(linked());
    program.ended().await.ok();
}

#[tokio::test]
async fn the_time_runs_out_with_its_own_exit_code() {
    let plugin = Plugin::new().await;
    plugin.declare("billing", json!({}), waits_for("2@code"));
    let ended = plugin.run(&["qr", "billing", "--timeout", "1s"]).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("shop/billing was not linked within 1s"), "{ended:?}");
}

#[tokio::test]
async fn devices_are_shown_as_a_table_as_values_and_as_names() {
    let plugin = Plugin::new().await;
    plugin.declare("billing", json!({}), linked());
    plugin.declare("support", json!({ "phoneNumber": "525550000002" }), json!({ "phase": "Pending" }));
    let table = plugin.run(&["status"]).await.ok();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("NAME"), "{table}");
    assert!(lines[1].starts_with("billing") && lines[1].contains("525550000001"), "{table}");
    assert!(lines[2].starts_with("support") && lines[2].contains("Pending"), "{table}");
    let all = plugin.run(&["status", "-A"]).await.ok();
    assert!(all.starts_with("NAMESPACE"), "{all}");
    let one: Value =
        serde_json::from_str(&plugin.run(&["status", "billing", "-o", "json"]).await.ok()).unwrap();
    assert_eq!(one["status"]["phoneNumber"], "525550000001");
    let names = plugin.run(&["status", "-o", "name"]).await.ok();
    assert_eq!(names, "whatsappdevice.enlace.dev/billing\nwhatsappdevice.enlace.dev/support\n");
    let none = plugin.run(&["status", "-n", "default"]).await;
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), ""));
    assert_eq!(none.stderr, "No devices in namespace default.\n");
}

#[tokio::test]
async fn a_proxy_for_the_world_outside_is_not_used_for_the_cluster() {
    let plugin = Plugin::new().await;
    plugin.declare("billing", json!({}), linked());
    let mut command = plugin.command(&["status", "-o", "name"]);
    command.env("HTTPS_PROXY", "http://127.0.0.1:9");
    assert_eq!(Program::start(command).ended().await.ok(), "whatsappdevice.enlace.dev/billing\n");
}

#[tokio::test]
async fn what_is_wrong_is_one_line() {
    let plugin = Plugin::new().await;
    let says = async |arguments: &[&str]| plugin.run(arguments).await.refused().to_owned();
    assert_eq!(says(&["qr", "nobody"]).await, "there is no WhatsAppDevice shop/nobody");
    assert_eq!(says(&["pair", "nobody"]).await, "there is no WhatsAppDevice shop/nobody");
    assert_eq!(says(&["status", "nobody"]).await, "there is no WhatsAppDevice shop/nobody");
    assert!(says(&["status", "Not a name"]).await.contains("is not a name"));

    let missing = plugin.path("missing").display().to_string();
    assert!(says(&["status", "--kubeconfig", &missing]).await.starts_with("there is no kubeconfig "));
    assert_eq!(says(&["status", "--context", "there"]).await, "the kubeconfig has no context there");

    let message = "whatsappdevices.enlace.dev is forbidden: User \"me\" cannot list resource \"whatsappdevices\" in API group \"enlace.dev\" in the namespace \"shop\"";
    let forbidden = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 403, "reason": "Forbidden", "message": message });
    for command in [["status", ""].as_slice(), &["qr", "billing"]] {
        plugin.cluster.refuse(Method::GET, forbidden.clone());
        let arguments: Vec<&str> = command.iter().copied().filter(|word| !word.is_empty()).collect();
        assert_eq!(says(&arguments).await, format!("a permission is missing: {message}"));
    }
    plugin.declare("billing", json!({}), json!({ "phase": "LoggedOut" }));
    plugin.cluster.refuse(Method::PATCH, forbidden);
    assert!(says(&["pair", "billing"]).await.starts_with("a permission is missing: "));
    assert!(says(&["qr", "billing"]).await.contains("shop/billing is LoggedOut"));

    plugin.cluster.know("whatsappdevices", false);
    for command in [["status", "billing"].as_slice(), &["status"], &["qr", "billing"], &["pair", "billing"]] {
        let line = says(command).await;
        assert!(line.starts_with("this cluster does not know WhatsAppDevices"), "{command:?}: {line}");
    }

    plugin.kubeconfig("away", "http://127.0.0.1:9");
    let away = plugin.path("away").display().to_string();
    for command in [["status", "billing"], ["qr", "billing"]] {
        let line = says(&[&command[..], &["--kubeconfig", &away]].concat()).await;
        assert!(line.starts_with("the cluster's API server cannot be asked: "), "{line}");
    }
}

/// The encoding of a Secret's data.
fn base64(bytes: &[u8]) -> String {
    let value = serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec())).unwrap();
    value.as_str().unwrap().to_owned()
}
