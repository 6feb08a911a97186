//! Whom a message is for: what people write, and the JID that WhatsApp knows.

use std::collections::HashMap;

use enlace_contract::number::PhoneNumber;
use whatsapp_rust::Jid;
use whatsapp_rust::anyhow::{self, anyhow, bail};
use whatsapp_rust::client::Client;

/// How many look-ups are remembered; then they begin anew.
const REMEMBERED: usize = 10_000;

/// The most digits of a LID or of a part of a group's id: those of a 64-bit number. WhatsApp's have 15 to 18.
const MAX_ID: usize = 20;

/// The recipient is none.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no recipient: write a phone number with its country code, like 525550000001, or a JID: DIGITS@s.whatsapp.net, DIGITS@lid, \
     and for a group DIGITS@g.us or DIGITS-DIGITS@g.us"
)]
pub(crate) struct InvalidRecipient(String);

/// What is written as `to`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recipient {
    /// A phone number: WhatsApp says which JID it has, for what people dial and what WhatsApp uses differ.
    Number(PhoneNumber),
    /// A JID.
    Jid(Jid),
}

/// Reads what is written as `to`.
pub(crate) fn parse(to: &str) -> Result<Recipient, InvalidRecipient> {
    let invalid = || InvalidRecipient(to.to_owned());
    if !to.contains('@') {
        let digits: String = to.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')' | '.')).collect();
        return digits.parse().map(Recipient::Number).map_err(|_| invalid());
    }
    let (user, server) = to.split_once('@').ok_or_else(invalid)?;
    // A person's JID may name one of the person's devices; a message is for all of them.
    let person = user.split_once(':').map_or(Some(user), |(user, device)| is_id(device).then_some(user));
    match server {
        "s.whatsapp.net" => {
            person.and_then(|digits| digits.parse().ok()).map(Recipient::Number).ok_or_else(invalid)
        }
        "lid" if person.is_some_and(is_id) => read(to).ok_or_else(invalid),
        // A group is called by its own number, an old one by its maker's and the second in which it was made.
        "g.us" if user.split_once('-').map_or(is_id(user), |(maker, made)| is_id(maker) && is_id(made)) => {
            read(to).ok_or_else(invalid)
        }
        _ => Err(invalid()),
    }
}

/// Whether a text is a number as WhatsApp gives them.
fn is_id(text: &str) -> bool {
    (1..=MAX_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn read(to: &str) -> Option<Recipient> {
    Some(Recipient::Jid(to.parse::<Jid>().ok()?.to_non_ad()))
}

/// Finds JIDs, and remembers them.
#[derive(Default)]
pub(super) struct Recipients {
    found: HashMap<String, Jid>,
}

impl Recipients {
    /// The JID of a recipient; none when the number is not on WhatsApp.
    pub(super) async fn resolve(
        &mut self,
        client: &Client,
        to: &str,
        known: Option<&str>,
    ) -> anyhow::Result<Option<Jid>> {
        if let Some(jid) = known.and_then(|known| known.parse().ok()) {
            return Ok(Some(jid));
        }
        let number = match parse(to) {
            Ok(Recipient::Jid(jid)) => return Ok(Some(jid)),
            Ok(Recipient::Number(number)) => number,
            Err(error) => return Err(anyhow!(error)),
        };
        if let Some(jid) = self.found.get(number.as_str()) {
            return Ok(Some(jid.clone()));
        }
        let answer = client.contacts().is_on_whatsapp(&[Jid::pn(number.as_str())]).await?;
        let Some(result) = answer.into_iter().next() else { bail!("WhatsApp said nothing of the number") };
        if let Some(error) = result.contact_error {
            bail!("WhatsApp could not look the number up: {error:?}");
        }
        if !result.is_registered {
            return Ok(None);
        }
        let jid = result.pn_jid.unwrap_or(result.jid).to_non_ad();
        if self.found.len() >= REMEMBERED {
            self.found.clear();
        }
        self.found.insert(number.as_str().to_owned(), jid.clone());
        Ok(Some(jid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_jids_are_recipients() {
        let number = Recipient::Number("525550000001".parse().unwrap());
        for to in [
            "525550000001",
            "+52 555 000-0001",
            "525550000001@s.whatsapp.net",
            "525550000001:3@s.whatsapp.net",
        ] {
            assert_eq!(parse(to).unwrap(), number, "{to}");
        }
        for (to, jid) in [
            ("100000000000001@lid", "100000000000001@lid"),
            ("100000000000001:2@lid", "100000000000001@lid"),
            ("120363000000000001@g.us", "120363000000000001@g.us"),
            ("525550000001-1400000000@g.us", "525550000001-1400000000@g.us"),
        ] {
            let Recipient::Jid(read) = parse(to).unwrap() else { panic!("{to}") };
            assert_eq!(read.to_string(), jid);
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_forms() {
        for to in [
            "",
            "hello",
            "@s.whatsapp.net",
            "status@broadcast",
            "abc@s.whatsapp.net",
            "1@newsletter",
            "a@b@c",
            "x@g.us",
            "@g.us",
            "1-@g.us",
            "1-2-3@g.us",
            "120363000000000001:2@g.us",
            "111111111111111111111@g.us",
            "x@lid",
            "1:x@lid",
            "1@lid ",
            "٥٢٥٥٥@lid",
            "525550000001:@s.whatsapp.net",
        ] {
            let error = parse(to).unwrap_err().to_string();
            assert!(
                error.contains("like 525550000001") && error.contains("DIGITS-DIGITS@g.us"),
                "{to}: {error}"
            );
        }
    }
}
