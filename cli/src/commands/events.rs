//! `enlace events`.

use enlace_contract::events::DeviceEvent;
use enlace_contract::state::{Phase, Reason};
use futures::StreamExt as _;
use jiff::Timestamp;

use super::send::word;
use crate::arguments::{Events, Lines};
use crate::output::write;
use crate::remote::Remote;

/// Shows events until the stream ends.
pub(crate) async fn run(remote: &Remote, options: Events) -> anyhow::Result<()> {
    let Events { name, after, output } = options;
    let mut events = remote.events(&name, after).await?;
    let mut last = None;
    while let Some(event) = events.next().await {
        let event = event?;
        if matches!(output, Lines::Text) && is_told(&event, &mut last) {
            continue;
        }
        let line = match output {
            Lines::Json => serde_json::to_string(&event)?,
            Lines::Text => line(&event, Timestamp::now()),
        };
        write(&format!("{line}\n"))?;
    }
    anyhow::bail!("the stream of events ended: the device stopped")
}

/// Whether a line of text would be the one before once more: a state has more in it than a line shows.
fn is_told(event: &DeviceEvent, last: &mut Option<(Phase, Option<Reason>)>) -> bool {
    let DeviceEvent::State(state) = event else { return false };
    let now = Some((state.phase, state.reason));
    std::mem::replace(last, now) == now
}

fn line(event: &DeviceEvent, now: Timestamp) -> String {
    let time = now.strftime("%H:%M:%S");
    match event {
        DeviceEvent::State(state) => {
            let reason = state.reason.map(|reason| format!(" {reason}")).unwrap_or_default();
            format!("{time} state    {}{reason}", state.phase)
        }
        DeviceEvent::Message(record) => {
            let from = record.sender_number.as_ref().map_or(record.sender.as_str(), |number| number.as_str());
            let text = record.text.as_deref().map(printable).unwrap_or_default();
            format!("{time} message  #{} {} from {from} {text}", record.sequence, record.kind)
        }
        DeviceEvent::MessageState(message) => {
            format!("{time} outgoing {} {} to {}", message.id, word(message.state), message.to)
        }
    }
}

/// Text of a stranger on one line, without what moves a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_does_not_move_the_cursor() {
        assert_eq!(printable("a\x1b[2Jb\r\nc"), "a [2Jb  c");
    }
}
