//! `enlace send`.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use enlace_contract::duration::Period;
use enlace_contract::messages::{
    Base64, Content, MAX_MESSAGE_BODY, Media, Message, MessageState, SendMessage,
};
use enlace_contract::name::DeviceKey;
use enlace_contract::state::{DeviceState, Phase, Reason};

use super::TimedOut;
use super::pairing::help;
use crate::arguments::Send;
use crate::output::{Format, printable, structured, write};
use crate::remote::Remote;

/// The largest file, in bytes: in a message it is base64, which takes four bytes for three.
const MAX_FILE: u64 = (MAX_MESSAGE_BODY as u64 - 64 * 1024) / 4 * 3;

/// Stores a message and shows it; with patience, waits for it to be sent.
pub(crate) async fn run(remote: &Remote, options: Send) -> anyhow::Result<()> {
    let Send { name, to, text, file, document, idempotency_key, wait, output } = options;
    let content = match file {
        Some(file) => with_file(&file, text, document)?,
        None => Content::Text { text: text.unwrap_or_default() },
    };
    let message = SendMessage { to, content };
    let query = wait.map(|wait| format!("?wait={wait}")).unwrap_or_default();
    let path = Remote::device(&name, &format!("/messages{query}"));
    let headers: Vec<(&'static str, &str)> =
        idempotency_key.iter().map(|key| ("idempotency-key", key.as_str())).collect();
    let patience = wait.map_or(Duration::ZERO, Period::get);
    let stored: Message = remote.post_patiently(&path, &message, &headers, patience).await?;
    write(&match (structured(output, &stored)?, output) {
        (Some(text), _) => text,
        (None, Format::Name) => format!("{}\n", stored.id),
        (None, _) => format!("{} {} to {}\n", stored.id, word(stored.state), stored.to),
    })?;
    if stored.state == MessageState::Failed {
        let why = stored.error.map_or_else(|| "no reason is known".to_owned(), |error| error.message);
        bail!("the message was not sent: {why}");
    }
    if !matches!(stored.state, MessageState::Queued | MessageState::Sending) {
        return Ok(());
    }
    let obstacle = obstacle(remote, &name).await;
    let Message { id, state, .. } = stored;
    match (wait, obstacle) {
        (None, None) => Ok(()),
        (None, Some(obstacle)) => {
            eprintln!("enlace: message {id} is stored, and {obstacle}");
            Ok(())
        }
        (Some(wait), obstacle) => {
            let (state, obstacle) =
                (word(state), obstacle.as_deref().unwrap_or("goes out as soon as it can"));
            let text = format!("message {id} is still {state} after {wait}; it is stored and {obstacle}");
            Err(anyhow::Error::new(TimedOut(text)))
        }
    }
}

/// What a person has to do before a message can go out. None: it goes out by itself, or that cannot be asked.
async fn obstacle(remote: &Remote, name: &DeviceKey) -> Option<String> {
    // A token that only sends may not ask.
    let DeviceState { phase, reason, message, .. } =
        remote.get(&Remote::device(name, "/status")).await.ok()?;
    let help = match phase {
        Phase::AwaitingScan | Phase::AwaitingCode => {
            Some(format!("`enlace qr {name}` shows the code to link a phone"))
        }
        Phase::Disconnected if reason != Some(Reason::Stopping) => {
            help(phase, &format!("enlace pair {name}"))
        }
        phase if phase.is_final() => help(phase, &format!("enlace pair {name}")),
        _ => return None,
    };
    let help = help.or(message).unwrap_or_else(|| "a person has to act first".to_owned());
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    Some(format!("cannot go out while {name} is {phase}{reason}: {}", printable(&help)))
}

/// What is in a file; one that has no end, or more than any message, is not read.
fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let cannot = || format!("{} cannot be read", file.display());
    // Opening a pipe would wait for a writer.
    if !std::fs::metadata(file).with_context(cannot)?.is_file() {
        bail!("{} is not a regular file", file.display());
    }
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).with_context(cannot)?;
    opened.take(MAX_FILE + 1).read_to_end(&mut bytes).with_context(cannot)?;
    if bytes.len() as u64 > MAX_FILE {
        bail!("{} has more than {} MiB, which no message takes", file.display(), MAX_FILE >> 20);
    }
    Ok(bytes)
}

fn with_file(file: &Path, caption: Option<String>, document: bool) -> anyhow::Result<Content> {
    let bytes = read(file)?;
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
    let extension = match file.extension() {
        Some(extension) => extension.to_string_lossy().to_lowercase(),
        // Without one, what is in it says what it is.
        None => infer::get(&bytes).map(|kind| kind.extension().to_owned()).unwrap_or_default(),
    };
    let media = Media { data: Base64(bytes), mime_type: None, file_name: name };
    Ok(match extension.as_str() {
        _ if document => Content::Document { media, caption },
        "jpg" | "jpeg" | "png" => Content::Image { media, caption },
        "mp4" | "3gp" => Content::Video { media, caption },
        "ogg" | "opus" | "mp3" | "m4a" | "aac" | "amr" => {
            if caption.is_some() {
                bail!("WhatsApp shows no text under a sound: leave --text out, or send it with --document");
            }
            Content::Audio { media, voice: matches!(extension.as_str(), "ogg" | "opus") }
        }
        _ => Content::Document { media, caption },
    })
}

/// The state as a word.
pub(super) const fn word(state: MessageState) -> &'static str {
    match state {
        MessageState::Queued => "queued",
        MessageState::Sending => "sending",
        MessageState::Sent => "sent",
        MessageState::Delivered => "delivered",
        MessageState::Read => "read",
        MessageState::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_extension_goes_as_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let content = |name: &str, bytes: &[u8], document| {
            let file = folder.path().join(name);
            std::fs::write(&file, bytes).unwrap();
            with_file(&file, None, document).unwrap()
        };
        let png = b"\x89PNG\r\n\x1a\n and more";
        assert!(matches!(content("picture", png, false), Content::Image { .. }));
        assert!(matches!(content("picture", png, true), Content::Document { .. }));
        assert!(matches!(content("voice", b"OggS and more", false), Content::Audio { voice: true, .. }));
        assert!(matches!(content("notes", b"plain words", false), Content::Document { .. }));
        // The end of a name is what its owner says of it.
        assert!(matches!(content("picture.pdf", png, false), Content::Document { .. }));
    }
}
