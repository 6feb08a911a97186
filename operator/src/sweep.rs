//! Releases numbers.
//!
//! A claim goes only when its holder, the holder's pod and the session's volume are gone: as long as one of them is there, a client of that
//! number may still run, or be started. A kept session keeps its number so.

use enlace_crds::names;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;

use crate::apply;
use crate::caches::Caches;
use crate::context::Context;
use crate::observe::{SeenClaim, seen_claim};
use crate::pods::SeenPod;

/// Looks at all claims once. Nothing is asked of the API server unless a claim is to go.
pub async fn sweep(context: &Context) {
    for lease in context.caches.claims.state() {
        let claim = seen_claim(&context.caches, (*lease).clone());
        if !is_free(&context.caches, &claim) {
            continue;
        }
        let key = claim.key.as_ref().map(ToString::to_string).unwrap_or_default();
        match apply::released(context, &claim).await {
            Ok(()) => tracing::info!(device = key, "the number of device {key}, which is gone, is free"),
            Err(error) => {
                tracing::warn!(
                    device = key,
                    error = crate::telemetry::chain(&error),
                    "the number of device {key} was not released"
                );
            }
        }
    }
}

/// Whether nothing of a claim's holder is left.
fn is_free(caches: &Caches, claim: &SeenClaim) -> bool {
    // Without a name nothing can be said of what is left.
    let Some(key) = &claim.key else { return false };
    if claim.holder_exists {
        return false;
    }
    let namespace = key.namespace();
    let pod = caches.pods.get(&ObjectRef::<Pod>::new(&names::pod(key)).within(namespace));
    let its_pod = pod
        .and_then(|pod| SeenPod::of(&pod))
        .is_some_and(|pod| pod.device.is_none_or(|device| device == claim.holder));
    let new_device = caches.device(namespace, key.name()).and_then(|device| device.uid());
    let its_volume = caches.volume_claims.get(namespace, &names::volume_claim(key)).is_some_and(|volume| {
        let made_for = volume.annotations.as_ref().and_then(|all| all.get(names::MADE_FOR));
        // A volume that was made for a new device of that name is not this holder's.
        new_device.is_none() || made_for != new_device.as_ref()
    });
    !its_pod && !its_volume
}
