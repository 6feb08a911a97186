//! What callers ask the keeper to change.

use std::path::Path;
use std::sync::Arc;

use enlace_contract::name::DeviceKey;
use enlace_crds::resource::DeletionPolicy;
use enlace_crds::{WhatsAppDevice, manifest, names};
use jiff::Timestamp;
use serde_json::Value;

use super::data::{DeclaredBy, Record};
use super::entry::{Entry, Life};
use super::files;
use super::keeper::{Keeper, Waiting};
use crate::directory::{Device, DirectoryError};

impl Keeper {
    pub(super) async fn create(&mut self, mut device: WhatsAppDevice) -> Result<Arc<Device>, DirectoryError> {
        let invalid = |error: manifest::Invalid| DirectoryError::Invalid(error.to_string());
        let key = manifest::key(&device).map_err(invalid)?;
        self.rescan().await;
        let exists = |detail: String| DirectoryError::AlreadyExists { key: key.clone(), detail };
        if let Some(entry) = self.entries.get(&key) {
            return Err(exists(match entry.life {
                Life::Declared => format!("it is declared in {}", entry.file),
                Life::Leaving(_) | Life::Deleting(_) => "it is being removed; try again soon".to_owned(),
            }));
        }
        if let Some(kept) = self.data.load(&key).map_err(not_read)?
            && (kept.deleting || !kept.is_of(&device))
        {
            return Err(exists(taken(&kept, &self.data.directory(&key))));
        }
        let name = files::name_for(&key);
        if self.folder.join(&name).exists() {
            return Err(exists(format!("the file {name} is in the way")));
        }
        let labels = device.metadata.labels.get_or_insert_default();
        labels.insert(names::CREATED_BY.to_owned(), names::CREATED_BY_API.to_owned());
        self.write(&key, device).await
    }

    pub(super) async fn update(
        &mut self,
        key: &DeviceKey,
        patch: &Value,
    ) -> Result<Arc<Device>, DirectoryError> {
        // What is on disk counts: a person may have changed the file a moment ago.
        self.rescan().await;
        let entry = self.ours(key)?;
        let invalid = |error: manifest::Invalid| DirectoryError::Invalid(error.to_string());
        let mut value = serde_json::to_value(&entry.declared)
            .map_err(|error| DirectoryError::Invalid(error.to_string()))?;
        json_patch::merge(&mut value, &serde_json::json!({ "spec": patch }));
        let device = manifest::from_value(value).map_err(invalid)?;
        manifest::validate_update(&entry.accepted(), &device).map_err(invalid)?;
        let renumbered = entry.declared.spec.phone_number != device.spec.phone_number;
        if let Some(mismatch) = entry.mismatch(&device).filter(|_| renumbered) {
            return Err(DirectoryError::Invalid(mismatch.to_string()));
        }
        self.write(key, device).await
    }

    pub(super) async fn delete(&mut self, key: &DeviceKey, reply: Waiting) {
        self.rescan().await;
        match self.begin_deletion(key) {
            Ok(life) => {
                let Some(entry) = self.entries.get_mut(key) else { return };
                entry.life = life(reply);
                // The file's end is no news any more.
                self.files.remove(&files::name_for(key));
                self.judge_all();
            }
            // A caller that has gone needs no answer.
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// The mark that deletion has begun comes first, then the file goes: a crash in between must not bring the device back.
    fn begin_deletion(&mut self, key: &DeviceKey) -> Result<fn(Waiting) -> Life, DirectoryError> {
        let entry = self.ours(key)?;
        let log_out = entry.declared.spec.deletion_policy == DeletionPolicy::Logout;
        if log_out {
            let mut record = entry.record.clone();
            record.deleting = true;
            self.data.save(key, &record).map_err(not_written(&self.data.directory(key)))?;
        }
        files::remove(&self.folder, key).map_err(not_written(&self.folder))?;
        Ok(if log_out { |reply| Life::Deleting(vec![reply]) } else { |reply| Life::Leaving(vec![reply]) })
    }

    pub(super) fn request_pairing(
        &mut self,
        key: &DeviceKey,
        at: Timestamp,
    ) -> Result<Arc<Device>, DirectoryError> {
        let entry = self.entries.get_mut(key).filter(|entry| matches!(entry.life, Life::Declared));
        let entry = entry.ok_or_else(|| DirectoryError::NotFound(key.clone()))?;
        let mut record = entry.record.clone();
        record.pair_requested = record.pair_requested.max(Some(at));
        self.data.save(key, &record).map_err(not_written(&self.data.directory(key)))?;
        entry.record = record;
        self.judge(key);
        self.publish();
        self.seen(key)
    }

    /// Writes a device's file and takes it in.
    async fn write(
        &mut self,
        key: &DeviceKey,
        device: WhatsAppDevice,
    ) -> Result<Arc<Device>, DirectoryError> {
        let (folder, of) = (self.folder.clone(), key.clone());
        let written = tokio::task::spawn_blocking(move || files::write(&folder, &of, &device)).await;
        let written = written.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        written.map_err(not_written(&self.folder))?;
        self.rescan().await;
        self.seen(key)
    }

    fn seen(&self, key: &DeviceKey) -> Result<Arc<Device>, DirectoryError> {
        let device = self.subscribe().borrow().devices.get(key).cloned();
        device.ok_or_else(|| DirectoryError::Unavailable {
            detail: format!("{key} was written, but could not be taken in; the log says why"),
            source: None,
        })
    }

    fn ours(&self, key: &DeviceKey) -> Result<&Entry, DirectoryError> {
        let entry = self.entries.get(key).filter(|entry| matches!(entry.life, Life::Declared));
        let entry = entry.ok_or_else(|| DirectoryError::NotFound(key.clone()))?;
        if entry.ours {
            return Ok(entry);
        }
        Err(DirectoryError::NotOurs { key: key.clone(), owner: entry.file.clone() })
    }
}

/// Why what is kept under a name keeps the name. For administrators: it says whose it is.
fn taken(kept: &Record, directory: &Path) -> String {
    if kept.deleting {
        return "the data of the device that was deleted could not be removed; it is tried again at the next start"
            .to_owned();
    }
    let earlier = match (kept.declared_by, &kept.owner) {
        (DeclaredBy::Api, Some(owner)) => format!("that user {owner} created"),
        (DeclaredBy::File, Some(owner)) => format!("that a file declared for user {owner}"),
        (DeclaredBy::Api | DeclaredBy::File, None) => "that no user had".to_owned(),
    };
    let directory = directory.display();
    format!(
        "the name is taken: data of an earlier device {earlier} are kept under it in {directory}. A file in the folder takes them over, the API only for the user that they belong to"
    )
}

fn not_read(error: std::io::Error) -> DirectoryError {
    DirectoryError::Unavailable {
        detail: "what is kept under the name cannot be read; the log says why".into(),
        source: Some(Box::new(error)),
    }
}

fn not_written(place: &Path) -> impl FnOnce(std::io::Error) -> DirectoryError {
    move |source| DirectoryError::NotWritten { place: place.to_owned(), source }
}
