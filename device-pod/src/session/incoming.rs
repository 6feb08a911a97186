//! A protocol message as a record of the inbox.

use enlace_contract::inbox::{InboxMedia, InboxRecord};
use enlace_contract::number::PhoneNumber;
use jiff::Timestamp;
use whatsapp_rust::Jid;
use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::proto_helpers::MessageExt as _;
use whatsapp_rust::types::durability_hook::InboundMessage;
use whatsapp_rust::types::message::{MessageCategory, MessageInfo, MessageSource};
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::waproto::whatsapp::message::protocol_message::Type as ProtocolType;

use crate::store::inbox::Incoming;

/// The longest name of a file that is kept, in characters.
const MAX_FILE_NAME: usize = 255;

/// The record of a message; none for what only devices say to each other.
pub(super) fn read(inbound: &InboundMessage) -> Option<Incoming> {
    let InboundMessage { message, info, .. } = inbound;
    if info.category == MessageCategory::Peer {
        return None;
    }
    let base = message.get_base_message();
    let Read { kind, media } = classify(base)?;
    let download = media.is_some().then(|| base.encode_to_vec());
    let record = InboxRecord {
        sequence: 0,
        id: info.id.to_string(),
        chat: info.source.chat.to_non_ad().to_string(),
        sender: info.source.sender.to_non_ad().to_string(),
        sender_number: sender_number(&info.source),
        push_name: Some(info.push_name.clone()).filter(|name| !name.is_empty()),
        from_me: info.source.is_from_me,
        group: info.source.is_group,
        kind: kind.to_owned(),
        text: text(base),
        media,
        timestamp: sent_at(info),
        received_at: Timestamp::UNIX_EPOCH,
    };
    Some(Incoming { record, download })
}

struct Read {
    kind: &'static str,
    media: Option<InboxMedia>,
}

fn classify(message: &wa::Message) -> Option<Read> {
    let plain = |kind| Some(Read { kind, media: None });
    if let Some(image) = message.image_message.as_option() {
        return with_media("image", image.mimetype.as_ref(), None, image.file_length);
    }
    if let Some(video) = message.video_message.as_option() {
        return with_media("video", video.mimetype.as_ref(), None, video.file_length);
    }
    if let Some(audio) = message.audio_message.as_option() {
        return with_media("audio", audio.mimetype.as_ref(), None, audio.file_length);
    }
    if let Some(document) = message.document_message.as_option() {
        return with_media(
            "document",
            document.mimetype.as_ref(),
            document.file_name.as_ref(),
            document.file_length,
        );
    }
    if let Some(sticker) = message.sticker_message.as_option() {
        return with_media("sticker", sticker.mimetype.as_ref(), None, sticker.file_length);
    }
    if let Some(protocol) = message.protocol_message.as_option() {
        return match protocol.r#type {
            Some(ProtocolType::Revoke) => plain("revoke"),
            Some(ProtocolType::MessageEdit) => plain("edit"),
            // History, keys and settings: devices among themselves.
            _ => None,
        };
    }
    if message.text_content().is_some() {
        return plain("text");
    }
    if message.reaction_message.is_set() {
        return plain("reaction");
    }
    if message.location_message.is_set() || message.live_location_message.is_set() {
        return plain("location");
    }
    if message.contact_message.is_set() || message.contacts_array_message.is_set() {
        return plain("contact");
    }
    if message.poll_creation_message.is_set()
        || message.poll_creation_message_v3.is_set()
        || message.poll_update_message.is_set()
    {
        return plain("poll");
    }
    if message.sender_key_distribution_message.is_set() && *message == distribution_only(message) {
        return None;
    }
    plain("other")
}

/// The same message with nothing but the keys of a group and what accompanies every message.
fn distribution_only(message: &wa::Message) -> wa::Message {
    wa::Message {
        sender_key_distribution_message: message.sender_key_distribution_message.clone(),
        message_context_info: message.message_context_info.clone(),
        ..wa::Message::default()
    }
}

fn with_media(
    kind: &'static str,
    mime: Option<&String>,
    name: Option<&String>,
    size: Option<u64>,
) -> Option<Read> {
    let media = InboxMedia { mime_type: mime.cloned(), file_name: name.map(|name| plain_name(name)), size };
    Some(Read { kind, media: Some(media) })
}

/// The name alone, whatever path the sender wrote before it.
fn plain_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    last.chars().filter(|c| !c.is_control()).take(MAX_FILE_NAME).collect()
}

fn text(message: &wa::Message) -> Option<String> {
    let protocol = message.protocol_message.as_option();
    if let Some(edited) = protocol.and_then(|protocol| protocol.edited_message.as_option()) {
        return edited.text_content().or_else(|| edited.get_caption()).map(str::to_owned);
    }
    if let Some(reaction) = message.reaction_message.as_option() {
        return reaction.text.clone();
    }
    message.text_content().or_else(|| message.get_caption()).map(str::to_owned)
}

fn sender_number(source: &MessageSource) -> Option<PhoneNumber> {
    let number = |jid: &Jid| jid.is_pn().then(|| jid.user.as_str().parse().ok()).flatten();
    number(&source.sender).or_else(|| source.sender_alt.as_ref().and_then(number))
}

fn sent_at(info: &MessageInfo) -> Timestamp {
    Timestamp::from_millisecond(info.timestamp.timestamp_millis()).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_a_path() {
        for (sent, kept) in [
            ("../../etc/passwd", "passwd"),
            ("C:\\a\\b.pdf", "b.pdf"),
            ("a\nb.pdf", "ab.pdf"),
            ("b.pdf", "b.pdf"),
        ] {
            assert_eq!(plain_name(sent), kept);
        }
    }

    #[test]
    fn what_devices_say_among_themselves_is_no_message() {
        let keys = wa::Message {
            sender_key_distribution_message: whatsapp_rust::buffa::MessageField::some(Default::default()),
            ..wa::Message::default()
        };
        assert!(classify(&keys).is_none());
        let text = wa::Message { conversation: Some("hola".into()), ..keys };
        assert_eq!(classify(&text).unwrap().kind, "text");
    }
}
