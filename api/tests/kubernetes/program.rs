//! The program `enlace-api`, as Kubernetes starts and stops it.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::cluster::Cluster;
use crate::fixture::{in_time, resource};

/// The files of an installation.
struct Installation(TempDir);

impl Installation {
    /// A key, an administrator, and a kubeconfig for a cluster.
    async fn new(cluster: &Cluster) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let router = cluster.router();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let installation = Self(tempfile::tempdir().unwrap());
        installation.write("key", &[7; 32]);
        std::fs::create_dir(installation.path("admin")).unwrap();
        installation.write("admin/username", b"admin\n");
        installation.write("admin/password", b"a-long-password\n");
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "a",
            "contexts": [{ "name": "a", "context": { "cluster": "a", "user": "a" } }],
            "clusters": [{ "name": "a", "cluster": { "server": server } }],
            "users": [{ "name": "a", "user": {} }],
        });
        installation.write("kubeconfig", kubeconfig.to_string().as_bytes());
        installation
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_enlace-api"));
        command
            .env_clear()
            .env("KUBECONFIG", self.path("kubeconfig"))
            .env("ENLACE_LISTEN", "127.0.0.1:0")
            .env("ENLACE_METRICS_LISTEN", "127.0.0.1:0")
            .env("ENLACE_DATA_DIR", self.0.path())
            .env("ENLACE_DEVICE_KEY_FILE", self.path("key"))
            .env("ENLACE_ADMIN_DIR", self.path("admin"))
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// The one line with which the program does not start.
    async fn refusal(&self, command: &mut Command) -> String {
        let output = in_time(command.output()).await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        // Whatever was logged before is JSON.
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('{')).collect();
        assert_eq!(lines.len(), 1, "{text}");
        lines[0].strip_prefix("enlace-api: ").unwrap().to_owned()
    }
}

/// A program that listens.
struct Running {
    child: Child,
    log: BufReader<tokio::process::ChildStderr>,
    seen: String,
    listen: String,
    metrics: String,
}

impl Running {
    async fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        let line = in_time(async {
            loop {
                let start = seen.len();
                assert_ne!(log.read_line(&mut seen).await.unwrap(), 0, "it ended: {seen}");
                if let Ok(line) = serde_json::from_str::<serde_json::Value>(&seen[start..])
                    && line["metrics_listen"].is_string()
                {
                    break line;
                }
            }
        })
        .await;
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        let (listen, metrics) = (text("listen"), text("metrics_listen"));
        Self { child, log, seen, listen, metrics }
    }

    /// The status and the text of an answer.
    async fn get(&self, address: &str, path: &str) -> (u16, String) {
        let request = http::Request::get(format!("http://{address}{path}"))
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        let client =
            hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
        let (parts, body) = in_time(client.request(request)).await.unwrap().into_parts();
        let bytes = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        (parts.status.as_u16(), String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// Asks it to end, as the kubelet does; its exit code and all that it logged.
    async fn terminate(mut self) -> (Option<i32>, String) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        let status = in_time(self.child.wait()).await.unwrap();
        self.log.read_to_string(&mut self.seen).await.unwrap();
        (status.code(), self.seen)
    }
}

#[tokio::test]
async fn it_is_ready_when_the_devices_are_known_and_ends_when_it_is_told() {
    let cluster = Cluster::new();
    cluster.put("whatsappdevices", resource("shop/a", json!({}), json!({})));
    cluster.know("whatsappdevices", false);
    let installation = Installation::new(&cluster).await;
    let running = Running::start(&mut installation.command()).await;
    assert_eq!(running.get(&running.listen, "/healthz").await.0, 200);
    assert_eq!(running.get(&running.listen, "/readyz").await.0, 503);
    cluster.know("whatsappdevices", true);
    in_time(
        cluster
            .until(|cluster| cluster.requests().contains(&"WATCH whatsappdevices".to_owned()).then_some(())),
    )
    .await;
    assert_eq!(running.get(&running.listen, "/readyz").await.0, 200);
    let (_, metrics) = running.get(&running.metrics, "/metrics").await;
    assert!(metrics.contains("enlace_api_directory_objects{store=\"devices\"} 1"), "{metrics}");
    let (code, log) = running.terminate().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(
        log.contains("the first administrator admin was created") && log.contains("has stopped"),
        "{log}"
    );
    assert!(log.contains("CustomResourceDefinition is not installed"), "{log}");
    assert!(!log.contains("a-long-password"), "a password is in the log");
}

#[tokio::test]
async fn the_files_of_the_administrator_are_needed_only_once() {
    let cluster = Cluster::new();
    let installation = Installation::new(&cluster).await;
    Running::start(&mut installation.command()).await.terminate().await;
    std::fs::remove_dir_all(installation.path("admin")).unwrap();
    let (code, log) = Running::start(&mut installation.command()).await.terminate().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("administrator"), "{log}");
}

#[tokio::test]
async fn a_database_server_that_is_away_is_waited_for() {
    let cluster = Cluster::new();
    let installation = Installation::new(&cluster).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("postgres://enlace:secret-word@{nobody}/enlace");
    let running = Running::start(installation.command().env("DATABASE_URL", url)).await;
    in_time(cluster.until(|cluster| cluster.requests().contains(&"WATCH pods".to_owned()).then_some(())))
        .await;
    assert_eq!(running.get(&running.listen, "/healthz").await.0, 200);
    let (status, problem) = running.get(&running.listen, "/readyz").await;
    assert_eq!(status, 503);
    assert!(problem.contains("atabase"), "{problem}");
    let (code, log) = running.terminate().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("it is tried again") && !log.contains("secret-word"), "{log}");
}

#[tokio::test]
async fn what_is_missing_at_the_start_is_one_line() {
    let cluster = Cluster::new();
    let installation = Installation::new(&cluster).await;
    let says = async |command: &mut Command| installation.refusal(command).await;

    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = held.local_addr().unwrap().to_string();
    for (variable, option) in [("ENLACE_LISTEN", "--listen"), ("ENLACE_METRICS_LISTEN", "--metrics-listen")] {
        let line = says(installation.command().env(variable, &taken)).await;
        let wanted = format!("cannot listen on {taken}; choose another address with {option}: ");
        assert!(line.starts_with(&wanted), "{line}");
    }

    let line = says(installation.command().env("ENLACE_DATA_DIR", installation.path("key"))).await;
    assert!(line.contains("--data-dir"), "{line}");

    let line = says(installation.command().env("DATABASE_URL", "redis://enlace:secret-word@db/0")).await;
    assert!(line.starts_with("DATABASE_URL begins with redis") && !line.contains("secret-word"), "{line}");

    installation.write("admin/password", b"short\n");
    let line = says(&mut installation.command()).await;
    assert!(line.contains("admin/password is not acceptable: at least 12 characters"), "{line}");
    assert!(!line.contains("short"), "{line}");
    std::fs::remove_file(installation.path("admin/username")).unwrap();
    let line = says(&mut installation.command()).await;
    assert!(
        line.contains("admin/username cannot be read: it must hold the first administrator's name"),
        "{line}"
    );

    installation.write("key", &[7; 31]);
    let line = says(&mut installation.command()).await;
    assert!(line.ends_with("key has 31 bytes: the key that opens devices has 32"), "{line}");
    installation.write("key", &[7; 32]);

    let line = says(installation.command().env("KUBECONFIG", installation.path("missing"))).await;
    assert!(line.starts_with("no cluster: "), "{line}");
}
