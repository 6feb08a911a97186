//! A ciphertext arrives at a phone: decrypt, show, acknowledge.

use anyhow::{Context, Result};
use jiff::Timestamp;
use wacore_binary::builder::NodeBuilder as B;
use wacore_binary::{Jid, Node};

use super::content::{describe, unwrapped};
use super::{send, share_key};
use crate::control::types::{PhoneMessage, PhoneReceipt};
use crate::node::{attr, bytes_of, now_s};
use crate::state::{Sim, lock};

/// One ciphertext for a phone.
pub(crate) struct Incoming<'a> {
    /// The phone's number.
    pub(crate) receiver: &'a str,
    /// Number and device of the companion that sent it.
    pub(crate) sender: (&'a str, u16),
    /// The sender as the message names it.
    pub(crate) from: &'a Jid,
    /// The chat as the sender addressed it.
    pub(crate) to: &'a Jid,
    pub(crate) id: &'a str,
    pub(crate) enc: &'a Node,
}

/// Decrypts a message for a phone, puts it into the inbox and sends the delivery receipt.
pub(crate) fn receive(sim: &Sim, incoming: &Incoming<'_>) -> Result<()> {
    let Incoming { receiver, sender: (number, device), from, to, id, enc } = incoming;
    let phone = sim.phone(receiver)?;
    let own = receiver == number;
    let mut shown = PhoneMessage {
        id: (*id).to_owned(),
        from: (*number).to_owned(),
        from_device: *device,
        from_jid: from.to_string(),
        to: to.to_string(),
        own,
        at: Timestamp::now(),
        ..PhoneMessage::default()
    };
    let key = format!("{number}:{device}");
    let decrypted = lock(&phone).decrypt(&key, &attr(enc, "type"), &bytes_of(Some(enc)));
    let message = match decrypted {
        Ok(message) => message,
        Err(error) => {
            tracing::warn!(phone = receiver, "phone {receiver} cannot decrypt {id} from {key}: {error:#}");
            shown.error = Some(format!("{error:#}"));
            lock(&phone).inbox.add(shown, None);
            news(sim);
            return send::ask_again(sim, incoming);
        }
    };
    let inner = message.device_sent_message.as_option().and_then(|sent| sent.message.as_option());
    let inner = unwrapped(inner.unwrap_or(&message));
    let protocol = inner.protocol_message.as_option();
    if own && protocol.is_some_and(|protocol| protocol.app_state_sync_key_request.is_set()) {
        share_key(sim, receiver, *device)?;
    }
    let content = describe(inner);
    if let Some(text) = content.text.as_deref().filter(|_| !own) {
        sim.state().wire.text(number, id, text);
    }
    shown.kind = content.kind;
    shown.text = content.text;
    shown.caption = content.caption;
    shown.file_name = content.file_name;
    shown.mime_type = content.mime_type;
    shown.file_length = content.file_length;
    shown.content = content.json;
    lock(&phone).inbox.add(shown, content.media);
    news(sim);
    if own {
        return Ok(());
    }
    receipt(sim, receiver, number, from, id, None)?;
    if sim.options.auto_read {
        receipt(sim, receiver, number, from, id, Some("read"))?;
    }
    Ok(())
}

/// The person reads a message: the sender gets a read receipt.
pub(crate) fn read(sim: &Sim, number: &str, id: &str) -> Result<()> {
    let phone = sim.phone(number)?;
    let (sender, from) = {
        let phone = lock(&phone);
        let message = phone.inbox.find(id).with_context(|| format!("{number} has no message {id}"))?;
        (message.from.clone(), message.from_jid.clone())
    };
    let from: Jid = from.parse().map_err(|error| anyhow::anyhow!("the sender of {id}: {error}"))?;
    receipt(sim, number, &sender, &from, id, Some("read"))
}

/// A companion acknowledged messages of this phone.
pub(crate) fn got_receipts(sim: &Sim, receiver: &str, from: &str, ids: &[String], kind: &str) -> Result<()> {
    let phone = sim.phone(receiver)?;
    let mut phone = lock(&phone);
    for id in ids {
        phone.inbox.add_receipt(PhoneReceipt {
            message_id: id.clone(),
            from: from.to_owned(),
            kind: if kind.is_empty() { "delivered".to_owned() } else { kind.to_owned() },
            at: Timestamp::now(),
        });
    }
    drop(phone);
    news(sim);
    Ok(())
}

/// Tells all companions of `sender` that the phone of `number` has a message, or has read it.
fn receipt(
    sim: &Sim,
    number: &str,
    sender: &str,
    like: &Jid,
    id: &str,
    kind: Option<&'static str>,
) -> Result<()> {
    let from = sim.state().account(number)?.jid_like(like, 0);
    for companion in sim.companions(sender) {
        let receipt = B::new("receipt").attr("from", from.clone()).attr("id", id).attr("t", now_s());
        let receipt = match kind {
            Some(kind) => receipt.attr("type", kind).build(),
            None => receipt.build(),
        };
        sim.deliver(sender, companion, "receipt", id, receipt);
    }
    Ok(())
}

/// Wakes everybody who waits for a phone.
fn news(sim: &Sim) {
    sim.phone_news.send_modify(|count| *count += 1);
}
