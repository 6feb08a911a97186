//! The REST API, through its Service or at one of its pods: their addresses must be reachable from where the tests run, as they are on a node.

use std::time::Duration;

use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::commands::json as get;
use crate::installation::{RELEASE, SYSTEM};

/// A caller, with or without a token.
#[derive(Clone)]
pub struct Api {
    http: Client,
    base: String,
    token: String,
}

impl Api {
    /// Logs in as the administrator that the operator made.
    pub async fn log_in() -> Self {
        let service = get(&["--namespace", SYSTEM, "get", "service", &format!("{RELEASE}-api")]);
        let api = Self::at(service["spec"]["clusterIP"].as_str().unwrap());
        let credentials = json!({"username": admin("username"), "password": admin("password")});
        let logged_in = api.post("/v1/login", &credentials).await;
        api.with_token(logged_in["token"].as_str().unwrap())
    }

    /// A caller without a token, of whoever answers at this host, with or without a port.
    pub fn at(host: &str) -> Self {
        // Another test may have done it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        Self { http, base: format!("http://{host}"), token: String::new() }
    }

    /// The same with a token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// The token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The address, without a path.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The answer, which must be one of success.
    pub async fn get(&self, path: &str) -> Value {
        self.done(Method::GET, path, None).await
    }

    /// The answer, which must be one of success.
    pub async fn post(&self, path: &str, body: &Value) -> Value {
        self.done(Method::POST, path, Some(body)).await
    }

    /// The answer, which must be one of success.
    pub async fn done(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.ask(method.clone(), path, body).await;
        assert!(status.is_success(), "{method} {path}: {status} {answer}");
        answer
    }

    /// The answer, whatever it is.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let response = self.send(method, path, body).await;
        let status = response.status();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The answer, with its headers.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Response {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.base));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send().await.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"))
    }
}

fn admin(key: &str) -> String {
    let template = format!("go-template={{{{index .data \"{key}\" | base64decode}}}}");
    let name = format!("{RELEASE}-admin");
    crate::commands::kubectl(&["--namespace", SYSTEM, "get", "secret", &name, "--output", &template])
}
