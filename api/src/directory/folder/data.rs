//! What is remembered of a device: its UID, when it was first seen, whose it is, and what its status must not forget.
//!
//! `DATA/devices/NAMESPACE/NAME/device.json`, beside the device's own files. It is written whole and atomically. A record that cannot be
//! read is an error and never replaced: a new UID would make the session another device's.
//!
//! Data outlives its declaration: what declares a name later finds the session that is kept under it. Who may write into the folder is an
//! administrator, so a file takes over whatever is kept under its name, also what a user created through the API, and the data are the new
//! declaration's owner's from then on. Through the API only the owner of kept data gets them back ([`Record::is_of`]).

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use enlace_contract::name::DeviceKey;
use enlace_contract::number::CanonicalNumber;
use enlace_contract::state::{Account, DeviceState, Phase};
use enlace_crds::rules::conditions::PAIRED;
use enlace_crds::{WhatsAppDevice, WhatsAppDeviceStatus, names};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::{Deserialize, Serialize};

use super::OpenError;

const RECORD: &str = "device.json";

/// What is remembered of a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) uid: String,
    /// The name that it is kept under. It goes along when the directory is copied or moved. None in a record that does not say yet.
    #[serde(default)]
    key: Option<DeviceKey>,
    pub(super) created_at: Timestamp,
    /// The user that it belongs to, by the label of its last declaration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
    #[serde(default)]
    pub(super) declared_by: DeclaredBy,
    /// The number that it holds, or held when it ran last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) claim: Option<HeldNumber>,
    /// The newest request to pair that came through the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pair_requested: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) observed_pair_request: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<Account>,
    /// The condition `Paired`: since when it is so decides when the time to link is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) paired: Option<Condition>,
    /// Whether a phone is linked, as the device itself said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) linked: Option<bool>,
    /// Its deletion has begun: what is left is to be erased.
    #[serde(default)]
    pub(super) deleting: bool,
}

/// What declared a device last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum DeclaredBy {
    /// The API created it.
    Api,
    /// A file that a person wrote. So count records that do not say.
    #[default]
    File,
}

/// A number that a device holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HeldNumber {
    pub(super) number: CanonicalNumber,
    /// Since when. Of two that remember the same number, the one that got it later held it last.
    pub(super) since: Timestamp,
}

impl Record {
    fn new(key: &DeviceKey, device: &WhatsAppDevice, by: DeclaredBy, now: Timestamp) -> Self {
        Self {
            uid: uuid::Uuid::new_v4().to_string(),
            key: Some(key.clone()),
            // Whole seconds, as an API server has them.
            created_at: Timestamp::from_second(now.as_second()).unwrap_or(now),
            owner: owner(device).map(str::to_owned),
            declared_by: by,
            claim: None,
            pair_requested: None,
            observed_pair_request: None,
            account: None,
            paired: None,
            linked: None,
            deleting: false,
        }
    }

    /// Whether a declaration that came through the API is of the user that the data belong to. What belongs to nobody is no user's.
    pub(super) fn is_of(&self, device: &WhatsAppDevice) -> bool {
        self.owner.is_some() && self.owner.as_deref() == owner(device)
    }

    /// Takes in whose the device is by a declaration; whether that is something new.
    pub(super) fn belong(&mut self, device: &WhatsAppDevice, by: DeclaredBy) -> bool {
        let owner = owner(device);
        let changed = self.owner.as_deref() != owner || self.declared_by != by;
        self.owner = owner.map(str::to_owned);
        self.declared_by = by;
        changed
    }

    /// Takes in the number that the device holds; whether that is something new. `before` is what it held a moment ago: a number that it
    /// lost in between and got again is held anew.
    pub(super) fn hold(
        &mut self,
        before: Option<&CanonicalNumber>,
        held: Option<&CanonicalNumber>,
        now: Timestamp,
    ) -> bool {
        let remembered = self.claim.as_ref().map(|claim| &claim.number);
        if remembered == held && before == held {
            return false;
        }
        self.claim = held.map(|number| HeldNumber { number: number.clone(), since: now });
        true
    }

    /// Takes in what the device says of its link; whether that is something new. A device that starts may not have looked yet.
    pub(super) fn hear(&mut self, state: &DeviceState) -> bool {
        let linked = Some(state.paired).filter(|paired| *paired || state.phase != Phase::Starting);
        let changed = linked.is_some() && self.linked != linked;
        self.linked = linked.or(self.linked);
        changed
    }

    /// The status that the record is of: what an API server would have kept.
    pub(super) fn status(&self) -> WhatsAppDeviceStatus {
        WhatsAppDeviceStatus {
            account: self.account.clone(),
            observed_pair_request: self.observed_pair_request,
            conditions: self.paired.clone().into_iter().collect(),
            ..Default::default()
        }
    }

    /// Takes in what must survive of a status; whether that is something new.
    pub(super) fn remember(&mut self, status: &WhatsAppDeviceStatus) -> bool {
        let since = |paired: Option<&Condition>| {
            paired.map(|paired| (paired.status.clone(), paired.last_transition_time.clone()))
        };
        let paired = status.condition(PAIRED);
        let changed = self.account != status.account
            || self.observed_pair_request != status.observed_pair_request
            || since(self.paired.as_ref()) != since(paired);
        self.account.clone_from(&status.account);
        self.observed_pair_request = status.observed_pair_request;
        self.paired = paired.cloned();
        changed
    }
}

/// The data that are kept of a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    /// They cannot be read or written.
    #[error(
        "what is remembered of it, {}, cannot be read or written: {source}; put the file back from a backup, or remove the directory that it \
         is in, and the device begins anew without its session",
        .path.display()
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// They are the session of two devices.
    #[error(
        "its data, {}, are a copy of those of {original}: two clients of one session end with a ban; remove the copy, or move the directory \
         instead to give the session another name",
        .directory.display()
    )]
    Copy {
        /// The copy.
        directory: PathBuf,
        /// What it is a copy of.
        original: DeviceKey,
    },
}

/// The data directory, locked: two processes on it would be two clients of each session.
#[derive(Debug)]
pub(super) struct Data {
    root: PathBuf,
    _lock: File,
}

impl Data {
    pub(super) fn open(root: PathBuf) -> Result<Self, OpenError> {
        let io = |source| OpenError::Data { path: root.clone(), source };
        create_private(&root).map_err(io)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(root.join("devices.lock"))
            .map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(root)),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        Ok(Self { root, _lock: lock })
    }

    /// The device's own directory.
    pub(super) fn directory(&self, key: &DeviceKey) -> PathBuf {
        self.root.join("devices").join(key.namespace()).join(key.name())
    }

    /// The record of a device; none for a device that was never seen.
    pub(super) fn load(&self, key: &DeviceKey) -> io::Result<Option<Record>> {
        match fs::read(self.directory(key).join(RECORD)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The record of a device; a new one for a device that was never seen. A directory that was moved to another name is that device's from
    /// now on.
    ///
    /// # Errors
    /// When it cannot be read or written, or the directory is a copy of another device's.
    pub(super) fn load_or_create(
        &self,
        key: &DeviceKey,
        device: &WhatsAppDevice,
        by: DeclaredBy,
        now: Timestamp,
    ) -> Result<Record, RecordError> {
        let io = |key: &DeviceKey| {
            let path = self.directory(key).join(RECORD);
            move |source| RecordError::Io { path, source }
        };
        let mut record = match self.load(key).map_err(io(key))? {
            Some(record) if record.key.as_ref() == Some(key) => return Ok(record),
            Some(record) => record,
            None => Record::new(key, device, by, now),
        };
        let before = record.key.replace(key.clone()).filter(|before| before != key);
        if let Some(original) = before {
            let kept = self.load(&original).map_err(io(&original))?;
            if kept.is_some_and(|kept| kept.uid == record.uid) {
                return Err(RecordError::Copy { directory: self.directory(key), original });
            }
        }
        self.save(key, &record).map_err(io(key))?;
        Ok(record)
    }

    pub(super) fn save(&self, key: &DeviceKey, record: &Record) -> io::Result<()> {
        let directory = self.directory(key);
        create_private(&directory)?;
        write_atomically(&directory.join(RECORD), &serde_json::to_vec_pretty(record)?, 0o600)
    }

    /// Finishes deletions that a crash has cut short: removes what is left, and says of which devices. Their phones may still list them.
    pub(super) fn finish_deletions(&self) -> io::Result<Vec<DeviceKey>> {
        let mut finished = Vec::new();
        for namespace in list(&self.root.join("devices"))? {
            for name in list(&self.root.join("devices").join(&namespace))? {
                let Ok(key) = DeviceKey::new(&namespace, &name) else { continue };
                let record = fs::read(self.directory(&key).join(RECORD));
                let record = record.ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
                if record.is_some_and(|record| record.deleting) {
                    erase(&self.directory(&key))?;
                    finished.push(key);
                }
            }
        }
        Ok(finished)
    }
}

/// Removes a device's directory. The record goes last, so that a crash on the way leaves the mark that deletion has begun.
pub(super) fn erase(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name() == RECORD {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir_all(directory)
}

/// Writes a file so that it is there whole, or not at all, also after a power loss.
///
/// `mode` is its permissions on Unix, as far as the process's mask allows.
pub(super) fn write_atomically(file: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let parent = file.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    // A name with a dot in front is read by nobody.
    let temporary = parent.join(format!(".{name}.new"));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut written = options.open(&temporary)?;
    written.write_all(bytes)?;
    written.sync_all()?;
    fs::rename(&temporary, file)?;
    File::open(parent)?.sync_all()
}

fn owner(device: &WhatsAppDevice) -> Option<&str> {
    let owner = device.metadata.labels.as_ref().and_then(|labels| labels.get(names::OWNER))?;
    Some(owner.as_str()).filter(|owner| !owner.is_empty())
}

fn list(directory: &Path) -> io::Result<Vec<String>> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .filter(|name| name.as_ref().is_ok_and(|name| !name.starts_with('.')) || name.is_err())
            .collect(),
    }
}

fn create_private(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}
