//! What workers tell, and what follows from it at once.

use std::time::Duration;

use enlace_contract::client::DeviceClient;
use enlace_contract::name::DeviceKey;
use enlace_contract::state::ClaimDecision;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::entry::{self, Heard, Life};
use super::keeper::Keeper;
use super::requests::{News, Request};
use super::worker::Desired;
use crate::directory::DirectoryError;

impl Keeper {
    pub(super) fn told(&mut self, key: &DeviceKey, worker: u64, news: News) {
        if matches!(news, News::Died) {
            return self.replace_worker(key, worker);
        }
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.worker.id == worker) else { return };
        match news {
            News::Died => {}
            News::Started(client) => {
                entry.client = Some(client);
                entry.heard = Heard::Silent(Timestamp::now());
            }
            News::NotStarted(message) => {
                entry.client = None;
                entry.heard = entry::broken(message);
            }
            News::State(state) => entry.heard = Heard::State(state),
            News::Silent => {
                if matches!(entry.heard, Heard::State(_)) {
                    entry.heard = Heard::Silent(Timestamp::now());
                }
            }
            News::Stopped => {
                entry.client = None;
                entry.heard = Heard::Nothing;
                // It may be wanted again since.
                entry.busy = entry.wanted != Desired::Stop;
                return self.judge_all();
            }
            News::Erased(Ok(deletion)) => {
                tracing::info!(device = %key, "device {key} is deleted, with its data");
                self.forget(key, || Ok(deletion));
                return self.judge_all();
            }
            News::Erased(Err(error)) => {
                tracing::error!(device = %key, %error, "the data of device {key} could not be removed; it is tried again at the next start");
                let detail = "the device is stopped, but its data could not be removed";
                self.forget(key, || Err(DirectoryError::Unavailable { detail: detail.into(), source: None }));
                return self.judge_all();
            }
        }
        self.judge(key);
        self.publish();
    }

    /// A worker that panicked is replaced; its device is tried again at the next look, not at once, since it may panic again.
    fn replace_worker(&mut self, key: &DeviceKey, worker: u64) {
        if self.entries.get(key).is_none_or(|entry| entry.worker.id != worker) {
            return;
        }
        let worker = self.spawn(key);
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.worker = worker;
        entry.wanted = Desired::Stop;
        entry.busy = false;
        entry.client = None;
        entry.heard = entry::broken("the device's task failed; the log says where".to_owned());
        entry.status = entry.judge(&mut self.claims, Timestamp::now()).status;
        if matches!(entry.life, Life::Deleting(_)) {
            let detail = "the device's task failed; its data is removed at the next start";
            self.forget(key, || Err(DirectoryError::Unavailable { detail: detail.into(), source: None }));
        }
        self.publish();
    }

    pub(super) fn claim_answered(&mut self, key: &DeviceKey, worker: u64) {
        if let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.worker.id == worker) {
            entry.answering = false;
            self.judge(key);
            self.publish();
        }
    }
}

/// Tells a device whether it may have the number that linked.
pub(super) async fn answer_claim(
    key: DeviceKey,
    worker: u64,
    client: DeviceClient,
    decision: ClaimDecision,
    requests: mpsc::Sender<Request>,
) {
    let granted = decision.granted;
    match client.decide_claim(&decision).await {
        Ok(_) => tracing::info!(device = %key, granted, "the claim of device {key} is answered"),
        Err(error) => {
            tracing::warn!(device = %key, error = &error as &dyn std::error::Error, "the claim of device {key} could not be answered; it is tried again");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    // The keeper is gone only when the process stops.
    let _ = requests.send(Request::ClaimAnswered { key, worker }).await;
}
