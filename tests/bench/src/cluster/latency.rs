//! What the API adds to a request: the same request through the API's Service and at the device's pod, in turns, over connections that stay
//! open.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use enlace_contract::token::TokenSigner;
use enlace_crds::rules::conditions::CONNECTED;
use enlace_e2e::api::Api;
use enlace_e2e::commands::json as get;
use enlace_e2e::device::Device;
use enlace_e2e::eventually;
use enlace_e2e::installation::{RELEASE, SYSTEM};
use enlace_e2e::scene::Scene;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::series::{Series, Unit};

/// Requests on each way before those that count: they open the connections.
const BEFORE: u32 = 20;
/// Requests of a token at once, which the API allows.
const OF_A_TOKEN: u32 = 400;
/// Where messages go.
const OTHER: &str = "525550000099";

/// The same request on two ways.
struct Route {
    keys: [&'static str; 3],
    what: &'static str,
    method: Method,
    /// The end of the path, after the device.
    end: &'static str,
    body: Option<Value>,
}

/// The two ways to a device.
struct Ways<'a> {
    device: &'a Device<'a>,
    /// The API, with one of the tokens that are used in turns.
    api: Vec<Api>,
    /// The device's pod, without a token.
    pod: Api,
    signer: TokenSigner,
    uid: String,
}

/// Measures both routes with one connected device.
///
/// # Errors
/// The device's key or address is not there, or a request fails.
pub(crate) async fn measure(
    scene: &Scene,
    device: &Device<'_>,
    requests: u32,
) -> anyhow::Result<Vec<Series>> {
    let routes = [
        Route {
            keys: ["statusApi", "statusPod", "statusAdded"],
            what: "GET status",
            method: Method::GET,
            end: "/status",
            body: None,
        },
        Route {
            keys: ["sendApi", "sendPod", "sendAdded"],
            what: "POST messages",
            method: Method::POST,
            end: "/messages",
            body: Some(json!({"to": OTHER, "type": "text", "text": "Your invoice is ready."})),
        },
    ];
    let through = format!("/v1/devices/{}/{}", scene.namespace, device.name);
    let ways = Ways::open(device, &through, (requests + BEFORE) * 2).await?;
    let mut series = Vec::new();
    for route in &routes {
        eprintln!("{}: {requests} through the API and {requests} at the pod, in turns", route.what);
        series.extend(ways.measure(route, &through, requests).await?);
    }
    Ok(series)
}

impl<'a> Ways<'a> {
    /// Logs in, and waits until the API reaches the device; as many tokens as this many requests need.
    async fn open(device: &'a Device<'a>, through: &str, requests: u32) -> anyhow::Result<Self> {
        let admin = Api::log_in().await;
        let mut api = Vec::new();
        for _ in 0..requests.div_ceil(OF_A_TOKEN) {
            let made = admin.post("/v1/tokens", &json!({"name": "bench"})).await;
            api.push(admin.with_token(made["value"].as_str().context("a token without a value")?));
        }
        eventually("the API to reach the device", async || {
            admin.ask(Method::GET, &format!("{through}/status"), None).await.0.is_success().then_some(())
        })
        .await;
        let pod = device.pod_object();
        let address = pod["status"]["podIP"].as_str().context("the pod has no address")?;
        let ports = pod["spec"]["containers"][0]["ports"].as_array().context("the pod has no ports")?;
        let port = ports.iter().find(|port| port["name"] == "http").context("the pod has no port `http`")?;
        let uid = device.get().metadata.uid.context("the device has no UID")?;
        let pod = Api::at(&format!("{address}:{}", port["containerPort"]));
        Ok(Self { device, api, pod, signer: signer()?, uid })
    }

    async fn measure(&self, route: &Route, through: &str, requests: u32) -> anyhow::Result<[Series; 3]> {
        let [api_key, pod_key, added_key] = route.keys;
        let new = |key, what: &str| Series::new(key, format!("{}{what}", route.what), Unit::Milliseconds);
        let mut through_api = new(api_key, " through the API");
        let mut at_pod = new(pod_key, " at the device's pod");
        let mut added = new(added_key, ": what the API adds, pair by pair");
        let through = format!("{through}{}", route.end);
        let straight = format!("/v1{}", route.end);
        for number in 0..BEFORE + requests {
            let turn = usize::try_from(number)?;
            let api = self.api.get(turn % self.api.len()).context("no token")?;
            let pod = self.pod.with_token(&self.signer.sign(&self.uid, Timestamp::now())?);
            // Neither way is always the first one.
            let (of_api, of_pod) = if number.is_multiple_of(2) {
                let of_api = took(api, route, &through).await?;
                (of_api, took(&pod, route, &straight).await?)
            } else {
                let of_pod = took(&pod, route, &straight).await?;
                (took(api, route, &through).await?, of_pod)
            };
            if number >= BEFORE {
                through_api.add(Unit::time(of_api));
                at_pod.add(Unit::time(of_pod));
                let (unit, of_pod) = Unit::time(of_pod);
                added.add((unit, Unit::time(of_api).1 - of_pod));
            }
        }
        ensure!(
            self.device.get().status.is_some_and(|status| status.is_true(CONNECTED)),
            "the device is not connected any more"
        );
        Ok([through_api, at_pod, added])
    }
}

/// From before a request to the end of its answer.
async fn took(way: &Api, route: &Route, path: &str) -> anyhow::Result<Duration> {
    let asked = Instant::now();
    let response = way.send(route.method.clone(), path, route.body.as_ref()).await;
    let status = response.status();
    let answer = response.bytes().await?;
    let took = asked.elapsed();
    ensure!(status.is_success(), "{} {path}: {status} {}", route.method, String::from_utf8_lossy(&answer));
    Ok(took)
}

/// What makes tokens for devices: the key that the operator made for the API.
fn signer() -> anyhow::Result<TokenSigner> {
    let secret = get(&["--namespace", SYSTEM, "get", "secret", &format!("{RELEASE}-api-key")]);
    let key = secret["data"]["key"].as_str().context("the API's Secret has no key")?;
    Ok(TokenSigner::new(&bytes(key)?, "bench")?)
}

/// The 32 bytes of a key in a Secret.
fn bytes(key: &str) -> anyhow::Result<[u8; 32]> {
    BASE64_STANDARD.decode(key)?.try_into().map_err(|_| anyhow::anyhow!("the API's key has not 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes_in_base64() {
        assert_eq!(bytes(&BASE64_STANDARD.encode([7; 32])).unwrap(), [7; 32]);
        let error = bytes(&BASE64_STANDARD.encode([7; 31])).unwrap_err();
        assert_eq!(error.to_string(), "the API's key has not 32 bytes");
        assert!(bytes("*").is_err());
    }
}
