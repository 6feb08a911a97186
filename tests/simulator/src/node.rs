//! Reading and printing stanzas.

use wacore_binary::node::NodeValue;
use wacore_binary::{Jid, Node, NodeContent};

/// The server's own name.
pub(crate) const SERVER: &str = "s.whatsapp.net";

/// An attribute as text; empty when it is missing.
pub(crate) fn attr(node: &Node, key: &str) -> String {
    node.attrs.get(key).map(ToString::to_string).unwrap_or_default()
}

/// An attribute as a JID.
pub(crate) fn jid(node: &Node, key: &str) -> Option<Jid> {
    node.attrs.get(key).and_then(NodeValue::to_jid)
}

/// The content of a node that carries bytes or text; empty otherwise.
pub(crate) fn bytes_of(node: Option<&Node>) -> Vec<u8> {
    match node.and_then(|node| node.content.as_ref()) {
        Some(NodeContent::Bytes(bytes)) => bytes.to_vec(),
        Some(NodeContent::String(text)) => text.as_bytes().to_vec(),
        _ => Vec::new(),
    }
}

/// The first child of a node.
pub(crate) fn first_child(node: &Node) -> Option<&Node> {
    node.children().and_then(<[Node]>::first)
}

/// A big-endian number of up to four bytes.
pub(crate) fn big_endian(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| (sum << 8) | u32::from(*byte))
}

/// Seconds since 1970, as stanzas carry them.
pub(crate) fn now_s() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default()
}

/// The stanza as one line, contents shortened, for the debug log.
pub(crate) fn show(node: &Node) -> String {
    let mut out = String::new();
    write_node(node, &mut out, 0);
    out
}

fn write_node(node: &Node, out: &mut String, depth: usize) {
    use std::fmt::Write;
    // Writing to a String cannot fail.
    let _ = write!(out, "<{}", node.tag);
    for (key, value) in node.attrs.iter() {
        let _ = write!(out, " {key}=\"{value}\"");
    }
    match &node.content {
        None => out.push_str("/>"),
        Some(NodeContent::Bytes(bytes)) => {
            let _ = write!(out, ">[{}B]</>", bytes.len());
        }
        Some(NodeContent::String(text)) => {
            let _ = write!(out, ">{text}</>");
        }
        Some(NodeContent::Nodes(children)) => {
            out.push('>');
            for (index, child) in children.iter().enumerate() {
                if index == 4 && children.len() > 6 || depth > 5 {
                    let _ = write!(out, "…{} more", children.len() - index);
                    break;
                }
                write_node(child, out, depth + 1);
            }
            let _ = write!(out, "</{}>", node.tag);
        }
    }
}

/// The real server writes its own name as a JID pair, never as a string; whatsmeow compares it as one.
pub(crate) fn servers_as_jids(node: &mut Node) {
    for (_, value) in &mut node.attrs.0 {
        if let NodeValue::String(text) = value
            && (text.as_str() == SERVER || text.as_str() == "g.us")
            && let Ok(jid) = text.parse::<Jid>()
        {
            *value = NodeValue::Jid(jid);
        }
    }
    if let Some(NodeContent::Nodes(children)) = &mut node.content {
        children.iter_mut().for_each(servers_as_jids);
    }
}
