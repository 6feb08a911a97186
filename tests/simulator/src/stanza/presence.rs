//! `<presence>` and `<chatstate>`: told to whoever is connected, never queued.

use anyhow::Result;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder as B;

use crate::connection::Session;
use crate::node::{attr, jid, now_s};
use crate::state::Sim;

pub(super) fn presence(sim: &Sim, session: &Session, node: &Node) -> Result<()> {
    let Some((number, device)) = &session.who else { return Ok(()) };
    let kind = attr(node, "type");
    let mut state = sim.state();
    if kind == "subscribe" {
        let Some(jid) = jid(node, "to") else { return Ok(()) };
        let Some(target) = sim.resolve(&mut state, &jid)? else { return Ok(()) };
        let account = state.account_mut(&target)?;
        let subscriber = (number.clone(), *device);
        if !account.subscribers.contains(&subscriber) {
            account.subscribers.push(subscriber);
        }
        let presence = B::new("presence").attr("from", jid);
        let available = account.available;
        session.handle.send(if available {
            presence.build()
        } else {
            presence.attr("type", "unavailable").build()
        });
        return Ok(());
    }
    let available = kind != "unavailable";
    let account = state.account_mut(number)?;
    account.available = available;
    if node.attrs.contains_key("name") {
        account.push_name = attr(node, "name");
    }
    let (from, subscribers) = (account.pn_jid(0), account.subscribers.clone());
    for (subscriber, device) in subscribers {
        let connection =
            state.device_mut(&subscriber, device).ok().and_then(|device| device.connection.clone());
        if let Some(connection) = connection {
            let presence = B::new("presence").attr("from", from.clone());
            connection.send(if available {
                presence.build()
            } else {
                presence.attr("type", "unavailable").attr("last", now_s()).build()
            });
        }
    }
    Ok(())
}

pub(super) fn chat_state(sim: &Sim, session: &Session, node: &Node) -> Result<()> {
    let Some((number, _)) = &session.who else { return Ok(()) };
    let Some(to) = jid(node, "to") else { return Ok(()) };
    let mut state = sim.state();
    let Some(target) = sim.resolve(&mut state, &to)? else { return Ok(()) };
    let from = state.account(number)?.jid_like(&to, 0);
    for device in state.account(&target)?.devices.values() {
        if let Some(connection) = &device.connection {
            let mut copy = node.clone();
            copy.attrs = wacore_binary::Attrs::default();
            copy.attrs.insert("from", from.clone());
            connection.send(copy);
        }
    }
    Ok(())
}
