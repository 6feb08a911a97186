//! The record of message ids on the wire: which ids a companion used, how often, and for which text.
//!
//! A test that must know "each text arrived under exactly one id" reads it here, since a phone, like a real
//! one, shows a repeated id only once.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

/// More messages than any test sends; beyond it new ids are counted in `dropped` and not kept.
const MAX_MESSAGES: usize = 200_000;

/// One message id of one companion's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireMessage {
    /// The stanza id.
    pub id: String,
    /// The number whose companion sent it.
    pub phone: String,
    /// The companion that sent it first.
    pub device: u16,
    /// The chat, as addressed.
    pub to: String,
    /// The devices that ciphertexts were addressed to.
    pub targets: BTreeSet<String>,
    /// How many `<message>` stanzas carried this id, resends after a retry receipt not counted.
    pub count: u32,
    /// How many stanzas with this id answered a retry receipt.
    pub resends: u32,
    /// The different texts that the receiver's phone decrypted under this id.
    pub texts: Vec<String>,
    /// The server answered an error instead of relaying it, at least once.
    pub refused: bool,
}

/// All message ids seen so far, in the order of their first stanza.
#[derive(Debug, Default)]
pub(crate) struct WireLog {
    messages: Vec<WireMessage>,
    index: HashMap<(String, String), usize>,
    /// Ids that were not kept because the log was full.
    pub(crate) dropped: u64,
}

/// One `<message>` stanza, as the server saw it.
pub(crate) struct Seen<'a> {
    pub(crate) phone: &'a str,
    pub(crate) device: u16,
    pub(crate) id: &'a str,
    pub(crate) to: String,
    pub(crate) targets: Vec<String>,
    pub(crate) resend: bool,
    pub(crate) refused: bool,
}

impl WireLog {
    pub(crate) fn saw(&mut self, seen: Seen<'_>) {
        let Seen { phone, device, id, to, targets, resend, refused } = seen;
        let key = (phone.to_owned(), id.to_owned());
        let index = match self.index.get(&key) {
            Some(index) => *index,
            None if self.messages.len() >= MAX_MESSAGES => {
                self.dropped += 1;
                return;
            }
            None => {
                self.messages.push(WireMessage {
                    id: id.to_owned(),
                    phone: phone.to_owned(),
                    device,
                    to,
                    targets: BTreeSet::new(),
                    count: 0,
                    resends: 0,
                    texts: Vec::new(),
                    refused: false,
                });
                self.index.insert(key, self.messages.len() - 1);
                self.messages.len() - 1
            }
        };
        if let Some(message) = self.messages.get_mut(index) {
            message.targets.extend(targets);
            message.refused |= refused;
            *(if resend { &mut message.resends } else { &mut message.count }) += 1;
        }
    }

    /// The receiver's phone decrypted `text` under this id.
    pub(crate) fn text(&mut self, phone: &str, id: &str, text: &str) {
        let index = self.index.get(&(phone.to_owned(), id.to_owned()));
        if let Some(message) = index.and_then(|index| self.messages.get_mut(*index))
            && !message.texts.iter().any(|known| known == text)
        {
            message.texts.push(text.to_owned());
        }
    }

    /// The messages of one number, or of all.
    pub(crate) fn of(&self, phone: Option<&str>) -> Vec<WireMessage> {
        self.messages
            .iter()
            .filter(|message| phone.is_none_or(|phone| phone == message.phone))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(id: &str, resend: bool) -> Seen<'_> {
        Seen {
            phone: "525500000001",
            device: 1,
            id,
            to: "525500000002@s.whatsapp.net".to_owned(),
            targets: vec!["525500000002:0@s.whatsapp.net".to_owned()],
            resend,
            refused: false,
        }
    }

    #[test]
    fn a_repeated_id_is_one_message_counted_twice() {
        let mut log = WireLog::default();
        log.saw(seen("A", false));
        log.saw(seen("A", false));
        log.saw(seen("A", true));
        log.saw(seen("B", false));
        log.text("525500000001", "A", "hola");
        log.text("525500000001", "A", "hola");
        let messages = log.of(Some("525500000001"));
        assert_eq!(
            messages.iter().map(|m| (m.id.as_str(), m.count, m.resends)).collect::<Vec<_>>(),
            [("A", 2, 1), ("B", 1, 0)]
        );
        assert_eq!(messages[0].texts, ["hola"]);
        assert!(log.of(Some("525500000009")).is_empty());
    }
}
