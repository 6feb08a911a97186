//! `enlace qr` and `enlace pair`: codes in the terminal, until a phone has linked.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::bail;
use enlace_contract::events::DeviceEvent;
use enlace_contract::state::{DeviceState, PairRequest, Phase};
use futures::StreamExt as _;
use jiff::Timestamp;

use super::TimedOut;
use crate::arguments::Wait;
use crate::remote::Remote;

/// How long to rest before a broken stream is opened again.
const RETRY: Duration = Duration::from_secs(1);

/// Whether codes are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Show those that are there.
    AsItIs,
    /// Ask for new ones first.
    Ask,
}

/// What a state means to somebody who waits for a link.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// Go on waiting.
    Waiting,
    /// It is linked.
    Linked,
    /// No code will come by itself; why.
    Resting(String),
}

/// Shows the codes of a device until it is linked.
pub(crate) async fn follow(remote: &Remote, options: Wait, start: Start) -> anyhow::Result<()> {
    let Wait { name, timeout } = options;
    let asked = match start {
        Start::AsItIs => None,
        Start::Ask => {
            let at = Timestamp::now();
            let request = PairRequest { requested_at: Some(at) };
            let _: serde_json::Value = remote.post(&Remote::device(&name, "/pair"), &request).await?;
            Some(at)
        }
    };
    let following = async {
        let mut screen = Screen::default();
        loop {
            let mut events = remote.events(&name, None).await?;
            while let Some(Ok(event)) = events.next().await {
                let DeviceEvent::State(state) = event else { continue };
                if asked.is_some_and(|asked| state.observed_pair_request.is_none_or(|seen| seen < asked)) {
                    // The request is still on its way.
                    continue;
                }
                screen.show(&state)?;
                match progress(&state) {
                    Progress::Waiting => {}
                    Progress::Linked => {
                        let number = state.account.map(|account| account.phone_number.to_string());
                        eprintln!("{name} is linked to {}", number.as_deref().unwrap_or("a phone"));
                        return Ok(());
                    }
                    Progress::Resting(why) => bail!("{name}: {why}"),
                }
            }
            // The device restarts, or the connection broke: the next snapshot tells everything.
            tokio::time::sleep(RETRY).await;
        }
    };
    match tokio::time::timeout(timeout.get(), following).await {
        Ok(done) => done,
        Err(_) => Err(anyhow::Error::new(TimedOut(format!("{name} was not linked within {timeout}")))),
    }
}

fn progress(state: &DeviceState) -> Progress {
    if state.phase == Phase::Connected {
        return Progress::Linked;
    }
    if !state.phase.is_final() && state.phase != Phase::Disconnected {
        return Progress::Waiting;
    }
    let why = match (&state.message, state.reason) {
        (Some(message), _) => message.clone(),
        (None, Some(reason)) => reason.to_string(),
        (None, None) => "no reason is known".to_owned(),
    };
    Progress::Resting(format!("it is {} ({why}); `enlace pair` asks for new codes", state.phase))
}

/// The terminal, with the code that is shown.
#[derive(Default)]
struct Screen {
    shown: Option<String>,
    lines: usize,
}

impl Screen {
    fn show(&mut self, state: &DeviceState) -> anyhow::Result<()> {
        let (code, text, hint, expires) = if let Some(qr) = &state.qr {
            let hint = "Scan it with the phone: WhatsApp > Linked devices > Link a device";
            (&qr.code, qr.text.clone(), hint, qr.expires_at)
        } else if let Some(code) = &state.pairing_code {
            let hint = "Type it on the phone: WhatsApp > Linked devices > Link with phone number instead";
            let (left, right) = code.code.split_at_checked(4).unwrap_or((&code.code, ""));
            (&code.code, format!("  {left}-{right}"), hint, code.expires_at)
        } else {
            return Ok(());
        };
        if self.shown.as_ref() == Some(code) {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        if out.is_terminal() && self.lines > 0 {
            // The new code takes the old one's place: cursor up, erase to the end.
            write!(out, "\x1b[{}A\x1b[J", self.lines)?;
        }
        let seconds = expires.duration_since(Timestamp::now()).as_secs().max(0);
        let block = format!("{text}\n{hint} (good for {seconds} s)\n");
        write!(out, "{block}")?;
        out.flush()?;
        self.lines = block.lines().count();
        self.shown = Some(code.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_a_link_or_where_no_code_will_come() {
        let state = |phase| DeviceState { phase, ..DeviceState::default() };
        for phase in [
            Phase::Pending,
            Phase::Starting,
            Phase::AwaitingScan,
            Phase::Reconnecting,
            Phase::PasskeyRequired,
        ] {
            assert_eq!(progress(&state(phase)), Progress::Waiting, "{phase}");
        }
        assert_eq!(progress(&state(Phase::Connected)), Progress::Linked);
        for phase in [Phase::Disconnected, Phase::LoggedOut, Phase::Banned, Phase::Conflict] {
            let Progress::Resting(why) = progress(&state(phase)) else { panic!("{phase}") };
            assert!(why.contains(&phase.to_string()) && why.contains("enlace pair"), "{why}");
        }
    }
}
