//! `<receipt>`: acknowledges a message to the server and tells its author.

use anyhow::Result;
use wacore_binary::builder::NodeBuilder as B;
use wacore_binary::{Node, NodeContent, Server};

use super::ack;
use crate::connection::Session;
use crate::node::{attr, jid, now_s};
use crate::phone;
use crate::state::Sim;

pub(super) fn handle(sim: &Sim, session: &Session, node: &Node) -> Result<()> {
    let Some((number, device)) = &session.who else { return Ok(()) };
    session.handle.send(ack(node, "receipt"));
    let id = attr(node, "id");
    let kind = attr(node, "type");
    let mut ids = vec![id.clone()];
    if let Some(list) = node.get_optional_child("list") {
        ids.extend(list.get_children_by_tag("item").map(|item| attr(item, "id")));
    }
    for id in &ids {
        sim.acked(number, *device, "message", id);
    }
    let Some(to) = jid(node, "to") else { return Ok(()) };
    // Receipts of a group go to the author, those of a chat to the other account.
    let is_group = to.server == Server::Group;
    let Some(author) = (if is_group { jid(node, "participant") } else { Some(to.clone()) }) else {
        return Ok(());
    };
    let (receiver, from) = {
        let mut state = sim.state();
        let Some(receiver) = sim.resolve(&mut state, &author)? else { return Ok(()) };
        (receiver, state.account(number)?.jid_like(&author, *device))
    };
    if kind == "retry" && author.device == 0 {
        return phone::resend(sim, &receiver, (number, *device), node);
    }
    if receiver == *number {
        return Ok(());
    }
    phone::got_receipts(sim, &receiver, number, &ids, &kind)?;
    let devices = if kind == "retry" { vec![author.device] } else { sim.companions(&receiver) };
    for companion in devices {
        let mut receipt = B::new("receipt").attr("id", id.as_str()).attr("t", now_s());
        receipt = if is_group {
            receipt.attr("from", to.clone()).attr("participant", from.clone())
        } else {
            receipt.attr("from", from.clone())
        };
        if !kind.is_empty() {
            receipt = receipt.attr("type", kind.as_str());
        }
        let receipt = match &node.content {
            Some(NodeContent::Nodes(children)) => receipt.children(children.iter().cloned()).build(),
            _ => receipt.build(),
        };
        sim.deliver(&receiver, companion, "receipt", &id, receipt);
    }
    Ok(())
}
