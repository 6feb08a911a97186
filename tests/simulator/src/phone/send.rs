//! A phone writes to companions.

use std::collections::VecDeque;

use anyhow::{Context, Result, ensure};
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder as B;
use waproto::whatsapp as wa;

use super::content::{blob, encrypt, file_message};
use super::receive::Incoming;
use super::{Bundle, random};
use crate::control::types::NewMedia;
use crate::node::{attr, big_endian, bytes_of, now_s};
use crate::number::digits;
use crate::pairing::key;
use crate::stanza::companion_bundle;
use crate::state::{Sim, lock};

/// Messages a phone keeps for companions that could not decrypt them.
const MAX_SENT: usize = 512;

/// The last messages of a phone, for retry receipts.
#[derive(Default)]
pub(super) struct Sent(VecDeque<(String, Outgoing)>);

/// A message as it goes to each device.
#[derive(Clone)]
struct Outgoing {
    message: wa::Message,
    /// `mediatype` of the ciphertext, for files.
    media: Option<&'static str>,
    /// For the own companions only: history, keys.
    peer: bool,
}

/// The phone of `from` writes a text to all companions of another number; returns the message id.
pub(crate) fn text(sim: &Sim, from: &str, to: &str, text: &str) -> Result<String> {
    let message = wa::Message { conversation: Some(text.to_owned()), ..Default::default() };
    write(sim, from, to, Outgoing { message, media: None, peer: false })
}

/// The phone of `from` uploads a file and sends it.
pub(crate) fn media(sim: &Sim, from: &str, to: &str, media: &NewMedia, bytes: &[u8]) -> Result<String> {
    let mut file = encrypt(bytes, media.kind)?;
    let path = sim.state().media.put(blob(&mut file));
    let url = format!("https://{}{path}", sim.public.as_deref().unwrap_or("mmg.whatsapp.net"));
    let message = file_message(media, bytes.len(), &file, &url, &path);
    write(sim, from, to, Outgoing { message, media: Some(media.kind.name()), peer: false })
}

/// Gives a companion of the account the app-state key.
pub(crate) fn share_key(sim: &Sim, number: &str, device: u16) -> Result<()> {
    let message = lock(&*sim.phone(number)?).key_share();
    to_device(sim, number, (number, device), &Outgoing { message, media: None, peer: true }, &new_id(), None)
}

/// Sends a message of the phone to its own companions, such as history.
pub(crate) fn to_own_companions(sim: &Sim, number: &str, message: &wa::Message) -> Result<()> {
    let outgoing = Outgoing { message: message.clone(), media: None, peer: true };
    for device in sim.companions(number) {
        to_device(sim, number, (number, device), &outgoing, &new_id(), None)?;
    }
    Ok(())
}

fn new_id() -> String {
    format!("3A{}", hex::encode_upper(random::<9>()))
}

fn write(sim: &Sim, from: &str, to: &str, outgoing: Outgoing) -> Result<String> {
    let from = sim.ensure_account(Some(from), None)?;
    let to = digits(to);
    let to = sim.state().spelled(&to).with_context(|| format!("{to} has no account"))?;
    let devices = sim.companions(&to);
    ensure!(!devices.is_empty(), "{to} has no linked device to write to");
    let id = new_id();
    // Kept first: a retry receipt may come at once.
    lock(&*sim.phone(&from)?).sent.keep(&id, outgoing.clone());
    for device in devices {
        to_device(sim, &from, (&to, device), &outgoing, &id, None)?;
    }
    Ok(id)
}

/// A companion could not decrypt a message of this phone: sends it again in a new session, to it alone.
pub(crate) fn resend(sim: &Sim, number: &str, requester: (&str, u16), receipt: &Node) -> Result<()> {
    let id = attr(receipt, "id");
    let outgoing = lock(&*sim.phone(number)?).sent.get(&id);
    let outgoing = outgoing.with_context(|| format!("{number} cannot send {id} again: it is not kept"))?;
    let count =
        receipt.get_optional_child("retry").map_or(1, |retry| attr(retry, "count").parse().unwrap_or(1));
    let bundle = match receipt.get_optional_child("keys") {
        Some(keys) => Some(sent_bundle(receipt, keys)?),
        None => companion_bundle(sim, requester.0, requester.1),
    };
    let bundle = bundle.context("the companion has no keys")?;
    to_device(sim, number, requester, &outgoing, &id, Some((count, bundle)))
}

/// The keys that a retry receipt carries.
fn sent_bundle(receipt: &Node, keys: &Node) -> Result<Bundle> {
    let value = |node: Option<&Node>| bytes_of(node.and_then(|node| node.get_optional_child("value")));
    let id = |node: Option<&Node>| big_endian(&bytes_of(node.and_then(|node| node.get_optional_child("id"))));
    let signed = keys.get_optional_child("skey");
    let once = keys.get_optional_child("key");
    Ok(Bundle {
        registration_id: big_endian(&bytes_of(receipt.get_optional_child("registration"))),
        identity: key(Some(&bytes_of(keys.get_optional_child("identity"))))?,
        signed_key_id: id(signed),
        signed_key: key(Some(&value(signed)))?,
        signed_key_signature: bytes_of(signed.and_then(|node| node.get_optional_child("signature"))),
        prekey: if once.is_some() { Some((id(once), key(Some(&value(once)))?)) } else { None },
        device_identity: None,
    })
}

/// Encrypts for one companion and queues it; `again` is the count of a resend and the keys for it.
fn to_device(
    sim: &Sim,
    number: &str,
    (receiver, device): (&str, u16),
    outgoing: &Outgoing,
    id: &str,
    again: Option<(u32, Bundle)>,
) -> Result<()> {
    let phone = sim.phone(number)?;
    // Held until the message is queued, so that ciphertexts arrive in the order of the ratchet.
    let mut phone = lock(&phone);
    let key = format!("{receiver}:{device}");
    let (count, bundle) = match again {
        Some((count, bundle)) => (Some(count), Some(bundle)),
        None if phone.has_session(&key) => (None, None),
        None => (None, companion_bundle(sim, receiver, device)),
    };
    if let Some(bundle) = bundle {
        phone.start_session(&key, bundle)?;
    }
    let (kind, ciphertext) = phone.encrypt(&key, &outgoing.message)?;
    let mut enc = B::new("enc").attr("v", "2").attr("type", kind);
    if let Some(count) = count {
        enc = enc.attr("count", count);
    }
    if let Some(media) = outgoing.media {
        enc = enc.attr("mediatype", media);
    }
    let (from, alternative, name) = {
        let state = sim.state();
        let account = state.account(number)?;
        let (pn, lid) = (account.pn_jid(0), account.lid_jid(0));
        let (from, alternative) =
            if sim.options.lid { (lid, ("sender_pn", pn)) } else { (pn, ("sender_lid", lid)) };
        (from, alternative, account.push_name.clone())
    };
    let mut message = B::new("message")
        .attr("from", from)
        .attr("id", id)
        .attr("type", if outgoing.media.is_some() { "media" } else { "text" })
        .attr("t", now_s())
        .attr("notify", name.as_str());
    if outgoing.peer {
        message = message.attr("category", "peer");
    } else if receiver != number {
        message = message.attr(alternative.0, alternative.1);
    }
    let node = message.children([enc.bytes(ciphertext).build()]).build();
    sim.deliver(receiver, device, "message", id, node);
    Ok(())
}

/// A phone could not decrypt a message: asks its sender for it again, with keys for a new session.
pub(super) fn ask_again(sim: &Sim, incoming: &Incoming<'_>) -> Result<()> {
    let Incoming { receiver, sender: (number, device), from, to: _, id, enc } = incoming;
    let count = attr(enc, "count").parse::<u32>().unwrap_or(0) + 1;
    let bundle = lock(&*sim.phone(receiver)?).bundle()?;
    let own = sim.state().account(receiver)?.jid_like(from, 0);
    let pair = |tag: &'static str, id: u32, value: &[u8; 32]| {
        B::new(tag).children([
            B::new("id").bytes(id.to_be_bytes()[1..].to_vec()).build(),
            B::new("value").bytes(value.to_vec()).build(),
        ])
    };
    let mut keys = vec![
        B::new("type").bytes(vec![5_u8]).build(),
        B::new("identity").bytes(bundle.identity.to_vec()).build(),
    ];
    keys.extend(bundle.prekey.as_ref().map(|(id, value)| pair("key", *id, value).build()));
    let mut signed = pair("skey", bundle.signed_key_id, &bundle.signed_key).build();
    if let Some(wacore_binary::NodeContent::Nodes(children)) = &mut signed.content {
        children.push(B::new("signature").bytes(bundle.signed_key_signature).build());
    }
    keys.push(signed);
    let retry =
        B::new("retry").attr("v", "1").attr("id", *id).attr("t", now_s()).attr("count", count).build();
    let registration = B::new("registration").bytes(bundle.registration_id.to_be_bytes().to_vec()).build();
    let receipt = B::new("receipt")
        .attr("from", own)
        .attr("id", *id)
        .attr("type", "retry")
        .attr("t", now_s())
        .children([retry, registration, B::new("keys").children(keys).build()])
        .build();
    sim.deliver(number, *device, "receipt", id, receipt);
    Ok(())
}

impl Sent {
    fn keep(&mut self, id: &str, outgoing: Outgoing) {
        if self.0.len() >= MAX_SENT {
            self.0.pop_front();
        }
        self.0.push_back((id.to_owned(), outgoing));
    }

    fn get(&self, id: &str) -> Option<Outgoing> {
        self.0.iter().find(|(kept, _)| kept == id).map(|(_, outgoing)| outgoing.clone())
    }
}
