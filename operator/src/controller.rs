//! The five stages in a row, and what becomes of errors.

use std::sync::Arc;
use std::time::Duration;

use enlace_contract::client::ClientError;
use enlace_crds::config::ConfigError;
use enlace_crds::{WhatsAppDevice, names};
use jiff::Timestamp;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource as _, ResourceExt as _};

use crate::apply::{self, ApplyError};
use crate::context::Context;
use crate::events::Told;
use crate::observe::{Seen, children, observe};
use crate::plan::{self, Claimed, Departure};
use crate::status::{self, StatusError};
use crate::triggers::{Guarded, key_of};
use crate::validate::{Validated, validate};

/// How long a look may take: one that hangs would never be repeated.
const LIMIT: Duration = Duration::from_secs(60);
/// When nothing changes, everything is looked at again after this time and up to half as much more.
const SAFETY: Duration = Duration::from_secs(45 * 60);
/// The pause after a conflict: the cache is behind by less than that.
const CONFLICT: Duration = Duration::from_millis(300);
/// After so many failures in a row, a conflict is an error like others: no cache is behind for that long.
const CONFLICTS: u32 = 5;
/// The first pause after an error; each one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after an error.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Between two attempts to end a session, and while an earlier device's children go.
const RETRY: Duration = Duration::from_secs(2);

/// A look at a device failed.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// It took too long.
    #[error("it took longer than {LIMIT:?}")]
    Timeout,
    /// Its configuration cannot be written.
    #[error("the device's configuration cannot be written")]
    Yaml(#[source] serde_saphyr::ser::Error),
    /// The plan was not carried out.
    #[error("the plan was not carried out")]
    Apply(#[source] ApplyError),
    /// The status was not written.
    #[error("the status was not written")]
    Status(#[source] StatusError),
}

impl ReconcileError {
    /// Whether a look a moment later will do.
    fn is_conflict(&self) -> bool {
        match self {
            Self::Apply(error) => error.is_conflict(),
            Self::Status(StatusError(error)) => {
                matches!(error.as_ref(), kube::Error::Api(status) if status.is_conflict())
            }
            Self::Timeout | Self::Yaml(_) => false,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            _ if self.is_conflict() => "Conflict",
            Self::Apply(error) => error.kind(),
            Self::Status(_) => "Status",
            Self::Timeout => "Timeout",
            Self::Yaml(_) => "Yaml",
        }
    }
}

/// Looks at a device and does what is to be done.
///
/// # Errors
/// When something failed; what was done until then stands.
pub async fn reconcile(device: Arc<Guarded>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let began = std::time::Instant::now();
    metrics::counter!("enlace_operator_reconciles_total").increment(1);
    // What was written since counts too. One that is gone is forgotten when its turn comes next.
    let reference = ObjectRef::from_obj(device.as_ref());
    let Some(device) = context.caches.newest(&reference) else { return Ok(Action::await_change()) };
    let outcome = match &device.0 {
        Ok(device) => {
            tokio::time::timeout(LIMIT, look(device, &context)).await.unwrap_or(Err(ReconcileError::Timeout))
        }
        Err(invalid) => Ok(malformed(invalid, &context).await),
    };
    metrics::histogram!("enlace_operator_reconcile_seconds").record(began.elapsed().as_secs_f64());
    if outcome.is_ok() {
        let uid = device.meta().uid.clone().unwrap_or_default();
        context.memories.with(&reference, &uid, |memory| memory.failures = 0);
    }
    outcome
}

/// When to look again after an error: soon after a conflict, else later each time. Here each error is logged, once.
pub fn error_policy(device: Arc<Guarded>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let key = format!("{}/{}", device.namespace().unwrap_or_default(), device.name_any());
    metrics::counter!("enlace_operator_reconcile_errors_total", "kind" => error.kind()).increment(1);
    let uid = device.meta().uid.clone().unwrap_or_default();
    let failures = context.memories.with(&ObjectRef::from_obj(device.as_ref()), &uid, |memory| {
        memory.failures = memory.failures.saturating_add(1);
        memory.failures
    });
    if error.is_conflict() && failures <= CONFLICTS {
        tracing::debug!(
            device = key,
            error = crate::telemetry::chain(error),
            "the cache of device {key} was behind"
        );
        return Action::requeue(jittered(CONFLICT));
    }
    tracing::warn!(
        device = key,
        kind = error.kind(),
        error = crate::telemetry::chain(error),
        "device {key} is tried again"
    );
    Action::requeue(jittered(pause(if error.is_conflict() { failures - CONFLICTS } else { failures })))
}

fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_PAUSE)
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(1.0..1.5))
}

async fn look(device: &WhatsAppDevice, context: &Context) -> Result<Action, ReconcileError> {
    let now = Timestamp::now();
    let Some(seen) = observe(context, device, now) else { return Ok(Action::await_change()) };
    let key = key_of(&seen.reference);
    let validated = match validate(seen, &context.settings) {
        Ok(validated) => validated,
        Err(error) => return Ok(unnamed(device, &error, context).await),
    };
    if device.metadata.deletion_timestamp.is_some() {
        return depart(context, &validated, now).await;
    }
    let step = plan::claim(&validated, &context.settings.namespace);
    let outcome = apply::claim(context, step, &validated.key).await.map_err(ReconcileError::Apply)?;
    let mut claimed = Claimed { validated, outcome };
    let plan = plan::plan(&claimed, &context.settings, now).map_err(ReconcileError::Yaml)?;
    let leftover = plan.leftover;
    let applied = apply::apply(context, &claimed.validated.seen, plan, now).await;
    // What was made just now is so, too.
    claimed.validated.seen.children = children(&context.caches, &claimed.validated.key);
    if let Some(told) = applied.as_ref().err().and_then(ApplyError::told) {
        status::tell(context, device, told).await;
    }
    // What is so is written even when not all was done that was to be done.
    let next = status::write(context, &claimed, now).await.map_err(ReconcileError::Status)?;
    if applied.map_err(ReconcileError::Apply)?.rollout_stopped {
        tracing::debug!(device = key, "device {key} is not restarted: the rollout is stopped");
    }
    Ok(Action::requeue(match (leftover, next) {
        (Some(_), _) => jittered(RETRY),
        (None, Some(next)) => until(next, now).min(jittered(SAFETY)),
        (None, None) => jittered(SAFETY),
    }))
}

/// A little after a time, so that it has come when the device is looked at.
fn until(time: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(now)).unwrap_or_default() + Duration::from_millis(50)
}

/// Ends the session of a device that is being deleted, and lets it go.
async fn depart(context: &Context, validated: &Validated, now: Timestamp) -> Result<Action, ReconcileError> {
    let seen = &validated.seen;
    let (logged_out, tried) =
        context.memories.with(&seen.reference, &seen.uid, |memory| (memory.logged_out, memory.logout_tried));
    match plan::departure(validated, logged_out, tried, now) {
        Departure::Nothing => Ok(Action::await_change()),
        Departure::Leave(reason) => {
            if let Some(reason) = reason {
                let note = format!(
                    "the device was not unlinked at WhatsApp: {reason}; remove it on the phone under Linked devices"
                );
                status::tell(context, &seen.device, Told::warning("LogoutSkipped", note)).await;
            }
            leave(context, validated).await
        }
        Departure::LogOut { last } => {
            context.memories.with(&seen.reference, &seen.uid, |memory| memory.logout_tried = true);
            match log_out(context, seen).await {
                Ok(()) => {
                    context.memories.with(&seen.reference, &seen.uid, |memory| memory.logged_out = true);
                    status::tell(
                        context,
                        &seen.device,
                        Told::normal("LoggedOut", "the device was unlinked at WhatsApp"),
                    )
                    .await;
                    leave(context, validated).await
                }
                Err(error) => {
                    let key = key_of(&seen.reference);
                    if let Some(error) = &error {
                        tracing::info!(
                            device = key,
                            last,
                            error = crate::telemetry::chain(error),
                            "device {key} was not logged out"
                        );
                    }
                    Ok(Action::requeue(RETRY))
                }
            }
        }
    }
}

async fn log_out(context: &Context, seen: &Seen) -> Result<(), Option<ClientError>> {
    let client = context.streams.client(&seen.reference).ok_or(None)?;
    client.log_out().await.map(|_| ()).map_err(Some)
}

async fn leave(context: &Context, validated: &Validated) -> Result<Action, ReconcileError> {
    let seen = &validated.seen;
    if let Some(step) = plan::kept(validated) {
        apply::volume(context, seen, step).await.map_err(ReconcileError::Apply)?;
    }
    apply::let_go(context, seen).await.map_err(ReconcileError::Apply)?;
    Ok(Action::await_change())
}

/// A resource that is none. The others go on, and somebody is told.
async fn malformed(invalid: &InvalidObject, context: &Context) -> Action {
    let mut device = WhatsAppDevice::new("", Default::default());
    device.metadata = invalid.metadata.clone();
    let note = format!("the resource cannot be read: {}", invalid.error);
    status::tell(context, &device, Told::warning("Unreadable", note)).await;
    // A session that nobody can say anything about must not keep the resource for ever.
    let finalizers = device.metadata.finalizers.clone().unwrap_or_default();
    if device.metadata.deletion_timestamp.is_some()
        && finalizers.iter().any(|name| name == names::LOGOUT_FINALIZER)
    {
        let patch = serde_json::json!({ "metadata": {
            "resourceVersion": device.metadata.resource_version,
            "finalizers": plan::without_ours(finalizers),
        }});
        let api: kube::Api<WhatsAppDevice> =
            kube::Api::namespaced(context.client.clone(), &device.namespace().unwrap_or_default());
        let patch = kube::api::Patch::Merge(patch);
        if api.patch_metadata(&device.name_any(), &kube::api::PatchParams::default(), &patch).await.is_err() {
            return Action::requeue(jittered(RETRY));
        }
    }
    Action::await_change()
}

async fn unnamed(device: &WhatsAppDevice, error: &ConfigError, context: &Context) -> Action {
    status::tell(context, device, Told::warning("InvalidSpec", error.to_string())).await;
    Action::await_change()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        let seconds = |failures| pause(failures).as_secs();
        assert_eq!([1, 2, 3, 9, 10, u32::MAX].map(seconds), [1, 2, 4, 256, 300, 300]);
    }
}
