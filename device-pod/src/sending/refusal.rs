//! Which refusals of WhatsApp are its last word.

use enlace_contract::messages::MessageError;
use whatsapp_rust::{IqError, SendError};

/// The most characters of WhatsApp's own words.
const MAX_WORDS: usize = 60;

/// Whether a message that was refused with this code is refused again, however often it is sent.
///
/// The codes are those of XMPP stanza errors (`404` `item-not-found`) and WhatsApp Web's own for messages (`NackFromStanza`).
pub(super) const fn is_final(code: u16) -> bool {
    match code {
        // The server had no time, the group's addressing has just changed, or it is too much at once.
        408 | 421 | 425 | 429 => false,
        // Not allowed, no such chat, not a form that is known, more new chats than the account may begin.
        400..=499 => true,
        // What this kind of group or message does not have.
        501 | 550 | 551 => true,
        // The server's own troubles.
        _ => false,
    }
}

/// What the sender says of a message that WhatsApp will not take, however often it is sent; none when it may work later.
pub(super) fn of_send(error: &SendError) -> Option<MessageError> {
    match error {
        SendError::Iq(IqError::ServerError { code, text, .. }) if is_final(*code) => {
            Some(refused(*code, Some(text)))
        }
        SendError::InvalidRequest(why) => Some(MessageError {
            reason: "RefusedByWhatsApp".into(),
            message: format!("it cannot be sent: {why}"),
        }),
        _ => None,
    }
}

/// What the answer to a message says: final, or the reason why it may work later.
pub(super) fn of_ack(code: &str) -> Result<MessageError, String> {
    // What is no number is no code that is known to pass.
    let Ok(number) = code.parse() else {
        let code: String = code.chars().take(MAX_WORDS).collect();
        let message = format!("WhatsApp refused the message with code {code}");
        return Ok(MessageError { reason: "RefusedByWhatsApp".into(), message });
    };
    if is_final(number) {
        Ok(refused(number, None))
    } else {
        Err(format!("WhatsApp refused the message for now with code {number}"))
    }
}

fn refused(code: u16, words: Option<&str>) -> MessageError {
    let mut message = format!("WhatsApp refused the message with code {code}");
    if let Some(words) = words.filter(|words| !words.is_empty()) {
        let words: String = words.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect();
        message.push_str(&format!(" ({words})"));
    }
    if code == 404 {
        message.push_str(": there is no such group or chat, or this number is not in it");
    }
    MessageError { reason: "RefusedByWhatsApp".into(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_final_or_pass() {
        for (code, last_word) in [
            (400, true),
            (401, true),
            (403, true),
            (404, true),
            (405, true),
            (406, true),
            (408, false),
            (410, true),
            (421, false),
            (429, false),
            (463, true),
            (475, true),
            (479, true),
            (488, true),
            (491, true),
            (499, true),
            (500, false),
            (501, true),
            (503, false),
            (504, false),
            (550, true),
            (551, true),
            (552, false),
            (0, false),
            (599, false),
        ] {
            assert_eq!(is_final(code), last_word, "{code}");
            assert_eq!(of_ack(&code.to_string()).is_ok(), last_word, "{code}");
            let iq = IqError::ServerError { code, text: "words".into(), error_type: None, backoff: None };
            assert_eq!(of_send(&SendError::Iq(iq)).is_some(), last_word, "{code}");
        }
    }

    #[test]
    fn a_refusal_says_its_code_and_whatsapps_words() {
        let iq = IqError::ServerError {
            code: 404,
            text: "item-not-found\n".into(),
            error_type: None,
            backoff: None,
        };
        let error = of_send(&SendError::Iq(iq)).unwrap();
        assert_eq!(error.reason, "RefusedByWhatsApp");
        assert!(error.message.contains("404 (item-not-found): there is no such group"), "{}", error.message);
        assert!(of_ack("nonsense").unwrap().message.contains("nonsense"));
        assert!(of_send(&SendError::Iq(IqError::Timeout)).is_none());
        assert!(of_send(&SendError::InvalidRequest("a newsletter".into())).is_some());
    }
}
