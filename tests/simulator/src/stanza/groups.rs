//! `<iq xmlns="w:g2">` and messages to groups.

use std::collections::HashMap;

use anyhow::{Context, Result};
use wacore_binary::builder::NodeBuilder as B;
use wacore_binary::{Jid, Node};

use super::iq::{error, result};
use crate::connection::Session;
use crate::node::{attr, jid, now_s};
use crate::state::{Group, Sim, State};

pub(super) fn answer(sim: &Sim, session: &Session, node: &Node, child: Option<&Node>) -> Result<Node> {
    let Some((number, _)) = &session.who else { return Ok(error(node, 401, "not-authorized")) };
    let Some(child) = child else { return Ok(result(node, Vec::new())) };
    let group = jid(node, "to").unwrap_or_default();
    let mut state = sim.state();
    Ok(match child.tag.as_ref() {
        "create" => {
            let group = create(sim, &mut state, number, child)?;
            let answer = describe(&state, &group);
            state.groups.insert(group.id.clone(), group);
            result(node, vec![answer])
        }
        "query" => match state.groups.get(group.user.as_str()) {
            Some(group) => result(node, vec![describe(&state, group)]),
            None => error(node, 404, "item-not-found"),
        },
        "participating" => {
            let own = state
                .groups
                .values()
                .filter(|group| group.members.iter().any(|(member, _)| member == number));
            let nodes: Vec<Node> = own.map(|group| describe(&state, group)).collect();
            result(node, vec![B::new("groups").children(nodes).build()])
        }
        _ => result(node, Vec::new()),
    })
}

fn create(sim: &Sim, state: &mut State, owner: &str, request: &Node) -> Result<Group> {
    let mut members = vec![(owner.to_owned(), true)];
    for participant in request.get_children_by_tag("participant") {
        if let Some(jid) = jid(participant, "jid")
            && let Some(number) = sim.resolve(state, &jid)?
            && number != owner
        {
            members.push((number, false));
        }
    }
    Ok(Group {
        id: format!("1203630{:011}", sim.next()),
        subject: attr(request, "subject"),
        owner: owner.to_owned(),
        members,
        created_s: now_s(),
    })
}

fn describe(state: &State, group: &Group) -> Node {
    let Group { id, subject, owner, members, created_s } = group;
    let participants: Vec<Node> = members
        .iter()
        .map(|(member, admin)| {
            let mut participant = B::new("participant").attr("jid", Jid::pn(member.as_str()));
            if let Ok(account) = state.account(member) {
                participant = participant.attr("lid", account.lid_jid(0));
            }
            if *admin {
                participant = participant.attr("type", "superadmin");
            }
            participant.build()
        })
        .collect();
    B::new("group")
        .attr("id", id.as_str())
        .attr("subject", subject.as_str())
        .attr("s_t", *created_s)
        .attr("s_o", Jid::pn(owner.as_str()))
        .attr("creation", *created_s)
        .attr("creator", Jid::pn(owner.as_str()))
        .attr("addressing_mode", "pn")
        .attr("size", members.len() as u64)
        .children(participants)
        .build()
}

/// Relays a group message to the companions of its members. A resend names one `participant` and goes only
/// to it. Phones have no sender keys: they see no group messages.
pub(super) fn relay(sim: &Sim, (number, device): (&str, u16), to: &Jid, node: &Node) -> Result<()> {
    let id = attr(node, "id");
    let only = jid(node, "participant");
    let (members, from, from_lid, name, mut pairwise, only) = {
        let mut state = sim.state();
        let mut pairwise: HashMap<(String, u16), Vec<Node>> = HashMap::new();
        if let Some(participants) = node.get_optional_child("participants") {
            for target in participants.get_children_by_tag("to") {
                let Some(jid) = jid(target, "jid") else { continue };
                if let Some(member) = sim.resolve(&mut state, &jid)? {
                    let encs = target.get_children_by_tag("enc").cloned().collect();
                    pairwise.insert((member, jid.device), encs);
                }
            }
        }
        let only = match only {
            Some(jid) => Some((sim.resolve(&mut state, &jid)?.context("not on WhatsApp")?, jid.device)),
            None => None,
        };
        let group = state.groups.get(to.user.as_str()).context("no such group")?;
        let account = state.account(number)?;
        let members: Vec<String> = group.members.iter().map(|(member, _)| member.clone()).collect();
        (members, account.pn_jid(device), account.lid_jid(device), account.push_name.clone(), pairwise, only)
    };
    for member in members {
        for companion in sim.companions(&member) {
            let is_sender = member == number && companion == device;
            if is_sender || only.as_ref().is_some_and(|only| *only != (member.clone(), companion)) {
                continue;
            }
            let mut children = pairwise.remove(&(member.clone(), companion)).unwrap_or_default();
            children.extend(node.get_children_by_tag("enc").cloned());
            children.extend(node.get_children_by_tag("device-identity").cloned());
            let message = B::new("message")
                .attr("from", to.clone())
                .attr("participant", from.clone())
                .attr("participant_lid", from_lid.clone())
                .attr("addressing_mode", "pn")
                .attr("id", id.as_str())
                .attr("type", attr(node, "type"))
                .attr("t", now_s())
                .attr("notify", name.as_str())
                .children(children)
                .build();
            sim.deliver(&member, companion, "message", &id, message);
        }
    }
    Ok(())
}
