//! A made-up history that a phone sends to its companions.

use std::io::Write as _;

use anyhow::Result;
use buffa::{Message as _, MessageField};
use waproto::whatsapp as wa;
use waproto::whatsapp::message::{
    HistorySyncNotification, HistorySyncType, ProtocolMessage, protocol_message,
};

use super::{random, to_own_companions};
use crate::control::types::HistorySize;
use crate::node::now_s;
use crate::state::Sim;

/// Sends an inline INITIAL_BOOTSTRAP blob of `chats` × `messages` to all companions of a number.
pub(crate) fn bootstrap(sim: &Sim, number: &str, chats: u64, messages: u64) -> Result<HistorySize> {
    let history = wa::HistorySync {
        sync_type: wa::history_sync::HistorySyncType::INITIAL_BOOTSTRAP,
        conversations: (0..chats).map(|chat| conversation(chat, messages)).collect(),
        ..Default::default()
    };
    let raw = history.encode_to_vec();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(&raw)?;
    let blob = zlib.finish()?;
    let size = HistorySize { raw: raw.len(), compressed: blob.len(), messages: chats * messages };
    let notification = HistorySyncNotification {
        sync_type: Some(HistorySyncType::INITIAL_BOOTSTRAP),
        chunk_order: Some(1),
        progress: Some(100),
        initial_hist_bootstrap_inline_payload: Some(blob),
        ..Default::default()
    };
    let message = wa::Message {
        protocol_message: MessageField::some(ProtocolMessage {
            r#type: Some(protocol_message::Type::HistorySyncNotification),
            history_sync_notification: MessageField::some(notification),
            ..Default::default()
        }),
        ..Default::default()
    };
    to_own_companions(sim, number, &message)?;
    Ok(size)
}

fn conversation(chat: u64, messages: u64) -> wa::Conversation {
    let jid = format!("55119{chat:08}@s.whatsapp.net");
    let message = |index: u64| wa::HistorySyncMsg {
        message: MessageField::some(wa::WebMessageInfo {
            key: MessageField::some(wa::MessageKey {
                remote_jid: Some(jid.clone()),
                from_me: Some(index.is_multiple_of(2)),
                id: Some(format!("3A{}", hex::encode_upper(random::<9>()))),
                participant: None,
            }),
            message: MessageField::some(wa::Message {
                conversation: Some(format!("message {index} of chat {chat} {}", hex::encode(random::<20>()))),
                message_context_info: MessageField::some(wa::MessageContextInfo {
                    message_secret: Some(random::<32>().to_vec()),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            message_timestamp: Some(now_s().saturating_sub(3600)),
            ..Default::default()
        }),
        msg_order_id: Some(index),
    };
    wa::Conversation { id: jid.clone(), messages: (0..messages).map(message).collect(), ..Default::default() }
}
