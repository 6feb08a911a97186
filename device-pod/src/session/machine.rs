//! The life of a session as a pure function: a state and an event give the next state and what is to be done.
//!
//! No clock, no randomness and no I/O: the time comes with the event, the delays are made by whoever carries the effects out.

use enlace_contract::config::PairingMethod;
use enlace_contract::number::CanonicalNumber;
use enlace_contract::state::{
    Account, ClaimState, DeviceState, Disconnect, PairingText, Phase, QrCode, Reason,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long a connection must have lived for its end to count as the first failure again.
const STABLE: SignedDuration = SignedDuration::from_secs(60);

/// What the machine knows: what is shown, and what is not.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// What the device says of itself.
    pub state: DeviceState,
    /// What the device was told.
    pub policy: Policy,
    /// How many attempts have failed in a row.
    attempt: u32,
    /// The session that just linked must not stay; why.
    doomed: Option<Reason>,
    /// The session came with the directory of another device, and nobody has said yet that its number is this device's: another client may
    /// use it, so it is not connected, and never logged out.
    restored: bool,
    /// A newer version was looked for since the last good login.
    version_sought: bool,
    /// This session was connected since the program started: the next time is a reconnection.
    was_connected: bool,
}

/// The part of the configuration that decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The number that must link.
    pub number: Option<CanonicalNumber>,
    /// The way to link.
    pub method: PairingMethod,
}

/// What is remembered over a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// The account of the stored session.
    pub account: Option<Account>,
    /// The number that the device may use, when it was asked for.
    pub claim: Option<CanonicalNumber>,
    /// A verdict that only a person can undo.
    pub verdict: Option<Verdict>,
    /// The newest request to pair that was heeded.
    pub pair_request: Option<Timestamp>,
    /// The stored session must be unlinked; why.
    pub doomed: Option<Reason>,
    /// The stored session came with the directory of another device, and its number is not granted yet.
    pub restored: bool,
}

/// The end of a session that a restart does not undo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The phase.
    pub phase: Phase,
    /// Why.
    pub disconnect: Disconnect,
}

impl Verdict {
    /// Whether it is that the number belongs to another device.
    fn is_refused_claim(&self) -> bool {
        self.phase == Phase::Failed && self.disconnect.reason == Reason::DuplicateNumber
    }
}

/// What happens to a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The program starts.
    Start,
    /// A QR code is there.
    Qr(QrCode),
    /// A pairing code is there.
    PairingCode(PairingText),
    /// All codes were shown and nobody used one.
    NobodyScanned,
    /// WhatsApp gives no pairing code.
    PairingCodeRefused(String),
    /// A phone tried to link and could not.
    PairingFailed(String),
    /// WhatsApp asks for a passkey.
    PasskeyAsked,
    /// A phone linked.
    Paired(Account),
    /// A directory that came from another device has a session that was not remembered.
    SessionFound(Account),
    /// Logged in and usable.
    Connected(Account),
    /// The account's details changed.
    AccountChanged(Account),
    /// The connection ended, or none came about; it is worth trying again.
    Lost(Reason, Option<String>),
    /// The session ended for good (as far as a machine can tell).
    Ended(Ending),
    /// WhatsApp refuses the version.
    Outdated,
    /// A newer version was looked for: whether one was found.
    VersionSought(bool),
    /// The time to try again has come.
    RetryDue,
    /// Somebody asks to pair.
    PairRequested(Timestamp),
    /// The number that linked was asked for: whether the device may have it.
    ClaimDecided(CanonicalNumber, bool),
    /// Somebody asks to unlink.
    LogoutRequested,
    /// Unlinking is done, as well as it could be.
    Unlinked,
    /// The policy changed.
    PolicyChanged(Policy),
    /// The device stops.
    Stop,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// Another client took it over.
    Replaced,
    /// It was ended by WhatsApp or on the phone.
    LoggedOut(String),
    /// WhatsApp locked the account.
    Locked(String),
    /// A ban; with its length when it ends by itself.
    Banned(String),
    /// The login was refused for another reason.
    Refused(String),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Connect with the client that is there, or a new one.
    Dial,
    /// Connect after the delay of this many failures.
    DialLater(u32),
    /// End the client; the next `Dial` makes a new one.
    Close,
    /// Tell WhatsApp that this device is unlinked; answer with [`Event::Unlinked`].
    Unlink,
    /// Erase the session.
    Erase,
    /// Look for a newer version of WhatsApp Web; answer with [`Event::VersionSought`].
    SeekVersion,
    /// Remember over a restart.
    Remember,
}

impl Machine {
    /// A machine that begins where the last one ended.
    pub fn new(policy: Policy, memory: Memory) -> Self {
        let Memory { account, claim, verdict, pair_request, doomed, restored } = memory;
        // Whether the number is free by now is asked again at each start.
        let verdict = verdict.filter(|verdict| !(restored && verdict.is_refused_claim()));
        let mut state = DeviceState {
            phase: Phase::Starting,
            paired: account.is_some(),
            observed_pair_request: pair_request,
            ..DeviceState::default()
        };
        state.claim = match &account {
            None => ClaimState::None,
            // Not even for the declared number: it may be declared while another device has it.
            Some(_) if restored => ClaimState::Pending,
            Some(_) if doomed.is_some() => ClaimState::Refused,
            Some(account) => restored_claim(account, &policy, claim.as_ref()),
        };
        state.account = account;
        if let Some(Verdict { phase, disconnect }) = verdict {
            state.phase = phase;
            state.reason = Some(disconnect.reason);
            state.message.clone_from(&disconnect.message);
            state.disconnected_at = Some(disconnect.at);
            state.last_disconnect = Some(disconnect);
        }
        Self { state, policy, attempt: 0, doomed, restored, version_sought: false, was_connected: false }
    }

    /// What to remember over a restart.
    pub fn memory(&self) -> Memory {
        let claimed = self.state.account.as_ref().filter(|_| self.state.claim == ClaimState::Granted);
        Memory {
            account: self.state.account.clone(),
            claim: claimed.map(|account| account.phone_number.canonical()),
            verdict: self.verdict(),
            pair_request: self.state.observed_pair_request,
            doomed: self.doomed,
            restored: self.restored,
        }
    }

    /// The verdict to remember, if the session is at such an end.
    fn verdict(&self) -> Option<Verdict> {
        let lasting =
            matches!(self.state.phase, Phase::LoggedOut | Phase::Conflict | Phase::Banned | Phase::Failed);
        lasting
            .then(|| self.state.last_disconnect.clone())
            .flatten()
            .map(|disconnect| Verdict { phase: self.state.phase, disconnect })
    }

    /// Whether messages may go out.
    pub fn may_send(&self) -> bool {
        self.state.phase == Phase::Connected && self.state.claim == ClaimState::Granted
    }

    /// Whether a session may be there that came with the directory of another device.
    pub fn is_restored(&self) -> bool {
        self.restored
    }

    /// Whether it must not connect until its claim is granted.
    fn waits(&self) -> bool {
        self.restored && self.state.paired
    }

    /// Whether it rests because nobody used its codes, or nobody could.
    pub fn gave_codes_up(&self) -> bool {
        !self.state.paired
            && self.state.phase == Phase::Disconnected
            && matches!(
                self.state.reason,
                Some(Reason::NobodyScanned | Reason::PairingCodeRefused | Reason::PairingFailed)
            )
    }

    /// The next state after an event at a time, and what is to be done, in order.
    #[must_use]
    pub fn step(&self, event: Event, now: Timestamp) -> (Self, Vec<Effect>) {
        let mut next = self.clone();
        let effects = next.apply(event, now);
        (next, effects)
    }

    fn apply(&mut self, event: Event, now: Timestamp) -> Vec<Effect> {
        match event {
            // Erasing may have failed the last time; no client has the session open now.
            Event::Start if self.state.phase == Phase::LoggedOut => vec![Effect::Erase],
            Event::Start if self.state.phase.is_final() => vec![],
            Event::Start | Event::RetryDue => self.dial(),
            // Only a session store without a session makes codes: what was remembered of one is gone.
            Event::Qr(_) | Event::PairingCode(_) if self.state.paired || self.restored => {
                self.forget();
                let shown = self.apply(event, now);
                [vec![Effect::Remember], shown].concat()
            }
            Event::Qr(qr) if self.policy.method == PairingMethod::QRCode => {
                self.show(Phase::AwaitingScan, Some(qr), None)
            }
            Event::Qr(_) => vec![],
            Event::PairingCode(code) => self.show(Phase::AwaitingCode, None, Some(code)),
            Event::NobodyScanned | Event::PairingCodeRefused(_) | Event::PairingFailed(_)
                if self.state.paired =>
            {
                vec![]
            }
            Event::NobodyScanned => {
                self.end(Phase::Disconnected, Reason::NobodyScanned, None, now);
                vec![Effect::Close]
            }
            Event::PairingCodeRefused(message) => {
                self.end(Phase::Disconnected, Reason::PairingCodeRefused, Some(message), now);
                vec![Effect::Close]
            }
            Event::PairingFailed(message) => {
                self.end(Phase::Disconnected, Reason::PairingFailed, Some(message), now);
                vec![Effect::Close]
            }
            Event::PasskeyAsked => {
                self.state.phase = Phase::PasskeyRequired;
                self.state.reason = Some(Reason::PasskeyRequired);
                self.state.message = Some(
                    "WhatsApp asks for a passkey before it links this account; Enlace cannot answer it"
                        .into(),
                );
                vec![]
            }
            Event::Paired(account) => self.paired(account),
            Event::SessionFound(account) => {
                self.state.paired = true;
                self.state.account = Some(account);
                self.state.claim = ClaimState::Pending;
                [vec![Effect::Remember], self.dial()].concat()
            }
            Event::Connected(account) => self.connected(account, now),
            Event::AccountChanged(account) => {
                if self.state.paired {
                    self.state.account = Some(account);
                }
                vec![Effect::Remember]
            }
            Event::Lost(reason, message) => self.lost(reason, message, now),
            Event::Ended(ending) => self.ended(ending, now),
            Event::Outdated => self.outdated(now),
            Event::VersionSought(true) => self.dial(),
            Event::VersionSought(false) => {
                self.end(Phase::Outdated, Reason::ClientOutdated, Some(OUTDATED.into()), now);
                vec![Effect::Close, Effect::Remember]
            }
            Event::PairRequested(at) => self.pair_requested(at),
            Event::ClaimDecided(number, granted) => self.claim_decided(&number, granted, now),
            Event::LogoutRequested => self.doom(Reason::LoggedOutByRequest),
            Event::Unlinked => self.unlinked(now),
            Event::PolicyChanged(policy) => self.policy_changed(policy),
            Event::Stop => {
                if !self.state.phase.is_final() {
                    self.end(Phase::Disconnected, Reason::Stopping, None, now);
                }
                vec![Effect::Close]
            }
        }
    }

    fn dial(&mut self) -> Vec<Effect> {
        if self.waits() {
            self.state.phase = Phase::Starting;
            self.state.reason = None;
            self.state.message = Some(WAITS.into());
            return vec![];
        }
        if self.state.phase != Phase::Reconnecting {
            self.state.phase = Phase::Starting;
        }
        vec![Effect::Dial]
    }

    fn show(&mut self, phase: Phase, qr: Option<QrCode>, code: Option<PairingText>) -> Vec<Effect> {
        self.state.phase = phase;
        self.state.reason = None;
        self.state.message = None;
        self.state.qr = qr;
        self.state.pairing_code = code;
        vec![]
    }

    fn paired(&mut self, account: Account) -> Vec<Effect> {
        // Otherwise a client runs, and comes back by itself.
        let resting = self.gave_codes_up();
        self.attempt = 0;
        self.state.phase = Phase::Starting;
        self.state.qr = None;
        self.state.pairing_code = None;
        self.state.reason = None;
        self.state.message = None;
        self.state.paired = true;
        self.restored = false;
        self.state.claim = match &self.policy.number {
            None => ClaimState::Pending,
            Some(number) if *number == account.phone_number.canonical() => ClaimState::Granted,
            Some(_) => {
                self.doomed = Some(Reason::NumberMismatch);
                ClaimState::Refused
            }
        };
        self.state.account = Some(account);
        if resting { vec![Effect::Remember, Effect::Dial] } else { vec![Effect::Remember] }
    }

    fn connected(&mut self, account: Account, now: Timestamp) -> Vec<Effect> {
        if !self.state.paired {
            // It linked, and the program was killed before that could be remembered.
            let _ = self.paired(account.clone());
        }
        self.state.account = Some(account);
        self.state.qr = None;
        self.state.pairing_code = None;
        self.version_sought = false;
        if self.doomed.is_some() {
            return vec![Effect::Remember, Effect::Unlink];
        }
        self.state.phase = Phase::Connected;
        self.state.reason = None;
        self.state.message = None;
        self.state.connected_at = Some(now);
        self.state.disconnected_at = None;
        if self.was_connected {
            self.state.reconnects += 1;
        }
        self.was_connected = true;
        vec![Effect::Remember]
    }

    fn lost(&mut self, reason: Reason, message: Option<String>, now: Timestamp) -> Vec<Effect> {
        if self.state.phase.is_final() || self.state.phase == Phase::Disconnected {
            return vec![];
        }
        if self.state.connected_at.is_some_and(|at| now.duration_since(at) >= STABLE) {
            self.attempt = 0;
        }
        let phase = if self.state.paired { Phase::Reconnecting } else { Phase::Starting };
        self.end(phase, reason, message, now);
        let attempt = self.attempt;
        self.attempt = self.attempt.saturating_add(1);
        // Where nothing can be stored the connection must not go on.
        if self.state.paired && !matches!(reason, Reason::DiskFull | Reason::StoreFailed) {
            return vec![Effect::DialLater(attempt)];
        }
        // A client asks for its pairing code once: another attempt to pair takes another client.
        vec![Effect::Close, Effect::DialLater(attempt)]
    }

    fn ended(&mut self, ending: Ending, now: Timestamp) -> Vec<Effect> {
        if self.doomed.is_some() && matches!(ending, Ending::LoggedOut(_)) {
            // Our own unlinking comes back as a logout.
            return self.unlinked(now);
        }
        let (phase, reason, message) = match ending {
            Ending::Replaced => (Phase::Conflict, Reason::Replaced, REPLACED.to_owned()),
            Ending::LoggedOut(message) => (Phase::LoggedOut, Reason::LoggedOutOnPhone, message),
            Ending::Locked(message) => (Phase::Banned, Reason::AccountLocked, message),
            Ending::Banned(message) => (Phase::Banned, Reason::TemporaryBan, message),
            Ending::Refused(message) => (Phase::Failed, Reason::LoginRefused, message),
        };
        self.end(phase, reason, Some(message), now);
        if phase == Phase::LoggedOut {
            self.forget();
            return vec![Effect::Close, Effect::Remember, Effect::Erase];
        }
        vec![Effect::Close, Effect::Remember]
    }

    fn policy_changed(&mut self, policy: Policy) -> Vec<Effect> {
        let with_code = policy.method == PairingMethod::PairingCode && policy.number != self.policy.number;
        let otherwise = policy.method != self.policy.method || with_code;
        self.policy = policy;
        let linked = self.state.account.as_ref().map(|account| account.phone_number.canonical());
        if self.state.claim == ClaimState::Pending
            && !self.waits()
            && self.policy.number.is_some()
            && self.policy.number == linked
        {
            self.state.claim = ClaimState::Granted;
            return vec![Effect::Remember];
        }
        let pairing = matches!(self.state.phase, Phase::Starting | Phase::AwaitingScan | Phase::AwaitingCode);
        if otherwise && pairing && !self.state.paired {
            self.state.qr = None;
            self.state.pairing_code = None;
            self.state.phase = Phase::Starting;
            return vec![Effect::Close, Effect::Dial];
        }
        vec![]
    }

    fn outdated(&mut self, now: Timestamp) -> Vec<Effect> {
        if self.version_sought {
            self.end(Phase::Outdated, Reason::ClientOutdated, Some(OUTDATED.into()), now);
            return vec![Effect::Close, Effect::Remember];
        }
        self.version_sought = true;
        let phase = if self.state.paired { Phase::Reconnecting } else { Phase::Starting };
        self.end(phase, Reason::ClientOutdated, None, now);
        vec![Effect::Close, Effect::SeekVersion]
    }

    fn pair_requested(&mut self, at: Timestamp) -> Vec<Effect> {
        if self.state.observed_pair_request.is_some_and(|seen| at <= seen) {
            return vec![];
        }
        self.state.observed_pair_request = Some(at);
        let resting = self.state.phase.is_final() || self.state.phase == Phase::Disconnected;
        if !resting {
            return vec![Effect::Remember];
        }
        let ended = self.state.phase == Phase::LoggedOut;
        self.attempt = 0;
        self.version_sought = false;
        self.state.phase = Phase::Starting;
        self.state.reason = None;
        self.state.message = None;
        if ended {
            return vec![Effect::Remember, Effect::Erase, Effect::Dial];
        }
        if self.waits() {
            // It asks again: the number may be free by now.
            self.state.claim = ClaimState::Pending;
        }
        [vec![Effect::Remember], self.dial()].concat()
    }

    fn claim_decided(&mut self, number: &CanonicalNumber, granted: bool, now: Timestamp) -> Vec<Effect> {
        let asked = self.state.account.as_ref().map(|account| account.phone_number.canonical());
        if asked.as_ref() != Some(number) {
            return vec![];
        }
        let before = self.state.claim;
        match (before, granted) {
            (ClaimState::Pending | ClaimState::Refused, true) if self.waits() => self.restored_granted(),
            (ClaimState::Pending, false) if self.waits() => {
                // The session is the other device's: neither logged out nor erased.
                self.state.claim = ClaimState::Refused;
                self.end(Phase::Failed, Reason::DuplicateNumber, Some(TAKEN.into()), now);
                vec![Effect::Close, Effect::Remember]
            }
            (ClaimState::Pending, true) => {
                self.state.claim = ClaimState::Granted;
                vec![Effect::Remember]
            }
            (ClaimState::Pending, false) => {
                self.state.claim = ClaimState::Refused;
                self.doom(Reason::DuplicateNumber)
            }
            (ClaimState::None | ClaimState::Granted | ClaimState::Refused, _) => vec![],
        }
    }

    /// The restored session is this device's now. An end that only a person can undo stays one.
    fn restored_granted(&mut self) -> Vec<Effect> {
        let refused = self.state.phase == Phase::Failed && self.state.reason == Some(Reason::DuplicateNumber);
        self.restored = false;
        self.state.claim = ClaimState::Granted;
        if self.state.phase != Phase::Starting && !refused {
            return vec![Effect::Remember];
        }
        self.state.phase = Phase::Starting;
        self.state.reason = None;
        self.state.message = None;
        [vec![Effect::Remember], self.dial()].concat()
    }

    /// Ends the session as soon as WhatsApp can be told; at once when the connection is there.
    fn doom(&mut self, reason: Reason) -> Vec<Effect> {
        if !self.state.paired || self.waits() {
            return vec![];
        }
        self.doomed = Some(reason);
        if self.state.phase == Phase::Connected {
            vec![Effect::Remember, Effect::Unlink]
        } else {
            vec![Effect::Remember]
        }
    }

    fn unlinked(&mut self, now: Timestamp) -> Vec<Effect> {
        let Some(reason) = self.doomed.take() else { return vec![] };
        let message = match reason {
            Reason::NumberMismatch => self.mismatch(),
            Reason::DuplicateNumber => Some("the number that linked belongs to another device".into()),
            Reason::LoggedOutByRequest => Some(UNLINKED.into()),
            _ => None,
        };
        self.end(Phase::LoggedOut, reason, message, now);
        self.forget();
        // Remembered before it is erased: an end in between leaves keys that WhatsApp refuses, not a link that is none.
        vec![Effect::Close, Effect::Remember, Effect::Erase]
    }

    fn mismatch(&self) -> Option<String> {
        let linked = &self.state.account.as_ref()?.phone_number;
        let declared = self.policy.number.as_ref()?;
        Some(format!(
            "the phone that linked has the number {linked}, declared is {declared}: scan with that phone"
        ))
    }

    fn end(&mut self, phase: Phase, reason: Reason, message: Option<String>, now: Timestamp) {
        self.state.phase = phase;
        self.state.reason = Some(reason);
        self.state.message.clone_from(&message);
        self.state.qr = None;
        self.state.pairing_code = None;
        if self.state.connected_at.take().is_some() || self.state.disconnected_at.is_none() {
            self.state.disconnected_at = Some(now);
        }
        // One line for each end: what follows while it lasts (a retry that fails for the same reason) is not a new one.
        let same = self
            .state
            .last_disconnect
            .as_ref()
            .is_some_and(|last| last.reason == reason && last.message == message && self.attempt > 0);
        if !same {
            self.state.last_disconnect = Some(Disconnect { reason, message, at: now });
        }
    }

    fn forget(&mut self) {
        self.state.paired = false;
        self.state.account = None;
        self.state.claim = ClaimState::None;
        self.doomed = None;
        self.restored = false;
        self.was_connected = false;
    }
}

const REPLACED: &str = "another client uses this session; ask to pair again to take it back";
const UNLINKED: &str = "unlinked, as was asked: ask to pair to link a phone again";
const WAITS: &str = "the session came from another device: it connects once its number is this device's";
const TAKEN: &str = "the number of the session, which came from another device, belongs to that one still: \
    ask to pair again when it does not, or give this device a directory of its own";
const OUTDATED: &str = "WhatsApp refuses this version of the client: update Enlace";

fn restored_claim(account: &Account, policy: &Policy, claim: Option<&CanonicalNumber>) -> ClaimState {
    // A session that was restored is never logged out for a mismatch.
    let own = account.phone_number.canonical();
    let granted = claim == Some(&own) || policy.number.as_ref() == Some(&own);
    if granted { ClaimState::Granted } else { ClaimState::Pending }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
