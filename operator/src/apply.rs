//! The fourth stage: carries out a plan. It has no choices left but one: whether a restart has its turn.
//!
//! Each answer of the API server is remembered until the cache has it, see [`crate::written`].

use std::fmt::Debug;

use enlace_contract::client::ClientError;
use enlace_contract::state::PairRequest;
use enlace_crds::rules::ClaimOutcome;
use enlace_crds::{WhatsAppDevice, names};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::build;
use crate::caches::{Children, EDITED, holder_of, mark_metadata};
use crate::context::Context;
use crate::events::Told;
use crate::observe::{Seen, SeenClaim};
use crate::plan::{ClaimStep, Plan, Publish, Restart, VolumeStep, Write, without_ours};
use crate::rollout::{Decision, Now};
use crate::streams::Heard;
use crate::triggers::key_of;

/// The kind of a volume.
const VOLUME: &str = "PersistentVolumeClaim";

/// Carrying out a plan failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API server refused, or could not be asked.
    #[error("{verb} the {kind} failed")]
    Kube {
        /// What was to be done.
        verb: &'static str,
        /// With what.
        kind: &'static str,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// An object of the name exists and is not the device's.
    #[error("the {kind} {name} exists and is not this device's: delete it, or give the device another name")]
    Foreign {
        /// Of which kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The device did not take the answer to its claim.
    #[error("the device did not take the answer to its claim")]
    Claim(#[source] ClientError),
}

impl ApplyError {
    /// Whether the cache was behind: a look a moment later will do.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Kube { source, .. } => {
                matches!(source.as_ref(), kube::Error::Api(status) if status.is_conflict() || status.is_already_exists())
            }
            Self::Claim(_) | Self::Foreign { .. } => false,
        }
    }

    /// What somebody should know who can do something about it.
    pub fn told(&self) -> Option<Told> {
        match self {
            Self::Foreign { .. } => Some(Told::warning("NameTaken", self.to_string())),
            Self::Kube { verb: "changing", kind: VOLUME, source } => match source.as_ref() {
                kube::Error::Api(status) if status.is_forbidden() || status.is_invalid() => {
                    Some(Told::warning("VolumeNotChanged", &status.message))
                }
                _ => None,
            },
            Self::Kube { .. } | Self::Claim(_) => None,
        }
    }

    /// A word for it, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            _ if self.is_conflict() => "Conflict",
            Self::Kube { source, .. } => match source.as_ref() {
                kube::Error::Api(status) if status.is_forbidden() => "Forbidden",
                kube::Error::Api(status) if status.is_invalid() => "Invalid",
                kube::Error::Api(_) => "ApiServer",
                _ => "Unreachable",
            },
            Self::Foreign { .. } => "Foreign",
            Self::Claim(_) => "Device",
        }
    }
}

fn failed(verb: &'static str, kind: &'static str) -> impl FnOnce(kube::Error) -> ApplyError {
    move |source| ApplyError::Kube { verb, kind, source: Box::new(source) }
}

/// What was done, as far as the next stages want to know.
#[derive(Debug, Default)]
pub struct Applied {
    /// Whether a restart waits because too many devices did not come back.
    pub rollout_stopped: bool,
}

/// Carries out what is planned about the claim.
///
/// # Errors
/// When the API server refuses.
pub async fn claim(
    context: &Context,
    step: ClaimStep,
    key: &enlace_contract::name::DeviceKey,
) -> Result<ClaimOutcome, ApplyError> {
    let namespace = &context.settings.namespace;
    let api: Api<Lease> = Api::namespaced(context.client.clone(), namespace);
    let parameters =
        PostParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match step {
        ClaimStep::Nothing(outcome) => Ok(outcome),
        ClaimStep::Create(lease) => match api.create(&parameters, &lease).await {
            Ok(lease) => {
                tracing::info!(device = %key, "device {key} has its number");
                context.caches.note_claim(namespace, lease);
                Ok(ClaimOutcome::Granted)
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                // Another device was faster, or the cache is behind.
                let theirs =
                    api.get(&lease.name_any()).await.map_err(failed("reading", "Lease of the number"))?;
                let holder =
                    |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
                let outcome = if holder(&theirs) == holder(&lease) {
                    ClaimOutcome::Granted
                } else {
                    let holder = holder_of(&theirs);
                    let holder = holder.and_then(|(namespace, name)| {
                        enlace_contract::name::DeviceKey::new(&namespace, &name).ok()
                    });
                    ClaimOutcome::duplicate(key, holder)
                };
                context.caches.note_claim(namespace, theirs);
                Ok(outcome)
            }
            Err(error) => Err(failed("creating", "Lease of the number")(error)),
        },
        ClaimStep::TakeOver(lease) => {
            let lease = api
                .replace(&lease.name_any(), &parameters, &lease)
                .await
                .map_err(failed("taking over", "Lease of the number"))?;
            tracing::info!(device = %key, "device {key} adopts the number of the device before it");
            context.caches.note_claim(namespace, lease);
            Ok(ClaimOutcome::Granted)
        }
    }
}

/// Carries out a plan.
///
/// # Errors
/// At the first step that fails; what was done until then stands, and the next look goes on from there.
pub async fn apply(
    context: &Context,
    seen: &Seen,
    plan: Plan,
    now: Timestamp,
) -> Result<Applied, ApplyError> {
    let Plan {
        leftover: _,
        finalizers,
        volume_claim,
        config_map,
        network_policy,
        stateful_set,
        restart,
        rests,
        answer,
        pair,
        publish,
        release,
    } = plan;
    let caches = &context.caches;
    let mut applied = Applied::default();
    if let Some(finalizers) = finalizers {
        set_finalizers(context, seen, &finalizers).await?;
    }
    let mut refused = None;
    match volume_claim {
        // Not every storage class lets a volume grow. The rest goes on.
        Some(step @ VolumeStep::Change(_)) => refused = volume(context, seen, step).await.err(),
        Some(step) => volume(context, seen, step).await?,
        None => {}
    }
    if let Some(object) = config_map {
        write(context, seen, &caches.config_maps, "ConfigMap", object).await?;
    }
    if let Some(object) = network_policy {
        write(context, seen, &caches.network_policies, "NetworkPolicy", object).await?;
    }
    if let Some(object) = stateful_set {
        write(context, seen, &caches.stateful_sets, "StatefulSet", object).await?;
    }
    note_progress(context, seen, rests);
    if let Some(restart) = restart {
        applied.rollout_stopped = restarted(context, seen, &restart, now).await?;
    }
    if let (Some(decision), Some(client)) = (answer, context.streams.client(&seen.reference)) {
        client.decide_claim(&decision).await.map_err(ApplyError::Claim)?;
    }
    if let (Some(requested), Some(client)) = (pair, context.streams.client(&seen.reference)) {
        // The device reads the same request from its configuration, later.
        if let Err(error) = client.pair(&PairRequest { requested_at: Some(requested) }).await {
            tracing::debug!(
                device = key_of(&seen.reference),
                error = crate::telemetry::chain(&error),
                "the device did not take the request to pair"
            );
        }
    }
    if let Some(step) = publish {
        published(context, seen, step).await?;
    }
    for claim in release {
        released(context, &claim).await?;
    }
    refused.map_or(Ok(applied), Err)
}

/// Sets the finalizers of a device, if it was not changed since it was looked at.
///
/// # Errors
/// When the API server refuses; a conflict when the device was changed.
pub async fn set_finalizers(context: &Context, seen: &Seen, finalizers: &[String]) -> Result<(), ApplyError> {
    let device = &seen.device;
    let api = devices(context, device);
    let patch = json!({
        "metadata": { "resourceVersion": device.metadata.resource_version, "finalizers": finalizers },
    });
    let parameters =
        PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api.patch_metadata(&device.name_any(), &parameters, &Patch::Merge(patch))
        .await
        .map_err(failed("changing the finalizers of", "WhatsAppDevice"))?;
    Ok(())
}

/// Drops the finalizer of a device that is being deleted.
///
/// # Errors
/// When the API server refuses; a conflict when the device was changed.
pub async fn let_go(context: &Context, seen: &Seen) -> Result<(), ApplyError> {
    let finalizers = without_ours(seen.device.metadata.finalizers.clone().unwrap_or_default());
    match set_finalizers(context, seen, &finalizers).await {
        Err(ApplyError::Kube { source, .. }) if matches!(source.as_ref(), kube::Error::Api(status) if status.is_not_found()) => {
            Ok(())
        }
        outcome => outcome,
    }
}

/// Gives a number back, if nobody took it over since.
///
/// # Errors
/// When the API server refuses.
pub async fn released(context: &Context, claim: &SeenClaim) -> Result<(), ApplyError> {
    let api: Api<Lease> = Api::namespaced(context.client.clone(), &context.settings.namespace);
    let meta = &claim.lease.metadata;
    let preconditions =
        Preconditions { uid: meta.uid.clone(), resource_version: meta.resource_version.clone() };
    let parameters = DeleteParams::default().preconditions(preconditions);
    gone(api.delete(&claim.lease.name_any(), &parameters).await)
        .map_err(failed("releasing", "Lease of a number"))
}

/// Carries out what is planned about the volume.
///
/// # Errors
/// When the API server refuses.
pub async fn volume(context: &Context, seen: &Seen, step: VolumeStep) -> Result<(), ApplyError> {
    let device = &seen.device;
    let namespace = device.namespace().unwrap_or_default();
    let api: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &namespace);
    let name = match &seen.children.volume_claim {
        Some(volume) => volume.name.clone().unwrap_or_default(),
        None => String::new(),
    };
    let manager = Some(names::FIELD_MANAGER.to_owned());
    let meta = match step {
        VolumeStep::Create(volume) => {
            let parameters = PostParams { field_manager: manager, ..PostParams::default() };
            match api.create(&parameters, &volume).await {
                Ok(made) => made.metadata,
                Err(kube::Error::Api(status)) if status.is_already_exists() => {
                    found_again(context, seen, &api, &volume).await?;
                    // What is to be done with it, the next look decides.
                    return Err(failed("creating", VOLUME)(kube::Error::Api(status)));
                }
                Err(error) => return Err(failed("creating", VOLUME)(error)),
            }
        }
        VolumeStep::Change(patch) => {
            let parameters = PatchParams { field_manager: manager, ..PatchParams::default() };
            let patched = api.patch_metadata(&name, &parameters, &Patch::Merge(patch)).await;
            patched.map_err(failed("changing", VOLUME))?.metadata
        }
        VolumeStep::Delete { uid } => {
            let parameters = DeleteParams::default()
                .preconditions(Preconditions { uid: Some(uid), resource_version: None });
            gone(api.delete(&name, &parameters).await).map_err(failed("deleting", VOLUME))?;
            return Ok(());
        }
    };
    note(&context.caches.volume_claims, &namespace, meta);
    Ok(())
}

/// Gives the labels back to a volume that the cache does not have: without them it never would. The cache may just be behind, too.
async fn found_again(
    context: &Context,
    seen: &Seen,
    api: &Api<PersistentVolumeClaim>,
    wanted: &PersistentVolumeClaim,
) -> Result<(), ApplyError> {
    let name = wanted.name_any();
    let Some(found) = not_foreign(api, &name, VOLUME, &seen.uid).await? else { return Ok(()) };
    let patch = json!({
        "metadata": { "resourceVersion": found.resource_version, "labels": wanted.metadata.labels },
    });
    let parameters =
        PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patched = api.patch_metadata(&name, &parameters, &Patch::Merge(patch)).await;
    let meta = patched.map_err(failed("labelling", VOLUME))?.metadata;
    note(&context.caches.volume_claims, &seen.device.namespace().unwrap_or_default(), meta);
    Ok(())
}

/// Writes a child. One that was put right and still has another manager of the same fields is left in peace until it changes.
async fn write<K>(
    context: &Context,
    seen: &Seen,
    children: &Children<K>,
    kind: &'static str,
    object: Write<K>,
) -> Result<(), ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + 'static,
{
    let namespace = seen.device.namespace().unwrap_or_default();
    let api: Api<K> = Api::namespaced(context.client.clone(), &namespace);
    let mut meta = match object {
        Write::Make(object) => {
            not_foreign(&api, &object.name_any(), kind, &seen.uid).await?;
            let parameters = PatchParams::apply(names::FIELD_MANAGER).force();
            let object = api.patch(&object.name_any(), &parameters, &Patch::Apply(&object)).await;
            object.map_err(failed("making", kind))?.meta().clone()
        }
        Write::Apply(object) => {
            let parameters = PatchParams::apply(names::FIELD_MANAGER).force();
            let object = api.patch(&object.name_any(), &parameters, &Patch::Apply(&object)).await;
            object.map_err(failed("applying", kind))?.meta().clone()
        }
        Write::PutRight(object) => {
            let version = object.meta().resource_version.clone();
            let settled = context
                .memories
                .with(&seen.reference, &seen.uid, |memory| memory.put_right.get(kind).cloned());
            if settled.is_some() && settled == version {
                return Ok(());
            }
            let parameters =
                PostParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PostParams::default() };
            let object = api.replace(&object.name_any(), &parameters, &object).await;
            let meta = object.map_err(failed("putting right", kind))?.meta().clone();
            let key = key_of(&seen.reference);
            tracing::info!(device = key, kind, "the {kind} of device {key} was edited and is put right");
            meta
        }
    };
    mark_metadata(&mut meta);
    let noted = meta.annotations.as_ref().and_then(|all| all.get(names::APPLIED_GENERATION));
    if let (Some(noted), Some(now)) = (noted, meta.generation.map(|now| now.to_string()))
        && *noted != now
    {
        // The spec stayed as it was. A change of metadata is no new generation.
        let patch = json!({ "metadata": { "annotations": { names::APPLIED_GENERATION: now } } });
        let parameters =
            PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let name = meta.name.clone().unwrap_or_default();
        let patched = api.patch_metadata(&name, &parameters, &Patch::Merge(patch)).await;
        meta = patched.map_err(failed("noting the generation of", kind))?.metadata;
        mark_metadata(&mut meta);
    }
    if meta.annotations.as_ref().is_some_and(|all| all.contains_key(EDITED)) {
        let version = meta.resource_version.clone().unwrap_or_default();
        context.memories.with(&seen.reference, &seen.uid, |memory| memory.put_right.insert(kind, version));
    }
    note(children, &namespace, meta);
    Ok(())
}

/// Refuses to take over an object that somebody else made under the name of a device's child: it would be changed, and deleted with the
/// device. The object's metadata, if there is one.
async fn not_foreign<K>(
    api: &Api<K>,
    name: &str,
    kind: &'static str,
    device: &str,
) -> Result<Option<ObjectMeta>, ApplyError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let Some(found) = api.get_metadata_opt(name).await.map_err(failed("reading", kind))? else {
        return Ok(None);
    };
    if is_ours(&found.metadata, device) {
        Ok(Some(found.metadata))
    } else {
        Err(ApplyError::Foreign { kind, name: name.to_owned() })
    }
}

/// Whether an object is a device's child. Somebody may have taken the label off; its owner, or the device that a kept volume was made for,
/// tells it too.
fn is_ours(meta: &ObjectMeta, device: &str) -> bool {
    let labelled = meta.labels.as_ref().and_then(|all| all.get(names::APP_MANAGED_BY));
    let made_for = meta.annotations.as_ref().and_then(|all| all.get(names::MADE_FOR));
    let mut owners = meta.owner_references.iter().flatten();
    labelled.is_some_and(|manager| manager == names::FIELD_MANAGER)
        || made_for.is_some_and(|made_for| made_for == device)
        || owners.any(|owner| owner.controller == Some(true) && owner.uid == device)
}

/// Whether somebody else has a Secret of this name. A patch of nothing tells: the operator may not read Secrets.
async fn is_foreign(api: &Api<Secret>, name: &str, device: &str) -> Result<bool, ApplyError> {
    let parameters = PatchParams { dry_run: true, ..PatchParams::default() };
    match api.patch_metadata(name, &parameters, &Patch::Merge(json!({}))).await {
        Ok(found) => Ok(!is_ours(&found.metadata, device)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
        Err(error) => Err(failed("reading", "Secret with the code")(error)),
    }
}

fn note<K>(children: &Children<K>, namespace: &str, mut meta: ObjectMeta)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    mark_metadata_once(&mut meta);
    let (name, version) = (meta.name.clone().unwrap_or_default(), meta.resource_version.clone());
    children.written.note(namespace, &name, version.as_deref(), meta);
}

/// Marks metadata that were not marked yet.
fn mark_metadata_once(meta: &mut ObjectMeta) {
    if meta.managed_fields.is_some() {
        mark_metadata(meta);
    }
}

/// Tells the rollout what the device is now.
fn note_progress(context: &Context, seen: &Seen, rests: bool) {
    let mut rollout = context.rollout();
    if rests {
        rollout.forget(&seen.reference);
        return;
    }
    let connected =
        matches!(&seen.heard, Heard::State(state) if state.phase == enlace_contract::state::Phase::Connected);
    let pod = seen.pod.as_ref().filter(|pod| !pod.stopping);
    let ready = pod.is_some_and(|pod| pod.facts.ready);
    rollout.observe(&seen.reference, &Now { pod: pod.map(|pod| pod.uid.as_str()), ready, connected });
}

/// Restarts a pod if it has its turn; whether the rollout is stopped.
async fn restarted(
    context: &Context,
    seen: &Seen,
    restart: &Restart,
    now: Timestamp,
) -> Result<bool, ApplyError> {
    let decision = context.rollout().restart(&seen.reference, &restart.pod, restart.before, now);
    if decision != Decision::Go {
        return Ok(decision == Decision::Stopped);
    }
    let namespace = seen.device.namespace().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    let name = seen.pod.as_ref().map(|pod| pod.facts.name.clone()).unwrap_or_default();
    let preconditions = Preconditions { uid: Some(restart.pod.clone()), resource_version: None };
    // Without it, a look at an old cache could delete the pod that came after.
    let parameters = DeleteParams::default().preconditions(preconditions);
    gone(api.delete(&name, &parameters).await).map_err(failed("restarting", "Pod"))?;
    metrics::counter!("enlace_operator_restarts_total").increment(1);
    let key = key_of(&seen.reference);
    tracing::info!(device = key, "device {key} is restarted: what its pod is made from changed");
    Ok(false)
}

async fn published(context: &Context, seen: &Seen, step: Publish) -> Result<(), ApplyError> {
    let namespace = seen.device.namespace().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
    let known = context.memories.with(&seen.reference, &seen.uid, |memory| memory.published.clone());
    let holds = match step {
        Publish::Put(secret) => {
            let hash = build::hash(&secret);
            if known.as_ref() == Some(&hash) {
                return Ok(());
            }
            let name = secret.name_any();
            if known.as_ref().is_none_or(String::is_empty) && is_foreign(&api, &name, &seen.uid).await? {
                return Err(ApplyError::Foreign { kind: "Secret", name });
            }
            let parameters = PatchParams::apply(names::FIELD_MANAGER).force();
            let put = api.patch_metadata(&secret.name_any(), &parameters, &Patch::Apply(&secret)).await;
            put.map_err(failed("applying", "Secret with the code"))?;
            hash
        }
        Publish::RemoveIfKnown if known.as_ref().is_none_or(String::is_empty) => return Ok(()),
        Publish::Remove if known.as_ref().is_some_and(String::is_empty) => return Ok(()),
        Publish::Remove | Publish::RemoveIfKnown => {
            let name = format!("{}-pairing", seen.device.name_any());
            if known.is_none() && is_foreign(&api, &name, &seen.uid).await? {
                return Ok(());
            }
            gone(api.delete(&name, &DeleteParams::default()).await)
                .map_err(failed("deleting", "Secret with the code"))?;
            String::new()
        }
    };
    context.memories.with(&seen.reference, &seen.uid, |memory| memory.published = Some(holds));
    Ok(())
}

/// A deletion of what is gone already is done, and so is one of what is another object by now.
fn gone<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

fn devices(context: &Context, device: &WhatsAppDevice) -> Api<WhatsAppDevice> {
    Api::namespaced(context.client.clone(), &device.namespace().unwrap_or_default())
}
