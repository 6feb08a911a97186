//! What is left to do when the installation goes: no operator will answer for the devices' finalizers any more.
//!
//! The chart runs it after everything else is deleted, the operator's permissions among it, so that nobody puts the finalizers back.
//! Devices, their pods and their sessions stay. It needs `list` and `patch` on `whatsappdevices`, and nothing else.

use enlace_crds::{WhatsAppDevice, names};
use futures::stream::{self, StreamExt as _};
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

/// Devices in one answer.
const PAGE: u32 = 500;
/// Requests at a time.
const CONCURRENCY: usize = 8;
/// How often all devices are looked at: more than once because somebody may change a device between its reading and its writing.
const PASSES: usize = 5;

/// Finalizers are left.
#[derive(Debug, thiserror::Error)]
pub enum UninstallError {
    /// The devices cannot be listed.
    #[error("the devices cannot be listed")]
    List(#[source] Box<kube::Error>),
    /// A device cannot be changed.
    #[error("the finalizer of device {device} cannot be taken off")]
    Patch {
        /// Which, as `namespace/name`.
        device: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// Somebody keeps changing devices or putting the finalizers back.
    #[error("{left} devices were changed by somebody each time: is an operator still running?")]
    Left {
        /// How many.
        left: usize,
    },
}

/// Takes the operator's finalizer off every device; gives how many had it. A cluster that does not know the resource has none.
///
/// # Errors
/// When the API server refuses, or devices do not stay without it.
pub async fn release_finalizers(client: &Client) -> Result<usize, UninstallError> {
    let mut released = 0;
    let mut left = 0;
    for _ in 0..PASSES {
        let devices = with_finalizer(client).await?;
        if devices.is_empty() {
            return Ok(released);
        }
        let mut outcomes =
            stream::iter(devices).map(|device| release(client, device)).buffer_unordered(CONCURRENCY);
        left = 0;
        while let Some(outcome) = outcomes.next().await {
            if outcome? {
                released += 1;
            } else {
                left += 1;
            }
        }
    }
    // What the last pass took off was not looked at again, and need not be.
    if left == 0 { Ok(released) } else { Err(UninstallError::Left { left }) }
}

async fn with_finalizer(client: &Client) -> Result<Vec<PartialObjectMeta<WhatsAppDevice>>, UninstallError> {
    let api = Api::<WhatsAppDevice>::all(client.clone());
    let mut found = Vec::new();
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        // Only the metadata: a device whose spec nobody can read has a finalizer as well.
        let page = match api.list_metadata(&parameters).await {
            Ok(page) => page,
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(found),
            Err(error) => return Err(UninstallError::List(Box::new(error))),
        };
        let more = page.metadata.continue_.clone().filter(|token| !token.is_empty());
        found.extend(page.items.into_iter().filter(has_finalizer));
        match more {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(found),
        }
    }
}

fn has_finalizer(device: &PartialObjectMeta<WhatsAppDevice>) -> bool {
    device.finalizers().iter().any(|finalizer| finalizer == names::LOGOUT_FINALIZER)
}

/// False when the device was changed since it was read.
async fn release(client: &Client, device: PartialObjectMeta<WhatsAppDevice>) -> Result<bool, UninstallError> {
    let (namespace, name) = (device.namespace().unwrap_or_default(), device.name_any());
    let others: Vec<_> =
        device.finalizers().iter().filter(|finalizer| *finalizer != names::LOGOUT_FINALIZER).collect();
    // The version makes the API server refuse a list that somebody has changed in the meantime.
    let patch = json!({ "metadata": { "resourceVersion": device.resource_version(), "finalizers": others } });
    let api = Api::<WhatsAppDevice>::namespaced(client.clone(), &namespace);
    match api.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(true),
        Err(kube::Error::Api(status)) if status.is_conflict() => Ok(false),
        Err(source) => {
            Err(UninstallError::Patch { device: format!("{namespace}/{name}"), source: Box::new(source) })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use http::{Method, Request, Response, StatusCode};
    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use serde_json::Value;

    /// What was patched, by path.
    type Patches = Arc<Mutex<Vec<(String, Value)>>>;

    /// An API server with these devices, which refuses the first `conflicts` patches; and what was patched.
    fn server(devices: Vec<Value>, conflicts: usize) -> (Client, Patches) {
        let devices = Arc::new(Mutex::new(devices));
        let patches = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&patches);
        let service = tower::service_fn(move |request: Request<Body>| {
            let (devices, patches) = (Arc::clone(&devices), Arc::clone(&patches));
            async move {
                let path = request.uri().path().to_owned();
                let method = request.method().clone();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let mut devices = devices.lock().unwrap();
                let mut patches = patches.lock().unwrap();
                let (code, answer) = if method == Method::GET {
                    let list = json!({
                        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
                        "metadata": {}, "items": *devices,
                    });
                    (StatusCode::OK, list)
                } else {
                    let patch: Value = serde_json::from_slice(&body).unwrap();
                    patches.push((path.clone(), patch.clone()));
                    if patches.len() <= conflicts {
                        let status = json!({
                            "apiVersion": "v1", "kind": "Status", "status": "Failure",
                            "reason": "Conflict", "code": 409, "message": "changed", "metadata": {},
                        });
                        (StatusCode::CONFLICT, status)
                    } else {
                        let device = devices
                            .iter_mut()
                            .find(|device| path.ends_with(device["metadata"]["name"].as_str().unwrap()))
                            .unwrap();
                        device["metadata"]["finalizers"] = patch["metadata"]["finalizers"].clone();
                        (StatusCode::OK, device.clone())
                    }
                };
                let body = serde_json::to_vec(&answer).unwrap();
                let response = Response::builder()
                    .status(code)
                    .header("content-type", "application/json")
                    .body(Body::from(body))
                    .unwrap();
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        (Client::new(service, "default"), written)
    }

    fn device(name: &str, finalizers: &[&str]) -> Value {
        json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {
                "namespace": "shop", "name": name, "resourceVersion": "7", "finalizers": finalizers,
            },
        })
    }

    #[tokio::test]
    async fn only_our_finalizer_is_taken_off_and_only_where_it_is() {
        let (client, patches) = server(
            vec![
                device("plain", &[]),
                device("ours", &[names::LOGOUT_FINALIZER]),
                device("both", &["example.com/backup", names::LOGOUT_FINALIZER]),
            ],
            0,
        );
        assert_eq!(release_finalizers(&client).await.unwrap(), 2);
        let mut patches = patches.lock().unwrap().clone();
        patches.sort_by_key(|(path, _)| path.clone());
        let path = |name: &str| format!("/apis/enlace.dev/v1alpha1/namespaces/shop/whatsappdevices/{name}");
        let patch = |left: &[&str]| json!({ "metadata": { "resourceVersion": "7", "finalizers": left } });
        assert_eq!(patches, [(path("both"), patch(&["example.com/backup"])), (path("ours"), patch(&[]))]);
    }

    #[tokio::test]
    async fn a_device_that_was_changed_in_the_meantime_is_read_again() {
        let (client, patches) = server(vec![device("ours", &[names::LOGOUT_FINALIZER])], 2);
        assert_eq!(release_finalizers(&client).await.unwrap(), 1);
        assert_eq!(patches.lock().unwrap().len(), 3);
    }

    #[tokio::test]
    async fn somebody_who_keeps_changing_a_device_is_an_error_that_says_so() {
        let (client, _) = server(vec![device("ours", &[names::LOGOUT_FINALIZER])], usize::MAX);
        let error = release_finalizers(&client).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "1 devices were changed by somebody each time: is an operator still running?"
        );
    }
}
