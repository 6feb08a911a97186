//! `kubectl enlace qr` and `kubectl enlace pair`: codes in the terminal, until a phone has linked.

use std::time::Duration;

use anyhow::bail;
use enlace_contract::name::DeviceKey;
use enlace_contract::state::{Phase, Reason};
use enlace_crds::rules::conditions::{ACCEPTED, CODE_NOT_PUBLISHED, CONNECTED, PAIRED};
use enlace_crds::{WhatsAppDevice, WhatsAppDeviceStatus, names};
use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use tokio::time::{Instant, MissedTickBehavior};

use super::Wait;
use super::codes;
use super::connect::{Connection, call, refused_first, refused_watch};
use crate::commands::TimedOut;
use crate::commands::pairing::{Screen, Start, help};
use crate::output::printable;

/// How often the Secret with a code is read: there is a new code after 20 s, and to watch it would need more permissions.
const SECRET: Duration = Duration::from_secs(2);
/// The least time between two requests for codes: what is asked for takes a moment to show.
const BETWEEN_REQUESTS: Duration = Duration::from_secs(10);

/// What a status means to somebody who waits for a link.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// Go on waiting.
    Waiting,
    /// It is linked.
    Linked,
    /// Nobody scanned in time; new codes come when they are asked for.
    Ended,
    /// Only a person can go on; why.
    Resting(String),
}

/// Shows the codes of a device until it is linked.
pub(super) async fn follow(connection: &Connection, options: Wait, start: Start) -> anyhow::Result<()> {
    let Wait { name, timeout } = options;
    let key = connection.key(&name)?;
    match tokio::time::timeout(timeout.get(), until_linked(connection, &key, start)).await {
        Ok(done) => done,
        Err(_) => Err(anyhow::Error::new(TimedOut(format!("{key} was not linked within {timeout}")))),
    }
}

async fn until_linked(connection: &Connection, key: &DeviceKey, start: Start) -> anyhow::Result<()> {
    let mut requests = Requests::default();
    if start == Start::Ask {
        requests.ask(connection, key).await?;
    }
    let mut changes = std::pin::pin!(watch_object(connection.devices(), key.name()).default_backoff());
    let mut ticks = tokio::time::interval(SECRET);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut screen = Screen::default();
    let mut device = None::<WhatsAppDevice>;
    loop {
        let secret = device.as_ref().is_some_and(codes::in_secret);
        tokio::select! {
            change = changes.next() => match change {
                Some(Ok(Some(now))) => device = Some(now),
                Some(Ok(None)) if device.is_some() => bail!("{key} was deleted"),
                Some(Ok(None)) => bail!("there is no WhatsAppDevice {key}"),
                Some(Err(error)) if device.is_none() => return Err(refused_first(key, &error)),
                // What was allowed at first is tried again when the connection breaks.
                Some(Err(error)) => match refused_watch(key, &error) {
                    Some(error) => return Err(error),
                    None => continue,
                },
                None => bail!("the watch of {key} ended"),
            },
            _ = ticks.tick(), if secret => {}
            () = requests.due() => requests.ask(connection, key).await?,
        }
        let Some(device) = &device else { continue };
        let empty = WhatsAppDeviceStatus::default();
        let status = device.status.as_ref().unwrap_or(&empty);
        if status.phase != Some(Phase::Connected) && !requests.heeded(status) {
            // The request is still on its way, and what is shown may be from before it.
            continue;
        }
        match progress(key, device, status) {
            Progress::Waiting => {
                let state =
                    if secret { codes::of_secret(connection, key).await? } else { codes::of_status(device) };
                screen.show(&state)?;
            }
            Progress::Linked => {
                let number = status.phone_number.as_deref().unwrap_or("a phone");
                eprintln!("{key} is linked to {}", printable(number));
                return Ok(());
            }
            Progress::Ended => requests.wanted(key),
            Progress::Resting(why) => bail!(why),
        }
    }
}

fn progress(key: &DeviceKey, device: &WhatsAppDevice, status: &WhatsAppDeviceStatus) -> Progress {
    if device.spec.suspend {
        return Progress::Resting(format!("{key} is suspended: nothing runs until spec.suspend is false"));
    }
    let phase = status.phase.unwrap_or_default();
    if phase == Phase::Connected {
        return Progress::Linked;
    }
    let unpublished = status.condition(PAIRED).filter(|paired| paired.reason == CODE_NOT_PUBLISHED);
    if let Some(unpublished) = unpublished {
        return Progress::Resting(format!("{key}: {}", printable(&unpublished.message)));
    }
    let connected = status.condition(CONNECTED);
    let because = |reason: Reason| connected.is_some_and(|connected| connected.reason == reason.to_string());
    if phase == Phase::PairingExpired || phase == Phase::Disconnected && because(Reason::NobodyScanned) {
        return Progress::Ended;
    }
    if because(Reason::Stopping) || !phase.is_final() && phase != Phase::Disconnected {
        return Progress::Waiting;
    }
    let failed = status.condition(ACCEPTED).filter(|accepted| accepted.status == "False");
    let why = failed.or(connected).map_or("no reason is known", |condition| condition.message.as_str());
    let command = format!("kubectl enlace pair {} -n {}", key.name(), key.namespace());
    let help = help(phase, &command).map(|help| format!("; {help}")).unwrap_or_default();
    Progress::Resting(format!("{key} is {phase} ({}){help}", printable(why)))
}

/// What was asked for.
#[derive(Default)]
struct Requests {
    /// The newest request.
    asked: Option<Timestamp>,
    /// When it was made.
    made: Option<Instant>,
    /// When the next one is to be made.
    next: Option<Instant>,
}

impl Requests {
    /// Asks for codes, by the annotation that the operator heeds.
    async fn ask(&mut self, connection: &Connection, key: &DeviceKey) -> anyhow::Result<()> {
        let devices = connection.devices();
        let device = call(Some(key), devices.get(key.name())).await?;
        let at = newer_than(&device, Timestamp::now());
        let patch = serde_json::json!({
            "metadata": { "annotations": { names::PAIR_REQUESTED: at.to_string() } },
        });
        call(Some(key), devices.patch(key.name(), &PatchParams::default(), &Patch::Merge(&patch))).await?;
        *self = Self { asked: Some(at), made: Some(Instant::now()), next: None };
        Ok(())
    }

    /// Codes are to be asked for: now, or a while after the last time.
    fn wanted(&mut self, key: &DeviceKey) {
        if self.next.is_none() {
            eprintln!("nobody scanned the codes of {key} in time; new ones are asked for");
            self.next = Some(self.made.map_or_else(Instant::now, |made| made + BETWEEN_REQUESTS));
        }
    }

    /// Waits until a request is due.
    async fn due(&self) {
        match self.next {
            Some(next) => tokio::time::sleep_until(next).await,
            None => std::future::pending().await,
        }
    }

    /// Whether nothing that was asked for is still on its way.
    fn heeded(&self, status: &WhatsAppDeviceStatus) -> bool {
        self.asked.is_none_or(|asked| status.observed_pair_request >= Some(asked))
    }
}

/// The time of a new request: it counts only when it is later than the one that was heeded, and this machine's clock may be behind. What is
/// annotated and was never heeded may be any text.
fn newer_than(device: &WhatsAppDevice, now: Timestamp) -> Timestamp {
    // Whole seconds survive every way of writing a time.
    let whole = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap_or(time);
    let now = whole(now);
    match device.status.as_ref().and_then(|status| status.observed_pair_request) {
        Some(heeded) if heeded >= now => {
            whole(heeded.checked_add(SignedDuration::from_secs(1)).unwrap_or(heeded))
        }
        _ => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn device(spec: Value, status: Value) -> WhatsAppDevice {
        serde_json::from_value(json!({
            "apiVersion": "enlace.dev/v1alpha1", "kind": "WhatsAppDevice",
            "metadata": { "name": "billing" }, "spec": spec, "status": status,
        }))
        .unwrap()
    }

    fn of(spec: Value, phase: &str, reason: &str) -> Progress {
        let connected = json!([{ "type": "Connected", "status": "False", "reason": reason, "message": "it says why",
            "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
        let device = device(spec, json!({ "phase": phase, "conditions": connected }));
        progress(&"shop/billing".parse().unwrap(), &device, device.status.as_ref().unwrap())
    }

    #[test]
    fn codes_that_nobody_scanned_are_asked_for_again_and_everything_else_rests() {
        for phase in
            ["Pending", "Starting", "AwaitingScan", "AwaitingCode", "PasskeyRequired", "Reconnecting"]
        {
            assert_eq!(of(json!({}), phase, "ConnectionLost"), Progress::Waiting, "{phase}");
        }
        assert_eq!(of(json!({}), "Disconnected", "Stopping"), Progress::Waiting);
        assert_eq!(of(json!({}), "Connected", ""), Progress::Linked);
        assert_eq!(of(json!({}), "PairingExpired", ""), Progress::Ended);
        assert_eq!(of(json!({}), "Disconnected", "NobodyScanned"), Progress::Ended);
        let rests = |spec: Value, phase: &str| match of(spec, phase, "LoggedOutOnPhone") {
            Progress::Resting(why) => why,
            other => panic!("{phase}: {other:?}"),
        };
        assert_eq!(
            rests(json!({}), "LoggedOut"),
            "shop/billing is LoggedOut (it says why); `kubectl enlace pair billing -n shop` asks for new codes"
        );
        assert_eq!(rests(json!({}), "Banned"), "shop/billing is Banned (it says why)");
        assert!(rests(json!({ "suspend": true }), "Suspended").contains("spec.suspend"));
    }

    #[test]
    fn a_code_that_is_published_nowhere_is_not_waited_for() {
        let paired = json!([{ "type": "Paired", "status": "False", "reason": CODE_NOT_PUBLISHED, "message": "not listed",
            "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
        let device = device(json!({}), json!({ "phase": "AwaitingScan", "conditions": paired }));
        let progress = progress(&"shop/billing".parse().unwrap(), &device, device.status.as_ref().unwrap());
        assert_eq!(progress, Progress::Resting("shop/billing: not listed".to_owned()));
    }

    #[test]
    fn a_request_is_later_than_those_before_whatever_the_clock_says() {
        let now: Timestamp = "2026-01-01T00:00:10.7Z".parse().unwrap();
        let after = |status: Value| newer_than(&device(json!({}), status), now).to_string();
        assert_eq!(after(json!({})), "2026-01-01T00:00:10Z");
        assert_eq!(after(json!({ "observedPairRequest": "2026-01-01T00:00:09Z" })), "2026-01-01T00:00:10Z");
        assert_eq!(after(json!({ "observedPairRequest": "2026-01-01T00:01:00.5Z" })), "2026-01-01T00:01:01Z");
    }
}
