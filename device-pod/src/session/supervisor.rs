//! The one task that owns a session: it feeds the machine and carries its effects out, one after the other.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use enlace_contract::config::DeviceConfig;
use enlace_contract::number::CanonicalNumber;
use enlace_contract::state::{Account, DeviceState, PairingText, Phase, QrCode, Reason};
use enlace_contract::{program, qr};
use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use whatsapp_rust::client::Client;
use whatsapp_rust::http::HttpClient;

use super::engine::{self, Acks, Engine, Parts, Receipt, Report, Signal};
use super::machine::{Effect, Event, Machine, Policy};
use super::media_http;
use super::transport::Dialing;
use crate::endpoints::{Endpoints, WebVersion};
use crate::store::Store;
use crate::volume::{Reserve, Volume};

/// The longest delay between two attempts to connect.
const MAX_DELAY: Duration = Duration::from_secs(300);
/// The shortest delay between two attempts, whatever is configured.
const MIN_DELAY: Duration = Duration::from_millis(100);
/// How a delay varies: devices that lost their connection together do not all come back together.
const JITTER: std::ops::Range<f64> = 0.8..1.2;
/// The longest delay before a newer version is looked for: many devices are refused at the same moment.
const VERSION_JITTER: Duration = Duration::from_secs(5);
/// How long the look-up of a newer version may take.
const VERSION_TIMEOUT: Duration = Duration::from_secs(20);

/// A request to the supervisor.
pub(crate) enum Command {
    /// The configuration changed.
    Configure(DeviceConfig),
    /// Pair again.
    Pair(Timestamp, oneshot::Sender<DeviceState>),
    /// Whether the device may have the number that linked.
    Claim(CanonicalNumber, bool, oneshot::Sender<DeviceState>),
    /// Unlink.
    LogOut(oneshot::Sender<Result<DeviceState, Unavailable>>),
    /// Stop.
    Stop(oneshot::Sender<()>),
}

/// How often the loop shows that it runs.
const PULSE: Duration = Duration::from_secs(5);
/// How far ahead of our clock the time of a request to pair may be: one from the far future would outdo every later one.
pub(crate) const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// What was asked for needs a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unavailable {
    /// It comes back by itself.
    #[error("the device is not connected, so WhatsApp cannot be told; try again when it is")]
    Now,
    /// It does not.
    #[error(
        "the device is {0}, so WhatsApp cannot be told: connect it first (`pair`), or remove it on the phone under Linked devices"
    )]
    Resting(Phase),
}

/// What the supervisor is made of.
pub(crate) struct Supervisor {
    pub(crate) config: DeviceConfig,
    pub(crate) endpoints: Endpoints,
    pub(crate) store: Store,
    pub(crate) volume: Volume,
    /// What must stay free on it.
    pub(crate) reserve: Reserve,
    pub(crate) machine: Machine,
    pub(crate) version: Option<WebVersion>,
    pub(crate) acks: Acks,
    pub(crate) receipts: mpsc::Sender<Receipt>,
    pub(crate) newest: watch::Sender<i64>,
    pub(crate) state: watch::Sender<DeviceState>,
    /// The client while messages may go out.
    pub(crate) link: watch::Sender<Option<Arc<Client>>>,
    /// The client while it is connected, whatever the claim.
    pub(crate) online: watch::Sender<Option<Arc<Client>>>,
    /// When the loop last came round.
    pub(crate) beat: watch::Sender<Instant>,
}

/// What belongs to the run of the loop.
struct Running {
    engine: Option<Engine>,
    generation: u64,
    /// Why the current connection is about to end.
    dropping: Option<(Reason, String)>,
    /// Something was heard of the server in this run.
    heard: bool,
    /// The phone linked in this run: the server ends the connection on purpose.
    just_paired: bool,
    retry_at: Option<Instant>,
    /// The look-up of a newer version.
    seeking: Option<tokio::task::JoinHandle<Option<WebVersion>>>,
    reports: mpsc::UnboundedSender<Report>,
}

impl Supervisor {
    /// Runs the session until it is told to stop.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let (reports, mut incoming) = mpsc::unbounded_channel();
        let mut running = Running {
            engine: None,
            generation: 0,
            dropping: None,
            heard: false,
            just_paired: false,
            retry_at: None,
            seeking: None,
            reports,
        };
        self.step(&mut running, Event::Start).await;
        if let Some(at) = self.config.pair_requested.filter(plausible) {
            self.step(&mut running, Event::PairRequested(at)).await;
        }
        let mut pulse = tokio::time::interval(PULSE);
        loop {
            let retry = async {
                match running.retry_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let code_expires = expiry(self.machine.state.pairing_code.as_ref());
            let sought = async {
                match &mut running.seeking {
                    Some(seeking) => seeking.await.ok().flatten(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Stop(done)) => {
                        self.step(&mut running, Event::Stop).await;
                        // Whoever asked may be gone.
                        let _ = done.send(());
                        return;
                    }
                    None => {
                        self.step(&mut running, Event::Stop).await;
                        return;
                    }
                    Some(command) => self.obey(&mut running, command).await,
                },
                Some((generation, signal)) = incoming.recv() => {
                    if running.engine.as_ref().is_some_and(|engine| engine.generation() == generation) {
                        self.hear(&mut running, signal).await;
                    }
                }
                () = retry => {
                    running.retry_at = None;
                    self.step(&mut running, Event::RetryDue).await;
                }
                _ = pulse.tick() => {
                    self.beat.send_replace(Instant::now());
                    if running.engine.is_some() && let Some(event) = self.shortage() {
                        self.step(&mut running, event).await;
                    }
                }
                found = sought => {
                    running.seeking = None;
                    let newer = self.adopt_version(found).await;
                    self.step(&mut running, Event::VersionSought(newer)).await;
                }
                () = code_expires => self.step(&mut running, Event::NobodyScanned).await,
            }
        }
    }

    async fn obey(&mut self, running: &mut Running, command: Command) {
        match command {
            Command::Configure(config) => {
                let requested = config.pair_requested.filter(plausible);
                self.config = config;
                let policy = policy(&self.config);
                if policy != self.machine.policy {
                    self.step(running, Event::PolicyChanged(policy)).await;
                }
                if let Some(at) = requested {
                    self.step(running, Event::PairRequested(at)).await;
                }
            }
            Command::Pair(at, reply) => {
                self.step(running, Event::PairRequested(at)).await;
                let _ = reply.send(self.machine.state.clone());
            }
            Command::Claim(number, granted, reply) => {
                self.step(running, Event::ClaimDecided(number, granted)).await;
                let _ = reply.send(self.machine.state.clone());
            }
            Command::LogOut(reply) => {
                let answer = if self.online.borrow().is_some() || !self.machine.state.paired {
                    self.step(running, Event::LogoutRequested).await;
                    Ok(self.machine.state.clone())
                } else if self.machine.state.phase.is_final() {
                    Err(Unavailable::Resting(self.machine.state.phase))
                } else {
                    Err(Unavailable::Now)
                };
                let _ = reply.send(answer);
            }
            Command::Stop(_) => {}
        }
    }

    /// One report of the client as events of the machine.
    async fn hear(&mut self, running: &mut Running, signal: Signal) {
        if !matches!(signal, Signal::RunEnded | Signal::Dropping(..)) {
            running.heard = true;
        }
        let event = match signal {
            // The clock of the codes ran on while the phone linked.
            Signal::Qr(..) | Signal::PairingCode(..) if running.just_paired => return,
            Signal::Qr(code, timeout) => match qr::terminal(&code) {
                Ok(text) => Event::Qr(QrCode { code, text, expires_at: after(timeout) }),
                Err(error) => Event::PairingFailed(error.to_string()),
            },
            Signal::PairingCode(code, timeout) => {
                Event::PairingCode(PairingText { code, expires_at: after(timeout) })
            }
            Signal::Exhausted => Event::NobodyScanned,
            Signal::CodeRefused(message) => Event::PairingCodeRefused(message),
            Signal::PairingFailed(message) => Event::PairingFailed(message),
            Signal::Passkey => Event::PasskeyAsked,
            // The end of the connection overtook the news: see below.
            Signal::Paired(account) if self.machine.state.paired => {
                let known = self.machine.state.account.as_ref();
                let push_name = known.and_then(|known| known.push_name.clone());
                Event::AccountChanged(Account { push_name, ..account })
            }
            Signal::Paired(account) => {
                running.just_paired = true;
                Event::Paired(account)
            }
            Signal::LoggedIn => return,
            Signal::Connected => match self.linked_account(running) {
                Some(account) => Event::Connected(account),
                None => return,
            },
            Signal::PushName(name) => match self.machine.state.account.clone() {
                Some(account) => Event::AccountChanged(Account { push_name: Some(name), ..account }),
                None => return,
            },
            Signal::Dropping(reason, message) => {
                running.dropping = Some((reason, message));
                return;
            }
            Signal::Ended(ending) => Event::Ended(ending),
            Signal::Outdated => Event::Outdated,
            Signal::NotRecorded(error) => {
                tracing::error!(device = %self.config.key, error = &error as &dyn std::error::Error, "a message that came in for device {} could not be recorded: the connection is ended, and WhatsApp delivers it again", self.config.key);
                let message = format!("incoming messages cannot be stored: {}", program::chain(&error));
                Event::Lost(Reason::StoreFailed, Some(message))
            }
            Signal::RunEnded if std::mem::take(&mut running.just_paired) => Event::RetryDue,
            Signal::RunEnded => match self.unannounced_link(running) {
                Some(account) => {
                    self.step(running, Event::Paired(account)).await;
                    Event::RetryDue
                }
                None => {
                    let (reason, message) = end_of_run(running).await;
                    Event::Lost(reason, message)
                }
            },
        };
        self.step(running, event).await;
    }

    /// The account of a phone that linked in the run that just ended, when the news of it is still to come: the server ends the connection
    /// on purpose then, and the two tasks of the engine that tell of it are not in order.
    fn unannounced_link(&self, running: &Running) -> Option<Account> {
        if self.machine.state.paired {
            return None;
        }
        running.engine.as_ref()?.account()
    }

    fn linked_account(&self, running: &Running) -> Option<Account> {
        let mut account = running.engine.as_ref()?.account()?;
        if let Some(known) = &self.machine.state.account {
            account.platform = account.platform.or_else(|| known.platform.clone());
            account.push_name = account.push_name.or_else(|| known.push_name.clone());
        }
        Some(account)
    }

    async fn step(&mut self, running: &mut Running, event: Event) {
        let mut queue = std::collections::VecDeque::from([event]);
        while let Some(event) = queue.pop_front() {
            let (machine, effects) = self.machine.step(event, Timestamp::now());
            self.machine = machine;
            self.publish(running);
            for effect in effects {
                if let Some(event) = self.carry_out(running, effect).await {
                    queue.push_back(event);
                }
            }
            self.publish(running);
        }
    }

    /// Shows the state, and hands the client to those who may use it.
    fn publish(&self, running: &Running) {
        let state = &self.machine.state;
        self.state.send_if_modified(|shown| {
            let changed = shown != state;
            if changed {
                if shown.phase != state.phase || shown.reason != state.reason {
                    let reason = state.reason.map(|reason| reason.to_string()).unwrap_or_default();
                    tracing::info!(device = %self.config.key, phase = %state.phase, reason, "device {} is {}", self.config.key, state.phase);
                }
                shown.clone_from(state);
            }
            changed
        });
        let client = running.engine.as_ref().map(Engine::client);
        let connected = state.phase == Phase::Connected;
        hand_over(&self.online, client.filter(|_| connected));
        hand_over(&self.link, client.filter(|_| self.machine.may_send()));
        metrics::gauge!("enlace_device_connected", "device" => self.config.key.to_string())
            .set(if connected { 1.0 } else { 0.0 });
    }

    async fn carry_out(&mut self, running: &mut Running, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Dial => self.dial(running).await,
            Effect::DialLater(attempt) => {
                let first = self.config.connection.reconnect_delay.get();
                running.retry_at = Some(Instant::now() + delay(first, attempt));
                None
            }
            Effect::Close => {
                if let Some(seeking) = running.seeking.take() {
                    seeking.abort();
                }
                running.retry_at = None;
                running.dropping = None;
                running.just_paired = false;
                let stored = match running.engine.take() {
                    Some(engine) => engine.close().await,
                    None => None,
                };
                // A phone can link in the very moment in which its codes are given up; whoever hears it then is gone.
                stored.filter(|_| self.machine.gave_codes_up()).map(Event::Paired)
            }
            Effect::Unlink => {
                if let Some(engine) = &running.engine {
                    engine.unlink().await;
                }
                Some(Event::Unlinked)
            }
            Effect::Erase => {
                if let Err(error) = self.volume.erase_session() {
                    tracing::error!(device = %self.config.key, %error, "the ended session of device {} could not be erased", self.config.key);
                }
                None
            }
            Effect::SeekVersion => {
                running.seeking = Some(tokio::spawn(seek_version(self.endpoints.clone())));
                None
            }
            Effect::Remember => {
                if let Err(error) = self.store.remember(&self.machine.memory()).await {
                    tracing::error!(device = %self.config.key, error = &error as &dyn std::error::Error, "the state of device {} could not be remembered", self.config.key);
                }
                None
            }
        }
    }

    async fn dial(&mut self, running: &mut Running) -> Option<Event> {
        running.retry_at = None;
        running.dropping = None;
        running.heard = false;
        running.just_paired = false;
        if let Some(event) = self.shortage() {
            return Some(event);
        }
        if running.engine.is_none() {
            // A client connects as soon as there is one: what it would connect with is looked at before.
            if self.machine.is_restored() {
                match engine::account_in(&self.volume.session()).await {
                    Ok(None) => {}
                    Ok(Some(account)) => return Some(Event::SessionFound(account)),
                    Err(error) => {
                        return Some(Event::Lost(Reason::StoreFailed, Some(unreadable(&error))));
                    }
                }
            }
            running.generation += 1;
            let engine = Engine::build(Parts {
                config: &self.config,
                endpoints: &self.endpoints,
                version: self.endpoints.version(self.version),
                session: &self.volume.session(),
                store: self.store.clone(),
                newest: self.newest.clone(),
                acks: self.acks.clone(),
                receipts: self.receipts.clone(),
                reports: running.reports.clone(),
                generation: running.generation,
            })
            .await;
            match engine {
                Ok(engine) => running.engine = Some(engine),
                Err(error) => return Some(Event::Lost(Reason::StoreFailed, Some(unreadable(&error)))),
            }
        }
        if let Some(engine) = &mut running.engine {
            engine.run();
        }
        None
    }

    /// What to do about a volume that is nearly full: what WhatsApp has told nobody, it tells again when there is room.
    fn shortage(&self) -> Option<Event> {
        match self.reserve.outlasts(0) {
            Ok(true) => None,
            Ok(false) => Some(Event::Lost(
                Reason::DiskFull,
                Some(format!(
                    "fewer than {} MiB are free where the data directory is: make room, or give the device a larger volume",
                    self.reserve.bytes() >> 20
                )),
            )),
            Err(error) => {
                tracing::warn!(device = %self.config.key, %error, "the free space of device {} is not known", self.config.key);
                None
            }
        }
    }

    /// Takes a version that was found for the next attempt, if it is newer than the one that was refused.
    async fn adopt_version(&mut self, found: Option<WebVersion>) -> bool {
        let Some(found) = found.filter(|found| *found > self.endpoints.version(self.version)) else {
            return false;
        };
        self.version = Some(found);
        if let Err(error) = self.store.remember_version(found).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the newest version of WhatsApp Web could not be remembered"
            );
        }
        true
    }
}

/// The delay before an attempt: the first one is as configured, then it is doubled each time up to the longest, each with jitter.
fn delay(first: Duration, attempt: u32) -> Duration {
    if attempt == 0 {
        return first.max(MIN_DELAY);
    }
    let backoff = ExponentialBuilder::default()
        .with_min_delay(first)
        .with_max_delay(MAX_DELAY.max(first))
        .without_max_times();
    let delay = backoff.build().nth(attempt as usize).unwrap_or(MAX_DELAY);
    delay.mul_f64(rand::rng().random_range(JITTER)).max(MIN_DELAY)
}

/// Looks the newest version of WhatsApp Web up, once.
async fn seek_version(endpoints: Endpoints) -> Option<WebVersion> {
    let jitter = rand::rng().random_range(Duration::ZERO..VERSION_JITTER);
    tokio::time::sleep(jitter).await;
    let client: Arc<dyn HttpClient> = Arc::new(media_http::client(&endpoints));
    let look_up = whatsapp_rust::version::fetch_latest_app_version(&client);
    match tokio::time::timeout(VERSION_TIMEOUT, look_up).await {
        Ok(Ok((a, b, c))) => Some(WebVersion(a, b, c)),
        Ok(Err(error)) => {
            tracing::warn!(
                error = format!("{error:#}"),
                "the newest version of WhatsApp Web could not be looked up"
            );
            None
        }
        Err(_) => {
            let timeout_s = VERSION_TIMEOUT.as_secs();
            tracing::warn!(timeout_s, "looking up the newest version of WhatsApp Web took too long");
            None
        }
    }
}

/// The part of the configuration that decides.
pub(crate) fn policy(config: &DeviceConfig) -> Policy {
    Policy {
        number: config.phone_number.as_ref().map(enlace_contract::number::PhoneNumber::canonical),
        method: config.pairing.method,
    }
}

/// Whether a time can be when somebody asked.
pub(crate) fn plausible(at: &Timestamp) -> bool {
    at.duration_since(Timestamp::now()) <= CLOCK_SKEW
}

/// Why a run of the client ended.
async fn end_of_run(running: &mut Running) -> (Reason, Option<String>) {
    let dialing = running.engine.as_ref().map_or(Dialing::Idle, Engine::last_dialing);
    if let Some((reason, message)) = running.dropping.take() {
        return (reason, Some(message));
    }
    if dialing == Dialing::Idle
        && let Some(engine) = running.engine.take()
    {
        // It did not even try: a client that has ended itself never does again.
        engine.close().await;
    }
    match dialing {
        Dialing::Failed(message) => (Reason::ConnectFailed, Some(message)),
        Dialing::Opened if !running.heard => {
            let message = "the server did not prove that it is WhatsApp's, or ended the handshake";
            (Reason::HandshakeFailed, Some(message.into()))
        }
        Dialing::Opened | Dialing::Idle => (Reason::ConnectionLost, None),
    }
}

fn hand_over(to: &watch::Sender<Option<Arc<Client>>>, client: Option<&Arc<Client>>) {
    to.send_if_modified(|held| {
        let same = match (held.as_ref(), client) {
            (Some(held), Some(client)) => Arc::ptr_eq(held, client),
            (None, None) => true,
            _ => false,
        };
        if !same {
            *held = client.cloned();
        }
        !same
    });
}

/// What a person can do about a session that cannot be opened.
fn unreadable(error: &whatsapp_rust::anyhow::Error) -> String {
    format!(
        "the session (session.db in the data directory) cannot be opened: {error:#}; it is tried again: put the file back from a backup, or \
         remove it and link a phone anew"
    )
}

fn after(duration: Duration) -> Timestamp {
    let length = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    Timestamp::now().saturating_add(length).unwrap_or(Timestamp::MAX)
}

async fn expiry(code: Option<&PairingText>) {
    match code {
        Some(code) => {
            let left = code.expires_at.duration_since(Timestamp::now());
            tokio::time::sleep(Duration::try_from(left).unwrap_or(Duration::ZERO)).await;
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::machine::Memory;

    #[test]
    fn delays_begin_as_configured_double_up_to_the_longest_and_vary() {
        let seconds = Duration::from_secs;
        assert_eq!(delay(seconds(5), 0), seconds(5), "the first one is not varied");
        assert_eq!(delay(Duration::ZERO, 0), MIN_DELAY);
        assert_eq!(delay(seconds(900), 0), seconds(900), "the configured one may be longer than the longest");
        for (first, attempt, middle) in [
            (seconds(5), 1, seconds(10)),
            (seconds(5), 2, seconds(20)),
            (seconds(5), 5, seconds(160)),
            (seconds(5), 6, MAX_DELAY),
            (seconds(5), 20, MAX_DELAY),
            (seconds(5), 1_000_000, MAX_DELAY),
            (seconds(900), 3, seconds(900)),
        ] {
            let delays: Vec<Duration> = (0..200).map(|_| delay(first, attempt)).collect();
            let (shortest, longest) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
            let said = format!("{first:?} {attempt}: {shortest:?} to {longest:?}");
            assert!(*shortest >= middle.mul_f64(0.8) && *longest < middle.mul_f64(1.2), "{said}");
            assert!(*longest > shortest.mul_f64(1.2), "devices come back apart: {said}");
        }
    }

    #[tokio::test]
    async fn a_pairing_code_that_nobody_types_expires() {
        let directory = tempfile::tempdir().unwrap();
        // Somebody who accepts connections and says nothing: the client stays at its first step.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let websocket = format!("ws://{}/ws/chat", silent.local_addr().unwrap());
        let config: DeviceConfig = serde_json::from_value(serde_json::json!({
            "uid": "uid-1", "key": "default/billing", "phoneNumber": "525550000001",
            "pairing": { "method": "PairingCode" },
        }))
        .unwrap();
        let volume = Volume::open(directory.path(), &config.uid, false).unwrap();
        let store = Store::open(&volume.database()).await.unwrap();
        let code = PairingText { code: "ABCD1234".into(), expires_at: after(Duration::from_millis(300)) };
        let (machine, _) =
            Machine::new(policy(&config), Memory::default()).step(Event::PairingCode(code), Timestamp::now());
        assert_eq!(machine.state.phase, Phase::AwaitingCode);
        let state = watch::Sender::new(machine.state.clone());
        let mut states = state.subscribe();
        let supervisor = Supervisor {
            config,
            endpoints: Endpoints { websocket, ..Endpoints::default() },
            store,
            volume,
            reserve: Reserve::new(directory.path(), watch::channel(0).1),
            machine,
            version: None,
            acks: Acks::default(),
            receipts: mpsc::channel(1).0,
            newest: watch::Sender::new(0),
            state,
            link: watch::Sender::new(None),
            online: watch::Sender::new(None),
            beat: watch::Sender::new(Instant::now()),
        };
        let (commands, requests) = mpsc::channel(1);
        let running = tokio::spawn(supervisor.run(requests));
        let expired = states.wait_for(|state| state.phase == Phase::Disconnected);
        let state = tokio::time::timeout(Duration::from_secs(60), expired).await.unwrap().unwrap().clone();
        assert_eq!((state.reason, state.pairing_code), (Some(Reason::NobodyScanned), None));
        drop(commands);
        running.await.unwrap();
    }
}
