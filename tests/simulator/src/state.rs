//! What the server knows: accounts with their phones and devices, groups, blobs, and what it was told to do.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wacore_binary::{Jid, Node, Server};

use crate::connection::handle::Handle;
use crate::control::types::LoginFailure;
use crate::login_log::LoginLog;
use crate::media_store::MediaStore;
use crate::node::now_s;
use crate::noise::ServerKeys;
use crate::number::{digits, other_spelling};
use crate::options::Options;
use crate::pairing::Pairings;
use crate::phone::{Bundle, Phone};
use crate::wire::WireLog;

/// Everything one simulator holds, shared by its connections and control routes.
pub(crate) struct Sim {
    pub(crate) options: Options,
    /// `HOST:PORT` for media, unless each client is told the host it connected to.
    pub(crate) public: Option<String>,
    keys: RwLock<ServerKeys>,
    state: Mutex<State>,
    sequence: AtomicU64,
    pub(crate) stanzas_in: AtomicU64,
    pub(crate) stanzas_out: AtomicU64,
    /// Changes whenever a phone got a message or a receipt.
    pub(crate) phone_news: watch::Sender<u64>,
    pub(crate) stopping: CancellationToken,
}

/// The mutable part.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) accounts: HashMap<String, Account>,
    lids: HashMap<String, String>,
    /// Numbers that are declared not to be on WhatsApp.
    pub(crate) unregistered: HashSet<String>,
    pub(crate) pairings: Pairings,
    pub(crate) groups: HashMap<String, Group>,
    pub(crate) media: MediaStore,
    pub(crate) logins: LoginLog,
    pub(crate) wire: WireLog,
    anonymous_phones: u32,
    /// Answers for the next logins, first come first served.
    pub(crate) next_failures: VecDeque<LoginFailure>,
    /// Device → how many of the next messages to it get a flipped ciphertext bit.
    pub(crate) corrupt: HashMap<(String, u16), u32>,
    /// Number → error code and how many of its next messages get it.
    pub(crate) refuse: HashMap<String, (u32, u32)>,
    /// Acknowledgements held back, while the server was told to.
    pub(crate) held_acks: Option<Vec<(Handle, Node)>>,
}

/// A number on WhatsApp.
pub(crate) struct Account {
    pub(crate) number: String,
    pub(crate) lid: String,
    pub(crate) push_name: String,
    pub(crate) phone: SharedPhone,
    pub(crate) devices: BTreeMap<u16, Device>,
    pub(crate) next_device: u16,
    /// Collection → patches (index i = version i + 1).
    pub(crate) app_state: HashMap<String, Vec<Vec<u8>>>,
    pub(crate) available: bool,
    pub(crate) subscribers: Vec<(String, u16)>,
}

impl Account {
    pub(crate) fn pn_jid(&self, device: u16) -> Jid {
        Jid::pn_device(self.number.as_str(), device)
    }

    pub(crate) fn lid_jid(&self, device: u16) -> Jid {
        Jid::lid_device(self.lid.as_str(), device)
    }

    /// The JID in the addressing of `like`.
    pub(crate) fn jid_like(&self, like: &Jid, device: u16) -> Jid {
        if like.server == Server::Lid { self.lid_jid(device) } else { self.pn_jid(device) }
    }
}

/// A companion's public keys as it registered them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registration {
    pub(crate) noise: [u8; 32],
    pub(crate) identity: [u8; 32],
    pub(crate) registration_id: u32,
    pub(crate) signed_key_id: u32,
    pub(crate) signed_key: [u8; 32],
    pub(crate) signed_key_signature: Vec<u8>,
}

/// A companion device of an account.
pub(crate) struct Device {
    pub(crate) id: u16,
    pub(crate) keys: Registration,
    pub(crate) prekeys: VecDeque<(u32, [u8; 32])>,
    pub(crate) key_index: u32,
    /// The companion's answer to pair-success; empty until then.
    pub(crate) signed_identity: Vec<u8>,
    pub(crate) key_shared: bool,
    /// It asked for its queue with `<active/>`.
    pub(crate) active: bool,
    pub(crate) logged_out: bool,
    pub(crate) connection: Option<Handle>,
    /// Stanzas handed to the device and not acknowledged yet, in order.
    pub(crate) pending: VecDeque<Pending>,
}

/// A stanza in the queue of a device.
#[derive(Clone)]
pub(crate) struct Pending {
    pub(crate) class: &'static str,
    pub(crate) id: String,
    pub(crate) node: Node,
}

impl Device {
    /// A companion that a phone has just confirmed.
    pub(crate) fn new(id: u16, keys: Registration) -> Self {
        Self {
            id,
            keys,
            prekeys: VecDeque::new(),
            key_index: u32::from(id),
            signed_identity: Vec::new(),
            key_shared: false,
            active: false,
            logged_out: false,
            connection: None,
            pending: VecDeque::new(),
        }
    }

    pub(crate) fn is_linked(&self) -> bool {
        !self.logged_out && !self.signed_identity.is_empty()
    }

    /// The public keys for a new Signal session; uses up a one-time pre-key.
    pub(crate) fn take_bundle(&mut self) -> Bundle {
        let Registration {
            noise: _,
            identity,
            registration_id,
            signed_key_id,
            signed_key,
            signed_key_signature,
        } = self.keys.clone();
        Bundle {
            registration_id,
            identity,
            signed_key_id,
            signed_key,
            signed_key_signature,
            prekey: self.prekeys.pop_front(),
            device_identity: Some(self.signed_identity.clone()),
        }
    }
}

/// A group chat.
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) subject: String,
    pub(crate) owner: String,
    /// Number, and whether it is an admin.
    pub(crate) members: Vec<(String, bool)>,
    pub(crate) created_s: u64,
}

/// A phone and its lock.
pub(crate) type SharedPhone = Arc<Mutex<Phone>>;

/// A panic in another test thread must not hide this one's result: the data stays usable.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sim {
    pub(crate) fn new(options: Options, public: Option<String>, keys: ServerKeys) -> Self {
        Self {
            options,
            public,
            keys: RwLock::new(keys),
            state: Mutex::default(),
            sequence: AtomicU64::new(1),
            stanzas_in: AtomicU64::new(0),
            stanzas_out: AtomicU64::new(0),
            phone_news: watch::Sender::new(0),
            stopping: CancellationToken::new(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn keys(&self) -> RwLockReadGuard<'_, ServerKeys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_keys(&self, keys: ServerKeys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    pub(crate) fn next(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn stanza_id(&self) -> String {
        format!("sim.{}-{}", now_s(), self.next())
    }

    /// [`Self::resolve`], for a caller that does not hold the state.
    pub(crate) fn find(&self, jid: &Jid) -> Result<Option<String>> {
        self.resolve(&mut self.state(), jid)
    }

    /// The account a JID means. A number nobody has heard of becomes an account, unless that is switched off.
    pub(crate) fn resolve(&self, state: &mut State, jid: &Jid) -> Result<Option<String>> {
        match jid.server {
            Server::Lid => Ok(state.lids.get(jid.user.as_str()).cloned()),
            Server::Pn => {
                let number = jid.user.as_str();
                if let Some(known) = state.spelled(number) {
                    return Ok(Some(known));
                }
                if !self.options.create_unknown || state.is_unregistered(number) {
                    return Ok(None);
                }
                self.create(state, number, None)?;
                Ok(Some(number.to_owned()))
            }
            _ => Ok(None),
        }
    }

    /// The account of a number that a person plays: made when it is new. Without a number a free one is taken.
    pub(crate) fn ensure_account(&self, number: Option<&str>, push_name: Option<&str>) -> Result<String> {
        let mut state = self.state();
        let number = match number.map(digits) {
            Some(number) => {
                anyhow::ensure!(!number.is_empty(), "a phone number has digits");
                number
            }
            None => {
                state.anonymous_phones += 1;
                format!("5511900{:06}", state.anonymous_phones)
            }
        };
        if let Some(known) = state.spelled(&number) {
            return Ok(known);
        }
        state.unregistered.remove(&number);
        if !state.accounts.contains_key(&number) {
            self.create(&mut state, &number, push_name)?;
        }
        Ok(number)
    }

    fn create(&self, state: &mut State, number: &str, push_name: Option<&str>) -> Result<()> {
        let lid = format!("1{:014}", 20_000_000 + self.next() * 7919);
        let phone = Phone::new()?;
        let push_name = push_name.map_or_else(|| format!("Sim {number}"), str::to_owned);
        let mut app_state = HashMap::new();
        if self.options.push_name_sync {
            app_state.insert("critical_block".to_owned(), vec![phone.push_name_patch(&push_name)?]);
        }
        state.lids.insert(lid.clone(), number.to_owned());
        let account = Account {
            number: number.to_owned(),
            lid,
            push_name,
            phone: Arc::new(Mutex::new(phone)),
            devices: BTreeMap::new(),
            next_device: 1,
            app_state,
            available: false,
            subscribers: Vec::new(),
        };
        state.accounts.insert(number.to_owned(), account);
        Ok(())
    }

    pub(crate) fn phone(&self, number: &str) -> Result<SharedPhone> {
        self.state().account(number).map(|account| account.phone.clone())
    }

    /// Linked companions of an account.
    pub(crate) fn companions(&self, number: &str) -> Vec<u16> {
        let state = self.state();
        let devices = state.accounts.get(number).map(|account| account.devices.values());
        devices.into_iter().flatten().filter(|device| !device.logged_out).map(|device| device.id).collect()
    }
}

impl State {
    pub(crate) fn account(&self, number: &str) -> Result<&Account> {
        self.accounts.get(number).with_context(|| format!("{number} has no account"))
    }

    pub(crate) fn account_mut(&mut self, number: &str) -> Result<&mut Account> {
        self.accounts.get_mut(number).with_context(|| format!("{number} has no account"))
    }

    pub(crate) fn device_mut(&mut self, number: &str, device: u16) -> Result<&mut Device> {
        let account = self.account_mut(number)?;
        account.devices.get_mut(&device).with_context(|| format!("{number} has no linked device {device}"))
    }

    /// The existing account of a number in either of its spellings.
    pub(crate) fn spelled(&self, number: &str) -> Option<String> {
        [Some(number.to_owned()), other_spelling(number)]
            .into_iter()
            .flatten()
            .find(|spelling| self.accounts.contains_key(spelling) && !self.unregistered.contains(spelling))
    }

    fn is_unregistered(&self, number: &str) -> bool {
        self.unregistered.contains(number)
            || other_spelling(number).is_some_and(|other| self.unregistered.contains(&other))
    }
}
