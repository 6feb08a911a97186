//! `<iq>`: requests to the server, by namespace.

use std::sync::Arc;

use anyhow::{Context, Result};
use wacore::iq::mediaconn::{HostType, MediaConnHostExtended, MediaConnResponseExtended};
use wacore::protocol::ProtocolNode;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder as B;

use super::{app_state, groups, prekeys, usync};
use crate::connection::Session;
use crate::delivery::go_active;
use crate::node::{SERVER, attr, first_child, jid, show};
use crate::state::Sim;
use crate::{link_code, pairing};

/// The result of a request.
pub(crate) fn result(request: &Node, children: Vec<Node>) -> Node {
    let answer = answer_to(request).attr("type", "result");
    if children.is_empty() { answer.build() } else { answer.children(children).build() }
}

/// The error of a request.
pub(super) fn error(request: &Node, code: u32, text: &str) -> Node {
    let error = B::new("error").attr("code", code).attr("text", text).build();
    answer_to(request).attr("type", "error").children([error]).build()
}

fn answer_to(request: &Node) -> B {
    let to = attr(request, "to");
    B::new("iq")
        .attr("from", if to.is_empty() { SERVER.to_owned() } else { to })
        .attr("id", attr(request, "id"))
}

pub(super) fn handle(sim: &Arc<Sim>, session: &Session, node: &Node) -> Result<()> {
    let kind = attr(node, "type");
    if kind == "result" || kind == "error" {
        return if pairing::is_answer(&attr(node, "id")) {
            pairing::finish(sim, session, node)
        } else {
            Ok(())
        };
    }
    let namespace = attr(node, "xmlns");
    let child = first_child(node);
    let tag = child.map(|child| child.tag.to_string()).unwrap_or_default();
    let answer = match (namespace.as_str(), kind.as_str(), tag.as_str()) {
        ("md", "set", "link_code_companion_reg") => {
            return link_code::register(sim, session, node, child.context("no child")?);
        }
        ("md", "set", "remove-companion-device") => return remove_companion(sim, session, node, child),
        ("passive", "set", _) => return passive(sim, session, node, &tag),
        ("encrypt", _, _) => return prekeys::handle(sim, session, node, &kind, &tag),
        ("usync", _, _) => usync::answer(sim, node, child.context("no usync")?)?,
        ("w:m", "set", "media_conn") => media_conn(sim, session, node),
        ("w:sync:app:state", _, _) => app_state::answer(sim, session, node)?,
        ("w:g2", _, _) => groups::answer(sim, session, node, child)?,
        _ => settings(node, &namespace, &kind, &tag),
    };
    session.handle.send(answer);
    Ok(())
}

/// Requests whose answer is the same for everybody.
fn settings(node: &Node, namespace: &str, kind: &str, tag: &str) -> Node {
    const PRIVACY: [(&str, &str); 7] = [
        ("last", "all"),
        ("online", "all"),
        ("profile", "all"),
        ("status", "contacts"),
        ("groupadd", "all"),
        ("readreceipts", "all"),
        ("calladd", "all"),
    ];
    match (namespace, kind, tag) {
        ("w:p" | "urn:xmpp:ping", _, _) => result(node, Vec::new()),
        ("w" | "abt", "get", "props") => {
            let props = B::new("props")
                .attr("protocol", 1_u32)
                .attr("hash", "simhash")
                .attr("refresh", 86_400_u32)
                .attr("refresh_id", 1_u32)
                .attr("ab_key", "sim");
            result(node, vec![props.build()])
        }
        ("privacy", "get", _) => {
            let categories = PRIVACY
                .map(|(name, value)| B::new("category").attr("name", name).attr("value", value).build());
            result(node, vec![B::new("privacy").children(categories).build()])
        }
        ("blocklist", _, _) => result(node, vec![B::new("list").attr("dhash", "0").build()]),
        ("w:profile:picture", "get", _) => error(node, 404, "item-not-found"),
        ("w:biz", "get", _) => result(node, vec![B::new("business_profile").build()]),
        ("w:mex", _, _) => error(node, 400, "bad-request"),
        (
            "urn:xmpp:whatsapp:dirty"
            | "w:stats"
            | "status"
            | "tos"
            | "w:profile:picture"
            | "urn:xmpp:whatsapp:push"
            | "disappearing_mode"
            | "privacy",
            _,
            _,
        ) => result(node, Vec::new()),
        _ => {
            tracing::warn!("unknown iq {namespace} {kind} <{tag}>: {}", show(node));
            if kind == "set" { result(node, Vec::new()) } else { error(node, 501, "feature-not-implemented") }
        }
    }
}

fn remove_companion(sim: &Arc<Sim>, session: &Session, node: &Node, child: Option<&Node>) -> Result<()> {
    session.handle.send(result(node, Vec::new()));
    let Some((number, own)) = &session.who else { return Ok(()) };
    let device = child.and_then(|child| jid(child, "jid")).map_or(*own, |jid| jid.device);
    pairing::log_out(sim, number, device, false)
}

fn passive(sim: &Sim, session: &Session, node: &Node, tag: &str) -> Result<()> {
    session.handle.send(result(node, Vec::new()));
    if tag == "active" {
        go_active(sim, session);
    } else if let Some((number, device)) = &session.who {
        sim.state().device_mut(number, *device)?.active = false;
    }
    Ok(())
}

fn media_conn(sim: &Sim, session: &Session, node: &Node) -> Node {
    let host = sim.public.as_deref().or(session.handle.host()).unwrap_or_default();
    let mut host = MediaConnHostExtended::simple(host.to_owned(), HostType::Primary);
    host.upload = true;
    host.download = true;
    let answer = MediaConnResponseExtended::mock("SIMAUTH".into(), 3600, vec![host]);
    result(node, vec![answer.into_node()])
}
