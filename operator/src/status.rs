//! The fifth stage: writes what is so, when it differs from what is stored, and tells what changed.

use enlace_crds::rules::conditions::{CODE_NOT_PUBLISHED, PAIRED};
use enlace_crds::rules::{self, Observation};
use enlace_crds::{WhatsAppDevice, WhatsAppDeviceStatus, names};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;

use crate::context::Context;
use crate::events::{self, Told};
use crate::observe::Seen;
use crate::plan::Claimed;
use crate::validate::PublishTo;

/// The status could not be written.
#[derive(Debug, thiserror::Error)]
#[error("writing the status failed")]
pub struct StatusError(#[source] pub Box<kube::Error>);

/// Writes the status of a device if it changed; when the device is to be looked at again although nothing changes.
///
/// # Errors
/// When the API server refuses.
pub async fn write(
    context: &Context,
    claimed: &Claimed,
    now: Timestamp,
) -> Result<Option<Timestamp>, StatusError> {
    let seen = &claimed.validated.seen;
    let observation = claimed.observation();
    let next = next(claimed, &observation, now);
    if next != seen.previous {
        patch(context, seen, &next).await?;
        for told in told(&seen.previous, &next) {
            tell(context, &seen.device, told).await;
        }
    }
    Ok(rules::status::next_change(&next, &observation, now))
}

/// Tells something of a device as an Event. One that is lost is no reason to fail.
pub async fn tell(context: &Context, device: &WhatsAppDevice, told: Told) {
    let key = format!("{}/{}", device.namespace().unwrap_or_default(), device.name_any());
    if told.warning {
        tracing::warn!(device = key, reason = told.reason, "device {key}: {}", told.reason);
    } else {
        tracing::info!(device = key, reason = told.reason, "device {key}: {}", told.reason);
    }
    if let Err(error) = context.recorder.publish(&told.event("Reconcile"), &device.object_ref(&())).await {
        metrics::counter!("enlace_operator_events_dropped_total").increment(1);
        tracing::debug!(
            device = key,
            error = crate::telemetry::chain(&error),
            "an Event of device {key} was not published"
        );
    }
}

/// The status that is to be stored.
fn next(claimed: &Claimed, observation: &Observation<'_>, now: Timestamp) -> WhatsAppDeviceStatus {
    let mut next = rules::status::status(&claimed.validated.seen.previous, observation, now);
    let paired = next.conditions.iter_mut().find(|c| c.type_ == PAIRED && c.status != "True");
    if let Some(paired) = paired.filter(|_| claimed.validated.publish == PublishTo::Nowhere) {
        CODE_NOT_PUBLISHED.clone_into(&mut paired.reason);
        paired.message = unpublished(claimed.validated.key.namespace());
    }
    next
}

fn unpublished(namespace: &str) -> String {
    format!(
        "no code is published: spec.pairing.publishIn is Secret, and the installation's secretNamespaces do not list {namespace}"
    )
}

fn told(before: &WhatsAppDeviceStatus, after: &WhatsAppDeviceStatus) -> Vec<Told> {
    let unpublished = |status: &WhatsAppDeviceStatus| {
        let paired = status.condition(PAIRED).filter(|paired| paired.reason == CODE_NOT_PUBLISHED);
        paired.map(|paired| paired.message.clone())
    };
    let mut all = events::between(before, after);
    if let (None, Some(message)) = (unpublished(before), unpublished(after)) {
        all.push(Told::warning(CODE_NOT_PUBLISHED, message));
    }
    all
}

async fn patch(context: &Context, seen: &Seen, next: &WhatsAppDeviceStatus) -> Result<(), StatusError> {
    let (namespace, name) = (seen.device.namespace().unwrap_or_default(), seen.device.name_any());
    let api: Api<WhatsAppDevice> = Api::namespaced(context.client.clone(), &namespace);
    let status = json!({
        "apiVersion": names::API_VERSION,
        "kind": names::KIND,
        // A device that was made anew under this name is not this one: its UID makes the API server refuse.
        "metadata": { "name": name, "uid": seen.uid },
        "status": next,
    });
    let parameters = PatchParams::apply(names::FIELD_MANAGER).force();
    match api.patch_status(&name, &parameters, &Patch::Apply(&status)).await {
        Ok(stored) => {
            metrics::counter!("enlace_operator_status_writes_total").increment(1);
            let version = stored.metadata.resource_version.as_deref();
            // What is stored is what was written; the server's answer would only be read again.
            context.caches.statuses.note(&namespace, &name, version, next.clone());
            Ok(())
        }
        // It was deleted meanwhile.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(StatusError(Box::new(error))),
    }
}
