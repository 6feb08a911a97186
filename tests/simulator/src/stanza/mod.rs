//! What the server does with each stanza of a companion.

mod app_state;
mod groups;
pub(crate) mod iq;
mod messages;
mod prekeys;
mod presence;
mod receipts;
mod usync;

pub(crate) use prekeys::companion_bundle;

use std::sync::Arc;

use anyhow::Result;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder as B;

use crate::connection::Session;
use crate::node::{attr, now_s, show};
use crate::state::Sim;

/// Answers one stanza.
pub(crate) fn handle(sim: &Arc<Sim>, session: &mut Session, node: &Node) -> Result<()> {
    match node.tag.as_ref() {
        "iq" => iq::handle(sim, session, node),
        "message" => messages::handle(sim, session, node),
        "receipt" => receipts::handle(sim, session, node),
        "ack" => {
            if let Some((number, device)) = &session.who {
                sim.acked(number, *device, &attr(node, "class"), &attr(node, "id"));
            }
            Ok(())
        }
        "presence" => presence::presence(sim, session, node),
        "chatstate" => presence::chat_state(sim, session, node),
        "ib" | "stream:features" => Ok(()),
        "call" => {
            session.handle.send(ack(node, "call"));
            Ok(())
        }
        other => {
            tracing::warn!("no answer for <{other}>: {}", show(node));
            Ok(())
        }
    }
}

/// `<stream:error><conflict type=…/></stream:error>`.
pub(crate) fn conflict(kind: &'static str) -> Node {
    B::new("stream:error").children([B::new("conflict").attr("type", kind).build()]).build()
}

/// The server's acknowledgement of a stanza.
fn ack(node: &Node, class: &'static str) -> Node {
    let mut ack = B::new("ack")
        .attr("class", class)
        .attr("id", attr(node, "id"))
        .attr("from", attr(node, "to"))
        .attr("t", now_s());
    if class == "receipt" && node.attrs.contains_key("type") {
        ack = ack.attr("type", attr(node, "type"));
    }
    if node.attrs.contains_key("participant") {
        ack = ack.attr("participant", attr(node, "participant"));
    }
    ack.build()
}
