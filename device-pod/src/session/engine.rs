//! The WhatsApp client, its events in our words.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use enlace_contract::config::{DeviceConfig, PairingMethod};
use enlace_contract::messages::MessageState;
use enlace_contract::number::CanonicalNumber;
use enlace_contract::state::{Account, Reason};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use whatsapp_rust::Jid;
use whatsapp_rust::bot::{Bot, BotHandle};
use whatsapp_rust::client::Client;
use whatsapp_rust::pair_code::PairCodeOptions;
use whatsapp_rust::store::{DeviceStore as _, SqliteStore, SqliteStoreConfig, Synchronous};
use whatsapp_rust::types::events::{ConnectFailureReason, Event, EventHandler, EventInterest, EventKind};
use whatsapp_rust::types::presence::ReceiptType;
use whatsapp_rust::wacore::store::DevicePropsOverride;
use whatsapp_rust::waproto::whatsapp::device_props::PlatformType;

use super::journal::Journal;
use super::machine::Ending;
use super::media_http;
use super::transport::{Dialer, Dialing};
use crate::endpoints::{Endpoints, WebVersion};
use crate::store::{Store, StoreError};

/// How long a client may take to end: its buffers are flushed and the socket is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long unlinking at WhatsApp may take.
const UNLINK_TIMEOUT: Duration = Duration::from_secs(5);
/// How many characters of its name a device tells the phone.
const SHOWN_NAME: usize = 64;
/// How every database of SQLite begins.
const SQLITE: &[u8] = b"SQLite format 3\0";
/// Receipts that wait to be written down. More are dropped, and counted.
pub(crate) const RECEIPTS: usize = 4_096;

/// What a client reports, with the generation of the client it comes from.
pub(super) type Report = (u64, Signal);

/// What happened in the client.
pub(super) enum Signal {
    /// A QR code, and for how long.
    Qr(String, Duration),
    /// A pairing code, and for how long.
    PairingCode(String, Duration),
    /// All QR codes were shown.
    Exhausted,
    /// No pairing code is given.
    CodeRefused(String),
    /// A phone tried to link and could not.
    PairingFailed(String),
    /// A passkey is asked for.
    Passkey,
    /// A phone linked.
    Paired(Account),
    /// WhatsApp accepted the login; not usable yet.
    LoggedIn,
    /// Usable.
    Connected,
    /// The account has another push name.
    PushName(String),
    /// Why the connection is about to end.
    Dropping(Reason, String),
    /// The session ended.
    Ended(Ending),
    /// The version is refused.
    Outdated,
    /// What came in could not be recorded; the connection was cut.
    NotRecorded(StoreError),
    /// The client stopped running.
    RunEnded,
}

/// The server's answer to a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AckResult {
    /// Accepted.
    Accepted,
    /// Refused, with its code.
    Refused(String),
}

/// A receipt: how far messages came.
#[derive(Debug)]
pub(crate) struct Receipt {
    pub(crate) ids: Vec<String>,
    pub(crate) state: MessageState,
}

/// Who waits for the server's answer to which message.
#[derive(Clone, Default)]
pub(crate) struct Acks(Arc<Mutex<HashMap<String, oneshot::Sender<AckResult>>>>);

impl Acks {
    /// Waits for the answer to a message; the guard forgets it.
    pub(crate) fn expect(&self, id: &str) -> oneshot::Receiver<AckResult> {
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(id.to_owned(), sender);
        receiver
    }

    /// No longer waits for the answer to a message.
    pub(crate) fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    fn settle(&self, id: &str, result: AckResult) {
        if let Some(waiter) = self.lock().remove(id) {
            // Nobody listens any more when the sender gave up just now.
            let _ = waiter.send(result);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<AckResult>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a client is made of.
pub(super) struct Parts<'a> {
    pub(super) config: &'a DeviceConfig,
    pub(super) endpoints: &'a Endpoints,
    pub(super) version: WebVersion,
    pub(super) session: &'a Path,
    pub(super) store: Store,
    pub(super) newest: watch::Sender<i64>,
    pub(super) acks: Acks,
    pub(super) receipts: mpsc::Sender<Receipt>,
    pub(super) reports: mpsc::UnboundedSender<Report>,
    pub(super) generation: u64,
}

/// A client of WhatsApp on the session store.
pub(super) struct Engine {
    client: Arc<Client>,
    /// The first run is the builder's; later ones are ours.
    first: Option<BotHandle>,
    running: Option<Run>,
    dialer: Dialer,
    reports: mpsc::UnboundedSender<Report>,
    generation: u64,
}

/// A client that runs.
struct Run {
    task: JoinHandle<()>,
    /// Whether the client has stopped. The task itself ends a moment later, after it has said so: whoever hears it may be faster.
    over: Arc<AtomicBool>,
}

impl Run {
    /// Has a client run; then `tell` says that it has stopped.
    fn begin(
        client: impl Future<Output = ()> + Send + 'static,
        tell: impl FnOnce() + Send + 'static,
    ) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&over);
        let task = tokio::spawn(async move {
            client.await;
            stopped.store(true, Ordering::Release);
            tell();
        });
        Self { task, over }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire) || self.task.is_finished()
    }
}

impl Engine {
    /// Makes a client, which begins to connect; [`Self::run`] follows it.
    pub(super) async fn build(parts: Parts<'_>) -> whatsapp_rust::anyhow::Result<Self> {
        let Parts { config, endpoints, version, session, store, newest, acks, receipts, reports, generation } =
            parts;
        let keys = open(session).await?;
        let linked = keys.load().await?.is_some_and(|device| device.pn.is_some());
        let dialer = Dialer::new(&endpoints.websocket);
        let journal = Journal::new(store, newest, {
            let (dialer, reports) = (dialer.clone(), reports.clone());
            // At once: what comes after it must wait for it.
            move |error| {
                dialer.cut();
                // The supervisor is gone when the device stops.
                let _ = reports.send((generation, Signal::NotRecorded(error)));
            }
        });
        let name: String =
            config.display_name.as_deref().unwrap_or("Enlace").chars().take(SHOWN_NAME).collect();
        let mut builder = Bot::builder()
            .with_backend(keys)
            .with_transport_factory(dialer.clone())
            .with_http_client(media_http::client(endpoints))
            .with_version((version.0, version.1, version.2))
            .with_device_props(
                DevicePropsOverride::new().with_os(name).with_platform_type(PlatformType::CHROME),
            )
            .skip_history_sync()
            .with_inbound_durability_hook(journal)
            .with_event_handler(Tap {
                generation,
                reports: reports.clone(),
                acks,
                receipts: receipts.downgrade(),
            });
        if !linked
            && config.pairing.method == PairingMethod::PairingCode
            && let Some(number) = &config.phone_number
        {
            builder = builder.with_pair_code(PairCodeOptions {
                phone_number: number.as_str().to_owned(),
                ..PairCodeOptions::default()
            });
        }
        let bot = builder.build().await?;
        let client = bot.client();
        client.enable_auto_reconnect.store(false, Ordering::Relaxed);
        Ok(Self { client, first: Some(bot.spawn()), running: None, dialer, reports, generation })
    }

    /// The client.
    pub(super) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Which client this is: reports of others are old.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Connects and stays connected until the connection ends, which [`Signal::RunEnded`] reports.
    pub(super) fn run(&mut self) {
        if self.running.as_ref().is_some_and(|run| !run.is_over()) {
            return;
        }
        let first = self.first.take();
        let client = Arc::clone(&self.client);
        let (reports, generation) = (self.reports.clone(), self.generation);
        let client = async move {
            match first {
                Some(handle) => handle.await,
                None => {
                    client.enable_auto_reconnect.store(false, Ordering::Relaxed);
                    client.run().await;
                }
            }
        };
        // The supervisor is gone when the device stops.
        let tell = move || drop(reports.send((generation, Signal::RunEnded)));
        self.running = Some(Run::begin(client, tell));
    }

    /// How the last attempt to open a socket went.
    pub(super) fn last_dialing(&self) -> Dialing {
        self.dialer.take()
    }

    /// The account, as the session store has it.
    pub(super) fn account(&self) -> Option<Account> {
        stored_account(&self.client)
    }

    /// Tells WhatsApp that this device is unlinked. Whether it answered is not known.
    pub(super) async fn unlink(&self) {
        if tokio::time::timeout(UNLINK_TIMEOUT, self.client.logout()).await.is_err() {
            tracing::warn!(
                timeout_s = UNLINK_TIMEOUT.as_secs(),
                "unlinking at WhatsApp took too long and was given up"
            );
        }
    }

    /// Ends the client: what is buffered is flushed, the socket is closed. In the end it has no way to WhatsApp any more, whatever happens.
    /// The account that its session store then has.
    pub(super) async fn close(mut self) -> Option<Account> {
        let client = Arc::clone(&self.client);
        let (running, first) = (self.running.take().map(|run| run.task), self.first.take());
        let abort = running.as_ref().map(JoinHandle::abort_handle);
        let closing = async {
            client.disconnect().await;
            match (running, first) {
                (Some(running), _) => drop(running.await),
                (None, Some(handle)) => handle.await,
                (None, None) => {}
            }
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, closing).await.is_err() {
            tracing::warn!(
                timeout_s = CLOSE_TIMEOUT.as_secs(),
                "the WhatsApp client took too long to end and was cut off"
            );
            if let Some(abort) = abort {
                abort.abort();
            }
        }
        stored_account(&self.client)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(run) = self.running.take() {
            run.task.abort();
        }
        self.dialer.cut();
    }
}

async fn open(session: &Path) -> whatsapp_rust::anyhow::Result<SqliteStore> {
    usable(session)?;
    Ok(SqliteStore::with_config(&session.to_string_lossy(), settings()).await?)
}

/// How a session is stored. The outbound counter lease depends on FULL: a lost one would use keys twice.
fn settings() -> SqliteStoreConfig {
    SqliteStoreConfig { synchronous: Synchronous::Full, ..SqliteStoreConfig::default() }
}

/// Refuses at once what the store would try to open for half a minute: a file that cannot be opened, or is no database.
fn usable(session: &Path) -> io::Result<()> {
    match fs::metadata(session) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(known) if !known.is_file() => return Err(io::Error::other("it is not a file")),
        Ok(_) => {}
    }
    let mut head = Vec::new();
    let file = fs::OpenOptions::new().read(true).write(true).open(session)?;
    file.take(SQLITE.len() as u64).read_to_end(&mut head)?;
    if head.is_empty() || head == SQLITE { Ok(()) } else { Err(io::Error::other("it is not a database")) }
}

/// The account of a session store that no client has open; none when there is no session in it.
pub(super) async fn account_in(session: &Path) -> whatsapp_rust::anyhow::Result<Option<Account>> {
    if !session.exists() {
        return Ok(None);
    }
    let device = open(session).await?.load().await?;
    Ok(device.and_then(|device| account(device.pn.as_ref()?, device.lid.as_ref(), None)))
}

/// The number as which a client sends, as its session store has it.
pub(crate) fn number_of(client: &Client) -> Option<CanonicalNumber> {
    stored_account(client).map(|account| account.phone_number.canonical())
}

fn stored_account(client: &Client) -> Option<Account> {
    let device = client.persistence_manager().get_device_snapshot();
    let mut account = account(device.pn.as_ref()?, device.lid.as_ref(), None)?;
    account.push_name = Some(device.push_name.clone()).filter(|name| !name.is_empty());
    Some(account)
}

/// An account of a JID.
fn account(jid: &Jid, lid: Option<&Jid>, platform: Option<String>) -> Option<Account> {
    Some(Account {
        phone_number: jid.user.as_str().parse().ok()?,
        jid: jid.to_string(),
        lid: lid.map(ToString::to_string),
        push_name: None,
        platform: platform.filter(|platform| !platform.is_empty()),
    })
}

/// Listens on the client's dispatch path: it must never wait.
struct Tap {
    generation: u64,
    reports: mpsc::UnboundedSender<Report>,
    acks: Acks,
    /// Weak: the client's clock of codes keeps this handler for a minute after the client has ended, and must not keep the device.
    receipts: mpsc::WeakSender<Receipt>,
}

impl Tap {
    fn receipt(&self, ids: &[String], kind: &ReceiptType) {
        let state = match kind {
            ReceiptType::Delivered => MessageState::Delivered,
            ReceiptType::Read | ReceiptType::Played => MessageState::Read,
            _ => return,
        };
        for id in ids {
            // Whoever received it had it from the server.
            self.acks.settle(id, AckResult::Accepted);
        }
        let Some(receipts) = self.receipts.upgrade() else { return };
        if receipts.try_send(Receipt { ids: ids.to_vec(), state }).is_err() {
            metrics::counter!("enlace_device_receipts_dropped_total").increment(1);
        }
    }
}

impl EventHandler for Tap {
    fn handle_event(&self, event: Arc<Event>) {
        let signal = match &*event {
            Event::PairingQrCode(qr) => Signal::Qr(qr.code.clone(), qr.timeout),
            Event::PairingCode(code) => Signal::PairingCode(code.code.clone(), code.timeout),
            Event::PairingQrCodesExhausted(exhausted) if exhausted.disconnected => Signal::Exhausted,
            Event::PairingCodeError(error) => Signal::CodeRefused(error.error.clone()),
            Event::PairPasskeyRequest(_) => Signal::Passkey,
            Event::PairError(error) => Signal::PairingFailed(error.error.clone()),
            Event::QrScannedWithoutMultidevice(_) => {
                Signal::PairingFailed("the phone's WhatsApp is too old to link devices: update it".into())
            }
            Event::PairSuccess(pair) => {
                match account(
                    &pair.id,
                    Some(&pair.lid).filter(|lid| !lid.user.is_empty()),
                    Some(pair.platform.clone()),
                ) {
                    Some(account) => Signal::Paired(account),
                    None => Signal::PairingFailed("the phone that linked has no phone number".into()),
                }
            }
            Event::OfflineSyncPreview(_) | Event::OfflineSyncCompleted(_) => Signal::LoggedIn,
            Event::Connected(_) => Signal::Connected,
            Event::SelfPushNameUpdated(update) => Signal::PushName(update.new_name.clone()),
            Event::Disconnected(end) => Signal::Dropping(Reason::ConnectionLost, end.reason.to_string()),
            Event::StreamReplaced(_) => Signal::Ended(Ending::Replaced),
            Event::LoggedOut(end) if end.reason == ConnectFailureReason::AccountLocked => Signal::Ended(
                Ending::Locked(logout_text(end.logout_message.as_ref(), "WhatsApp locked this account")),
            ),
            Event::LoggedOut(end) => Signal::Ended(Ending::LoggedOut(logout_text(
                end.logout_message.as_ref(),
                "the device was unlinked on the phone or by WhatsApp: scan again to link it",
            ))),
            Event::TemporaryBan(ban) => {
                let told = ban.message.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
                let banned = banned_for(ban.expire.num_seconds(), Timestamp::now());
                Signal::Ended(Ending::Banned(format!("{banned} ({:?}){told}", ban.code)))
            }
            Event::ClientOutdated(_) => Signal::Outdated,
            Event::ConnectFailure(failure) => connect_failure(&failure.reason, failure.message.as_deref()),
            Event::ServerAck(ack) if ack.class.as_deref() == Some("message") => {
                let result = ack.error.clone().map_or(AckResult::Accepted, AckResult::Refused);
                return self.acks.settle(&ack.id, result);
            }
            Event::Receipt(receipt) => return self.receipt(&receipt.message_ids, &receipt.r#type),
            _ => return,
        };
        // The supervisor is gone when the device stops.
        let _ = self.reports.send((self.generation, signal));
    }

    fn interest(&self) -> EventInterest {
        EventInterest::of(&[
            EventKind::PairingQrCode,
            EventKind::PairingCode,
            EventKind::PairingQrCodesExhausted,
            EventKind::PairingCodeError,
            EventKind::PairPasskeyRequest,
            EventKind::PairError,
            EventKind::QrScannedWithoutMultidevice,
            EventKind::PairSuccess,
            EventKind::OfflineSyncPreview,
            EventKind::OfflineSyncCompleted,
            EventKind::Connected,
            EventKind::SelfPushNameUpdated,
            EventKind::Disconnected,
            EventKind::StreamReplaced,
            EventKind::LoggedOut,
            EventKind::TemporaryBan,
            EventKind::ClientOutdated,
            EventKind::ConnectFailure,
            EventKind::ServerAck,
            EventKind::Receipt,
        ])
    }
}

/// What is said of a ban of so many seconds.
fn banned_for(seconds: i64, now: Timestamp) -> String {
    let minutes = seconds.max(0).saturating_add(59) / 60;
    let length = match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    };
    let end = now.checked_add(SignedDuration::from_secs(seconds.max(0))).unwrap_or(Timestamp::MAX);
    let end = end.strftime("%Y-%m-%d %H:%M:%S UTC");
    format!("WhatsApp banned this account for {length}, until {end}; `pair` tries again after that")
}

fn connect_failure(reason: &ConnectFailureReason, told: Option<&str>) -> Signal {
    let told = told.map(|text| format!(": {text}")).unwrap_or_default();
    match reason {
        ConnectFailureReason::ServiceUnavailable | ConnectFailureReason::InternalServerError => {
            Signal::Dropping(
                Reason::ServiceUnavailable,
                format!("WhatsApp is not available ({reason:?}){told}"),
            )
        }
        ConnectFailureReason::TempBanned => Signal::Ended(Ending::Banned(format!(
            "WhatsApp banned this account; it does not say for how long{told}: `pair` tries again"
        ))),
        other => Signal::Ended(Ending::Refused(format!("WhatsApp refused the login ({other:?}){told}"))),
    }
}

fn logout_text(message: Option<&whatsapp_rust::types::events::LogoutMessage>, otherwise: &str) -> String {
    let told: Vec<&str> = message
        .into_iter()
        .flat_map(|message| [message.header.as_deref(), message.subtext.as_deref()])
        .flatten()
        .collect();
    if told.is_empty() { otherwise.to_owned() } else { told.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_says_how_long_it_is_and_when_it_ends() {
        let now = "2030-01-31T12:00:00Z".parse().unwrap();
        for (seconds, said) in [
            (60, "for 1 min, until 2030-01-31 12:01:00 UTC"),
            (61, "for 2 min, until 2030-01-31 12:01:01 UTC"),
            (86_400, "for 24 h, until 2030-02-01 12:00:00 UTC"),
            (5_400, "for 1 h 30 min, until 2030-01-31 13:30:00 UTC"),
            (i64::MAX, "until 9999-12-30"),
        ] {
            let text = banned_for(seconds, now);
            assert!(text.contains(said) && text.ends_with("`pair` tries again after that"), "{text}");
        }
    }

    #[test]
    fn a_session_is_on_disk_when_it_was_committed() {
        // What SQLite makes of it is a test of the store's own crate.
        assert!(matches!(settings().synchronous, Synchronous::Full));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_run_is_over_when_its_end_is_heard_though_its_task_is_still_there() {
        let (heard, hears) = oneshot::channel();
        let (go, waits) = std::sync::mpsc::channel::<()>();
        let run = Run::begin(std::future::ready(()), move || {
            heard.send(()).unwrap();
            waits.recv().unwrap();
        });
        hears.await.unwrap();
        assert!(!run.task.is_finished());
        assert!(run.is_over());
        go.send(()).unwrap();
        run.task.await.unwrap();
    }
}
