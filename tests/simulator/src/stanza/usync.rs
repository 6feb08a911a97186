//! `<iq xmlns="usync">`: who is on WhatsApp, under which JID, with which devices.

use anyhow::Result;
use wacore_binary::builder::NodeBuilder as B;
use wacore_binary::{Jid, Node, Server};

use super::iq::result;
use crate::node::{attr, bytes_of, jid, now_s};
use crate::number::digits;
use crate::state::{Sim, lock};

pub(super) fn answer(sim: &Sim, node: &Node, usync: &Node) -> Result<Node> {
    let protocols: Vec<String> = usync
        .get_optional_child("query")
        .and_then(Node::children)
        .unwrap_or_default()
        .iter()
        .map(|protocol| protocol.tag.to_string())
        .collect();
    let mut users = Vec::new();
    for user in usync.get_optional_child("list").and_then(Node::children).unwrap_or_default() {
        let contact = user
            .get_optional_child("contact")
            .map(|contact| String::from_utf8_lossy(&bytes_of(Some(contact))).into_owned());
        let asked = jid(user, "jid").or_else(|| contact.as_deref().map(|contact| Jid::pn(digits(contact))));
        if let Some(asked) = asked {
            users.push(answer_user(sim, &protocols, &asked, contact)?);
        }
    }
    let kinds: Vec<Node> = protocols.into_iter().map(|protocol| B::new_dynamic(protocol).build()).collect();
    let answer = B::new("usync")
        .attr("sid", attr(usync, "sid"))
        .attr("mode", attr(usync, "mode"))
        .attr("context", attr(usync, "context"))
        .attr("index", "0")
        .attr("last", "true")
        .children([B::new("result").children(kinds).build(), B::new("list").children(users).build()])
        .build();
    Ok(result(node, vec![answer]))
}

fn answer_user(sim: &Sim, protocols: &[String], asked: &Jid, contact: Option<String>) -> Result<Node> {
    let contact_node = |kind: &'static str| {
        let node = B::new("contact").attr("type", kind);
        match &contact {
            Some(text) => node.bytes(text.as_bytes().to_vec()).build(),
            None => node.build(),
        }
    };
    let asks_contact = protocols.iter().any(|protocol| protocol == "contact");
    let Some(number) = sim.find(asked)? else {
        let nodes = asks_contact.then(|| contact_node("out"));
        return Ok(B::new("user").attr("jid", asked.to_non_ad()).children(nodes).build());
    };
    let (pn, lid) = {
        let state = sim.state();
        let account = state.account(&number)?;
        (account.pn_jid(0), account.lid_jid(0))
    };
    // A contact query answers with the real account, which may be spelled otherwise than asked (Mexico).
    let jid = if asks_contact && asked.server == Server::Pn { pn.clone() } else { asked.to_non_ad() };
    let mut user = B::new("user").attr("jid", jid);
    if asked.server == Server::Lid {
        user = user.attr("pn_jid", pn);
    }
    let mut nodes = Vec::new();
    for protocol in protocols {
        match protocol.as_str() {
            "contact" => nodes.push(contact_node("in")),
            "lid" => nodes.push(B::new("lid").attr("val", lid.clone()).build()),
            "business" => nodes.push(B::new("business").build()),
            "status" => nodes.push(B::new("status").attr("t", now_s()).bytes(b"simulated".to_vec()).build()),
            "picture" => nodes.push(B::new("picture").build()),
            "devices" => nodes.push(devices(sim, &number)?),
            _ => {}
        }
    }
    Ok(user.children(nodes).build())
}

/// The device list, with the phone's signature over the key indexes.
fn devices(sim: &Sim, number: &str) -> Result<Node> {
    let (phone, linked) = {
        let state = sim.state();
        let account = state.account(number)?;
        let linked: Vec<(u16, u32)> = account
            .devices
            .values()
            .filter(|device| device.is_linked())
            .map(|device| (device.id, device.key_index))
            .collect();
        (account.phone.clone(), linked)
    };
    let mut list = vec![B::new("device").attr("id", 0_u32).build()];
    list.extend(
        linked
            .iter()
            .map(|(id, index)| B::new("device").attr("id", u32::from(*id)).attr("key-index", *index).build()),
    );
    let indexes = std::iter::once(0).chain(linked.iter().map(|(_, index)| *index)).collect();
    let now = now_s();
    let signed = lock(&phone).key_index_list(indexes, now)?;
    Ok(B::new("devices")
        .children([
            B::new("device-list").children(list).build(),
            B::new("key-index-list").attr("ts", now).bytes(signed).build(),
        ])
        .build())
}
