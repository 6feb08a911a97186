use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn account(number: &str) -> Account {
    Account {
        phone_number: number.parse().unwrap(),
        jid: format!("{number}:1@s.whatsapp.net"),
        lid: None,
        push_name: None,
        platform: None,
    }
}

fn qr() -> QrCode {
    QrCode { code: "2@ref".into(), text: "▀".into(), expires_at: at(60) }
}

fn fresh() -> Machine {
    Machine::new(Policy::default(), Memory::default())
}

fn declared(number: &str) -> Policy {
    Policy {
        number: Some(number.parse::<enlace_contract::number::PhoneNumber>().unwrap().canonical()),
        method: PairingMethod::QRCode,
    }
}

/// A machine with a session that is connected since second 0.
fn connected() -> Machine {
    run(
        Machine::new(declared("525550000001"), Memory::default()),
        [
            Event::Start,
            Event::Qr(qr()),
            Event::Paired(account("5215550000001")),
            Event::Connected(account("5215550000001")),
        ],
    )
}

fn run(machine: Machine, events: impl IntoIterator<Item = Event>) -> Machine {
    events.into_iter().fold(machine, |machine, event| machine.step(event, at(0)).0)
}

#[test]
fn each_end_of_a_connection_has_its_phase_reason_and_effects() {
    use Effect::{Close, DialLater, Erase, Remember, SeekVersion};
    let table: Vec<(Event, Phase, Reason, Vec<Effect>)> = vec![
        (
            Event::Lost(Reason::ConnectionLost, None),
            Phase::Reconnecting,
            Reason::ConnectionLost,
            vec![DialLater(0)],
        ),
        (
            Event::Lost(Reason::ServiceUnavailable, None),
            Phase::Reconnecting,
            Reason::ServiceUnavailable,
            vec![DialLater(0)],
        ),
        (
            Event::Lost(Reason::DiskFull, None),
            Phase::Reconnecting,
            Reason::DiskFull,
            vec![Close, DialLater(0)],
        ),
        (
            Event::Lost(Reason::StoreFailed, None),
            Phase::Reconnecting,
            Reason::StoreFailed,
            vec![Close, DialLater(0)],
        ),
        (Event::Ended(Ending::Replaced), Phase::Conflict, Reason::Replaced, vec![Close, Remember]),
        (
            Event::Ended(Ending::LoggedOut("gone".into())),
            Phase::LoggedOut,
            Reason::LoggedOutOnPhone,
            vec![Close, Remember, Erase],
        ),
        (
            Event::Ended(Ending::Banned("a day".into())),
            Phase::Banned,
            Reason::TemporaryBan,
            vec![Close, Remember],
        ),
        (
            Event::Ended(Ending::Locked("locked".into())),
            Phase::Banned,
            Reason::AccountLocked,
            vec![Close, Remember],
        ),
        (
            Event::Ended(Ending::Refused("409".into())),
            Phase::Failed,
            Reason::LoginRefused,
            vec![Close, Remember],
        ),
        (Event::Outdated, Phase::Reconnecting, Reason::ClientOutdated, vec![Close, SeekVersion]),
        (Event::VersionSought(false), Phase::Outdated, Reason::ClientOutdated, vec![Close, Remember]),
        (Event::Stop, Phase::Disconnected, Reason::Stopping, vec![Close]),
    ];
    for (event, phase, reason, effects) in table {
        let (machine, did) = connected().step(event.clone(), at(5));
        assert_eq!((machine.state.phase, machine.state.reason), (phase, Some(reason)), "{event:?}");
        assert_eq!(did, effects, "{event:?}");
        let last = machine.state.last_disconnect.as_ref().unwrap();
        assert_eq!((last.reason, last.at), (reason, at(5)), "{event:?}");
        assert_eq!(
            (machine.state.connected_at, machine.state.disconnected_at),
            (None, Some(at(5))),
            "{event:?}"
        );
        assert!(!machine.may_send(), "{event:?}");
    }
}

#[test]
fn a_scan_of_the_declared_number_in_another_form_connects() {
    let machine = connected();
    assert_eq!((machine.state.phase, machine.state.claim), (Phase::Connected, ClaimState::Granted));
    assert!(machine.state.qr.is_none() && machine.state.paired && machine.may_send());
}

#[test]
fn the_wrong_phone_is_unlinked_once_it_is_connected() {
    let machine = run(
        Machine::new(declared("525550000001"), Memory::default()),
        [Event::Start, Event::Qr(qr()), Event::Paired(account("551100000001"))],
    );
    assert!(!machine.may_send());
    let restarted = Machine::new(declared("525550000001"), machine.memory());
    let (restarted, effects) = restarted.step(Event::Connected(account("551100000001")), at(1));
    let unlink = vec![Effect::Remember, Effect::Unlink];
    assert_eq!(
        (restarted.may_send(), effects),
        (false, unlink.clone()),
        "a restart in between changes nothing"
    );
    let unremembered = Machine::new(declared("525550000001"), Memory::default());
    let (unremembered, effects) = unremembered.step(Event::Connected(account("551100000001")), at(1));
    assert_eq!(
        (unremembered.may_send(), effects),
        (false, unlink.clone()),
        "nor does one before it was remembered"
    );
    let (machine, effects) = machine.step(Event::Connected(account("551100000001")), at(1));
    assert_eq!(effects, unlink);
    let (machine, effects) = machine.step(Event::Unlinked, at(2));
    assert_eq!(effects, vec![Effect::Close, Effect::Remember, Effect::Erase]);
    assert_eq!((machine.state.phase, machine.state.reason), (Phase::LoggedOut, Some(Reason::NumberMismatch)));
    let message = machine.state.message.unwrap();
    assert!(message.contains("551100000001") && message.contains("525550000001"), "{message}");
    assert!(!machine.state.paired);
}

#[test]
fn a_restored_session_is_never_logged_out_for_its_number() {
    let claim = Some(account("551100000001").phone_number.canonical());
    let memory = Memory { account: Some(account("551100000001")), claim, ..Memory::default() };
    let machine = run(
        Machine::new(declared("525550000001"), memory),
        [Event::Start, Event::Connected(account("551100000001"))],
    );
    assert_eq!((machine.state.phase, machine.may_send()), (Phase::Connected, true));
}

#[test]
fn a_number_that_was_never_granted_is_not_used_after_a_restart() {
    let linked = run(
        fresh(),
        [Event::Start, Event::Paired(account("551100000001")), Event::Connected(account("551100000001"))],
    );
    let (linked, _) = linked.step(Event::PolicyChanged(declared("525550000001")), at(1));
    let restarted = run(
        Machine::new(declared("525550000001"), linked.memory()),
        [Event::Start, Event::Connected(account("551100000001"))],
    );
    assert_eq!((restarted.state.claim, restarted.may_send()), (ClaimState::Pending, false));
}

#[test]
fn without_a_declared_number_nothing_is_sent_until_the_claim_is_granted() {
    let number = account("551100000001").phone_number.canonical();
    let machine = run(
        fresh(),
        [
            Event::Start,
            Event::Qr(qr()),
            Event::Paired(account("551100000001")),
            Event::Connected(account("551100000001")),
        ],
    );
    assert_eq!(
        (machine.state.phase, machine.state.claim, machine.may_send()),
        (Phase::Connected, ClaimState::Pending, false)
    );

    let (granted, effects) = machine.step(Event::ClaimDecided(number.clone(), true), at(1));
    assert_eq!((granted.may_send(), effects), (true, vec![Effect::Remember]));

    let (refused, effects) = machine.step(Event::ClaimDecided(number.clone(), false), at(1));
    assert_eq!(effects, vec![Effect::Remember, Effect::Unlink]);
    let (refused, _) = refused.step(Event::Unlinked, at(2));
    assert_eq!(
        (refused.state.phase, refused.state.reason),
        (Phase::LoggedOut, Some(Reason::DuplicateNumber))
    );

    let other = account("551100000002").phone_number.canonical();
    assert_eq!(
        machine.step(Event::ClaimDecided(other, true), at(1)).1,
        vec![],
        "an answer about another number"
    );

    let memory = Memory { account: Some(account("551100000001")), claim: Some(number), ..Memory::default() };
    let restarted = run(
        Machine::new(Policy::default(), memory),
        [Event::Start, Event::Connected(account("551100000001"))],
    );
    assert!(restarted.may_send(), "a granted claim is remembered");
}

#[test]
fn delays_grow_while_nothing_works_and_begin_again_after_a_stable_connection() {
    let mut machine = connected();
    for attempt in 0..3 {
        let (next, effects) = machine.step(Event::Lost(Reason::ConnectionLost, None), at(i64::from(attempt)));
        assert_eq!(effects, vec![Effect::DialLater(attempt)]);
        machine = next;
    }
    let (machine, _) = machine.step(Event::Connected(account("5215550000001")), at(100));
    assert_eq!(machine.state.reconnects, 1);
    let (short, effects) = machine.step(Event::Lost(Reason::ConnectionLost, None), at(110));
    assert_eq!(effects, vec![Effect::DialLater(3)], "a connection of ten seconds is not stable");
    drop(short);
    let (_, effects) = machine.step(Event::Lost(Reason::ConnectionLost, None), at(160));
    assert_eq!(effects, vec![Effect::DialLater(0)]);
}

#[test]
fn retries_that_fail_alike_are_one_disconnect() {
    let (machine, _) = connected().step(Event::Lost(Reason::ConnectFailed, Some("refused".into())), at(1));
    let (again, _) = machine.step(Event::Lost(Reason::ConnectFailed, Some("refused".into())), at(9));
    assert_eq!(again.state, machine.state, "nothing that is shown changes");
}

#[test]
fn codes_that_nobody_scans_stop_and_come_back_on_request() {
    let machine = run(fresh(), [Event::Start, Event::Qr(qr()), Event::NobodyScanned]);
    assert_eq!(
        (machine.state.phase, machine.state.reason),
        (Phase::Disconnected, Some(Reason::NobodyScanned))
    );
    assert!(machine.state.qr.is_none());
    assert_eq!(
        machine.step(Event::Lost(Reason::ConnectionLost, None), at(1)).1,
        vec![],
        "the end of its socket is no news"
    );

    let (machine, effects) = machine.step(Event::PairRequested(at(10)), at(11));
    assert_eq!((machine.state.phase, effects), (Phase::Starting, vec![Effect::Remember, Effect::Dial]));
    assert_eq!(machine.step(Event::PairRequested(at(10)), at(12)).1, vec![], "heeded once");
}

#[test]
fn a_final_end_outlives_a_restart_and_yields_to_a_person() {
    for ending in [Ending::Replaced, Ending::Banned("a day".into()), Ending::Refused("418".into())] {
        let (machine, _) = connected().step(Event::Ended(ending), at(5));
        let restarted = Machine::new(declared("525550000001"), machine.memory());
        let (restarted, effects) = restarted.step(Event::Start, at(6));
        assert_eq!((restarted.state.phase, effects), (machine.state.phase, vec![]), "it does not fight");
        let (asked, effects) = restarted.step(Event::PairRequested(at(7)), at(7));
        assert_eq!((asked.state.phase, effects), (Phase::Starting, vec![Effect::Remember, Effect::Dial]));
    }
}

#[test]
fn an_ended_session_is_erased_again_before_another_begins() {
    let (machine, _) = connected().step(Event::Ended(Ending::LoggedOut("gone".into())), at(5));
    let (restarted, effects) =
        Machine::new(declared("525550000001"), machine.memory()).step(Event::Start, at(6));
    assert_eq!((restarted.state.phase, effects), (Phase::LoggedOut, vec![Effect::Erase]));
    let (asked, effects) = restarted.step(Event::PairRequested(at(7)), at(7));
    assert_eq!(
        (asked.state.phase, effects),
        (Phase::Starting, vec![Effect::Remember, Effect::Erase, Effect::Dial])
    );
}

#[test]
fn a_session_that_must_go_is_not_pardoned_by_another_end() {
    let wrong = run(
        Machine::new(declared("525550000001"), Memory::default()),
        [Event::Start, Event::Qr(qr()), Event::Paired(account("551100000001"))],
    );
    let (banned, effects) = wrong.step(Event::Ended(Ending::Banned("a day".into())), at(1));
    assert_eq!((banned.state.phase, effects), (Phase::Banned, vec![Effect::Close, Effect::Remember]));
    let (outdated, _) = wrong.step(Event::Outdated, at(1));
    let (outdated, _) = outdated.step(Event::VersionSought(false), at(2));
    for rested in [banned, outdated] {
        let (asked, _) = rested.step(Event::PairRequested(at(3)), at(3));
        let (asked, effects) = asked.step(Event::Connected(account("551100000001")), at(4));
        assert_eq!((asked.may_send(), effects), (false, vec![Effect::Remember, Effect::Unlink]));
    }
}

#[test]
fn each_attempt_to_pair_has_a_client_of_its_own() {
    let policy = Policy { method: PairingMethod::PairingCode, ..declared("525550000001") };
    let code = PairingText { code: "ABCD1234".into(), expires_at: at(180) };
    let machine = run(Machine::new(policy, Memory::default()), [Event::Start, Event::PairingCode(code)]);
    let (machine, effects) = machine.step(Event::Lost(Reason::ConnectionLost, None), at(1));
    assert_eq!((machine.state.phase, effects), (Phase::Starting, vec![Effect::Close, Effect::DialLater(0)]));
    let late = connected().step(Event::PairingCodeRefused("late".into()), at(1));
    assert_eq!(
        (late.0.state.phase, late.1),
        (Phase::Connected, vec![]),
        "the late refusal of a code that was used"
    );
}

#[test]
fn an_outdated_version_is_sought_once() {
    let (machine, _) = connected().step(Event::Outdated, at(1));
    let (machine, effects) = machine.step(Event::VersionSought(true), at(2));
    assert_eq!(effects, vec![Effect::Dial]);
    let (machine, effects) = machine.step(Event::Outdated, at(3));
    assert_eq!((machine.state.phase, effects), (Phase::Outdated, vec![Effect::Close, Effect::Remember]));
    assert_eq!(machine.memory().verdict, None, "a restart, with a newer image, tries again");
}

#[test]
fn a_logout_waits_for_the_connection_that_it_needs() {
    let (machine, _) = connected().step(Event::Lost(Reason::ConnectionLost, None), at(1));
    let (machine, effects) = machine.step(Event::LogoutRequested, at(2));
    assert_eq!(effects, vec![Effect::Remember]);
    let (machine, effects) = machine.step(Event::Connected(account("5215550000001")), at(3));
    assert_eq!(effects, vec![Effect::Remember, Effect::Unlink]);
    let (machine, _) = machine.step(Event::Ended(Ending::LoggedOut("own".into())), at(4));
    assert_eq!(
        (machine.state.phase, machine.state.reason),
        (Phase::LoggedOut, Some(Reason::LoggedOutByRequest))
    );
    assert_eq!(fresh().step(Event::LogoutRequested, at(1)).1, vec![], "nothing is linked");
}

#[test]
fn a_pairing_code_replaces_the_qr_code() {
    let policy = Policy { method: PairingMethod::PairingCode, ..declared("525550000001") };
    let code = PairingText { code: "ABCD1234".into(), expires_at: at(180) };
    let machine = run(
        Machine::new(policy, Memory::default()),
        [Event::Start, Event::Qr(qr()), Event::PairingCode(code.clone())],
    );
    assert_eq!((machine.state.phase, &machine.state.qr), (Phase::AwaitingCode, &None));
    assert_eq!(machine.state.pairing_code, Some(code));
    let (machine, _) = machine.step(Event::PairingCodeRefused("rate-overlimit".into()), at(1));
    assert_eq!(
        (machine.state.phase, machine.state.reason),
        (Phase::Disconnected, Some(Reason::PairingCodeRefused))
    );
}

#[test]
fn a_code_of_a_session_store_without_a_session_is_shown_whatever_was_remembered() {
    let memory = Memory { account: Some(account("525550000001")), ..Memory::default() };
    let machine = run(Machine::new(declared("525550000001"), memory), [Event::Start]);
    let (machine, effects) = machine.step(Event::Qr(qr()), at(1));
    assert_eq!(effects, vec![Effect::Remember]);
    assert_eq!(
        (machine.state.phase, machine.state.paired, machine.state.account),
        (Phase::AwaitingScan, false, None)
    );
}

#[test]
fn a_number_that_is_declared_after_it_linked_needs_no_claim() {
    let linked = run(
        fresh(),
        [Event::Start, Event::Paired(account("5215550000001")), Event::Connected(account("5215550000001"))],
    );
    let (granted, effects) = linked.step(Event::PolicyChanged(declared("525550000001")), at(1));
    assert_eq!((granted.may_send(), effects), (true, vec![Effect::Remember]));
    let (other, effects) = linked.step(Event::PolicyChanged(declared("551100000001")), at(1));
    assert_eq!(
        (other.state.phase, other.may_send(), effects),
        (Phase::Connected, false, vec![]),
        "never logged out for it"
    );
}

#[test]
fn another_way_to_pair_begins_at_once() {
    let showing = run(fresh(), [Event::Start, Event::Qr(qr())]);
    let policy = Policy { method: PairingMethod::PairingCode, ..declared("525550000001") };
    let (machine, effects) = showing.step(Event::PolicyChanged(policy.clone()), at(1));
    assert_eq!((machine.state.qr.is_none(), effects), (true, vec![Effect::Close, Effect::Dial]));
    assert_eq!(
        connected().step(Event::PolicyChanged(policy), at(1)).1,
        vec![],
        "a linked device does not mind"
    );
}

#[test]
fn a_phone_that_links_as_its_codes_are_given_up_is_linked() {
    for given_up in [
        Event::NobodyScanned,
        Event::PairingCodeRefused("throttled".into()),
        Event::PairingFailed("a signature".into()),
    ] {
        let machine = run(fresh(), [Event::Start, Event::Qr(qr()), given_up]);
        assert!(machine.gave_codes_up());
        let (machine, effects) = machine.step(Event::Paired(account("551100000001")), at(1));
        assert_eq!(effects, [Effect::Remember, Effect::Dial]);
        assert_eq!((machine.state.phase, machine.state.paired), (Phase::Starting, true));
    }
    let stopped = run(fresh(), [Event::Start, Event::Qr(qr()), Event::Stop]);
    assert!(!stopped.gave_codes_up(), "a device that stops does not begin again");
    let logged_out = run(connected(), [Event::Ended(Ending::LoggedOut(String::new()))]);
    assert!(!logged_out.gave_codes_up(), "the account of an ended session is no link");
}

/// The memory of a device whose claim was granted, as a device finds it that takes over a copy of its directory.
fn copied() -> Memory {
    Memory { claim: None, doomed: None, restored: true, ..connected().memory() }
}

fn own() -> CanonicalNumber {
    account("525550000001").phone_number.canonical()
}

#[test]
fn a_restored_session_connects_only_when_its_claim_is_granted() {
    for policy in [Policy::default(), declared("525550000001"), declared("551100000001")] {
        let waiting = Machine::new(policy, copied());
        let quiet = [
            Event::Start,
            Event::RetryDue,
            Event::VersionSought(true),
            Event::PairRequested(at(1)),
            Event::PolicyChanged(declared("525550000001")),
            Event::LogoutRequested,
            Event::ClaimDecided(account("551100000002").phone_number.canonical(), true),
        ];
        let waiting = quiet.into_iter().fold(waiting, |machine, event| {
            let (next, effects) = machine.step(event.clone(), at(2));
            assert!(effects.iter().all(|effect| *effect == Effect::Remember), "{event:?}: {effects:?}");
            assert_eq!(
                (next.state.phase, next.state.claim, next.state.paired),
                (Phase::Starting, ClaimState::Pending, true),
                "{event:?}"
            );
            assert!(next.state.account.is_some() && next.state.message.is_some(), "{event:?}");
            next
        });
        let (granted, effects) = waiting.step(Event::ClaimDecided(own(), true), at(3));
        assert_eq!(effects, vec![Effect::Remember, Effect::Dial]);
        assert_eq!((granted.state.claim, granted.state.message.as_deref()), (ClaimState::Granted, None));
        let (_, effects) = Machine::new(Policy::default(), granted.memory()).step(Event::Start, at(4));
        assert_eq!(effects, vec![Effect::Dial], "it is this device's from now on");
    }
}

#[test]
fn a_session_of_this_device_is_dialled_at_once_after_a_restart() {
    let pending = run(fresh(), [Event::Start, Event::Qr(qr()), Event::Paired(account("525550000001"))]);
    for memory in [connected().memory(), pending.memory()] {
        let (_, effects) = Machine::new(Policy::default(), memory).step(Event::Start, at(1));
        assert_eq!(effects, vec![Effect::Dial]);
    }
}

#[test]
fn a_restored_session_whose_number_is_another_devices_is_neither_logged_out_nor_erased() {
    let waiting = run(Machine::new(Policy::default(), copied()), [Event::Start]);
    let (refused, effects) = waiting.step(Event::ClaimDecided(own(), false), at(1));
    assert_eq!(effects, vec![Effect::Close, Effect::Remember]);
    assert_eq!(
        (refused.state.phase, refused.state.reason, refused.state.claim, refused.state.paired),
        (Phase::Failed, Some(Reason::DuplicateNumber), ClaimState::Refused, true)
    );
    assert_eq!(refused.memory().doomed, None);
    for event in [
        Event::RetryDue,
        Event::LogoutRequested,
        Event::ClaimDecided(own(), false),
        Event::PolicyChanged(declared("525550000001")),
        Event::Stop,
    ] {
        let (_, effects) = refused.step(event.clone(), at(2));
        assert!(effects.iter().all(|effect| *effect == Effect::Close), "{event:?}: {effects:?}");
    }

    let (granted, effects) = refused.step(Event::ClaimDecided(own(), true), at(2));
    assert_eq!((granted.state.phase, effects), (Phase::Starting, vec![Effect::Remember, Effect::Dial]));
    let (asked, effects) = refused.step(Event::PairRequested(at(2)), at(2));
    let restarted = Machine::new(declared("525550000001"), refused.memory()).step(Event::Start, at(2));
    for (again, effects, expected) in
        [(asked, effects, vec![Effect::Remember]), (restarted.0, restarted.1, vec![])]
    {
        assert_eq!(
            (again.state.phase, again.state.claim, effects),
            (Phase::Starting, ClaimState::Pending, expected),
            "it asks again"
        );
    }
}

#[test]
fn a_restored_session_that_had_ended_waits_for_a_person_and_for_its_claim() {
    let (ended, _) = connected().step(Event::Ended(Ending::Replaced), at(1));
    let memory = Memory { claim: None, restored: true, ..ended.memory() };
    let (resting, effects) = Machine::new(Policy::default(), memory).step(Event::Start, at(2));
    assert_eq!((resting.state.phase, effects), (Phase::Conflict, vec![]));
    let (granted, effects) = resting.step(Event::ClaimDecided(own(), true), at(3));
    assert_eq!((granted.state.phase, effects), (Phase::Conflict, vec![Effect::Remember]));
    let (asked, effects) = resting.step(Event::PairRequested(at(3)), at(3));
    assert_eq!((asked.state.phase, effects), (Phase::Starting, vec![Effect::Remember]));
    let (_, effects) = granted.step(Event::PairRequested(at(4)), at(4));
    assert_eq!(effects, vec![Effect::Remember, Effect::Dial]);
}

#[test]
fn a_session_that_is_found_in_a_foreign_directory_waits_and_one_that_links_there_does_not() {
    let foreign = Machine::new(Policy::default(), Memory { restored: true, ..Memory::default() });
    let (looking, effects) = foreign.step(Event::Start, at(0));
    assert_eq!(effects, vec![Effect::Dial], "whoever dials looks first");
    let (found, effects) = looking.step(Event::SessionFound(account("525550000001")), at(1));
    assert_eq!(effects, vec![Effect::Remember]);
    assert_eq!((found.state.claim, found.is_restored()), (ClaimState::Pending, true));

    let (shown, effects) = looking.step(Event::Qr(qr()), at(1));
    assert_eq!((shown.is_restored(), effects), (false, vec![Effect::Remember]));
    let linked =
        run(shown, [Event::Paired(account("525550000001")), Event::Connected(account("525550000001"))]);
    assert_eq!((linked.state.phase, linked.state.claim), (Phase::Connected, ClaimState::Pending));
    let (_, effects) = linked.step(Event::ClaimDecided(own(), false), at(2));
    assert_eq!(effects, vec![Effect::Remember, Effect::Unlink], "a link of this device is ended here");
}

#[test]
fn a_passkey_that_is_asked_for_has_a_phase_of_its_own_and_a_link_goes_on() {
    let shown = run(fresh(), [Event::Start, Event::Qr(qr())]);
    let (asked, effects) = shown.step(Event::PasskeyAsked, at(1));
    assert_eq!(effects, []);
    assert_eq!(
        (asked.state.phase, asked.state.reason),
        (Phase::PasskeyRequired, Some(Reason::PasskeyRequired))
    );
    assert!(asked.state.message.as_deref().unwrap().contains("passkey"));
    assert!(!asked.state.phase.is_final(), "a person can answer it on the phone");
    let (linked, _) = asked.step(Event::Paired(account("5215550000001")), at(2));
    assert_eq!(
        (linked.state.phase, linked.state.reason, linked.state.message),
        (Phase::Starting, None, None)
    );
}
