//! Plans, for facts that are written down by hand.

use std::sync::Arc;

use enlace_crds::{WhatsAppDevice, WhatsAppDeviceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use crate::config::OperatorConfig;
use crate::observe::{Seen, SeenChildren, SeenClaims};
use crate::pods::SeenPod;
use crate::triggers::device_ref;
use crate::validate::validate;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_900_000_000 + second).unwrap()
}

fn settings() -> Settings {
    Settings {
        namespace: "enlace-system".into(),
        config: OperatorConfig::parse("installation: enlace\ndevice: {image: 'enlace-device:1'}\n").unwrap(),
        token_keys: vec!["key".into()],
    }
}

fn seen(spec: Value) -> Seen {
    let spec: WhatsAppDeviceSpec = serde_json::from_value(spec).unwrap();
    let mut device = WhatsAppDevice::new("billing", spec);
    device.metadata.namespace = Some("shop".into());
    device.metadata.uid = Some("uid-1".into());
    let declared = enlace_crds::config::phone_number(&device).ok().flatten();
    let previous = enlace_crds::WhatsAppDeviceStatus::default();
    let wanted = enlace_crds::rules::claims::wanted(declared.as_ref(), None, &previous);
    Seen {
        device,
        reference: device_ref("shop", "billing"),
        uid: "uid-1".into(),
        previous,
        children: SeenChildren::default(),
        pod: None,
        heard: Heard::NotRunning,
        claims: SeenClaims { wanted, ..SeenClaims::default() },
    }
}

fn pod(address: Option<&str>) -> SeenPod {
    SeenPod {
        uid: "pod-1".into(),
        facts: enlace_crds::rules::PodFacts {
            name: "billing-0".into(),
            ready: true,
            image: None,
            stuck: None,
        },
        address: address.map(ToOwned::to_owned),
        template_hash: None,
        device: Some("uid-1".into()),
        stopping: false,
        created: None,
    }
}

fn replicas(seen: Seen, outcome: ClaimOutcome) -> i32 {
    let claimed = Claimed { validated: validate(seen, &settings()).unwrap(), outcome };
    match plan(&claimed, &settings(), at(0)).unwrap().stateful_set {
        Some(Write::Make(set) | Write::Apply(set) | Write::PutRight(set)) => {
            set.spec.unwrap().replicas.unwrap()
        }
        None => 0,
    }
}

#[test]
fn a_pod_runs_only_when_nothing_speaks_against_it() {
    let duplicate = || ClaimOutcome::Duplicate { holder: None };
    for (spec, outcome, expected) in [
        (json!({}), ClaimOutcome::NotNeeded, 1),
        (json!({ "phoneNumber": "525550000001" }), ClaimOutcome::Granted, 1),
        (json!({ "phoneNumber": "525550000001" }), ClaimOutcome::Pending, 0),
        (json!({ "phoneNumber": "525550000001" }), duplicate(), 0),
        (json!({ "suspend": true }), ClaimOutcome::NotNeeded, 0),
        // What an older schema let in.
        (json!({ "sending": { "interval": "soon" } }), ClaimOutcome::NotNeeded, 0),
    ] {
        assert_eq!(replicas(seen(spec.clone()), outcome.clone()), expected, "{spec} {outcome:?}");
    }
}

#[test]
fn a_pod_is_told_the_number_that_the_device_holds_and_no_other() {
    let told = |outcome: ClaimOutcome| {
        let validated = validate(seen(json!({ "phoneNumber": "525550000001" })), &settings()).unwrap();
        let plan = plan(&Claimed { validated, outcome }, &settings(), at(0)).unwrap();
        let Some(Write::Make(map)) = plan.config_map else { panic!("{:?}", plan.config_map) };
        map.data.unwrap().into_values().any(|yaml| yaml.contains("525550000001"))
    };
    assert!(told(ClaimOutcome::Granted));
    assert!(!told(ClaimOutcome::Duplicate { holder: None }), "it could take the number for its own");
}

#[test]
fn a_spec_that_cannot_be_followed_takes_no_number() {
    let validated = validate(
        seen(json!({ "phoneNumber": "525550000001", "sending": { "interval": "soon" } })),
        &settings(),
    )
    .unwrap();
    assert_eq!(claim(&validated, "enlace-system"), ClaimStep::Nothing(ClaimOutcome::Pending));
}

#[test]
fn a_session_is_ended_while_there_is_time_and_somebody_to_ask() {
    let paired = DeviceState { phase: Phase::Connected, paired: true, ..DeviceState::default() };
    let unpaired = DeviceState { phase: Phase::AwaitingScan, ..DeviceState::default() };
    let says = |state: &DeviceState| Heard::State(Arc::new(state.clone()));
    let silent = || Heard::Unreachable { since: at(0) };
    let log_out = |last| Departure::LogOut { last };
    let leave = |reason| Departure::Leave(reason);
    for (pod, heard, tried, second, expected) in [
        (Some(pod(Some("10.244.0.7"))), says(&paired), false, 0, log_out(false)),
        (Some(pod(Some("10.244.0.7"))), says(&paired), true, 14, log_out(false)),
        (
            Some(pod(Some("10.244.0.7"))),
            says(&paired),
            true,
            15,
            leave(Some("the device could not do it in time")),
        ),
        // The operator was away while the time ran.
        (Some(pod(Some("10.244.0.7"))), says(&paired), false, 900, log_out(true)),
        (Some(pod(Some("10.244.0.7"))), silent(), false, 0, log_out(false)),
        (Some(pod(None)), Heard::NotRunning, false, 14, log_out(false)),
        (Some(pod(None)), Heard::NotRunning, false, 15, leave(Some("the pod does not run"))),
        (None, Heard::NotRunning, false, 0, leave(Some("no pod runs"))),
        (Some(pod(Some("10.244.0.7"))), says(&unpaired), false, 0, leave(None)),
    ] {
        let mut seen = seen(json!({}));
        seen.device.metadata.finalizers = Some(vec![names::LOGOUT_FINALIZER.into()]);
        seen.device.metadata.deletion_timestamp = Some(Time(at(0)));
        seen.previous.account = Some(enlace_contract::state::Account {
            phone_number: "525550000001".parse().unwrap(),
            jid: "jid".into(),
            lid: None,
            push_name: None,
            platform: None,
        });
        (seen.pod, seen.heard) = (pod.clone(), heard.clone());
        let validated = validate(seen, &settings()).unwrap();
        assert_eq!(
            departure(&validated, false, tried, at(second)),
            expected,
            "{pod:?} {heard:?} {tried} {second}"
        );
        assert_eq!(departure(&validated, true, tried, at(second)), leave(None), "it is done already");
    }
}

#[test]
fn a_device_that_is_not_heard_yet_may_have_been_linked_a_moment_ago() {
    let silent = || Heard::Unreachable { since: at(0) };
    let log_out = |last| Departure::LogOut { last };
    let unpaired = DeviceState { phase: Phase::AwaitingScan, ..DeviceState::default() };
    let not_paired = json!({ "conditions": [{
        "type": PAIRED, "status": "False", "reason": "AwaitingScan", "message": "",
        "lastTransitionTime": "2030-01-01T00:00:00Z",
    }]});
    for (address, heard, tried, second, expected) in [
        (Some("10.244.0.7"), silent(), false, 0, log_out(false)),
        (Some("10.244.0.7"), silent(), true, 14, log_out(false)),
        (Some("10.244.0.7"), silent(), false, 900, log_out(true)),
        // As far as anybody knows there is no session.
        (Some("10.244.0.7"), silent(), true, 15, Departure::Leave(None)),
        (Some("10.244.0.7"), Heard::State(Arc::new(unpaired)), false, 0, Departure::Leave(None)),
        (None, Heard::NotRunning, false, 0, Departure::Leave(None)),
    ] {
        for status in [&not_paired, &json!({})] {
            let mut seen = seen(json!({}));
            seen.device.metadata.finalizers = Some(vec![names::LOGOUT_FINALIZER.into()]);
            seen.device.metadata.deletion_timestamp = Some(Time(at(0)));
            seen.previous = serde_json::from_value(status.clone()).unwrap();
            (seen.pod, seen.heard) = (Some(pod(address)), heard.clone());
            let validated = validate(seen, &settings()).unwrap();
            let departure = departure(&validated, false, tried, at(second));
            assert_eq!(departure, expected, "{address:?} {heard:?} {tried} {second} {status}");
        }
    }
}

#[test]
fn the_same_facts_give_the_same_plan() {
    let made = || {
        let validated = validate(seen(json!({ "phoneNumber": "525550000001" })), &settings()).unwrap();
        let claimed = Claimed { validated, outcome: ClaimOutcome::Granted };
        format!("{:?}", plan(&claimed, &settings(), at(0)).unwrap())
    };
    assert_eq!(made(), made());
}
