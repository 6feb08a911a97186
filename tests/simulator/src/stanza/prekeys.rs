//! `<iq xmlns="encrypt">`: pre-keys in, key bundles out.

use anyhow::{Context, Result};
use sha1::Digest as _;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder as B;

use super::iq::{error, result};
use crate::connection::Session;
use crate::node::{big_endian, bytes_of, first_child, jid, now_s};
use crate::phone::{self, Bundle};
use crate::state::{Device, Sim, lock};

pub(super) fn handle(sim: &Sim, session: &Session, node: &Node, kind: &str, tag: &str) -> Result<()> {
    let answer = match (kind, tag) {
        ("set", "rotate") => {
            let key = first_child(node).and_then(|child| child.get_optional_child("skey"));
            if let Some(key) = key {
                with_device(sim, session, |device| set_signed_key(device, key));
            }
            result(node, Vec::new())
        }
        ("set", _) => {
            with_device(sim, session, |device| upload(device, node));
            session.handle.send(result(node, Vec::new()));
            return share_key_once(sim, session);
        }
        ("get", "count") => {
            let count = with_device(sim, session, |device| device.prekeys.len()).unwrap_or(0);
            result(node, vec![B::new("count").attr("value", count as u64).build()])
        }
        ("get", "digest") => match with_device(sim, session, |device| digest(device)).flatten() {
            Some(digest) => result(node, vec![digest]),
            None => error(node, 404, "item-not-found"),
        },
        ("get", "key") => fetch(sim, node)?,
        _ => result(node, Vec::new()),
    };
    session.handle.send(answer);
    Ok(())
}

fn with_device<T>(sim: &Sim, session: &Session, change: impl FnOnce(&mut Device) -> T) -> Option<T> {
    let (number, device) = session.who.as_ref()?;
    sim.state().device_mut(number, *device).ok().map(change)
}

/// The first upload after pairing: the phone shares its app-state key, which the companion waits for.
fn share_key_once(sim: &Sim, session: &Session) -> Result<()> {
    let Some((number, device)) = &session.who else { return Ok(()) };
    let shared = with_device(sim, session, |device| std::mem::replace(&mut device.key_shared, true));
    if shared == Some(false) { phone::share_key(sim, number, *device) } else { Ok(()) }
}

fn set_signed_key(device: &mut Device, key: &Node) {
    device.keys.signed_key_id = big_endian(&bytes_of(key.get_optional_child("id")));
    if let Ok(value) = bytes_of(key.get_optional_child("value")).as_slice().try_into() {
        device.keys.signed_key = value;
    }
    device.keys.signed_key_signature = bytes_of(key.get_optional_child("signature"));
}

fn upload(device: &mut Device, node: &Node) {
    device.keys.registration_id = big_endian(&bytes_of(node.get_optional_child("registration")));
    if let Some(key) = node.get_optional_child("skey") {
        set_signed_key(device, key);
    }
    for key in node.get_optional_child("list").and_then(Node::children).unwrap_or_default() {
        let id = big_endian(&bytes_of(key.get_optional_child("id")));
        if let Ok(value) = <[u8; 32]>::try_from(bytes_of(key.get_optional_child("value")).as_slice()) {
            device.prekeys.push_back((id, value));
        }
    }
}

/// What the server holds of a device's keys, so that the device can check it.
fn digest(device: &Device) -> Option<Node> {
    if device.prekeys.is_empty() {
        return None;
    }
    let keys = &device.keys;
    let mut hash = sha1::Sha1::new();
    hash.update(keys.identity);
    hash.update(keys.signed_key);
    hash.update(&keys.signed_key_signature);
    for (_, key) in &device.prekeys {
        hash.update(key);
    }
    let ids: Vec<Node> =
        device.prekeys.iter().map(|(id, _)| B::new("id").bytes(three_bytes(*id)).build()).collect();
    Some(
        B::new("digest")
            .children([
                B::new("registration").bytes(keys.registration_id.to_be_bytes().to_vec()).build(),
                B::new("type").bytes(vec![5_u8]).build(),
                B::new("identity").bytes(keys.identity.to_vec()).build(),
                signed_key(keys.signed_key_id, &keys.signed_key, &keys.signed_key_signature),
                B::new("list").children(ids).build(),
                B::new("hash").bytes(hash.finalize().to_vec()).build(),
            ])
            .build(),
    )
}

fn three_bytes(id: u32) -> Vec<u8> {
    id.to_be_bytes()[1..].to_vec()
}

fn signed_key(id: u32, key: &[u8; 32], signature: &[u8]) -> Node {
    B::new("skey")
        .children([
            B::new("id").bytes(three_bytes(id)).build(),
            B::new("value").bytes(key.to_vec()).build(),
            B::new("signature").bytes(signature.to_vec()).build(),
        ])
        .build()
}

/// Key bundles for the devices asked for.
fn fetch(sim: &Sim, node: &Node) -> Result<Node> {
    let request = first_child(node).context("no key")?;
    let mut users = Vec::new();
    for user in request.children().unwrap_or_default() {
        let Some(jid) = jid(user, "jid") else { continue };
        let number = sim.find(&jid)?;
        let bundle = number.and_then(|number| match jid.device {
            0 => sim.phone(&number).and_then(|phone| lock(&phone).bundle()).ok(),
            device => companion_bundle(sim, &number, device),
        });
        let answer = B::new("user").attr("jid", jid);
        users.push(match bundle {
            Some(bundle) => answer.attr("t", now_s()).children(bundle_nodes(bundle)).build(),
            None => {
                let error = B::new("error").attr("code", 406_u32).attr("text", "not-acceptable").build();
                answer.children([error]).build()
            }
        });
    }
    Ok(result(node, vec![B::new("list").children(users).build()]))
}

/// The bundle of a linked companion; uses up one of its one-time pre-keys.
pub(crate) fn companion_bundle(sim: &Sim, number: &str, device: u16) -> Option<Bundle> {
    let mut state = sim.state();
    let device = state.device_mut(number, device).ok()?;
    (!device.logged_out).then(|| device.take_bundle())
}

fn bundle_nodes(bundle: Bundle) -> Vec<Node> {
    let Bundle {
        registration_id,
        identity,
        signed_key_id,
        signed_key: key,
        signed_key_signature,
        prekey,
        device_identity,
    } = bundle;
    let mut nodes = vec![
        B::new("registration").bytes(registration_id.to_be_bytes().to_vec()).build(),
        B::new("type").bytes(vec![5_u8]).build(),
        B::new("identity").bytes(identity.to_vec()).build(),
    ];
    if let Some((id, value)) = prekey {
        let parts =
            [B::new("id").bytes(three_bytes(id)).build(), B::new("value").bytes(value.to_vec()).build()];
        nodes.push(B::new("key").children(parts).build());
    }
    nodes.push(signed_key(signed_key_id, &key, &signed_key_signature));
    nodes.extend(device_identity.map(|identity| B::new("device-identity").bytes(identity).build()));
    nodes
}
