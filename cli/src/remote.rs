//! The API of a running Enlace.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use enlace_contract::events::DeviceEvent;
use enlace_contract::name::DeviceKey;
use enlace_contract::problem::Problem;
use eventsource_stream::Eventsource as _;
use futures::stream::{BoxStream, StreamExt as _};
use http::{Method, StatusCode};
use reqwest::{Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::arguments::Api;

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call may take, but for a stream and for one that waits on purpose.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// What is said of an answer that is none of the API's.
const UNREADABLE: &str = "the answer of the API cannot be read";
/// The name of the file that `enlace standalone` leaves its token in.
pub(crate) const TOKEN_FILE: &str = "token";

/// A client of the API.
pub(crate) struct Remote {
    client: reqwest::Client,
    url: String,
    token: String,
}

/// The API refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) problem: Problem,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} {})", self.problem.detail, self.status.as_u16(), self.problem.reason)
    }
}

impl std::error::Error for Refused {}

/// The API did not answer; why.
#[derive(Debug)]
pub(crate) struct Unreachable {
    url: String,
    why: String,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, why } = self;
        write!(f, "the API at {url} cannot be reached: {why}; is it running, and there? (--url, ENLACE_URL)")
    }
}

impl std::error::Error for Unreachable {}

impl Remote {
    /// The API that the command line names.
    pub(crate) fn open(api: Api) -> anyhow::Result<Self> {
        let Api { url, token, data_dir } = api;
        let token = match token.filter(|token| !token.trim().is_empty()) {
            Some(token) => token,
            None => {
                let file = data_dir.join(TOKEN_FILE);
                std::fs::read_to_string(&file).with_context(|| {
                    format!(
                        "no token: set ENLACE_TOKEN, or start `enlace standalone` on this machine, which leaves one in {}",
                        file.display()
                    )
                })?
            }
        };
        // Another part of the program may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .user_agent(concat!("enlace/", env!("CARGO_PKG_VERSION")));
        if is_this_machine(&url) {
            // No proxy leads to it, whatever HTTP_PROXY says.
            client = client.no_proxy();
        }
        let client = client.build().context("the HTTP client could not start")?;
        let url = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { client, url, token: token.trim().to_owned() })
    }

    /// The path of a device, with what follows.
    pub(crate) fn device(key: &DeviceKey, rest: &str) -> String {
        format!("/v1/devices/{}/{}{rest}", key.namespace(), key.name())
    }

    /// `GET` of a JSON value.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.call(Method::GET, path, None::<&()>, &[], CALL_TIMEOUT).await
    }

    /// `POST` of a JSON value.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.call(Method::POST, path, Some(body), &[], CALL_TIMEOUT).await
    }

    /// `POST` with headers, and time for the server to wait.
    pub(crate) async fn post_patiently<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        headers: &[(&'static str, &str)],
        wait: Duration,
    ) -> anyhow::Result<T> {
        self.call(Method::POST, path, Some(body), headers, CALL_TIMEOUT + wait).await
    }

    /// `DELETE`; what the API has to say of it, if anything.
    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Option<T>> {
        let response = self.send(self.request(Method::DELETE, path).timeout(CALL_TIMEOUT)).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        response.json().await.map(Some).context(UNREADABLE)
    }

    /// The events of a device. The first one is its state.
    pub(crate) async fn events(
        &self,
        key: &DeviceKey,
        after: Option<i64>,
    ) -> anyhow::Result<BoxStream<'static, anyhow::Result<DeviceEvent>>> {
        let mut request = self.request(Method::GET, &Self::device(key, "/events"));
        if let Some(after) = after {
            request = request.header("last-event-id", after.to_string());
        }
        let response = self.send(request).await?;
        let events = response.bytes_stream().eventsource().filter_map(async |event| match event {
            Ok(event) => {
                let event = DeviceEvent::parse(&event.event, &event.data);
                event.context("an event cannot be read").transpose()
            }
            Err(error) => Some(Err(anyhow::Error::new(error).context("the stream of events broke off"))),
        });
        Ok(events.boxed())
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        headers: &[(&'static str, &str)],
        timeout: Duration,
    ) -> anyhow::Result<T> {
        let mut request = self.request(method, path).timeout(timeout);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = self.send(request).await?;
        response.json().await.context(UNREADABLE)
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    /// Sends it; the answer when it is a good one.
    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Response> {
        match request.send().await {
            Ok(response) => accepted(response).await,
            Err(error) => Err(Unreachable { url: self.url.clone(), why: root(&error) }.into()),
        }
    }
}

/// What an error of the HTTP client comes from: the layers above it say little to a person.
fn root(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    if speaks_no_tls(error) {
        return "what answers there speaks no TLS: write http:// for it".to_owned();
    }
    let all = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    all.last().map(ToString::to_string).unwrap_or_default()
}

/// Whether a TLS handshake was answered with something else, as a port of plain HTTP does.
fn speaks_no_tls(error: &reqwest::Error) -> bool {
    let mut all = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    all.any(|error| {
        // An I/O error shows what it was made of to nobody who walks along the sources; one can be made of another.
        let mut current = Some(error);
        while let Some(io) = current.and_then(|error| error.downcast_ref::<std::io::Error>()) {
            current = io.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static));
        }
        matches!(current.and_then(|error| error.downcast_ref()), Some(rustls::Error::InvalidMessage(_)))
    })
}

fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

async fn accepted(response: Response) -> anyhow::Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.bytes().await.unwrap_or_default();
    match serde_json::from_slice(&body) {
        Ok(problem) => Err(anyhow::Error::new(Refused { status, problem })),
        Err(_) => bail!("what answers there is not Enlace's API (HTTP {status})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_address() {
        for (url, local) in [
            ("http://127.0.0.1:3000", true),
            ("http://[::1]:3000", true),
            ("http://localhost", true),
            ("http://10.0.0.1", false),
            ("https://localhost.example.com", false),
        ] {
            assert_eq!(is_this_machine(&url.parse().unwrap()), local, "{url}");
        }
    }
}
