//! The queue of each device: stanzas stay in it until the device acknowledges them.

use wacore_binary::builder::NodeBuilder as B;
use wacore_binary::{Node, NodeContent};

use crate::connection::Session;
use crate::node::SERVER;
use crate::state::{Pending, Sim, State};

/// A device that lets more than this pile up loses the oldest, as the real offline queue does.
const MAX_PENDING: usize = 8_192;

impl Sim {
    /// Queues a stanza for a device; sends it at once when the device is connected and active.
    pub(crate) fn deliver(&self, number: &str, device: u16, class: &'static str, id: &str, mut node: Node) {
        let mut state = self.state();
        if class == "message"
            && let Some(NodeContent::Nodes(children)) = &mut node.content
        {
            corrupt(&mut state, number, device, children);
        }
        let Ok(target) = state.device_mut(number, device) else { return };
        if target.logged_out {
            return;
        }
        if target.pending.len() >= MAX_PENDING {
            target.pending.pop_front();
            tracing::warn!(
                phone = number,
                device,
                "the queue of {number}:{device} is full: dropping its oldest"
            );
        }
        target.pending.push_back(Pending { class, id: id.to_owned(), node: node.clone() });
        if target.active
            && let Some(connection) = &target.connection
        {
            connection.send(node);
        }
    }

    /// The device has acknowledged a stanza.
    pub(crate) fn acked(&self, number: &str, device: u16, class: &str, id: &str) {
        if let Ok(device) = self.state().device_mut(number, device) {
            device.pending.retain(|pending| pending.class != class || pending.id != id);
        }
    }
}

/// The companion asked for its queue: replays all that is not acknowledged, then the end marker.
pub(crate) fn go_active(sim: &Sim, session: &Session) {
    let Some((number, device)) = &session.who else { return };
    let mut state = sim.state();
    let Ok(device) = state.device_mut(number, *device) else { return };
    let count = |class: &str| device.pending.iter().filter(|pending| pending.class == class).count() as u64;
    let total = device.pending.len() as u64;
    if total > 0 {
        let preview = B::new("offline_preview")
            .attr("count", total)
            .attr("message", count("message"))
            .attr("notification", count("notification"))
            .attr("receipt", count("receipt"))
            .attr("appdata", 0_u32)
            .attr("call", 0_u32)
            .build();
        session.handle.send(B::new("ib").attr("from", SERVER).children([preview]).build());
    }
    for pending in &device.pending {
        let mut node = pending.node.clone();
        node.attrs.insert("offline", "0");
        session.handle.send(node);
    }
    let end = B::new("offline").attr("count", total).build();
    session.handle.send(B::new("ib").attr("from", SERVER).children([end]).build());
    device.active = true;
}

/// Flips one ciphertext bit of the next message to a device, when that was asked for.
pub(crate) fn corrupt(state: &mut State, number: &str, device: u16, nodes: &mut [Node]) {
    let Some(left) = state.corrupt.get_mut(&(number.to_owned(), device)).filter(|left| **left > 0) else {
        return;
    };
    *left -= 1;
    for enc in nodes.iter_mut().filter(|node| node.tag == "enc") {
        if let Some(NodeContent::Bytes(bytes)) = &mut enc.content {
            // Inside the ciphertext of both `msg` and `pkmsg`, before the MAC.
            let place = bytes.len().saturating_sub(20);
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1;
            }
        }
    }
}
