//! Incoming messages: on disk before WhatsApp is told that they arrived.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;
use whatsapp_rust::anyhow::{self, Context as _};
use whatsapp_rust::client::Client;
use whatsapp_rust::types::durability_hook::{InboundDurabilityHook, InboundMessage};

use super::incoming;
use crate::store::Store;

/// Records what comes in. WhatsApp gets its acknowledgement when [`InboundDurabilityHook::on_messages`] has returned a success.
#[derive(Clone)]
pub(super) struct Journal {
    store: Store,
    newest: watch::Sender<i64>,
}

impl Journal {
    pub(super) fn new(store: Store, newest: watch::Sender<i64>) -> Self {
        Self { store, newest }
    }
}

#[async_trait]
impl InboundDurabilityHook for Journal {
    async fn on_messages(&self, _: Arc<Client>, batch: &[InboundMessage]) -> anyhow::Result<()> {
        let batch: Vec<_> = batch.iter().filter_map(incoming::read).collect();
        if batch.is_empty() {
            return Ok(());
        }
        let newest = match self.store.record(&batch, Timestamp::now()).await {
            Ok(newest) => newest,
            Err(error) => {
                metrics::counter!("enlace_device_inbox_failures_total").increment(1);
                return Err(error)
                    .context("incoming messages could not be recorded; WhatsApp will deliver them again");
            }
        };
        metrics::counter!("enlace_device_messages_received_total").increment(batch.len() as u64);
        // Two batches may have been committed in the other order.
        self.newest.send_if_modified(|before| {
            let newer = newest > *before;
            *before = newest.max(*before);
            newer
        });
        Ok(())
    }
}
