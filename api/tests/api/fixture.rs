//! One API over one folder, each test its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use enlace_api::auth::{TokenValue, bootstrap_admin, local_token};
use enlace_api::database::Database;
use enlace_api::directory::{Device, DeviceDirectory as _, FolderDirectory};
use enlace_api::http::{App, Settings};
use futures::stream::StreamExt as _;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

use crate::device::Stage;

/// A manifest of a device.
pub(crate) fn manifest(name: &str, spec: Value) -> String {
    json!({
        "apiVersion": "enlace.dev/v1alpha1", "kind": "WhatsAppDevice", "metadata": { "name": name }, "spec": spec,
    })
    .to_string()
}

/// What a test waits for comes within this time, or never.
pub(crate) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it did not happen in time")
}

/// The settings of an API at which anybody may register, with something changed.
pub(crate) fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::default();
    settings.compatible.registration = true;
    change(&mut settings);
    settings
}

pub(crate) struct Api {
    root: TempDir,
    pub(crate) stage: Arc<Stage>,
    pub(crate) directory: FolderDirectory,
    pub(crate) database: Database,
    pub(crate) app: App,
    router: Router,
    /// The administrator's token.
    pub(crate) admin: String,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {:?}", self.text))
    }

    /// The status and the reason of a problem.
    #[track_caller]
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json", "{}", self.text);
        assert_eq!(self.json()["status"], self.status.as_u16());
        (self.status.as_u16(), self.json()["reason"].as_str().unwrap().to_owned())
    }
}

impl Api {
    pub(crate) async fn start(files: &[(&str, String)]) -> Self {
        Self::start_with(files, settings(|_| {})).await
    }

    pub(crate) async fn start_with(files: &[(&str, String)], settings: Settings) -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("manifests")).unwrap();
        for (name, text) in files {
            std::fs::write(root.path().join("manifests").join(name), text).unwrap();
        }
        Self::on(root, settings, Stage::default()).await
    }

    async fn on(root: TempDir, settings: Settings, stage: Stage) -> Self {
        let stage = Arc::new(stage);
        let directory =
            FolderDirectory::open(&root.path().join("manifests"), stage.clone(), &root.path().join("data"))
                .await
                .unwrap();
        let database = Database::open(&root.path().join("data/enlace.db")).await.unwrap();
        bootstrap_admin(&database).await.unwrap();
        let admin = local_token(&database, &root.path().join("data/admin-token")).await.unwrap();
        let app = App::new(Arc::new(directory.clone()), database.clone(), settings);
        let router = app.router();
        Self { root, stage, directory, database, app, router, admin: TokenValue::expose(&admin).to_owned() }
    }

    /// Stops everything and starts it again on the same files, with something done in between.
    pub(crate) async fn restart(self, between: impl FnOnce(&Path)) -> Self {
        self.restart_on(Stage::default(), between).await
    }

    /// The same on a stage that was made ready.
    pub(crate) async fn restart_on(self, stage: Stage, between: impl FnOnce(&Path)) -> Self {
        let Self { root, stage: _, directory, database, app, router, admin: _ } = self;
        drop((app, router));
        in_time(directory.close()).await;
        database.close().await;
        between(root.path());
        Self::on(root, settings(|_| {}), stage).await
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root.path().join("manifests").join(name)
    }

    pub(crate) fn data(&self, key: &str) -> PathBuf {
        self.root.path().join("data/devices").join(key)
    }

    pub(crate) fn database_file(&self, name: &str) -> PathBuf {
        self.root.path().join("data").join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).unwrap();
    }

    /// Waits until a device is as wanted.
    pub(crate) async fn until(&self, key: &str, wanted: impl Fn(&Device) -> bool) -> Arc<Device> {
        let mut changes = self.directory.watch();
        in_time(async {
            while let Some(change) = changes.next().await {
                let gone = matches!(change, enlace_api::directory::DeviceChange::Deleted(_));
                let device = change.device();
                if !gone && device.key.to_string() == key && wanted(device) {
                    return Arc::clone(device);
                }
            }
            panic!("the directory was closed");
        })
        .await
    }

    /// Waits until a device is gone.
    pub(crate) async fn until_gone(&self, key: &str) {
        let mut changes = self.directory.watch();
        in_time(async {
            let key = key.parse().unwrap();
            while self.directory.get(&key).await.is_ok() {
                changes.next().await.unwrap();
            }
        })
        .await;
    }

    /// Waits until a device is in a phase.
    pub(crate) async fn until_phase(&self, key: &str, phase: &str) -> Arc<Device> {
        self.until(key, |device| device.phase().to_string() == phase).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Body> {
        in_time(self.router.clone().oneshot(request)).await.unwrap()
    }

    /// A request with a token and JSON; the answer whole.
    pub(crate) async fn call(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        answer(self.send(request.body(body).unwrap()).await).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &self.admin, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, &self.admin, Some(body)).await
    }

    /// A new token of the administrator, narrowed.
    pub(crate) async fn token(&self, narrowed: Value) -> String {
        let mut body = json!({ "name": "test" });
        body.as_object_mut().unwrap().extend(narrowed.as_object().unwrap().clone());
        let answer = self.post("/v1/tokens", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.json()["value"].as_str().unwrap().to_owned()
    }

    /// A new user that is no administrator: its identifier and a token of a login.
    pub(crate) async fn user(&self, name: &str) -> (String, String) {
        let password = "a long password";
        let user = self.post("/v1/users", json!({ "name": name, "password": password })).await;
        assert_eq!(user.status, StatusCode::CREATED, "{}", user.text);
        let login =
            self.call("POST", "/v1/login", "", Some(json!({ "username": name, "password": password }))).await;
        assert_eq!(login.status, StatusCode::OK, "{}", login.text);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&user.json()["id"]), text(&login.json()["token"]))
    }
}

pub(crate) async fn answer(response: Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let text = String::from_utf8(in_time(body.collect()).await.unwrap().to_bytes().to_vec()).unwrap();
    Answer { status: parts.status, headers: parts.headers, text }
}
