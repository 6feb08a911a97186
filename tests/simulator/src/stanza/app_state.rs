//! `<iq xmlns="w:sync:app:state">`: the patch log of each collection.

use anyhow::{Context, Result};
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder as B;
use waproto::whatsapp as wa;

use super::iq::{error, result};
use crate::connection::Session;
use crate::node::{SERVER, attr, bytes_of, now_s};
use crate::state::Sim;

pub(super) fn answer(sim: &Sim, session: &Session, node: &Node) -> Result<Node> {
    let Some((number, device)) = &session.who else { return Ok(error(node, 401, "not-authorized")) };
    let sync = node.get_optional_child("sync").context("no sync")?;
    let mut collections = Vec::new();
    let mut changed = Vec::new();
    {
        let mut state = sim.state();
        let account = state.account_mut(number)?;
        for asked in sync.children().unwrap_or_default() {
            let name = attr(asked, "name");
            let log = account.app_state.entry(name.clone()).or_default();
            let before = log.len();
            collections.push(collection(asked, &name, log));
            if log.len() != before {
                changed.push((name, log.len() as u64));
            }
        }
    }
    for (name, version) in changed {
        for other in sim.companions(number).into_iter().filter(|other| other != device) {
            let id = sim.stanza_id();
            let news = B::new("collection").attr("name", name.as_str()).attr("version", version).build();
            let notification = B::new("notification")
                .attr("from", SERVER)
                .attr("type", "server_sync")
                .attr("id", id.as_str())
                .attr("t", now_s())
                .children([news])
                .build();
            sim.deliver(number, other, "notification", &id, notification);
        }
    }
    Ok(result(node, vec![B::new("sync").children(collections).build()]))
}

/// Appends the patches of a request, or returns the ones that it lacks.
fn collection(asked: &Node, name: &str, log: &mut Vec<Vec<u8>>) -> Node {
    let from: usize = attr(asked, "version").parse().unwrap_or(0);
    let answer = B::new("collection").attr("name", name);
    let uploads: Vec<Vec<u8>> =
        asked.get_children_by_tag("patch").map(|patch| bytes_of(Some(patch))).collect();
    if uploads.is_empty() {
        let patches: Vec<Node> =
            log.iter().skip(from).map(|patch| B::new("patch").bytes(patch.clone()).build()).collect();
        let answer = answer.attr("version", log.len() as u64);
        return if patches.is_empty() {
            answer.build()
        } else {
            answer.children([B::new("patches").children(patches).build()]).build()
        };
    }
    if from != log.len() {
        let conflict = B::new("error").attr("code", 409_u32).attr("text", "conflict").build();
        return answer.attr("type", "error").children([conflict]).build();
    }
    for upload in uploads {
        match waproto::codec::syncd_patch_decode(&upload) {
            Ok(mut patch) => {
                let version = log.len() as u64 + 1;
                patch.version = buffa::MessageField::some(wa::SyncdVersion { version: Some(version) });
                log.push(waproto::codec::syncd_patch_to_vec(&patch));
            }
            Err(error) => tracing::warn!(collection = name, "a patch for {name} cannot be read: {error}"),
        }
    }
    answer.attr("version", log.len() as u64).build()
}
