//! Whom a message is for: what people write, and the JID that WhatsApp knows.

use std::collections::HashMap;

use enlace_contract::number::PhoneNumber;
use whatsapp_rust::anyhow::{self, anyhow, bail};
use whatsapp_rust::client::Client;
use whatsapp_rust::{Jid, Server};

/// How many look-ups are remembered; then they begin anew.
const REMEMBERED: usize = 10_000;

/// The recipient is none.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no recipient: write a phone number with its country code, like 525550000001, or a JID that ends in @s.whatsapp.net, @lid or @g.us"
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
    let jid: Jid = to.parse().map_err(|_| invalid())?;
    let jid = jid.to_non_ad();
    match jid.server {
        _ if jid.user.is_empty() => Err(invalid()),
        Server::Pn => jid.user.as_str().parse().map(Recipient::Number).map_err(|_| invalid()),
        Server::Lid | Server::Group => Ok(Recipient::Jid(jid)),
        _ => Err(invalid()),
    }
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
        for to in ["100000000000001@lid", "120363000000000001@g.us"] {
            assert!(matches!(parse(to).unwrap(), Recipient::Jid(_)), "{to}");
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
        ] {
            let error = parse(to).unwrap_err().to_string();
            assert!(error.contains("like 525550000001"), "{to}: {error}");
        }
    }
}
