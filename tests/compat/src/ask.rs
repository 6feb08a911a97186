//! The requests, as they were recorded.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Map, Value};

use crate::golden;
use crate::names::Names;

/// A request that waits for a message takes ten seconds.
const LIMIT: Duration = Duration::from_secs(60);
/// What separates the parts of a multipart body.
const BOUNDARY: &str = "replayed-boundary";
/// The files that were sent, by their type.
const PICTURE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const PDF: &str = "JVBERi0xLjQKMSAwIG9iajw8Pj5lbmRvYmoKdHJhaWxlcjw8Pj4KJSVFT0YK";
const XML: &str = "PD94bWwgdmVyc2lvbj0iMS4wIj8+PGE+w7E8L2E+";
/// What stands for a body that is too large.
const TOO_LARGE: &str = "<26 MiB JSON>";

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    /// JSON, or a text.
    pub(crate) body: Value,
}

/// Somebody who sends requests to one address.
#[derive(Clone)]
pub(crate) struct Asker {
    base: String,
    http: Client<HttpConnector, Full<Bytes>>,
}

impl Asker {
    /// For `http://ADDRESS`.
    pub(crate) fn new(base: &str) -> Self {
        Self { base: base.to_owned(), http: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// Sends a recorded request.
    ///
    /// # Errors
    /// There is no answer.
    pub(crate) async fn recorded(&self, request: &golden::Request, names: &Names) -> anyhow::Result<Answer> {
        let golden::Request { method, path, headers, body } = request;
        let mut headers: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| (name.clone(), names.fill(value).replace("<BOUNDARY>", BOUNDARY)))
            .collect();
        let bytes = match body {
            Value::Null => Bytes::new(),
            Value::String(text) if text == TOO_LARGE => large(),
            Value::String(text) => names.fill(text).into(),
            Value::Object(fields) if fields.contains_key("multipart/form-data") => {
                multipart(&names.fill_value(&fields["multipart/form-data"]))?
            }
            value => names.fill_value(value).to_string().into(),
        };
        headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-length"));
        self.send(method, &names.fill(path), &headers, bytes).await
    }

    /// A request with a token and JSON, for the replay's own ends.
    ///
    /// # Errors
    /// There is no answer, or it is an error.
    pub(crate) async fn json(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let authorization = (header::AUTHORIZATION.to_string(), format!("Bearer {token}"));
        let kind = (header::CONTENT_TYPE.to_string(), "application/json".to_owned());
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let answer = self.send(method, path, &[authorization, kind], bytes).await?;
        if !(200..300).contains(&answer.status) {
            bail!("{method} {path} was answered with {} {}", answer.status, answer.body);
        }
        Ok(answer.body)
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Bytes,
    ) -> anyhow::Result<Answer> {
        let uri: Uri =
            format!("{}{path}", self.base).parse().with_context(|| format!("{path:?} is no path"))?;
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes())?).uri(uri);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let exchange = async {
            let answer = self.http.request(request.body(Full::new(body))?).await?;
            let (parts, body) = answer.into_parts();
            Ok::<_, anyhow::Error>((parts, body.collect().await?.to_bytes()))
        };
        let (parts, bytes) = tokio::time::timeout(LIMIT, exchange)
            .await
            .with_context(|| format!("{method} {path} was not answered in time"))?
            .with_context(|| format!("{method} {path} was not answered"))?;
        let text = String::from_utf8_lossy(&bytes);
        let value = serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.into_owned()));
        let headers = parts.headers.iter();
        let headers = headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        Ok(Answer { status: parts.status.as_u16(), headers: headers.collect(), body: value })
    }
}

fn large() -> Bytes {
    let mut text = String::from("{\"numero\":\"");
    text.push_str(&"x".repeat(26 * 1024 * 1024));
    text.push_str("\"}");
    text.into()
}

/// A multipart body: texts, and files of the recorded types and lengths.
fn multipart(parts: &Value) -> anyhow::Result<Bytes> {
    let parts = parts.as_object().context("the parts are no object")?;
    let mut body = Vec::new();
    for (name, value) in parts {
        body.extend_from_slice(
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"").as_bytes(),
        );
        match value {
            Value::Object(file) => {
                let text = |name: &str| file.get(name).and_then(Value::as_str).unwrap_or_default();
                let head = format!(
                    "; filename=\"{}\"\r\nContent-Type: {}\r\n\r\n",
                    text("filename"),
                    text("content-type")
                );
                body.extend_from_slice(head.as_bytes());
                body.extend_from_slice(&content(file)?);
            }
            Value::String(text) => body.extend_from_slice(format!("\r\n\r\n{text}").as_bytes()),
            other => body.extend_from_slice(format!("\r\n\r\n{other}").as_bytes()),
        }
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    Ok(body.into())
}

fn content(file: &Map<String, Value>) -> anyhow::Result<Vec<u8>> {
    let kind = file.get("content-type").and_then(Value::as_str).unwrap_or_default();
    let length = file.get("bytes").and_then(Value::as_u64).context("a file has no length")?;
    let sample = match kind {
        "image/png" => PICTURE,
        "application/pdf" => PDF,
        _ => XML,
    };
    let mut bytes = BASE64_STANDARD.decode(sample)?;
    bytes.resize(usize::try_from(length)?, b'\n');
    Ok(bytes)
}
