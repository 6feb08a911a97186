//! Linking a companion: refs for the QR code, the phone's confirmation, and the companion's answer.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use buffa::Message as _;
use tokio::sync::oneshot;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder as B;
use waproto::whatsapp as wa;

use crate::connection::Session;
use crate::connection::handle::Handle;
use crate::control::types::Linked;
use crate::link_code::LinkCode;
use crate::node::{SERVER, attr, big_endian, bytes_of, now_s, show};
use crate::refs::{Refs, Verdict};
use crate::state::{Device, Registration, Sim, State, lock};

/// Refs of companions that left, kept so that scanning one is "expired" and not "unknown".
const MAX_RETIRED: usize = 64;

/// Companions that wait to be linked, by connection.
#[derive(Default)]
pub(crate) struct Pairings {
    waiting: HashMap<u64, Pairing>,
    retired: VecDeque<Refs>,
}

/// An unpaired connection that waits for a scan or for a pairing code.
pub(crate) struct Pairing {
    handle: Handle,
    refs: Refs,
    keys: Registration,
    claimed: bool,
    pub(crate) link: Option<LinkState>,
}

/// Where pairing by code stands.
pub(crate) struct LinkState {
    pub(crate) phone: String,
    pub(crate) reference: Vec<u8>,
    pub(crate) wrapped_companion: Vec<u8>,
    pub(crate) entered: Option<Entered>,
}

/// The person has typed the code on the phone `phone`.
pub(crate) struct Entered {
    pub(crate) phone: String,
    pub(crate) code: LinkCode,
    pub(crate) linked: oneshot::Sender<Result<Linked>>,
}

impl Pairings {
    pub(crate) fn get_mut(&mut self, connection: u64) -> Option<&mut Pairing> {
        self.waiting.get_mut(&connection)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The companion that asked for a code for one of these spellings of a number.
    pub(crate) fn waits_for_code(
        &self,
        is_number: impl Fn(&str) -> bool,
    ) -> Option<(u64, &LinkState, &Handle)> {
        self.waiting
            .iter()
            .filter_map(|(id, pairing)| Some((*id, pairing.link.as_ref()?, &pairing.handle)))
            .filter(|(_, link, _)| is_number(&link.phone))
            // The newest request is the one on the person's screen.
            .max_by_key(|(id, _, _)| *id)
    }

    fn scanned(&mut self, text: &str) -> Result<u64> {
        let now = Instant::now();
        for (id, pairing) in &mut self.waiting {
            match pairing.refs.judge(text, now) {
                Verdict::Valid if pairing.claimed => bail!("this QR code was already scanned"),
                Verdict::Valid => {
                    pairing.claimed = true;
                    return Ok(*id);
                }
                Verdict::Expired => bail!("expired QR code: its ref is past its time"),
                Verdict::Unknown => {}
            }
        }
        if self.retired.iter().any(|refs| refs.judge(text, now) != Verdict::Unknown) {
            bail!("expired QR code: the companion that showed it has left");
        }
        bail!("unknown QR code: its ref was not issued by this server")
    }
}

/// The pairing of a connection that is over.
pub(crate) fn forget(state: &mut State, connection: u64) {
    if let Some(pairing) = state.pairings.waiting.remove(&connection) {
        if state.pairings.retired.len() >= MAX_RETIRED {
            state.pairings.retired.pop_front();
        }
        state.pairings.retired.push_back(pairing.refs);
    }
}

/// A companion without an account connected: gives it its refs.
pub(crate) fn begin(sim: &Sim, handle: &Handle, noise: [u8; 32], payload: &wa::ClientPayload) -> Result<()> {
    let data = payload.device_pairing_data.as_option().context("no pairing data")?;
    let keys = Registration {
        noise,
        identity: key(data.e_ident.as_deref())?,
        registration_id: big_endian(data.e_regid.as_deref().unwrap_or_default()),
        signed_key_id: big_endian(data.e_skey_id.as_deref().unwrap_or_default()),
        signed_key: key(data.e_skey_val.as_deref())?,
        signed_key_signature: data.e_skey_sig.clone().unwrap_or_default(),
    };
    let refs = Refs::issue(sim.options.refs, sim.options.ref_lifetime, Instant::now());
    let nodes: Vec<Node> =
        refs.texts().map(|text| B::new("ref").bytes(text.as_bytes().to_vec()).build()).collect();
    let pairing = Pairing { handle: handle.clone(), refs, keys, claimed: false, link: None };
    sim.state().pairings.waiting.insert(handle.id(), pairing);
    handle.send(
        B::new("iq")
            .attr("from", SERVER)
            .attr("type", "set")
            .attr("id", sim.stanza_id())
            .attr("xmlns", "md")
            .children([B::new("pair-device").children(nodes).build()])
            .build(),
    );
    Ok(())
}

/// The phone scans a QR text: `ref,noise key,identity key,ADV secret,…`, with or without a URL in front.
pub(crate) fn scan(sim: &Sim, qr: &str, number: Option<&str>, push_name: Option<&str>) -> Result<Linked> {
    let fields: Vec<&str> = qr.rsplit('#').next().unwrap_or(qr).split(',').collect();
    let [reference, _noise, identity, secret, ..] = fields[..] else {
        bail!("not a QR code of a companion: it has {} fields instead of at least 4", fields.len());
    };
    let identity = key(Some(&BASE64_STANDARD.decode(identity).context("the identity key in the QR code")?))?;
    let secret = BASE64_STANDARD.decode(secret).context("the ADV secret in the QR code")?;
    let connection = sim.state().pairings.scanned(reference)?;
    let number = sim.ensure_account(number, push_name)?;
    confirm(sim, connection, &number, identity, &secret)
}

/// The phone confirms the companion: makes the device and sends pair-success.
pub(crate) fn confirm(
    sim: &Sim,
    connection: u64,
    number: &str,
    identity: [u8; 32],
    adv_secret: &[u8],
) -> Result<Linked> {
    let phone = sim.phone(number)?;
    let (handle, device, key_index, jid, lid) = {
        let mut state = sim.state();
        let pairing = state.pairings.get_mut(connection).context("the companion has left")?;
        ensure!(pairing.keys.identity == identity, "the identity in the code is not the companion's");
        let (handle, keys) = (pairing.handle.clone(), pairing.keys.clone());
        let account = state.account_mut(number)?;
        let id = account.next_device;
        account.next_device += 1;
        account.devices.insert(id, Device::new(id, keys));
        (handle, id, u32::from(id), account.pn_jid(id), account.lid_jid(id))
    };
    let signed = lock(&phone).sign_device(&identity, adv_secret, key_index, now_s())?;
    let mut children = vec![
        B::new("device-identity").bytes(signed).build(),
        B::new("platform").attr("name", "android").build(),
        B::new("device").attr("jid", jid.clone()).attr("lid", lid.clone()).build(),
    ];
    if sim.options.lid {
        let props = wa::ClientPairingProps { is_chat_db_lid_migrated: Some(true), ..Default::default() };
        children.push(B::new("client-props").bytes(props.encode_to_vec()).build());
    }
    handle.send(
        B::new("iq")
            .attr("from", SERVER)
            .attr("type", "set")
            .attr("id", format!("ps.{number}.{device}"))
            .attr("xmlns", "md")
            .attr("t", now_s())
            .children([B::new("pair-success").children(children).build()])
            .build(),
    );
    Ok(Linked { jid: jid.to_string(), lid: lid.to_string(), phone: number.to_owned(), device })
}

/// Whether an iq result answers a pair-success.
pub(crate) fn is_answer(id: &str) -> bool {
    id.starts_with("ps.")
}

/// The companion signed its identity, or refused: the last step of pairing.
pub(crate) fn finish(sim: &Arc<Sim>, session: &Session, node: &Node) -> Result<()> {
    let id = attr(node, "id");
    let (number, device) = id
        .strip_prefix("ps.")
        .and_then(|rest| rest.rsplit_once('.'))
        .and_then(|(number, device)| Some((number.to_owned(), device.parse::<u16>().ok()?)))
        .with_context(|| format!("{id} is no pairing id"))?;
    let Some(identity) = node.get_optional_child_by_tag(&["pair-device-sign", "device-identity"]) else {
        sim.state().account_mut(&number)?.devices.remove(&device);
        return Err(anyhow!("the companion refused to be linked: {}", show(node)));
    };
    {
        let mut state = sim.state();
        forget(&mut state, session.handle.id());
        state.device_mut(&number, device)?.signed_identity = bytes_of(Some(identity));
    }
    tracing::info!(phone = number, device, "linked {number}:{device}");
    session.handle.finish(B::new("stream:error").attr("code", "515").build());
    announce(sim, &number, device, "add");
    Ok(())
}

/// Tells everybody who may have cached the device list, the number's other companions included.
pub(crate) fn announce(sim: &Sim, number: &str, device: u16, what: &'static str) {
    let (targets, from, jid, key_index) = {
        let state = sim.state();
        let Ok(account) = state.account(number) else { return };
        let targets: Vec<(String, u16)> = state
            .accounts
            .values()
            .flat_map(|other| other.devices.keys().map(|id| (other.number.clone(), *id)))
            .filter(|(other, id)| other != number || *id != device)
            .collect();
        let key_index = account.devices.get(&device).map_or(0, |device| device.key_index);
        (targets, account.pn_jid(0), account.pn_jid(device), key_index)
    };
    for (other, id) in targets {
        let stanza = sim.stanza_id();
        let change = B::new(what)
            .children([
                B::new("device").attr("jid", jid.clone()).attr("key-index", key_index).build(),
                B::new("key-index-list").attr("ts", now_s()).build(),
            ])
            .build();
        let node = B::new("notification")
            .attr("from", from.clone())
            .attr("type", "devices")
            .attr("id", stanza.as_str())
            .attr("t", now_s())
            .children([change])
            .build();
        sim.deliver(&other, id, "notification", &stanza, node);
    }
}

/// Removes a companion from its account; its next login gets a 401.
pub(crate) fn log_out(sim: &Sim, number: &str, device: u16, say_so: bool) -> Result<()> {
    let connection = {
        let mut state = sim.state();
        let device = state.device_mut(number, device)?;
        device.logged_out = true;
        device.pending.clear();
        device.connection.clone()
    };
    if let Some(connection) = connection {
        if say_so {
            let removed = B::new("conflict").attr("type", "device_removed").build();
            connection.finish(B::new("stream:error").attr("code", "401").children([removed]).build());
        } else {
            connection.close();
        }
    }
    announce(sim, number, device, "remove");
    Ok(())
}

/// A 32-byte key.
pub(crate) fn key(bytes: Option<&[u8]>) -> Result<[u8; 32]> {
    let bytes = bytes.unwrap_or_default();
    bytes.try_into().map_err(|_| anyhow!("a key has 32 bytes, not {}", bytes.len()))
}
