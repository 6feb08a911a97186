//! What a phone got: messages, each id once, and receipts for its own.

use std::collections::{HashMap, HashSet, VecDeque};

use super::content::MediaRef;
use crate::control::types::{PhoneMessage, PhoneReceipt};

/// Past this the oldest messages go; their ids stay known.
const MAX_MESSAGES: usize = 50_000;
/// Past this the oldest receipts go.
const MAX_RECEIPTS: usize = 50_000;

/// The inbox of one phone.
#[derive(Default)]
pub(crate) struct Inbox {
    messages: VecDeque<PhoneMessage>,
    /// Number of the first kept message, counted from the phone's first.
    first: u64,
    seen: HashSet<(String, String)>,
    media: HashMap<String, MediaRef>,
    receipts: VecDeque<PhoneReceipt>,
    /// Number of the first kept receipt.
    first_receipt: u64,
}

impl Inbox {
    /// Adds a message unless the phone has shown this id of this sender already; says whether it did.
    pub(super) fn add(&mut self, message: PhoneMessage, media: Option<MediaRef>) -> bool {
        if message.error.is_none() && !self.seen.insert((message.from.clone(), message.id.clone())) {
            return false;
        }
        if self.messages.len() >= MAX_MESSAGES
            && let Some(oldest) = self.messages.pop_front()
        {
            self.first += 1;
            self.media.remove(&oldest.id);
        }
        if let Some(media) = media {
            self.media.insert(message.id.clone(), media);
        }
        self.messages.push_back(message);
        true
    }

    pub(super) fn add_receipt(&mut self, receipt: PhoneReceipt) {
        if self.receipts.len() >= MAX_RECEIPTS {
            self.receipts.pop_front();
            self.first_receipt += 1;
        }
        self.receipts.push_back(receipt);
    }

    /// The messages from number `after` on (the phone's first is 0), and the number to ask for next.
    pub(crate) fn since(&self, after: u64) -> (Vec<PhoneMessage>, u64) {
        page(&self.messages, self.first, after)
    }

    /// The same for receipts.
    pub(crate) fn receipts_since(&self, after: u64) -> (Vec<PhoneReceipt>, u64) {
        page(&self.receipts, self.first_receipt, after)
    }

    /// The readable message with this id.
    pub(super) fn find(&self, id: &str) -> Option<&PhoneMessage> {
        self.messages.iter().rev().find(|message| message.id == id && message.error.is_none())
    }

    /// Where the file of a message is.
    pub(crate) fn media(&self, id: &str) -> Option<MediaRef> {
        self.media.get(id).cloned()
    }
}

/// What is kept from number `after` on, when the first that is kept has number `first`; and the number to ask for
/// next.
fn page<T: Clone>(kept: &VecDeque<T>, first: u64, after: u64) -> (Vec<T>, u64) {
    let skip = usize::try_from(after.saturating_sub(first)).unwrap_or(usize::MAX);
    (kept.iter().skip(skip).cloned().collect(), first + kept.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, error: Option<&str>) -> PhoneMessage {
        PhoneMessage {
            id: id.to_owned(),
            from: "525500000001".to_owned(),
            error: error.map(str::to_owned),
            ..PhoneMessage::default()
        }
    }

    #[test]
    fn a_repeated_id_is_shown_once() {
        let mut inbox = Inbox::default();
        assert!(inbox.add(message("A", None), None));
        assert!(!inbox.add(message("A", None), None));
        assert_eq!(inbox.since(0), (vec![message("A", None)], 1));
    }

    #[test]
    fn a_message_that_could_be_read_at_the_second_try_is_shown() {
        let mut inbox = Inbox::default();
        assert!(inbox.add(message("A", Some("bad MAC")), None));
        assert!(inbox.add(message("A", None), None));
        assert_eq!(inbox.since(1), (vec![message("A", None)], 2));
        assert!(inbox.find("A").is_some());
    }
}
