//! `enlace events`.

use std::time::Duration;

use anyhow::anyhow;
use enlace_contract::duration::Period;
use enlace_contract::events::DeviceEvent;
use enlace_contract::name::DeviceKey;
use enlace_contract::state::{Phase, Reason};
use enlace_crds::WhatsAppDevice;
use futures::StreamExt as _;
use http::StatusCode;
use jiff::Timestamp;

use super::TimedOut;
use super::pairing::once_started;
use super::send::word;
use crate::arguments::{Events, Lines};
use crate::output::{printable, write};
use crate::remote::{Refused, Remote, Unreachable};

/// How long an API that stops may answer after it has ended the streams.
const CLOSING: Duration = Duration::from_millis(500);
/// How long a device may start: what `qr` waits for a phone, if not told otherwise. In a folder of hundreds the last one waits for minutes.
const START: Period = Period::from_secs(600);

/// Shows events until the stream ends.
pub(crate) async fn run(remote: &Remote, options: Events) -> anyhow::Result<()> {
    let Events { name, after, output } = options;
    let opening = once_started(&name, async || remote.events(&name, after).await);
    let opened = tokio::time::timeout(START.get(), opening).await;
    let mut events = opened.map_err(|_| TimedOut(format!("{name} did not start within {START}")))??;
    let mut last = None;
    let mut phase = None;
    while let Some(event) = events.next().await {
        let Ok(event) = event else { break };
        if let DeviceEvent::State(state) = &event {
            phase = Some((state.phase, state.reason));
        }
        if matches!(output, Lines::Text) && is_told(&event, &mut last) {
            continue;
        }
        let line = match output {
            Lines::Json => serde_json::to_string(&event)?,
            Lines::Text => line(&event, Timestamp::now()),
        };
        write(&format!("{line}\n"))?;
    }
    Err(ended(remote, &name, phase).await)
}

/// Why the events of a device ended: what the API now says of it.
async fn ended(remote: &Remote, name: &DeviceKey, last: Option<(Phase, Option<Reason>)>) -> anyhow::Error {
    let path = Remote::device(name, "");
    let mut device = remote.get::<WhatsAppDevice>(&path).await;
    if device.is_ok() {
        // An API that stops ends the streams first, and may answer this still.
        tokio::time::sleep(CLOSING).await;
        device = remote.get(&path).await;
    }
    let refused = |error: &anyhow::Error| error.downcast_ref().map(|refused: &Refused| refused.status);
    let why = match device {
        Ok(device) if device.spec.suspend => format!("{name} was suspended"),
        Ok(device) => match (device.status.and_then(|status| status.phase), last) {
            (Some(Phase::PairingExpired), _) => format!("{name} was not linked in time and stopped"),
            (_, Some((_, Some(Reason::Stopping)))) => format!("{name} was stopped or is restarting"),
            (Some(phase), _) => format!("the connection to {name} broke off; it is {phase} now"),
            (None, _) => format!("{name} was stopped"),
        },
        Err(error) if refused(&error) == Some(StatusCode::NOT_FOUND) => {
            format!("{name} is no longer declared")
        }
        Err(error) if refused(&error) == Some(StatusCode::UNAUTHORIZED) => {
            "the token is not accepted any more".to_owned()
        }
        Err(error) if error.is::<Unreachable>() || is_closing(&error) => "Enlace was stopped".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    anyhow!("the events ended: {why}")
}

/// Whether the API ends: it answers what is still asked, with a refusal.
fn is_closing(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(|refused: &Refused| refused.problem.reason == "Unavailable")
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
