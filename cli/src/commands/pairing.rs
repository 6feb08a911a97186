//! `enlace qr` and `enlace pair`: codes in the terminal, until a phone has linked.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::bail;
use enlace_contract::events::DeviceEvent;
use enlace_contract::name::DeviceKey;
use enlace_contract::state::{DeviceState, PairRequest, Phase, Reason};
use futures::StreamExt as _;
use jiff::Timestamp;

use super::TimedOut;
use crate::arguments::Wait;
use crate::remote::{Refused, Remote, Unreachable};

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
    let following = async {
        let asked = match start {
            Start::AsItIs => None,
            Start::Ask => ask(remote, &name).await?,
        };
        let mut screen = Screen::default();
        let mut heard = false;
        loop {
            match remote.events(&name, None).await {
                Err(error) if heard && broke_off(&error) => {}
                Err(error) => starting_or(error, &name)?,
                Ok(mut events) => {
                    while let Some(Ok(event)) = events.next().await {
                        let DeviceEvent::State(state) = event else { continue };
                        heard = true;
                        if asked.is_some_and(|asked| state.observed_pair_request < Some(asked)) {
                            // The request is still on its way.
                            continue;
                        }
                        screen.show(&state)?;
                        match progress(&name, &state) {
                            Progress::Waiting => {}
                            Progress::Linked => {
                                let number = state.account.map(|account| account.phone_number.to_string());
                                eprintln!("{name} is linked to {}", number.as_deref().unwrap_or("a phone"));
                                return Ok(());
                            }
                            Progress::Resting(why) => bail!(why),
                        }
                    }
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

/// Asks for codes; the time of the request, by the server's clock, when the device has heeded it.
async fn ask(remote: &Remote, name: &DeviceKey) -> anyhow::Result<Option<Timestamp>> {
    let (path, request) = (Remote::device(name, "/pair"), PairRequest::default());
    let state: DeviceState = once_started(name, async || remote.post(&path, &request).await).await?;
    Ok(state.observed_pair_request)
}

/// Calls a device again and again while it only starts. The caller bounds it.
pub(super) async fn once_started<T>(
    name: &DeviceKey,
    call: impl AsyncFn() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    loop {
        match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => starting_or(error, name)?,
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Whether the API went away, as it does when it is restarted.
fn broke_off(error: &anyhow::Error) -> bool {
    let closing = |refused: &Refused| refused.problem.reason == "Unavailable";
    error.is::<Unreachable>() || error.downcast_ref().is_some_and(closing)
}

/// Fine while the device only starts; otherwise the error, in the words of the command line.
fn starting_or(error: anyhow::Error, name: &DeviceKey) -> anyhow::Result<()> {
    let away = error.downcast_ref::<Refused>().filter(|refused| refused.problem.reason == "DeviceAway");
    match away.map(|refused| refused.problem.phase) {
        Some(Some(Phase::PairingExpired)) => {
            bail!(resting(name, Phase::PairingExpired, "it was not linked in time"))
        }
        Some(Some(phase)) if phase == Phase::Suspended || phase.is_final() => Err(error),
        Some(_) => Ok(()),
        None => Err(error),
    }
}

fn progress(name: &DeviceKey, state: &DeviceState) -> Progress {
    if state.phase == Phase::Connected {
        return Progress::Linked;
    }
    let stopping = state.reason == Some(Reason::Stopping);
    if stopping || !state.phase.is_final() && state.phase != Phase::Disconnected {
        return Progress::Waiting;
    }
    let why = match (&state.message, state.reason) {
        (Some(message), _) => message.clone(),
        (None, Some(reason)) => reason.to_string(),
        (None, None) => "no reason is known".to_owned(),
    };
    Progress::Resting(resting(name, state.phase, &why))
}

fn resting(name: &DeviceKey, phase: Phase, why: &str) -> String {
    let help =
        help(phase, &format!("enlace pair {name}")).map(|help| format!("; {help}")).unwrap_or_default();
    format!("{name} is {phase} ({why}){help}")
}

/// What the command that pairs does for a device that waits for a person. None: it is no help now, and the device's message says what is.
pub(crate) fn help(phase: Phase, pair: &str) -> Option<String> {
    match phase {
        Phase::Failed | Phase::Outdated | Phase::Banned => None,
        // Its session is kept: there is nothing to scan.
        Phase::Conflict => Some(format!("`{pair}` connects it again")),
        _ => Some(format!("`{pair}` asks for new codes")),
    }
}

/// The terminal, with the code that is shown.
#[derive(Default)]
pub(crate) struct Screen {
    shown: Option<String>,
    lines: usize,
}

impl Screen {
    /// Draws the code of a state, when it is another one than before.
    pub(crate) fn show(&mut self, state: &DeviceState) -> anyhow::Result<()> {
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
        let name: DeviceKey = "billing".parse().unwrap();
        let state = |phase| DeviceState { phase, ..DeviceState::default() };
        for phase in [
            Phase::Pending,
            Phase::Starting,
            Phase::AwaitingScan,
            Phase::Reconnecting,
            Phase::PasskeyRequired,
        ] {
            assert_eq!(progress(&name, &state(phase)), Progress::Waiting, "{phase}");
        }
        assert_eq!(progress(&name, &state(Phase::Connected)), Progress::Linked);
        for (phase, helps) in [
            (Phase::Disconnected, true),
            (Phase::LoggedOut, true),
            (Phase::Conflict, true),
            (Phase::Banned, false),
            (Phase::Outdated, false),
            (Phase::Failed, false),
        ] {
            let Progress::Resting(why) = progress(&name, &state(phase)) else { panic!("{phase}") };
            assert!(why.contains(&phase.to_string()) && why.contains("enlace pair") == helps, "{why}");
        }
    }
}
