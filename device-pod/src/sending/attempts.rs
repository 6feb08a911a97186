//! What was tried, and what rests after it: a message that may work later waits, and its chat and its batch with it. Others go on.

use std::time::Duration;

use enlace_contract::messages::MessageError;
use tokio::time::Instant;

use super::Outcome;
use super::recipient::{Recipient, parse};
use crate::store::outbox::Due;

/// How long a message rests after an attempt that failed for a reason that may pass.
pub(super) const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// How many attempts a message has while the connection stands.
const MAX_ATTEMPTS: u32 = 5;
/// How many attempts in a row a lost connection may end: WhatsApp may be ending it because of the message.
const MAX_INTERRUPTIONS: u32 = 20;
/// How many chats may rest: where more have trouble, it is not the chats'.
const MAX_RESTING: usize = 32;

/// A message whose turn has come, and what waits when it does.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    id: String,
    chat: String,
    batch: Option<String>,
}

impl Turn {
    pub(super) fn of(due: &Due) -> Self {
        Self { id: due.id.clone(), chat: chat(&due.to), batch: due.batch.clone() }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn batch(&self) -> Option<&str> {
        self.batch.as_deref()
    }
}

/// The attempts with messages that are neither sent nor failed.
#[derive(Default)]
pub(super) struct Attempts {
    tried: Vec<Tried>,
}

struct Tried {
    turn: Turn,
    failed: u32,
    interrupted: u32,
    rests_until: Option<Instant>,
}

impl Attempts {
    /// The outcome of another attempt, which is final when there were too many.
    pub(super) fn count(&mut self, turn: &Turn, outcome: Outcome, now: Instant) -> Outcome {
        let at = self.tried.iter().position(|tried| tried.turn.id == turn.id);
        let mut tried = at.map(|at| self.tried.remove(at)).unwrap_or_else(|| Tried {
            turn: turn.clone(),
            failed: 0,
            interrupted: 0,
            rests_until: None,
        });
        tried.rests_until = None;
        let given_up = |message: String| Outcome::Failed(MessageError { reason: "NotSent".into(), message });
        match &outcome {
            Outcome::Later(why) => {
                tried.failed += 1;
                tried.rests_until = Some(now + RETRY_PAUSE);
                if tried.failed >= MAX_ATTEMPTS {
                    return given_up(format!("given up after {MAX_ATTEMPTS} attempts; the last one: {why}"));
                }
            }
            Outcome::Unlinked => {
                tried.interrupted += 1;
                if tried.interrupted >= MAX_INTERRUPTIONS {
                    return given_up(format!(
                        "given up: the connection ended in {MAX_INTERRUPTIONS} attempts in a row"
                    ));
                }
            }
            Outcome::Accepted | Outcome::Failed(_) => return outcome,
        }
        if self.tried.len() >= MAX_RESTING {
            // Of one that was settled elsewhere, as by a receipt, nothing more is heard: the one that was tried longest ago.
            self.tried.remove(0);
        }
        self.tried.push(tried);
        outcome
    }

    /// What rests now.
    pub(super) fn resting(&self, now: Instant) -> Vec<Turn> {
        self.tried.iter().filter(|tried| tried.rests(now)).map(|tried| tried.turn.clone()).collect()
    }

    /// When the first that rests may go again.
    pub(super) fn next_end(&self, now: Instant) -> Option<Instant> {
        self.tried.iter().filter(|tried| tried.rests(now)).filter_map(|tried| tried.rests_until).min()
    }

    /// When something may go again, while so much rests that nothing else may.
    pub(super) fn pause(&self, now: Instant) -> Option<Instant> {
        let resting = self.tried.iter().filter(|tried| tried.rests(now)).count();
        self.next_end(now).filter(|_| resting >= MAX_RESTING)
    }
}

impl Tried {
    fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| until > now)
    }
}

/// Whether a message waits for one that rests: those of one chat, and of one batch, keep their order.
pub(super) fn waits(resting: &[Turn], to: &str, batch: Option<&str>) -> bool {
    let of = chat(to);
    resting.iter().any(|turn| turn.chat == of || (batch.is_some() && turn.batch.as_deref() == batch))
}

/// A chat, in one form however it was written.
fn chat(to: &str) -> String {
    match parse(to) {
        Ok(Recipient::Number(number)) => number.canonical().to_string(),
        Ok(Recipient::Jid(jid)) => jid.to_string(),
        Err(_) => to.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(id: &str, to: &str, batch: Option<&str>) -> Turn {
        Turn { id: id.into(), chat: chat(to), batch: batch.map(str::to_owned) }
    }

    fn later() -> Outcome {
        Outcome::Later("busy".into())
    }

    #[test]
    fn a_chat_and_a_batch_wait_for_what_rests_and_others_do_not() {
        let now = Instant::now();
        let mut attempts = Attempts::default();
        attempts.count(&turn("A", "525550000001", Some("A")), later(), now);
        let resting = attempts.resting(now);
        for (to, batch, waits_too) in [
            ("525550000001", None, true),
            ("+52 555 000-0001", None, true),
            ("525550000001@s.whatsapp.net", None, true),
            ("525550000003", Some("A"), true),
            ("525550000003", Some("B"), false),
            ("525550000003", None, false),
        ] {
            assert_eq!(waits(&resting, to, batch), waits_too, "{to} {batch:?}");
        }
        assert_eq!(attempts.next_end(now), Some(now + RETRY_PAUSE));
        assert!(attempts.resting(now + RETRY_PAUSE).is_empty());
    }

    #[test]
    fn each_message_has_its_own_attempts() {
        let now = Instant::now();
        let mut attempts = Attempts::default();
        let (first, second) = (turn("A", "525550000001", None), turn("B", "525550000003", None));
        for _ in 1..MAX_ATTEMPTS {
            assert!(matches!(attempts.count(&first, later(), now), Outcome::Later(_)));
            assert!(matches!(attempts.count(&second, Outcome::Unlinked, now), Outcome::Unlinked));
        }
        let Outcome::Failed(error) = attempts.count(&first, later(), now) else { panic!() };
        assert_eq!(error.reason, "NotSent");
        assert!(error.message.ends_with("the last one: busy"), "{}", error.message);
        assert!(attempts.resting(now).is_empty(), "what failed holds nobody up");
        assert!(matches!(attempts.count(&second, Outcome::Accepted, now), Outcome::Accepted));
        assert!(attempts.tried.is_empty());
    }

    #[test]
    fn where_many_chats_have_trouble_everything_rests() {
        let now = Instant::now();
        let mut attempts = Attempts::default();
        for at in 0..2 * MAX_RESTING {
            attempts.count(&turn(&at.to_string(), &format!("{}@g.us", at + 1), None), later(), now);
        }
        assert_eq!(attempts.tried.len(), MAX_RESTING);
        assert_eq!(attempts.pause(now), Some(now + RETRY_PAUSE));
        assert_eq!(attempts.pause(now + RETRY_PAUSE), None);
    }
}
