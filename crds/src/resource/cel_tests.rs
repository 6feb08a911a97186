//! What each rule accepts and refuses, and the sentence it refuses with.

use kube::core::cel::ValidationErrors;

use super::cel::{self, Text};
use super::{AccessMode, WhatsAppDevice, WhatsAppDeviceSpec};
use enlace_contract::config::PairingMethod;
use enlace_contract::number::PhoneNumber;

fn device(change: impl FnOnce(&mut WhatsAppDevice)) -> WhatsAppDevice {
    let mut device = WhatsAppDevice::new("billing", WhatsAppDeviceSpec::default());
    change(&mut device);
    device
}

fn sentences(result: Result<(), ValidationErrors>) -> Vec<(String, String)> {
    let errors = result.err().map(ValidationErrors::into_vec).unwrap_or_default();
    errors.into_iter().map(|error| (error.field_path, error.message)).collect()
}

/// The rule refuses each of the second and accepts each of the first, when it is set.
fn values(text: Text, path: &str, set: fn(&mut WhatsAppDevice, &str), accepted: &[&str], refused: &[&str]) {
    for value in accepted {
        assert_eq!(sentences(device(|device| set(device, value)).validate_cel()), [], "{value:?}");
    }
    for value in refused {
        let found = sentences(device(|device| set(device, value)).validate_cel());
        assert_eq!(found, [(path.to_owned(), text.message.to_owned())], "{value:?}");
    }
}

fn changes(
    text: Text,
    path: &str,
    set: fn(&mut WhatsAppDevice, Option<&str>),
    accepted: &[(Option<&str>, Option<&str>)],
    refused: &[(Option<&str>, Option<&str>)],
) {
    let update = |(old, new): &(Option<&str>, Option<&str>)| {
        let old = device(|device| set(device, *old));
        sentences(device(|device| set(device, *new)).validate_cel_update(&old))
    };
    for change in accepted {
        assert_eq!(update(change), [], "{change:?}");
    }
    for change in refused {
        assert_eq!(update(change), [(path.to_owned(), text.message.to_owned())], "{change:?}");
    }
}

#[test]
fn a_device_with_nothing_declared_is_valid() {
    assert_eq!(sentences(device(|_| ()).validate_cel()), []);
    assert_eq!(sentences(device(|_| ()).validate_cel_update(&device(|_| ()))), []);
}

#[test]
fn a_name_is_a_label_of_52_characters() {
    let (longest, too_long) = ("a".repeat(52), "a".repeat(53));
    values(
        cel::NAME,
        "",
        |device, name| device.metadata.name = Some(name.to_owned()),
        &["a", "7", "billing", "billing-2", &longest],
        &[&too_long, "a.b", "-a", "a-", "A", "a_b"],
    );
}

#[test]
fn a_number_is_7_to_15_digits() {
    values(
        cel::NUMBER,
        "spec.phoneNumber",
        |device, number| device.spec.phone_number = Some(number.to_owned()),
        &["5255500", "525550000001", "123456789012345"],
        &["", "+525550000001", "525 550 000 001", "0525550000001", "525550", "1234567890123456", "٥٢٥٥٥٠٠"],
    );
}

#[test]
fn a_number_is_set_once() {
    let (one, other) = (Some("525550000001"), Some("525550000002"));
    changes(
        cel::NUMBER_SET_ONCE,
        "spec.phoneNumber",
        |device, number| device.spec.phone_number = number.map(str::to_owned),
        &[(None, None), (None, one), (one, one)],
        &[(one, other), (one, None)],
    );
}

#[test]
fn a_number_that_is_declared_later_is_the_linked_one_in_either_spelling() {
    let declares = |linked: &str, phase: &str, number: &str| {
        let of = |number: Option<&str>| {
            device(|device| {
                device.spec.phone_number = number.map(str::to_owned);
                let status = serde_json::json!({
                    "account": {"phoneNumber": linked, "jid": "525550000001:2@s.whatsapp.net"}, "phase": phase,
                });
                device.status = Some(serde_json::from_value(status).unwrap());
            })
        };
        // What has a number already is not looked at again, whatever the status says of it.
        assert_eq!(sentences(of(Some(number)).validate_cel_update(&of(Some(number)))), []);
        sentences(of(Some(number)).validate_cel_update(&of(None)))
    };
    let refused = (".spec.phoneNumber".to_owned(), cel::NUMBER_IS_LINKED.message.to_owned());
    let numbers = [
        "525550000001",
        "5215550000001",
        "541100000001",
        "5491100000001",
        "5511960000001",
        "551160000001",
        "5511910000001",
        "551110000001",
    ];
    for linked in numbers {
        for number in numbers {
            let canonical = |text: &str| text.parse::<PhoneNumber>().unwrap().canonical();
            let expected =
                if canonical(linked) == canonical(number) { vec![] } else { vec![refused.clone()] };
            assert_eq!(declares(linked, "Connected", number), expected, "{linked} linked, {number} declared");
            assert_eq!(declares(linked, "LoggedOut", number), [], "{linked} was linked, {number} declared");
        }
    }
}

#[test]
fn a_pairing_code_needs_a_number() {
    let with = |method: PairingMethod, number: Option<&str>| {
        sentences(
            device(|device| {
                device.spec.pairing.method = method;
                device.spec.phone_number = number.map(str::to_owned);
            })
            .validate_cel(),
        )
    };
    assert_eq!(with(PairingMethod::QRCode, None), []);
    assert_eq!(with(PairingMethod::PairingCode, Some("525550000001")), []);
    let refused = ("spec.phoneNumber".to_owned(), cel::CODE_NEEDS_NUMBER.message.to_owned());
    assert_eq!(with(PairingMethod::PairingCode, None), [refused]);
}

#[test]
fn a_display_name_is_1_to_100_characters_that_can_be_shown() {
    let (longest, too_long) = ("ñ".repeat(100), "ñ".repeat(101));
    values(
        cel::DISPLAY_NAME,
        "spec.displayName",
        |device, name| device.spec.display_name = Some(name.to_owned()),
        &["B", "Cobranza México 📱", &longest],
        &["", "two\nlines", "a\ttab", "a\u{7f}", "a\u{85}", &too_long],
    );
}

#[test]
fn durations_have_their_form_and_their_bounds() {
    values(
        cel::TIMEOUT,
        "spec.pairing.timeout",
        |device, text| device.spec.pairing.timeout = text.to_owned(),
        &["1m", "90s", "60000ms", "1h30m", "168h"],
        &["59s", "168h1s", "7d", "1 h", "1.5h", "-1h", "1", "h", "", "9999999h"],
    );
    values(
        cel::RECONNECT_DELAY,
        "spec.connection.reconnectDelay",
        |device, text| device.spec.connection.reconnect_delay = text.to_owned(),
        &["1s", "1000ms", "5m", "1m30s"],
        &["0s", "999ms", "5m1s", "soon"],
    );
    values(
        cel::SENDING_INTERVAL,
        "spec.sending.interval",
        |device, text| device.spec.sending.interval = text.to_owned(),
        &["0s", "250ms", "1h"],
        &["3601s", "-1s", "1d"],
    );
}

#[test]
fn what_the_schema_takes_for_a_duration_can_be_read() {
    for text in ["1m", "90s", "60000ms", "1h30m", "168h", "0s", "999999h999999h9h"] {
        let period: enlace_contract::duration::Period = text.parse().unwrap();
        assert!(period.get().as_secs() < 292 * 365 * 86_400, "{text}: duration() overflows at 292 years");
    }
}

#[test]
fn a_size_is_a_quantity_of_at_least_16_mebibytes() {
    values(
        cel::SIZE,
        "spec.storage.size",
        |device, size| device.spec.storage.size = size.to_owned(),
        &["16Mi", "1Gi", "500M", "1.5Gi", "2e9", "1073741824"],
        &["15Mi", "0", "-1Gi", "1m", "big", "1 Gi", "1GB", ""],
    );
}

#[test]
fn a_size_grows() {
    changes(
        cel::SIZE_GROWS,
        "spec.storage.size",
        |device, size| device.spec.storage.size = size.unwrap_or("1Gi").to_owned(),
        &[(Some("1Gi"), Some("2Gi")), (Some("1Gi"), Some("1024Mi")), (Some("1Gi"), Some("1.5Gi"))],
        &[(Some("1Gi"), Some("1023Mi")), (Some("2Gi"), Some("1Gi"))],
    );
}

#[test]
fn a_storage_class_and_an_access_mode_cannot_change() {
    let (fast, slow) = (Some("fast"), Some("slow"));
    changes(
        cel::STORAGE_CLASS_IMMUTABLE,
        "spec.storage.storageClassName",
        |device, class| device.spec.storage.storage_class_name = class.map(str::to_owned),
        &[(None, None), (fast, fast)],
        &[(fast, slow), (fast, None), (None, fast)],
    );
    let (once_pod, once) = (Some("ReadWriteOncePod"), Some("ReadWriteOnce"));
    changes(
        cel::ACCESS_MODE_IMMUTABLE,
        "spec.storage.accessMode",
        |device, mode| {
            device.spec.storage.access_mode = mode.map(|mode| match mode {
                "ReadWriteOnce" => AccessMode::ReadWriteOnce,
                _ => AccessMode::ReadWriteOncePod,
            });
        },
        &[(None, None), (once, once)],
        &[(once_pod, once), (once, None), (None, once)],
    );
}

#[test]
fn labels_and_annotations_of_the_operator_are_its_own() {
    values(
        cel::LABELS,
        "spec.pod.labels",
        |device, key| drop(device.spec.pod.labels.insert(key.to_owned(), "x".to_owned())),
        &["team", "example.com/team", "enlace.dev.example.com/x"],
        &["enlace.dev/device", "app.kubernetes.io/name"],
    );
    values(
        cel::ANNOTATIONS,
        "spec.pod.annotations",
        |device, key| drop(device.spec.pod.annotations.insert(key.to_owned(), "any value: {}".to_owned())),
        &["note", "prometheus.io/scrape"],
        &["enlace.dev/applied-hash", "app.kubernetes.io/name"],
    );
    values(
        cel::LABEL_VALUES,
        "spec.pod.labels",
        |device, value| drop(device.spec.pod.labels.insert("team".to_owned(), value.to_owned())),
        &["", "a", "A-b_c.9"],
        &["a b", "-a", "a-", "ñ"],
    );
}
