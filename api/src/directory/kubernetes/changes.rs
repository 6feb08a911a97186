//! What callers ask to be changed, written to the API server.
//!
//! What is there is read from the API server, not from what is known here, which may be a moment old; the write then names the version that was
//! read, so that it is refused when something changed in between, and is tried again.

use std::time::Duration;

use enlace_contract::name::DeviceKey;
use enlace_crds::rules::pairing;
use enlace_crds::{WhatsAppDevice, manifest, names};
use jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};

use super::KubernetesDirectory;
use super::refused::refused;
use super::resource;
use crate::directory::{Device, DirectoryError, Managed};

/// How often a write is tried that others come before: the operator writes a status for each code that is shown.
const ATTEMPTS: usize = 5;
/// How far in the future a request to pair may be and still be meant: clocks differ. One beyond that is a slip, and heeded by no device.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);
/// How long a call to the API server may take, with the client's own retries.
const CALL: Duration = Duration::from_secs(10);

impl KubernetesDirectory {
    pub(super) async fn write_new(&self, device: WhatsAppDevice) -> Result<Device, DirectoryError> {
        let key = manifest::key(&device).map_err(invalid)?;
        let new = resource::new(device, &key);
        let parameters =
            PostParams { field_manager: Some(names::CREATED_BY_API.to_owned()), ..PostParams::default() };
        let api = self.api(&key);
        let created = bounded(api.create(&parameters, &new)).await?;
        known(created.map_err(|error| refused(&key, error))?)
    }

    /// Changes the spec of a device that the API created.
    pub(super) async fn write_spec(&self, key: &DeviceKey, patch: &Value) -> Result<Device, DirectoryError> {
        self.write(key, |before| {
            ours(before)?;
            // Unknown fields too are refused here: an API server drops them without a word.
            check(before, patch)?;
            Ok(Some(json!({ "spec": patch })))
        })
        .await
    }

    /// Asks for codes. A request that is newer stays.
    pub(super) async fn write_request(
        &self,
        key: &DeviceKey,
        at: Timestamp,
    ) -> Result<Device, DirectoryError> {
        self.write(key, |before| {
            let (requested, now) = (pairing::requested(&before.resource), Timestamp::now());
            let newer = requested.is_some_and(|known| known >= at && known.duration_since(now) <= CLOCK_SKEW);
            let patch = json!({ "metadata": { "annotations": { names::PAIR_REQUESTED: at.to_string() } } });
            Ok((!newer).then_some(patch))
        })
        .await
    }

    /// Reads a device, and writes what follows from it as a merge patch.
    async fn write(
        &self,
        key: &DeviceKey,
        change: impl Fn(&Device) -> Result<Option<Value>, DirectoryError>,
    ) -> Result<Device, DirectoryError> {
        let api = self.api(key);
        let parameters =
            PatchParams { field_manager: Some(names::CREATED_BY_API.to_owned()), ..PatchParams::default() };
        let mut attempts = 0;
        loop {
            attempts += 1;
            let before = self.read(key).await?;
            let Some(mut patch) = change(&before)? else { return Ok(before) };
            let of = &before.resource.metadata;
            json_patch::merge(
                &mut patch,
                &json!({ "metadata": { "uid": of.uid, "resourceVersion": of.resource_version } }),
            );
            match bounded(api.patch(key.name(), &parameters, &Patch::Merge(&patch))).await? {
                Ok(written) => return known(written),
                Err(error) if attempts < ATTEMPTS && is_conflict(&error) => {}
                Err(error) => return Err(refused(key, error)),
            }
        }
    }

    /// Deletes a device that the API created; its UID.
    pub(super) async fn write_end(&self, key: &DeviceKey) -> Result<Option<String>, DirectoryError> {
        let api = self.api(key);
        let mut attempts = 0;
        loop {
            attempts += 1;
            let before = self.read(key).await?;
            ours(&before)?;
            let of = before.resource.metadata;
            if of.deletion_timestamp.is_some() {
                return Ok(of.uid);
            }
            let preconditions = Preconditions { uid: of.uid.clone(), resource_version: of.resource_version };
            let parameters = DeleteParams::background().preconditions(preconditions);
            match bounded(api.delete(key.name(), &parameters)).await? {
                Ok(_) => return Ok(of.uid),
                Err(error) if attempts < ATTEMPTS && is_conflict(&error) => {}
                Err(error) => return Err(refused(key, error)),
            }
        }
    }

    /// Whether the API server no longer has the device of this UID: a watch that is broken tells nothing.
    pub(super) async fn is_gone(&self, key: &DeviceKey, uid: Option<String>) -> Result<bool, DirectoryError> {
        match self.read(key).await {
            Ok(device) => Ok(device.resource.metadata.uid != uid),
            Err(DirectoryError::NotFound(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    async fn read(&self, key: &DeviceKey) -> Result<Device, DirectoryError> {
        let found = bounded(self.api(key).get_opt(key.name())).await?;
        let found = found.map_err(|error| refused(key, error))?;
        known(found.ok_or_else(|| DirectoryError::NotFound(key.clone()))?)
    }

    fn api(&self, key: &DeviceKey) -> Api<WhatsAppDevice> {
        Api::namespaced(self.client.clone(), key.namespace())
    }
}

fn known(resource: WhatsAppDevice) -> Result<Device, DirectoryError> {
    resource::device(resource).map_err(invalid)
}

fn invalid(error: manifest::Invalid) -> DirectoryError {
    DirectoryError::Invalid(error.to_string())
}

fn ours(device: &Device) -> Result<(), DirectoryError> {
    match &device.managed {
        Managed::ByApi => Ok(()),
        Managed::By(owner) => Err(DirectoryError::NotOurs { key: device.key.clone(), owner: owner.clone() }),
    }
}

/// Whether a device with a changed spec is one that the schema takes.
fn check(before: &Device, patch: &Value) -> Result<(), DirectoryError> {
    let mut old = before.resource.clone();
    old.status = None;
    let mut new = serde_json::to_value(&old).map_err(|error| DirectoryError::Invalid(error.to_string()))?;
    json_patch::merge(&mut new, &json!({ "spec": patch }));
    let new = manifest::from_value(new).map_err(invalid)?;
    manifest::validate_update(&old, &new).map_err(invalid)
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict())
}

async fn bounded<T>(
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<Result<T, kube::Error>, DirectoryError> {
    tokio::time::timeout(CALL, call).await.map_err(|_| DirectoryError::Unavailable {
        detail: format!("the cluster's API server did not answer within {} s; try again", CALL.as_secs()),
        source: None,
    })
}
