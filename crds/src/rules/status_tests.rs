//! What is said of a device in each situation.

use std::time::Duration;

use enlace_contract::state::{DeviceState, Reason};
use jiff::SignedDuration;

use super::super::claims::Mismatch;
use super::super::observation::{ClaimOutcome, Place, PodFacts, UNREACHABLE_AFTER};
use super::*;

const CREATED: i64 = 1_900_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(CREATED + second).unwrap()
}

/// An accepted device without a number, whose pod is ready.
fn seen(device: Observed<'_>) -> Observation<'_> {
    Observation {
        generation: Some(2),
        suspend: false,
        phone_number: None,
        publish_in: PublishIn::Status,
        invalid: None,
        pair_requested: None,
        pairing_timeout: Duration::from_secs(3_600),
        claim: ClaimOutcome::NotNeeded,
        mismatch: None,
        device,
        pod: Some(PodFacts {
            name: "billing-0".into(),
            ready: true,
            image: Some("enlace:1".into()),
            stuck: None,
        }),
        volume_claim: Some("billing-session".into()),
        place: Place::Pod,
    }
}

fn without_pod(observed: Observation<'_>) -> Observation<'_> {
    Observation { pod: None, ..observed }
}

fn said(phase: Phase) -> DeviceState {
    DeviceState { phase, ..DeviceState::default() }
}

fn because(phase: Phase, reason: Reason) -> DeviceState {
    DeviceState { reason: Some(reason), message: Some("why".into()), ..said(phase) }
}

fn account() -> Account {
    Account {
        phone_number: "5215550000001".parse().unwrap(),
        jid: "5215550000001:1@s.whatsapp.net".into(),
        lid: None,
        push_name: None,
        platform: None,
    }
}

fn connected() -> DeviceState {
    DeviceState {
        paired: true,
        account: Some(account()),
        claim: ClaimState::Granted,
        connected_at: Some(at(30) + SignedDuration::from_millis(250)),
        ..said(Phase::Connected)
    }
}

fn awaiting_scan() -> DeviceState {
    let qr = QrCode { code: "2@code".into(), text: "█".into(), expires_at: at(80) };
    DeviceState { qr: Some(qr), ..said(Phase::AwaitingScan) }
}

fn first(observed: &Observation<'_>) -> WhatsAppDeviceStatus {
    status(&WhatsAppDeviceStatus::default(), observed, at(60))
}

/// The phase, and `Type=Status/Reason` of each condition.
fn summary(status: &WhatsAppDeviceStatus) -> String {
    let conditions: Vec<_> =
        status.conditions.iter().map(|c| format!("{}={}/{}", c.type_, c.status, c.reason)).collect();
    format!("{} {}", status.phase.unwrap(), conditions.join(" "))
}

#[test]
fn each_situation_has_its_phase_and_its_conditions() {
    let duplicate = ClaimOutcome::Duplicate { holder: Some("shop/other".parse().unwrap()) };
    let nothing = || without_pod(seen(Observed::NotRunning));
    let (scan, online, starting) = (awaiting_scan(), connected(), said(Phase::Starting));
    let reconnecting =
        DeviceState { connected_at: None, ..because(Phase::Reconnecting, Reason::ConnectionLost) };
    let reconnecting = DeviceState { paired: true, ..reconnecting };
    let nobody = because(Phase::Disconnected, Reason::NobodyScanned);
    let stopped = DeviceState { paired: true, ..because(Phase::Disconnected, Reason::Stopping) };
    let logged_out = because(Phase::LoggedOut, Reason::LoggedOutOnPhone);
    let mismatch = because(Phase::LoggedOut, Reason::NumberMismatch);
    let conflict = DeviceState { paired: true, ..because(Phase::Conflict, Reason::Replaced) };
    let full = DeviceState { paired: true, ..because(Phase::Reconnecting, Reason::DiskFull) };
    let unread = because(Phase::Starting, Reason::StoreFailed);
    let refused = DeviceState { claim: ClaimState::Refused, ..connected() };
    let another =
        Mismatch { declared: "525550000002".parse().unwrap(), linked: "525550000001".parse().unwrap() };
    let table = [
        (
            Observation { claim: ClaimOutcome::Pending, ..nothing() },
            "Pending Accepted=Unknown/ClaimPending PodReady=False/Pending Paired=Unknown/Pending Connected=False/Pending Ready=Unknown/ClaimPending",
        ),
        (
            nothing(),
            "Pending Accepted=True/Accepted PodReady=False/Pending Paired=Unknown/Pending Connected=False/Pending Ready=False/Pending",
        ),
        (
            Observation { claim: duplicate, ..nothing() },
            "Failed Accepted=False/DuplicateNumber PodReady=False/DuplicateNumber Paired=Unknown/Failed Connected=False/DuplicateNumber Ready=False/DuplicateNumber",
        ),
        (
            Observation { invalid: Some("spec.sending.interval is not a duration".into()), ..nothing() },
            "Failed Accepted=False/InvalidSpec PodReady=False/InvalidSpec Paired=Unknown/Failed Connected=False/InvalidSpec Ready=False/InvalidSpec",
        ),
        (
            Observation {
                pod: Some(PodFacts { name: "billing-0".into(), ready: false, image: None, stuck: None }),
                ..seen(Observed::NotRunning)
            },
            "Starting Accepted=True/Accepted PodReady=False/PodNotReady Paired=Unknown/Starting Connected=False/Starting Ready=False/PodNotReady",
        ),
        (
            seen(Observed::Unreachable { since: at(59) }),
            "Starting Accepted=True/Accepted PodReady=True/PodReady Paired=Unknown/Starting Connected=Unknown/PodUnreachable Ready=Unknown/PodUnreachable",
        ),
        (
            seen(Observed::State(&starting)),
            "Starting Accepted=True/Accepted PodReady=True/PodReady Paired=Unknown/Starting Connected=False/Starting Ready=False/Starting",
        ),
        (
            seen(Observed::State(&scan)),
            "AwaitingScan Accepted=True/Accepted PodReady=True/PodReady Paired=False/NotLinked Connected=False/AwaitingScan Ready=True/AwaitingScan",
        ),
        (
            seen(Observed::State(&nobody)),
            "Disconnected Accepted=True/Accepted PodReady=True/PodReady Paired=False/NobodyScanned Connected=False/NobodyScanned Ready=True/NobodyScanned",
        ),
        (
            Observation { claim: ClaimOutcome::Granted, ..seen(Observed::State(&online)) },
            "Connected Accepted=True/Accepted PodReady=True/PodReady Paired=True/Linked Connected=True/Connected Ready=True/Ready",
        ),
        (
            Observation {
                claim: ClaimOutcome::Granted,
                mismatch: Some(another),
                ..seen(Observed::State(&online))
            },
            "Connected Accepted=False/NumberMismatch PodReady=True/PodReady Paired=True/Linked Connected=True/Connected Ready=False/NumberMismatch",
        ),
        (
            seen(Observed::State(&reconnecting)),
            "Reconnecting Accepted=True/Accepted PodReady=True/PodReady Paired=True/Linked Connected=False/ConnectionLost Ready=True/Reconnecting",
        ),
        (
            seen(Observed::State(&full)),
            "Reconnecting Accepted=True/Accepted PodReady=True/PodReady Paired=True/Linked Connected=False/DiskFull Ready=False/DiskFull",
        ),
        (
            seen(Observed::State(&unread)),
            "Starting Accepted=True/Accepted PodReady=True/PodReady Paired=Unknown/Starting Connected=False/StoreFailed Ready=False/StoreFailed",
        ),
        (
            seen(Observed::State(&stopped)),
            "Disconnected Accepted=True/Accepted PodReady=True/PodReady Paired=True/Linked Connected=False/Stopping Ready=False/Disconnected",
        ),
        (
            seen(Observed::State(&logged_out)),
            "LoggedOut Accepted=True/Accepted PodReady=True/PodReady Paired=False/LoggedOutOnPhone Connected=False/LoggedOutOnPhone Ready=False/LoggedOut",
        ),
        (
            seen(Observed::State(&mismatch)),
            "LoggedOut Accepted=True/Accepted PodReady=True/PodReady Paired=False/NumberMismatch Connected=False/NumberMismatch Ready=False/LoggedOut",
        ),
        (
            seen(Observed::State(&conflict)),
            "Conflict Accepted=True/Accepted PodReady=True/PodReady Paired=True/Linked Connected=False/Replaced Ready=False/Conflict",
        ),
        (
            seen(Observed::State(&refused)),
            "Connected Accepted=True/Accepted PodReady=True/PodReady Paired=False/DuplicateNumber Connected=True/Connected Ready=True/Ready",
        ),
        (
            Observation { suspend: true, ..seen(Observed::State(&online)) },
            "Suspended Accepted=True/Accepted PodReady=True/PodReady Paired=True/Linked Connected=True/Connected Ready=False/Stopping",
        ),
        (
            Observation { suspend: true, ..nothing() },
            "Suspended Accepted=True/Accepted PodReady=False/Suspended Paired=Unknown/Suspended Connected=False/Suspended Ready=True/Suspended",
        ),
    ];
    for (observed, expected) in table {
        assert_eq!(summary(&first(&observed)), expected);
    }
}

#[test]
fn a_device_that_nobody_linked_in_time_is_expired_until_it_is_asked_for_again() {
    let scan = awaiting_scan();
    let waiting = seen(Observed::State(&scan));
    let before = first(&waiting);
    assert!(before.qr.is_some());
    assert_eq!(status(&before, &waiting, at(3_659)), before);
    let expired = status(&before, &waiting, at(3_660));
    assert_eq!(
        summary(&expired),
        "PairingExpired Accepted=True/Accepted PodReady=True/PodReady Paired=False/PairingExpired Connected=False/AwaitingScan Ready=False/PairingExpired"
    );
    assert_eq!(expired.qr, None, "a code that is not to be scanned any more is not shown");
    let asked = without_pod(Observation { pair_requested: Some(at(4_000)), ..seen(Observed::NotRunning) });
    assert_eq!(status(&expired, &asked, at(4_001)).phase, Some(Phase::Pending));
    assert_eq!(status(&expired, &asked, at(7_600)).phase, Some(Phase::PairingExpired));
}

#[test]
fn a_device_that_was_linked_once_never_expires() {
    let (online, out) = (connected(), because(Phase::LoggedOut, Reason::LoggedOutOnPhone));
    let linked = first(&seen(Observed::State(&online)));
    let logged_out = status(&linked, &seen(Observed::State(&out)), at(9_000));
    assert_eq!(logged_out.phase, Some(Phase::LoggedOut));
    assert_eq!(logged_out.account, Some(account()), "the account that was linked last stays");
    let gone = status(&logged_out, &without_pod(seen(Observed::NotRunning)), at(99_000));
    assert_eq!(gone.phase, Some(Phase::Pending));
}

#[test]
fn a_device_that_was_never_heard_does_not_expire() {
    // Its volume may have a session: an adopted or a restored one.
    let (starting, scan) = (said(Phase::Starting), awaiting_scan());
    let mut status_so_far = WhatsAppDeviceStatus::default();
    for device in [
        Observed::NotRunning,
        Observed::Unreachable { since: at(0) },
        Observed::State(&starting),
        Observed::State(&scan),
    ] {
        status_so_far = status(&status_so_far, &seen(device), at(90_000));
        assert_ne!(status_so_far.phase, Some(Phase::PairingExpired), "{device:?}");
    }
    assert_eq!(next_change(&status_so_far, &seen(Observed::State(&scan)), at(90_000)), Some(at(93_600)));
}

#[test]
fn a_device_that_is_not_heard_when_its_time_ends_does_not_expire() {
    // A phone may have linked while no operator ran, or while it could not reach the device.
    let (scan, starting, online) = (awaiting_scan(), said(Phase::Starting), connected());
    let before = first(&seen(Observed::State(&scan)));
    for device in
        [Observed::NotRunning, Observed::Unreachable { since: at(90_000) }, Observed::State(&starting)]
    {
        let later = status(&before, &seen(device), at(90_000));
        assert_ne!(later.phase, Some(Phase::PairingExpired), "{device:?}");
        let linked = status(&later, &seen(Observed::State(&online)), at(90_010));
        assert_eq!(linked.phase, Some(Phase::Connected), "{device:?}");
        let waiting = status(&later, &seen(Observed::State(&scan)), at(90_010));
        assert_eq!(waiting.phase, Some(Phase::PairingExpired), "{device:?}");
    }
}

#[test]
fn the_time_to_link_starts_anew_after_a_suspension() {
    let scan = awaiting_scan();
    let waiting = first(&seen(Observed::State(&scan)));
    let suspended = without_pod(Observation { suspend: true, ..seen(Observed::NotRunning) });
    let stopped = status(&waiting, &suspended, at(100));
    let resumed = status(&stopped, &seen(Observed::NotRunning), at(90_000));
    let heard = status(&resumed, &seen(Observed::State(&scan)), at(90_010));
    assert_eq!(heard.phase, Some(Phase::AwaitingScan));
    assert_eq!(next_change(&heard, &seen(Observed::State(&scan)), at(90_010)), Some(at(93_610)));
}

#[test]
fn an_account_that_may_be_refused_is_not_the_devices() {
    for claim in [ClaimState::Pending, ClaimState::Refused] {
        let state = DeviceState { claim, ..connected() };
        let declared =
            Observation { phone_number: Some("525550000009".into()), ..seen(Observed::State(&state)) };
        let status = first(&declared);
        assert_eq!(status.account, None);
        assert_eq!(status.phone_number.as_deref(), Some("525550000009"));
    }
}

#[test]
fn the_effective_number_is_the_linked_one_else_the_declared_one() {
    let (scan, online) = (awaiting_scan(), connected());
    let with = |device| Observation { phone_number: Some("525550000001".into()), ..seen(device) };
    assert_eq!(first(&with(Observed::State(&scan))).phone_number.as_deref(), Some("525550000001"));
    assert_eq!(first(&with(Observed::State(&online))).phone_number.as_deref(), Some("5215550000001"));
    assert_eq!(first(&seen(Observed::State(&scan))).phone_number, None);
    let out = because(Phase::LoggedOut, Reason::LoggedOutByRequest);
    let linked = first(&seen(Observed::State(&online)));
    let number = |observed: Observation<'_>| status(&linked, &observed, at(90)).phone_number;
    let declared = |device| Observation { phone_number: Some("525550000009".into()), ..seen(device) };
    assert_eq!(
        number(declared(Observed::State(&out))).as_deref(),
        Some("525550000009"),
        "its session is gone"
    );
    assert_eq!(
        number(seen(Observed::State(&out))).as_deref(),
        Some("5215550000001"),
        "the one that was linked last"
    );
    assert_eq!(number(declared(Observed::NotRunning)).as_deref(), Some("5215550000001"), "a session is kept");
}

#[test]
fn what_stands_in_the_way_says_what_to_do() {
    let duplicate =
        |name: Option<&str>| ClaimOutcome::Duplicate { holder: name.map(|name| name.parse().unwrap()) };
    let broken = because(Phase::Failed, Reason::StoreFailed);
    let broken =
        DeviceState { reason: None, message: Some("the device cannot be started: why".into()), ..broken };
    let starting = Some(PodFacts { name: "billing".into(), ready: false, image: None, stuck: None });
    let full = DeviceState { paired: true, ..because(Phase::Reconnecting, Reason::DiskFull) };
    let nobody = because(Phase::Disconnected, Reason::NobodyScanned);
    for (observed, kind, says) in [
        (
            Observation { claim: duplicate(Some("shop/other")), ..without_pod(seen(Observed::NotRunning)) },
            "Accepted",
            "the number belongs to shop/other: use another number here, or delete that device first",
        ),
        (seen(Observed::State(&full)), "Ready", "raise spec.storage.size, or make room on the volume: why"),
        (
            Observation { place: Place::Process, ..seen(Observed::State(&full)) },
            "Ready",
            "make room on the disk: why",
        ),
        (
            Observation { place: Place::Process, ..seen(Observed::State(&nobody)) },
            "Ready",
            "running; a phone has yet to link, and there is no code: `enlace pair` asks for new ones",
        ),
        (
            Observation { place: Place::Process, pod: starting, ..seen(Observed::State(&broken)) },
            "Ready",
            "the device cannot be started: why",
        ),
    ] {
        assert_eq!(first(&observed).condition(kind).unwrap().message, says, "{observed:?}");
    }
}

#[test]
fn a_code_is_a_credential_that_is_only_shown_where_it_is_published() {
    let code = PairingText { code: "ABCD1234".into(), expires_at: at(80) };
    let state = DeviceState { pairing_code: Some(code.clone()), ..awaiting_scan() };
    let shown = first(&seen(Observed::State(&state)));
    assert_eq!((shown.qr, shown.pairing_code), (state.qr.clone(), Some(code)));
    let secret = Observation { publish_in: PublishIn::Secret, ..seen(Observed::State(&state)) };
    let hidden = first(&secret);
    assert_eq!((hidden.qr, hidden.pairing_code), (None, None));
}

#[test]
fn a_device_that_is_not_heard_stays_what_it_was_for_a_time_and_is_unknown_after_it() {
    let online = connected();
    let before = first(&seen(Observed::State(&online)));
    let silent = seen(Observed::Unreachable { since: at(100) });
    let deadline = 100 + i64::try_from(UNREACHABLE_AFTER.as_secs()).unwrap();

    assert_eq!(status(&before, &silent, at(deadline - 1)), before);
    assert_eq!(next_change(&before, &silent, at(101)), Some(at(deadline)));

    let unknown = status(&before, &silent, at(deadline));
    assert_eq!(
        summary(&unknown),
        "Starting Accepted=True/Accepted PodReady=True/PodReady Paired=True/Linked Connected=Unknown/PodUnreachable Ready=Unknown/PodUnreachable"
    );
    assert_eq!(unknown.connected_at, None, "nothing says connected that may be dead");
    assert_eq!(unknown.account, before.account);
    assert_eq!(next_change(&unknown, &silent, at(deadline)), None);
}

#[test]
fn a_final_phase_outlives_silence() {
    let banned = DeviceState { paired: true, ..because(Phase::Banned, Reason::AccountLocked) };
    let before = first(&seen(Observed::State(&banned)));
    let later = status(&before, &seen(Observed::Unreachable { since: at(100) }), at(10_000));
    assert_eq!(later.phase, Some(Phase::Banned));
}

#[test]
fn a_phase_that_was_decided_outside_says_nothing_of_a_device_that_runs() {
    let starting = seen(Observed::Unreachable { since: at(100) });
    for phase in [Phase::Pending, Phase::Suspended, Phase::PairingExpired, Phase::Failed] {
        let before = WhatsAppDeviceStatus { phase: Some(phase), ..WhatsAppDeviceStatus::default() };
        assert_eq!(status(&before, &starting, at(101)).phase, Some(Phase::Starting), "{phase}");
    }
}

#[test]
fn a_device_that_stops_is_disconnected_from_that_moment() {
    let online = connected();
    let before = first(&seen(Observed::State(&online)));
    assert_eq!(before.connected_at, Some(at(30)), "whole seconds");
    let suspended = without_pod(Observation { suspend: true, ..seen(Observed::NotRunning) });
    let stopped = status(&before, &suspended, at(200));
    assert_eq!((stopped.connected_at, stopped.disconnected_at), (None, Some(at(200))));
    assert_eq!((stopped.pod_name.as_deref(), stopped.image.as_deref()), (None, None));
    assert!(stopped.is_true(super::super::conditions::PAIRED), "the session is kept");
    assert_eq!(status(&stopped, &suspended, at(300)), stopped);
}

#[test]
fn the_same_facts_give_the_same_bytes() {
    let (scan, online) = (awaiting_scan(), connected());
    for device in [Observed::NotRunning, Observed::State(&scan), Observed::State(&online)] {
        let observed = seen(device);
        let once = first(&observed);
        // As it comes back from the API server.
        let stored: WhatsAppDeviceStatus =
            serde_json::from_slice(&serde_json::to_vec(&once).unwrap()).unwrap();
        let again = status(&stored, &observed, at(70) + SignedDuration::from_millis(1));
        assert_eq!(serde_json::to_vec(&again).unwrap(), serde_json::to_vec(&once).unwrap());
        assert_eq!(again, stored);
    }
}

#[test]
fn the_time_of_a_condition_moves_only_when_its_status_does() {
    let (scan, online) = (awaiting_scan(), connected());
    let waiting = first(&seen(Observed::State(&scan)));
    let linked =
        status(&waiting, &Observation { generation: Some(3), ..seen(Observed::State(&online)) }, at(70));
    for condition in &linked.conditions {
        let moved = matches!(condition.type_.as_str(), "Paired" | "Connected");
        let expected = if moved { at(70) } else { at(60) };
        assert_eq!(condition.last_transition_time.0, expected, "{}", condition.type_);
        assert_eq!(condition.observed_generation, Some(3), "{}", condition.type_);
    }
    assert_eq!(linked.observed_generation, Some(3));
}

#[test]
fn what_the_device_counted_and_heeded_is_shown() {
    let last = Disconnect { reason: Reason::ConnectionLost, message: None, at: at(20) };
    let state = DeviceState {
        reconnects: 7,
        last_disconnect: Some(last.clone()),
        observed_pair_request: Some(at(10)),
        ..connected()
    };
    let before = first(&seen(Observed::State(&state)));
    assert_eq!((before.reconnects, before.observed_pair_request), (Some(7), Some(at(10))));
    let restarted = connected();
    let after = status(&before, &seen(Observed::State(&restarted)), at(90));
    assert_eq!(after.reconnects, Some(0));
    assert_eq!(after.last_disconnect, Some(last), "a restart forgets no reason");
    assert_eq!(after.observed_pair_request, Some(at(10)), "a request that was heeded stays heeded");
}

#[test]
fn a_waiting_device_is_looked_at_again_when_its_time_is_over() {
    let (scan, online) = (awaiting_scan(), connected());
    let none = WhatsAppDeviceStatus::default();
    let waiting = seen(Observed::State(&scan));
    assert_eq!(next_change(&none, &waiting, at(60)), Some(at(3_660)));
    let known = first(&waiting);
    assert_eq!(next_change(&known, &waiting, at(100)), Some(at(3_660)));
    assert_eq!(next_change(&known, &Observation { suspend: true, ..waiting.clone() }, at(100)), None);
    assert_eq!(next_change(&known, &waiting, at(3_660)), None);
    assert_eq!(next_change(&none, &seen(Observed::State(&online)), at(60)), None);
}

#[test]
fn a_spec_that_cannot_be_read_is_said_and_lets_nothing_expire() {
    let mut device = crate::WhatsAppDevice::new("billing", crate::WhatsAppDeviceSpec::default());
    device.metadata.uid = Some("uid".into());
    device.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    device.spec.pairing.timeout = "soon".into();
    let observed = Observation::new(&device, ClaimOutcome::NotNeeded, Observed::NotRunning, None, None);
    let status = status(&WhatsAppDeviceStatus::default(), &observed, at(9_000_000));
    assert_eq!(status.phase, Some(Phase::Failed));
    let accepted = status.condition(super::super::conditions::ACCEPTED).unwrap();
    assert_eq!(
        (accepted.reason.as_str(), accepted.message.as_str()),
        ("InvalidSpec", "spec.pairing.timeout is not a duration")
    );
}

#[test]
fn a_device_that_is_linked_to_another_number_than_the_declared_one_says_so_whether_it_is_heard_or_not() {
    let online = connected();
    let mut device = crate::WhatsAppDevice::new("billing", crate::WhatsAppDeviceSpec::default());
    device.metadata.uid = Some("uid".into());
    device.status = Some(first(&seen(Observed::State(&online))));
    device.spec.phone_number = Some("525550000002".into());
    for heard in [Observed::State(&online), Observed::NotRunning, Observed::Unreachable { since: at(60) }] {
        let observed = Observation::new(&device, ClaimOutcome::Granted, heard, None, None);
        let status = status(device.status.as_ref().unwrap(), &observed, at(70));
        for condition in ["Accepted", "Ready"] {
            let condition = status.condition(condition).unwrap();
            assert_eq!(
                (condition.status.as_str(), condition.reason.as_str(), condition.message.as_str()),
                (
                    "False",
                    "NumberMismatch",
                    "spec.phoneNumber is 525550000002, but the device is linked to 5215550000001: put it right, or log the device out first"
                )
            );
        }
        assert_eq!(status.phone_number.as_deref(), Some("5215550000001"));
    }
}

#[test]
fn a_device_without_a_pod_is_not_spoken_of_as_if_it_had_one() {
    let (scan, online) = (awaiting_scan(), connected());
    let starting = Some(PodFacts { name: "billing".into(), ready: false, image: None, stuck: None });
    let running = seen(Observed::NotRunning).pod;
    for (pod, suspend) in [(starting, false), (None, false), (None, true), (running, true)] {
        for device in [
            Observed::NotRunning,
            Observed::Unreachable { since: at(0) },
            Observed::State(&scan),
            Observed::State(&online),
        ] {
            let observed = Observation { pod: pod.clone(), suspend, place: Place::Process, ..seen(device) };
            for now in [at(60), at(90_000)] {
                let status = status(&first(&seen(Observed::State(&scan))), &observed, now);
                for condition in status.conditions {
                    let ready = condition.reason == "PodReady";
                    assert!(ready || !condition.reason.contains("Pod"), "{condition:?}");
                    let message = condition.message;
                    assert!(!message.contains("pod ") && !message.contains("kubectl"), "{message}");
                }
            }
        }
    }
}
