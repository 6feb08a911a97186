//! Releases numbers.
//!
//! A claim goes only when its holder, the holder's pod and the session's volume are gone: as long as one of them is there, a client of that
//! number may still run, or be started. A kept session keeps its number so.

use enlace_crds::names;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt as _};

use crate::apply;
use crate::caches::Caches;
use crate::context::Context;
use crate::observe::{SeenClaim, seen_claim};
use crate::pods::SeenPod;

/// Looks at all claims once. Nothing is asked of the API server unless a claim is to go.
pub async fn sweep(context: &Context) {
    for lease in context.caches.claims.state() {
        let claim = seen_claim(&context.caches, (*lease).clone());
        let Some(key) = &claim.key else { continue };
        let known = context.caches.volume_claims.get(key.namespace(), &names::volume_claim(key));
        if !is_free(&context.caches, &claim, known.as_ref()) {
            continue;
        }
        match unlabelled_volume(context, &claim, known).await {
            Ok(volume) if is_free(&context.caches, &claim, volume.as_ref()) => {}
            Ok(_) => continue,
            Err(error) => {
                tracing::warn!(
                    device = key.to_string(),
                    error = crate::telemetry::chain(&error),
                    "whether device {key} has left a session is not known, so its number is not released"
                );
                continue;
            }
        }
        match apply::released(context, &claim).await {
            Ok(()) => {
                tracing::info!(device = key.to_string(), "the number of device {key}, which is gone, is free")
            }
            Err(error) => {
                tracing::warn!(
                    device = key.to_string(),
                    error = crate::telemetry::chain(&error),
                    "the number of device {key} was not released"
                );
            }
        }
    }
}

/// The volume of a claim's holder: the one that is known, else one that lost the labels by which the cache finds it.
async fn unlabelled_volume(
    context: &Context,
    claim: &SeenClaim,
    known: Option<ObjectMeta>,
) -> kube::Result<Option<ObjectMeta>> {
    let (None, Some(key)) = (&known, &claim.key) else { return Ok(known) };
    let api: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), key.namespace());
    let found = api.get_metadata_opt(&names::volume_claim(key)).await?;
    // One that no device was ever given is somebody else's.
    let is_session =
        |meta: &ObjectMeta| meta.annotations.as_ref().is_some_and(|all| all.contains_key(names::MADE_FOR));
    Ok(found.map(|found| found.metadata).filter(is_session))
}

/// Whether nothing of a claim's holder is left.
fn is_free(caches: &Caches, claim: &SeenClaim, volume: Option<&ObjectMeta>) -> bool {
    // Without a name nothing can be said of what is left.
    let Some(key) = &claim.key else { return false };
    if claim.holder_exists {
        return false;
    }
    let namespace = key.namespace();
    let new_device = caches.device(namespace, key.name()).and_then(|device| device.uid());
    let made_for = |volume: &ObjectMeta| volume.annotations.as_ref()?.get(names::MADE_FOR).cloned();
    // A volume that was made for a new device of that name is not this holder's.
    let is_new = |volume: &ObjectMeta| new_device.is_some() && made_for(volume) == new_device;
    if volume.is_some_and(|volume| !is_new(volume)) {
        return false;
    }
    let pod = caches.pods.get(&ObjectRef::<Pod>::new(&names::pod(key)).within(namespace));
    // Nor is the new device's pod, when that volume is what it runs on. Of any other pod, nobody can say whose session it has.
    let is_new_pod = |pod: &SeenPod| volume.is_some() && pod.device == new_device;
    pod.and_then(|pod| SeenPod::of(&pod)).is_none_or(|pod| is_new_pod(&pod))
}
