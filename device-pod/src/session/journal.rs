//! Incoming messages: on disk before WhatsApp is told that they arrived.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{Mutex, watch};
use whatsapp_rust::anyhow::{self, bail};
use whatsapp_rust::client::Client;
use whatsapp_rust::types::durability_hook::{InboundDurabilityHook, InboundMessage};

use super::incoming;
use crate::store::inbox::Incoming;
use crate::store::{Store, StoreError};

/// Records what comes in. WhatsApp gets its acknowledgement when [`InboundDurabilityHook::on_messages`] has returned a success.
///
/// After a failure it records nothing more: what came later of the same chat would stand before what failed. WhatsApp delivers all of it
/// again, in its order, to the next client, which has a journal of its own.
pub(super) struct Journal<F> {
    store: Store,
    newest: watch::Sender<i64>,
    /// What is done about the first failure; taken by it. Held while a batch is recorded, so that none overtakes one that fails.
    on_failure: Mutex<Option<F>>,
}

impl<F: FnOnce(StoreError) + Send> Journal<F> {
    /// A journal that calls `on_failure` when a batch could not be recorded, once.
    pub(super) fn new(store: Store, newest: watch::Sender<i64>, on_failure: F) -> Self {
        Self { store, newest, on_failure: Mutex::new(Some(on_failure)) }
    }

    async fn record(&self, batch: &[Incoming]) -> anyhow::Result<()> {
        let mut on_failure = self.on_failure.lock().await;
        if on_failure.is_none() {
            bail!("an earlier message could not be recorded");
        }
        let newest = match self.store.record(batch, Timestamp::now()).await {
            Ok(newest) => newest,
            Err(error) => {
                metrics::counter!("enlace_device_inbox_failures_total").increment(1);
                if let Some(on_failure) = on_failure.take() {
                    on_failure(error);
                }
                bail!("incoming messages could not be recorded; WhatsApp will deliver them again");
            }
        };
        metrics::counter!("enlace_device_messages_received_total").increment(batch.len() as u64);
        // The journal of the client before may still have finished a batch.
        self.newest.send_if_modified(|before| {
            let newer = newest > *before;
            *before = newest.max(*before);
            newer
        });
        Ok(())
    }
}

#[async_trait]
impl<F: FnOnce(StoreError) + Send + 'static> InboundDurabilityHook for Journal<F> {
    async fn on_messages(&self, _: Arc<Client>, batch: &[InboundMessage]) -> anyhow::Result<()> {
        let batch: Vec<_> = batch.iter().filter_map(incoming::read).collect();
        if batch.is_empty() { Ok(()) } else { self.record(&batch).await }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use enlace_contract::inbox::InboxRecord;

    use super::*;

    fn incoming(id: &str) -> Incoming {
        let record = InboxRecord {
            sequence: 0,
            id: id.into(),
            chat: "a".into(),
            sender: "a".into(),
            sender_number: None,
            push_name: None,
            from_me: false,
            group: false,
            kind: "text".into(),
            text: None,
            media: None,
            timestamp: Timestamp::UNIX_EPOCH,
            received_at: Timestamp::UNIX_EPOCH,
        };
        Incoming { record, download: None }
    }

    #[tokio::test]
    async fn after_a_failure_nothing_is_recorded_until_there_is_another_client() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("device.db");
        let store = Store::open(&file).await.unwrap();
        let pool = sqlx::SqlitePool::connect_with(sqlx::sqlite::SqliteConnectOptions::new().filename(&file));
        let pool = pool.await.unwrap();
        let failures = Arc::new(AtomicU32::new(0));
        let newest = watch::Sender::new(0);
        let journal = || {
            let failures = Arc::clone(&failures);
            Journal::new(store.clone(), newest.clone(), move |_| {
                failures.fetch_add(1, Ordering::Relaxed);
            })
        };

        let first = journal();
        first.record(&[incoming("1")]).await.unwrap();
        let fails = "CREATE TRIGGER fails BEFORE INSERT ON inbox BEGIN SELECT RAISE(ABORT, 'no'); END";
        sqlx::query(fails).execute(&pool).await.unwrap();
        first.record(&[incoming("2")]).await.unwrap_err();
        sqlx::query("DROP TRIGGER fails").execute(&pool).await.unwrap();
        first.record(&[incoming("3")]).await.unwrap_err();
        assert_eq!((failures.load(Ordering::Relaxed), *newest.borrow()), (1, 1));

        journal().record(&[incoming("2"), incoming("3")]).await.unwrap();
        let ids: Vec<_> =
            store.inbox(0, 10).await.unwrap().items.into_iter().map(|record| record.id).collect();
        assert_eq!((ids, *newest.borrow()), (vec!["1".into(), "2".into(), "3".into()], 3));
    }
}
