//! `<message>`: relayed to each device it has a ciphertext for.

use anyhow::{Context, Result};
use wacore_binary::builder::NodeBuilder as B;
use wacore_binary::{Jid, Node, Server};

use super::{ack, groups};
use crate::connection::Session;
use crate::delivery::corrupt;
use crate::node::{attr, jid, now_s};
use crate::phone::{self, Incoming};
use crate::state::Sim;
use crate::wire::Seen;

/// Acknowledgements that may be held back at once.
const MAX_HELD: usize = 10_000;

pub(super) fn handle(sim: &Sim, session: &Session, node: &Node) -> Result<()> {
    let Some((number, device)) = &session.who else { return Ok(()) };
    let to = jid(node, "to").context("a message without a receiver")?;
    let targets = targets(node, &to);
    let refusal = refusal(sim, number);
    if attr(node, "category") != "peer" {
        sim.state().wire.saw(Seen {
            phone: number,
            device: *device,
            id: &attr(node, "id"),
            to: to.to_string(),
            targets: targets.iter().map(|(jid, _)| jid.to_string()).collect(),
            resend: is_resend(node, &targets),
            refused: refusal.is_some(),
        });
    }
    if let Some(code) = refusal {
        let mut nack = ack(node, "message");
        nack.attrs.insert("error", code);
        session.handle.send(nack);
        return Ok(());
    }
    acknowledge(sim, session, node);
    if to.server == Server::Group {
        return groups::relay(sim, (number, *device), &to, node);
    }
    for (target, encs) in targets {
        if let Err(error) = relay(sim, (number, *device), &to, &target, encs, node) {
            tracing::warn!("cannot relay to {target}: {error:#}");
        }
    }
    Ok(())
}

/// Who has a ciphertext in the stanza: a fan-out, or one device (a resend, a peer message).
fn targets(node: &Node, to: &Jid) -> Vec<(Jid, Vec<Node>)> {
    let encs = |node: &Node| node.get_children_by_tag("enc").cloned().collect();
    match node.get_optional_child("participants") {
        Some(participants) => participants
            .get_children_by_tag("to")
            .filter_map(|target| Some((jid(target, "jid")?, encs(target))))
            .collect(),
        None => vec![(to.clone(), encs(node))],
    }
}

/// Whether it answers a retry receipt: then a ciphertext carries a count. In a group Baileys adds a fan-out,
/// without one.
fn is_resend(node: &Node, targets: &[(Jid, Vec<Node>)]) -> bool {
    let own = node.get_children_by_tag("enc");
    targets.iter().flat_map(|(_, encs)| encs).chain(own).any(|enc| enc.attrs.contains_key("count"))
}

/// The error code that this number's next message gets, when that was asked for.
fn refusal(sim: &Sim, number: &str) -> Option<u32> {
    let mut state = sim.state();
    let (code, left) = state.refuse.get_mut(number)?;
    let code = *code;
    *left = left.saturating_sub(1);
    if *left == 0 {
        state.refuse.remove(number);
    }
    Some(code)
}

fn acknowledge(sim: &Sim, session: &Session, node: &Node) {
    let ack = ack(node, "message");
    if let Some(held) = &mut sim.state().held_acks
        && held.len() < MAX_HELD
    {
        held.push((session.handle.clone(), ack));
        return;
    }
    session.handle.send(ack);
}

fn relay(
    sim: &Sim,
    (number, device): (&str, u16),
    to: &Jid,
    target: &Jid,
    mut encs: Vec<Node>,
    node: &Node,
) -> Result<()> {
    let id = attr(node, "id");
    let (receiver, from, alternative, name) = {
        let mut state = sim.state();
        let receiver = sim.resolve(&mut state, target)?.context("not on WhatsApp")?;
        let account = state.account(number)?;
        let alternative = if target.server == Server::Lid {
            ("sender_pn", account.pn_jid(0))
        } else {
            ("sender_lid", account.lid_jid(0))
        };
        (receiver, account.jid_like(target, device), alternative, account.push_name.clone())
    };
    if target.device == 0 {
        corrupt(&mut sim.state(), &receiver, 0, &mut encs);
        return encs.iter().try_for_each(|enc| {
            let incoming =
                Incoming { receiver: &receiver, sender: (number, device), from: &from, to, id: &id, enc };
            phone::receive(sim, &incoming)
        });
    }
    let mut message = B::new("message")
        .attr("from", from)
        .attr("id", id.as_str())
        .attr("type", attr(node, "type"))
        .attr("t", now_s())
        .attr("notify", name.as_str());
    if receiver == number {
        // The chat this copy of an own message belongs to; a resend names it itself.
        message = message.attr("recipient", jid(node, "recipient").unwrap_or_else(|| to.to_non_ad()));
    } else {
        message = message.attr(alternative.0, alternative.1);
    }
    for key in ["edit", "category", "push_priority"] {
        if node.attrs.contains_key(key) {
            message = message.attr(key, attr(node, key));
        }
    }
    let mut children = encs;
    for tag in ["device-identity", "meta", "biz", "url_text", "reporting"] {
        children.extend(node.get_children_by_tag(tag).cloned());
    }
    sim.deliver(&receiver, target.device, "message", &id, message.children(children).build());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_on_any_ciphertext_makes_it_a_resend() {
        let enc = || B::new("enc").attr("type", "pkmsg");
        let fan_out = |enc: Node| {
            let to = B::new("to").attr("jid", Jid::pn("525500000002")).children([enc]).build();
            B::new("participants").children([to]).build()
        };
        for (children, expected) in [
            (vec![enc().build()], false),
            (vec![enc().attr("count", 1_u32).build()], true),
            (vec![fan_out(enc().build())], false),
            (vec![fan_out(enc().attr("count", 1_u32).build())], true),
            (vec![enc().attr("count", 1_u32).build(), fan_out(enc().build())], true),
        ] {
            let node = B::new("message").children(children).build();
            let targets = targets(&node, &Jid::pn("525500000002"));
            assert_eq!(is_resend(&node, &targets), expected, "{}", crate::node::show(&node));
        }
    }
}
