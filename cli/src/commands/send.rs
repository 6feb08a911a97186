//! `enlace send`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use enlace_contract::duration::Period;
use enlace_contract::messages::{Base64, Content, Media, Message, MessageState, SendMessage};

use super::TimedOut;
use crate::arguments::Send;
use crate::output::{Format, structured, write};
use crate::remote::Remote;

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
    match wait {
        Some(wait) if matches!(stored.state, MessageState::Queued | MessageState::Sending) => {
            let Message { id, state, .. } = stored;
            let state = word(state);
            Err(anyhow::Error::new(TimedOut(format!(
                "message {id} is still {state} after {wait}; it is stored and goes out as soon as it can"
            ))))
        }
        _ => Ok(()),
    }
}

fn with_file(file: &Path, caption: Option<String>, document: bool) -> anyhow::Result<Content> {
    let bytes = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
    let extension =
        file.extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default();
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
