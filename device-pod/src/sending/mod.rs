//! The one sender of a device: it takes the oldest waiting message, keeps the pace, and sends it under the id it was stored with.
//!
//! * `outgoing`: a stored message as a protocol message,
//! * `recipient`: whom a message is for,
//! * `refusal`: which refusals of WhatsApp are its last word, `attempts`: what rests after an attempt that failed.
//!
//! A message that may work later rests, and only those of its chat and of its batch wait for it.

mod attempts;
mod outgoing;
pub(crate) mod recipient;
mod refusal;

use std::sync::{Arc, Weak};
use std::time::Duration;

use enlace_contract::config::DeviceConfig;
use enlace_contract::messages::{Message, MessageError, MessageState};
use enlace_contract::number::CanonicalNumber;
use jiff::Timestamp;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use whatsapp_rust::client::Client;
use whatsapp_rust::send::SendOptions;

use crate::session::{AckResult, Acks, Receipt, number_of};
use crate::store::outbox::Due;
use crate::store::{Store, StoreError};
use attempts::{Attempts, RETRY_PAUSE, Turn, waits};
use recipient::Recipients;

/// How long WhatsApp may take to answer a message.
const ACK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one message may take in all, its upload included.
const SEND_TIMEOUT: Duration = Duration::from_secs(360);

/// What the sender is made of.
pub(crate) struct Sender {
    pub(crate) store: Store,
    pub(crate) config: watch::Receiver<DeviceConfig>,
    pub(crate) link: watch::Receiver<Option<Arc<Client>>>,
    pub(crate) acks: Acks,
    pub(crate) queued: Arc<Notify>,
    pub(crate) changes: broadcast::Sender<Message>,
    pub(crate) stop: CancellationToken,
}

/// How an attempt to send ended.
enum Outcome {
    /// WhatsApp accepted the message.
    Accepted,
    /// It will never be accepted.
    Failed(MessageError),
    /// It may work later.
    Later(String),
    /// The connection ended.
    Unlinked,
}

/// The last attempt.
struct Last {
    at: Instant,
    batch: Option<String>,
}

impl Sender {
    /// Sends until told to stop. A message that is being sent then stays in the outbox.
    pub(crate) async fn run(mut self) {
        let stop = self.stop.clone();
        // Whatever the send was doing, the message is on disk and goes out under its id the next time.
        let _ = stop.run_until_cancelled(self.send_all()).await;
    }

    async fn send_all(&mut self) {
        let mut recipients = Recipients::default();
        let mut last = self.last_sent().await.map(|at| Last { at, batch: None });
        let mut attempts = Attempts::default();
        let mut adopted: Weak<Client> = Weak::new();
        loop {
            let Some(client) = self.linked().await else { return };
            let Some(account) = number_of(&client) else {
                // It is linked no more; the news of it is on its way.
                let _ = self.link.changed().await;
                continue;
            };
            if !std::ptr::eq(adopted.as_ptr(), Arc::as_ptr(&client)) {
                if let Err(error) = self.adopt(&account).await {
                    self.store_failed(&error);
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
                adopted = Arc::downgrade(&client);
            }
            if let Some(pause) = attempts.pause(Instant::now()) {
                tokio::time::sleep_until(pause).await;
                continue;
            }
            match self.pace(last.as_ref(), &account).await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    self.store_failed(&error);
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
            }
            let due = match self.next(&account, &attempts).await {
                Ok(Some(due)) => due,
                Ok(None) => continue,
                Err(error) => {
                    self.store_failed(&error);
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
            };
            let turn = Turn::of(&due);
            let started = Instant::now();
            let outcome = self.attempt(&client, due, &mut recipients).await;
            let outcome = attempts.count(&turn, outcome, Instant::now());
            // After one that rests comes another chat's: a batch's gap is not for that one.
            let batch = turn.batch().filter(|_| !matches!(outcome, Outcome::Later(_))).map(str::to_owned);
            last = Some(Last { at: Instant::now(), batch });
            metrics::histogram!("enlace_device_send_duration_seconds")
                .record(started.elapsed().as_secs_f64());
            if let Err(error) = self.settle(turn.id(), outcome).await {
                self.store_failed(&error);
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }

    /// When the last message went out before the program started, if the next one must still wait for it.
    async fn last_sent(&self) -> Option<Instant> {
        let interval = self.config.borrow().sending.interval.get();
        let now = Timestamp::now();
        let since = now.checked_sub(interval).unwrap_or(Timestamp::MIN);
        match self.store.last_attempt(since).await {
            // A time that is yet to come is of another clock: the whole interval is kept.
            Ok(last) => last.and_then(|last| {
                let ago = Duration::try_from(now.duration_since(last)).unwrap_or(Duration::ZERO);
                Instant::now().checked_sub(ago)
            }),
            Err(error) => {
                self.store_failed(&error);
                Some(Instant::now())
            }
        }
    }

    /// What waits is this account's from now on, or fails.
    async fn adopt(&self, account: &CanonicalNumber) -> Result<(), StoreError> {
        let failed = self.store.adopt_outbox(account, Timestamp::now()).await?;
        if !failed.is_empty() {
            tracing::warn!(
                messages = failed.len(),
                "{} waiting messages fail: they were stored for another account than the one that is linked now",
                failed.len()
            );
        }
        for message in failed {
            self.publish(message);
        }
        Ok(())
    }

    /// The client, once messages may go out; none when the device stops.
    async fn linked(&mut self) -> Option<Arc<Client>> {
        self.link.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Waits until the next message may go: within a batch that is its gap. False: the link or the configuration changed meanwhile.
    async fn pace(&mut self, last: Option<&Last>, account: &CanonicalNumber) -> Result<bool, StoreError> {
        let interval = self.config.borrow_and_update().sending.interval.get();
        let Some(Last { at, batch }) = last else { return Ok(true) };
        // The rest of a batch was stored with its beginning, and is the oldest that waits: it cannot change while this waits.
        let gap = match batch {
            Some(batch) => self.store.gap_after(batch, account).await?,
            None => None,
        };
        Ok(tokio::select! {
            () = tokio::time::sleep_until(*at + gap.unwrap_or(interval)) => true,
            Ok(()) = self.config.changed() => false,
            _ = self.link.wait_for(Option::is_none) => false,
        })
    }

    /// The next message; none when there was none: then something was stored, a rest or the link ended, and it is worth looking again.
    async fn next(
        &mut self,
        account: &CanonicalNumber,
        attempts: &Attempts,
    ) -> Result<Option<Due>, StoreError> {
        let queued = Arc::clone(&self.queued);
        let notified = queued.notified();
        tokio::pin!(notified);
        // Listen before looking: a message that is stored in between is not missed.
        notified.as_mut().enable();
        let now = Instant::now();
        let resting = attempts.resting(now);
        let waits = |to: &str, batch: Option<&str>| waits(&resting, to, batch);
        if let Some((due, message)) = self.store.next_due(account, Timestamp::now(), waits).await? {
            self.publish(message);
            return Ok(Some(due));
        }
        tokio::select! {
            () = notified => {}
            () = until(attempts.next_end(now)) => {}
            _ = self.link.wait_for(Option::is_none) => {}
        }
        Ok(None)
    }

    async fn attempt(&mut self, client: &Arc<Client>, due: Due, recipients: &mut Recipients) -> Outcome {
        let id = due.id.clone();
        let mut link = self.link.clone();
        let sending = self.send(client, due, recipients);
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(SEND_TIMEOUT, sending) => {
                outcome.unwrap_or_else(|_| Outcome::Later(format!("not sent within {} s", SEND_TIMEOUT.as_secs())))
            }
            _ = link.wait_for(|held| held.as_ref().is_none_or(|held| !Arc::ptr_eq(held, client))) => Outcome::Unlinked,
        };
        self.acks.forget(&id);
        outcome
    }

    async fn send(&self, client: &Arc<Client>, due: Due, recipients: &mut Recipients) -> Outcome {
        let Due { id, to, jid, content, batch: _ } = due;
        let jid = match recipients.resolve(client, &to, jid.as_deref()).await {
            Ok(Some(jid)) => jid,
            Ok(None) => {
                let message = format!("{to} is not on WhatsApp");
                return Outcome::Failed(MessageError { reason: "NotOnWhatsApp".into(), message });
            }
            Err(error) => return Outcome::Later(format!("the recipient could not be looked up: {error:#}")),
        };
        if let Err(error) = self.store.resolved(&id, &jid.to_string()).await {
            self.store_failed(&error);
        }
        let message = match outgoing::prepare(client, content).await {
            Ok(message) => message,
            Err(error) => return Outcome::Later(format!("the file could not be uploaded: {error:#}")),
        };
        let ack = self.acks.expect(&id);
        let options = SendOptions::default().with_message_id(id);
        if let Err(error) = client.send_message_with_options(jid, message, options).await {
            return match refusal::of_send(&error) {
                Some(refused) => Outcome::Failed(refused),
                None => Outcome::Later(format!("{error:#}")),
            };
        }
        match tokio::time::timeout(ACK_TIMEOUT, ack).await {
            Ok(Ok(AckResult::Accepted)) => Outcome::Accepted,
            Ok(Ok(AckResult::Refused(code))) => {
                refusal::of_ack(&code).map_or_else(Outcome::Later, Outcome::Failed)
            }
            Ok(Err(_)) | Err(_) => {
                Outcome::Later(format!("WhatsApp did not answer within {} s", ACK_TIMEOUT.as_secs()))
            }
        }
    }

    async fn settle(&self, id: &str, outcome: Outcome) -> Result<(), StoreError> {
        let now = Timestamp::now();
        let (result, changed) = match outcome {
            Outcome::Accepted => {
                let sent = self.store.advance(id, MessageState::Sent, now).await?;
                ("sent", sent.into_iter().collect())
            }
            Outcome::Failed(error) => {
                tracing::warn!(
                    message_id = id,
                    reason = error.reason,
                    "message {id} failed: {}",
                    error.reason
                );
                ("failed", self.store.fail(id, &error, now).await?)
            }
            Outcome::Later(why) => {
                tracing::warn!(message_id = id, why, "message {id} waits for another attempt");
                ("retried", self.store.requeue(id, now).await?.into_iter().collect::<Vec<_>>())
            }
            Outcome::Unlinked => ("interrupted", self.store.requeue(id, now).await?.into_iter().collect()),
        };
        metrics::counter!("enlace_device_send_attempts_total", "result" => result).increment(1);
        for message in changed {
            self.publish(message);
        }
        Ok(())
    }

    fn publish(&self, message: Message) {
        // Nobody may be watching.
        let _ = self.changes.send(message);
    }

    fn store_failed(&self, error: &StoreError) {
        tracing::error!(error = error as &dyn std::error::Error, "the outbox failed");
    }
}

/// At a time, when there is one.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Writes receipts down until the device stops.
pub(crate) async fn record_receipts(
    store: Store,
    mut receipts: mpsc::Receiver<Receipt>,
    changes: broadcast::Sender<Message>,
) {
    while let Some(Receipt { ids, state }) = receipts.recv().await {
        for id in ids {
            match store.advance(&id, state, Timestamp::now()).await {
                Ok(Some(message)) => {
                    let _ = changes.send(message);
                }
                // Not one of ours, or further already.
                Ok(None) => {}
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a receipt could not be recorded"
                ),
            }
        }
    }
}
