//! The one task that decides. Everything that happens to the folder or to a device is told to it in turn, so that nothing races.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use enlace_contract::client::DeviceClient;
use enlace_contract::name::DeviceKey;
use enlace_contract::state::DeviceState;
use enlace_crds::rules::claims::{self, Candidate, Claims};
use enlace_crds::rules::conditions::ACCEPTED;
use enlace_crds::{WhatsAppDevice, config, manifest};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use super::data::{Data, DeclaredBy, Record};
use super::entry::{self, Entry, Heard, Life};
use super::files::{self, KnownFile};
use super::requests::Request;
use super::worker::{Desired, Worker};
use super::{FileError, OpenError};
use crate::directory::host::DeviceHost;
use crate::directory::{Deletion, Devices, DirectoryError};

/// How long devices may take to stop, all side by side. Each has eight seconds, and a program has ten.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(8_500);
/// The clock may be set back or forward while the keeper sleeps: it looks at it this often at least.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What is to be seen of the directory.
#[derive(Default)]
pub(super) struct Picture {
    pub(super) devices: Arc<Devices>,
    pub(super) clients: BTreeMap<DeviceKey, DeviceClient>,
    pub(super) errors: Vec<FileError>,
}

pub(super) struct Keeper {
    pub(super) folder: PathBuf,
    /// The folder, locked.
    _lock: File,
    pub(super) data: Arc<Data>,
    host: Arc<dyn DeviceHost>,
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) files: BTreeMap<String, KnownFile>,
    pub(super) entries: BTreeMap<DeviceKey, Entry>,
    pub(super) claims: Claims,
    /// What is wrong with files beyond their own text.
    errors: Vec<FileError>,
    picture: watch::Sender<Arc<Picture>>,
    workers: u64,
    next: Option<Timestamp>,
}

impl Keeper {
    pub(super) async fn open(
        folder: PathBuf,
        data: PathBuf,
        host: Arc<dyn DeviceHost>,
        requests: mpsc::Sender<Request>,
    ) -> Result<Self, OpenError> {
        let lock = lock(&folder)?;
        let root = data;
        let data = Arc::new(Data::open(root.clone())?);
        let finished = data.finish_deletions();
        for device in finished.map_err(|source| OpenError::Data { path: root, source })? {
            tracing::warn!(%device, "the deletion of device {device} was cut short and is finished now: the phone may list it until it is removed there");
        }
        if let Err(error) = files::remove_leftovers(&folder) {
            tracing::warn!(%error, "what writing a manifest has left in the folder cannot be removed");
        }
        let texts = files::read_folder(&folder);
        let texts = texts.map_err(|source| OpenError::Folder { path: folder.clone(), source })?;
        let mut keeper = Self {
            folder,
            _lock: lock,
            data,
            host,
            requests,
            files: BTreeMap::new(),
            entries: BTreeMap::new(),
            claims: Claims::default(),
            errors: Vec::new(),
            picture: watch::Sender::new(Arc::default()),
            workers: 0,
            next: None,
        };
        files::take_in(&mut keeper.files, texts);
        keeper.reconcile_entries();
        keeper.claims = Claims::at_start(keeper.entries.values().filter_map(candidate).collect());
        keeper.judge_all();
        Ok(keeper)
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Picture>> {
        self.picture.subscribe()
    }

    /// Runs until it is asked to close.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        tokio::spawn(super::watch::watch(self.folder.clone(), self.requests.clone()));
        loop {
            let request = tokio::select! {
                request = queue.recv() => request,
                () = sleep_until(self.next) => {
                    self.judge_all();
                    continue;
                }
            };
            match request {
                None => return,
                Some(Request::Close(done)) => {
                    self.close(&mut queue).await;
                    // The locks are free when the caller hears of it.
                    drop(self);
                    // The caller may have gone.
                    let _ = done.send(());
                    return;
                }
                Some(request) => self.handle(request).await,
            }
        }
    }

    async fn handle(&mut self, request: Request) {
        match request {
            // A caller that has gone needs no answer.
            Request::Create(device, reply) => drop(reply.send(self.create(*device).await)),
            Request::Update(key, patch, reply) => drop(reply.send(self.update(&key, &patch).await)),
            Request::Delete(key, reply) => self.delete(&key, reply).await,
            Request::Pair(key, at, reply) => drop(reply.send(self.request_pairing(&key, at))),
            Request::Rescan(done) => {
                self.rescan().await;
                let _ = done.send(());
            }
            Request::Told { key, worker, news } => self.told(&key, worker, news),
            Request::ClaimAnswered { key, worker } => self.claim_answered(&key, worker),
            Request::Close(_) => {}
        }
    }

    /// Reads the folder again. A folder that cannot be read stops nobody.
    pub(super) async fn rescan(&mut self) {
        let folder = self.folder.clone();
        let texts = tokio::task::spawn_blocking(move || files::read_folder(&folder)).await;
        match texts.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(texts) => {
                files::take_in(&mut self.files, texts);
                self.reconcile_entries();
                self.judge_all();
            }
            Err(error) => {
                let message = format!("the folder {} cannot be read: {error}", self.folder.display());
                self.errors = vec![FileError { file: String::new(), message }];
                self.publish();
            }
        }
    }

    /// Brings the entries in line with the files.
    fn reconcile_entries(&mut self) {
        let mut errors = Vec::new();
        let declared = declared(&self.files, &self.entries, &mut errors);
        let now = Timestamp::now();
        for (key, (file, device)) in &declared {
            if let Err(message) = self.declare(key, file, device, now) {
                errors.push(FileError { file: file.clone(), message: format!("{file}: {key}: {message}") });
            }
        }
        for (key, entry) in &mut self.entries {
            if !declared.contains_key(key) && matches!(entry.life, Life::Declared) {
                tracing::info!(device = %key, file = entry.file, "{} declares device {key} no more: it is stopped, its session is kept", entry.file);
                entry.life = Life::Leaving(Vec::new());
            }
        }
        self.errors = errors;
    }

    fn declare(
        &mut self,
        key: &DeviceKey,
        file: &str,
        device: &WhatsAppDevice,
        now: Timestamp,
    ) -> Result<(), String> {
        let ours = self.files.get(file).is_some_and(|known| files::is_ours(key, device, file, known));
        let by = if ours { DeclaredBy::Api } else { DeclaredBy::File };
        let Some(entry) = self.entries.get_mut(key) else {
            let record = self.data.load_or_create(key, device, by, now);
            let mut record = record.map_err(|error| error.to_string())?;
            if let Some(other) = self.entries.values().find(|other| other.record.uid == record.uid) {
                return Err(format!("its data are those of {}, which is declared as well", other.key));
            }
            if record.deleting {
                return Err("the data of the device that was deleted could not be removed; it is tried again at the next start".to_owned());
            }
            let owner = record.owner.clone();
            if record.belong(device, by) {
                if record.owner != owner {
                    tracing::info!(device = %key, file, before = owner, owner = record.owner, "{file} takes over the data that are kept of device {key}: they are another owner's now");
                }
                remember(&self.data, key, &record);
            }
            self.add(key, file, device, ours, record);
            return Ok(());
        };
        if matches!(entry.life, Life::Deleting(_)) {
            return Err("it is being deleted".to_owned());
        }
        file.clone_into(&mut entry.file);
        entry.ours = ours;
        entry.life = Life::Declared;
        if entry.declared != *device {
            manifest::validate_update(&entry.accepted(), device).map_err(|error| error.to_string())?;
            entry.generation += i64::from(entry.declared.spec != device.spec);
            entry.declared = device.clone();
        }
        if entry.record.belong(device, by) {
            remember(&self.data, key, &entry.record);
        }
        Ok(())
    }

    fn add(&mut self, key: &DeviceKey, file: &str, device: &WhatsAppDevice, ours: bool, record: Record) {
        let worker = self.spawn(key);
        let entry = Entry {
            key: key.clone(),
            file: file.to_owned(),
            declared: device.clone(),
            accepted_number: None,
            ours,
            generation: 1,
            status: record.status(),
            record,
            worker,
            wanted: Desired::Stop,
            busy: false,
            client: None,
            heard: Heard::Nothing,
            life: Life::Declared,
            answering: false,
        };
        self.entries.insert(key.clone(), entry);
    }

    pub(super) fn spawn(&mut self, key: &DeviceKey) -> Worker {
        self.workers += 1;
        let directory = self.data.directory(key);
        Worker::spawn(self.workers, key.clone(), directory, Arc::clone(&self.host), self.requests.clone())
    }

    /// Judges every device, forgets those that have gone, and again while that frees numbers.
    pub(super) fn judge_all(&mut self) {
        loop {
            self.next = None;
            let keys: Vec<DeviceKey> = self.entries.keys().cloned().collect();
            for key in &keys {
                self.judge(key);
            }
            if !self.forget_gone() {
                break;
            }
        }
        self.publish();
    }

    /// Judges one device and lets the judgement be carried out.
    pub(super) fn judge(&mut self, key: &DeviceKey) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        match entry.life {
            Life::Declared => {}
            Life::Leaving(_) => return entry.want(Desired::Stop),
            Life::Deleting(_) => {
                // What is wanted does not change while it is carried out.
                if !matches!(entry.wanted, Desired::Erase { .. }) {
                    entry.want(Desired::Erase { linked: entry.may_be_linked() });
                }
                return;
            }
        }
        let now = Timestamp::now();
        let held = self.claims.number_of(&entry.record.uid).cloned();
        let verdict = entry.judge(&mut self.claims, now);
        entry.want(verdict.desired);
        // What was just started is seen in the same status.
        let verdict = entry.judge(&mut self.claims, now);
        let before = entry.status.phase;
        entry.status = verdict.status;
        if entry.status.is_true(ACCEPTED) {
            entry.accepted_number.clone_from(&entry.declared.spec.phone_number);
        }
        if entry.status.phase != before {
            let phase = entry.status.phase.unwrap_or_default();
            let reason = entry.status.condition("Connected").map(|condition| condition.reason.as_str());
            tracing::info!(device = %key, %phase, reason, "device {key} is {phase}");
        }
        let holds = self.claims.number_of(&entry.record.uid);
        let heard = match &entry.heard {
            Heard::State(state) => entry.record.hear(state),
            Heard::Nothing | Heard::Silent(_) | Heard::Broken(_) => false,
        };
        if heard | entry.record.remember(&entry.status) | entry.record.hold(held.as_ref(), holds, now) {
            remember(&self.data, key, &entry.record);
        }
        self.next = self.next.into_iter().chain(verdict.next).min();
        if let Some(decision) = verdict.decision.filter(|_| !entry.answering)
            && let Some(client) = entry.client.clone()
        {
            entry.answering = true;
            let answer = super::news::answer_claim(
                key.clone(),
                entry.worker.id,
                client,
                decision,
                self.requests.clone(),
            );
            tokio::spawn(answer);
        }
    }

    /// Forgets devices that have stopped and are declared no more; whether there were any.
    fn forget_gone(&mut self) -> bool {
        let gone = |entry: &Entry| matches!(entry.life, Life::Leaving(_)) && !entry.busy;
        let keys: Vec<DeviceKey> =
            self.entries.values().filter(|entry| gone(entry)).map(|e| e.key.clone()).collect();
        for key in &keys {
            self.forget(key, || Ok(Deletion::Done));
        }
        !keys.is_empty()
    }

    pub(super) fn forget(&mut self, key: &DeviceKey, outcome: impl Fn() -> Result<Deletion, DirectoryError>) {
        let Some(mut entry) = self.entries.remove(key) else { return };
        self.claims.release(&entry.record.uid);
        for waiting in entry.life.waiting() {
            let _ = waiting.send(outcome());
        }
    }

    /// Publishes what is to be seen, when it is something new.
    pub(super) fn publish(&mut self) {
        let before = Arc::clone(&self.picture.borrow());
        let there = || self.entries.values().filter(|entry| !matches!(entry.life, Life::Leaving(_)));
        let devices: Devices = there()
            .map(|entry| {
                (entry.key.clone(), entry::published(before.devices.get(&entry.key), entry.device()))
            })
            .collect();
        let unchanged = devices.len() == before.devices.len()
            && devices
                .iter()
                .all(|(key, new)| before.devices.get(key).is_some_and(|old| Arc::ptr_eq(old, new)));
        let devices = if unchanged { Arc::clone(&before.devices) } else { Arc::new(devices) };
        let clients =
            there().filter_map(|entry| Some((entry.key.clone(), entry.open_client()?.clone()))).collect();
        let own = |(name, file): (&String, &KnownFile)| {
            file.error.clone().map(|message| FileError { file: name.clone(), message })
        };
        let errors: Vec<FileError> =
            self.files.iter().filter_map(own).chain(self.errors.iter().cloned()).collect();
        for FileError { file, message } in errors.iter().filter(|error| !before.errors.contains(error)) {
            // A line for each thing: what follows a line break would stand in the log without its time.
            message.lines().for_each(|line| tracing::warn!(file, "{line}"));
        }
        self.picture.send_replace(Arc::new(Picture { devices, clients, errors }));
    }

    /// Stops every device, side by side.
    async fn close(&mut self, queue: &mut mpsc::Receiver<Request>) {
        for entry in self.entries.values_mut() {
            // A deletion that has begun is finished.
            if !matches!(entry.life, Life::Deleting(_)) {
                entry.life = Life::Leaving(Vec::new());
                entry.want(Desired::Stop);
            }
        }
        self.forget_gone();
        let stopped = async {
            while !self.entries.is_empty() {
                match queue.recv().await {
                    Some(Request::Told { key, worker, news }) => self.told(&key, worker, news),
                    // Whoever asks for something now is told that the directory is closed.
                    Some(request) => drop(request),
                    None => return,
                }
            }
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, stopped).await.is_err() {
            tracing::warn!(
                timeout_s = CLOSE_TIMEOUT.as_secs(),
                "some devices took too long to stop and are cut off"
            );
        }
    }
}

/// Which file declares which device. When two do, the file that did before keeps it, else the first by name.
fn declared<'a>(
    files: &'a BTreeMap<String, KnownFile>,
    entries: &BTreeMap<DeviceKey, Entry>,
    errors: &mut Vec<FileError>,
) -> BTreeMap<DeviceKey, (String, WhatsAppDevice)> {
    let mut declared: BTreeMap<DeviceKey, (String, WhatsAppDevice)> = BTreeMap::new();
    let all = || files.iter().flat_map(|(name, file)| file.devices.iter().map(move |device| (name, device)));
    let holds = |key: &DeviceKey, name: &'a String| entries.get(key).is_some_and(|entry| entry.file == *name);
    for incumbents in [true, false] {
        for (name, device) in all() {
            // The key was checked when the file was read.
            let Ok(key) = manifest::key(device) else { continue };
            if holds(&key, name) != incumbents {
                continue;
            }
            match declared.get(&key) {
                Some((holder, _)) => errors.push(FileError {
                    file: name.clone(),
                    message: format!("{name}: {key} is declared in {holder} already"),
                }),
                None => drop(declared.insert(key, (name.clone(), device.clone()))),
            }
        }
    }
    declared
}

/// Locks the folder, without a file in it: two processes with data directories of their own would each link a device to every number.
fn lock(folder: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Folder { path: folder.to_owned(), source };
    let lock = File::open(folder).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::FolderInUse(folder.to_owned())),
        // Some file systems of a network lock no folders.
        Err(TryLockError::Error(error)) => {
            tracing::warn!(%error, "the folder cannot be locked: see to it that no other process uses it, for each number would have two clients");
        }
    }
    Ok(lock)
}

/// Writes what is remembered of a device. It goes on without: what is new is written with the next that is.
fn remember(data: &Data, key: &DeviceKey, record: &Record) {
    if let Err(error) = data.save(key, record) {
        tracing::error!(device = %key, %error, "what is to be remembered of device {key} could not be written");
    }
}

fn candidate(entry: &Entry) -> Option<Candidate> {
    let declared = config::phone_number(&entry.declared).ok().flatten();
    let number = claims::wanted(declared.as_ref(), None::<&DeviceState>, &entry.status).number?;
    let linked =
        entry.status.account.as_ref().is_some_and(|account| account.phone_number.canonical() == number);
    let claim = entry.record.claim.as_ref().filter(|claim| claim.number == number);
    Some(Candidate {
        held_since: claim.map(|claim| claim.since),
        number,
        holder: entry.holder(),
        linked,
        created: Some(entry.record.created_at),
    })
}

async fn sleep_until(at: Option<Timestamp>) {
    let Some(at) = at else { return std::future::pending().await };
    let until = Timestamp::now().duration_until(at);
    let until = Duration::try_from(until).unwrap_or(Duration::ZERO).min(LONGEST_SLEEP);
    // A little later than the moment itself, so that it has come.
    tokio::time::sleep(until + Duration::from_millis(20)).await;
}

pub(super) type Waiting = oneshot::Sender<Result<Deletion, DirectoryError>>;
