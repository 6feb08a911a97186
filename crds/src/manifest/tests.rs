use super::*;
use crate::WhatsAppDeviceSpec;
use crate::resource::{DeletionPolicy, PublishIn};

const HEAD: &str = "apiVersion: enlace.dev/v1alpha1\nkind: WhatsAppDevice\nmetadata:\n  name: billing\n";

fn device(spec: &str) -> Result<WhatsAppDevice, String> {
    match parse(&format!("{HEAD}{spec}"), "devices.yaml") {
        Ok(manifests) => match manifests.into_iter().next() {
            Some(Manifest::Device(device)) => Ok(*device),
            other => panic!("{other:?}"),
        },
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn defaults_are_filled_in() {
    let device = device("spec: {}\n").unwrap();
    assert_eq!(device.spec, WhatsAppDeviceSpec::default());
    assert_eq!(device.spec.pairing.timeout, "1h");
    assert_eq!(device.spec.connection.reconnect_delay, "5s");
    assert_eq!(device.spec.storage.size, "1Gi");
    assert_eq!(device.spec.deletion_policy, DeletionPolicy::Logout);
    assert_eq!(device.metadata.namespace.as_deref(), Some("default"));
}

#[test]
fn a_partly_filled_part_keeps_the_defaults_of_the_rest() {
    let device = device("spec:\n  pairing:\n    publishIn: Secret\n").unwrap();
    assert_eq!(device.spec.pairing.publish_in, PublishIn::Secret);
    assert_eq!(device.spec.pairing.timeout, "1h");
}

#[test]
fn a_null_is_an_absent_field() {
    let device = device("spec:\n  phoneNumber: null\n  sending:\n  storage: {size: ~}\n").unwrap();
    assert_eq!(device.spec, WhatsAppDeviceSpec::default());
}

#[test]
fn each_fault_is_one_line_that_says_where_and_what() {
    for (spec, line) in [
        (
            "spec: {pairing: {timeout: 5}}",
            "spec.pairing.timeout: must be a text, not a number: put it in quotes, \"5\"",
        ),
        (
            "spec: {pairing: {timeout: 5d}}",
            "spec.pairing.timeout: must be a duration from 1m to 168h, like 90s, 15m or 1h30m",
        ),
        (
            "spec: {phoneNumber: 525550000001}",
            "spec.phoneNumber: must be a text, not a number: put it in quotes, \"525550000001\"",
        ),
        ("spec: {pairing: {method: Qr}}", "spec.pairing.method: must be QRCode or PairingCode, not \"Qr\""),
        (
            "spec: {pairing: {methods: QRCode}}",
            "spec.pairing.methods: is not a field; the fields are method, publishIn, timeout",
        ),
        ("spec: {suspend: 'true'}", "spec.suspend: must be true or false, not a text"),
        ("spec: []", "spec: must be a map of fields, not a list"),
        ("extra: 1\nspec: {}", "extra: is not a field; the fields are spec, status"),
        ("", "spec: is missing"),
        (
            "spec: {pod: {tolerations: [{key: 5}]}}",
            "spec.pod.tolerations[0].key: must be a text, not a number: put it in quotes, \"5\"",
        ),
        (
            "spec: {pod: {resources: {limits: {cpu: [1]}}}}",
            "spec.pod.resources.limits.cpu: must be a whole number or a text, not a list",
        ),
        ("spec: {pod: {imagePullSecrets: [{}]}}", "spec.pod.imagePullSecrets[0].name: is missing"),
        (
            "spec: {pod: {labels: {example.com/team: 1}}}",
            "spec.pod.labels[example.com/team]: must be a text, not a number: put it in quotes, \"1\"",
        ),
        ("spec: {pod: {image: ''}}", "spec.pod.image: must be at least 1 characters, not 0"),
    ] {
        let error = device(spec).unwrap_err();
        assert_eq!(error, format!("devices.yaml: document 1: {line}"), "{spec}");
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let error = device("spec:\n  suspend: 1\n  storge: {}\n  deletionPolicy: Never\n").unwrap_err();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 3, "{error}");
    assert!(lines.iter().all(|line| line.starts_with("devices.yaml: document 1: spec.")), "{error}");
}

#[test]
fn bounds_of_lists_and_maps_are_checked() {
    let tolerations = "{}, ".repeat(33);
    let error = device(&format!("spec: {{pod: {{tolerations: [{tolerations}]}}}}")).unwrap_err();
    assert!(error.ends_with("spec.pod.tolerations: must have at most 32 items, not 33"), "{error}");
    let labels: String = (0..33).map(|n| format!("l{n}: x, ")).collect();
    let error = device(&format!("spec: {{pod: {{nodeSelector: {{{labels}}}}}}}")).unwrap_err();
    assert!(error.ends_with("spec.pod.nodeSelector: must have at most 32 entries, not 33"), "{error}");
    let error = device(&format!("spec: {{phoneNumber: '{}'}}", "1".repeat(65))).unwrap_err();
    assert!(error.ends_with("spec.phoneNumber: must be at most 64 characters, not 65"), "{error}");
}

#[test]
fn metadata_is_checked_too() {
    for (metadata, line) in [
        ("{name: Billing}", "metadata.name must be at most 52 lower-case letters"),
        ("{}", "metadata.name: is missing"),
        ("{name: a, namespace: A}", "metadata.namespace: \"A\" is not a name"),
        ("{name: a, lables: {}}", "metadata.lables: is not a field"),
        (
            "{name: a, labels: {x: 1}}",
            "metadata.labels.x: must be a text, not a whole number: put it in quotes",
        ),
        ("{name: y}", "metadata.name: must be a text, not true or false: put it in quotes"),
        (
            "{name: a, annotations: {enlace.dev/pair-requested: now}}",
            "metadata.annotations[enlace.dev/pair-requested]: must be a time like",
        ),
    ] {
        let text = format!(
            "apiVersion: enlace.dev/v1alpha1\nkind: WhatsAppDevice\nmetadata: {metadata}\nspec: {{}}\n"
        );
        let error = parse(&text, "f").unwrap_err().to_string();
        assert!(error.starts_with(&format!("f: document 1: {line}")), "{metadata}: {error}");
    }
}

#[test]
fn documents_are_counted_and_other_kinds_are_skipped_with_a_reason() {
    let text = format!(
        "# A comment.\n---\n{HEAD}spec: {{}}\n---\napiVersion: v1\nkind: Secret\nmetadata: {{name: proxy}}\nstringData: {{a: b}}\n"
    );
    let manifests = parse(&text, "f").unwrap();
    assert_eq!(manifests.len(), 2);
    assert_eq!(manifests[0].skipped(), None);
    let reason = "Secret \"proxy\" is skipped: only WhatsAppDevice is read without Kubernetes";
    assert_eq!(manifests[1].skipped().as_deref(), Some(reason));

    let error = parse(&format!("{text}---\n{HEAD}spec: {{sending: {{interval: x}}}}\n"), "f").unwrap_err();
    assert!(error.to_string().starts_with("f: document 3: spec.sending.interval: "), "{error}");
}

#[test]
fn a_kind_that_is_nearly_ours_is_no_other_kind() {
    for (head, kind) in [
        ("apiVersion: enlace.dev/v1alpha1\nkind: WhatsappDevice\n", "WhatsappDevice"),
        ("apiVersion: enlace.dev/v1alpha1\nkind: Device\n", "Device"),
        ("apiVersion: v1\nkind: whatsappdevice\n", "whatsappdevice"),
    ] {
        let error = parse(&format!("{head}metadata: {{name: a}}\nspec: {{}}\n"), "f").unwrap_err();
        assert_eq!(error.to_string(), format!("f: document 1: kind: must be WhatsAppDevice, not {kind:?}"));
    }
}

#[test]
fn the_items_of_a_list_are_read_each_as_a_document() {
    let item = |name: &str, spec: &str| {
        format!(
            "- {{apiVersion: enlace.dev/v1alpha1, kind: WhatsAppDevice, metadata: {{name: {name}}}, spec: {spec}}}\n"
        )
    };
    for kind in ["List", "WhatsAppDeviceList"] {
        let list = format!("apiVersion: v1\nkind: {kind}\nitems:\n{}{}", item("a", "{}"), item("b", "{}"));
        let names: Vec<_> = parse(&list, "f")
            .unwrap()
            .into_iter()
            .map(|manifest| match manifest {
                Manifest::Device(device) => device.metadata.name.unwrap(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(names, ["a", "b"], "{kind}");
    }
    let list = |items: &str| {
        parse(&format!("apiVersion: v1\nkind: List\nitems:{items}"), "f").unwrap_err().to_string()
    };
    let wrong = list(&format!("\n{}{}", item("a", "{}"), item("b", "{suspend: 1}")));
    assert_eq!(wrong, "f: document 1: items[1].spec.suspend: must be true or false, not a number");
    let twice = list(&format!("\n{}{}", item("a", "{}"), item("a", "{}")));
    assert!(twice.starts_with("f: document 1: items[1].metadata.name: default/a is declared"), "{twice}");
    assert_eq!(list(" 5"), "f: document 1: items: must be a list of resources");
}

#[test]
fn what_the_parser_says_to_programmers_is_not_said() {
    let twice = parse(&format!("{HEAD}spec: {{}}\nspec: {{}}\n"), "f").unwrap_err().to_string();
    assert!(twice.contains("duplicate mapping key: spec") && !twice.contains("Options"), "{twice}");
    let many = format!("{HEAD}spec: [{}]", "1, ".repeat(300_000));
    let many = parse(&many, "f").unwrap_err().to_string();
    assert!(many.contains("it has too many values: write several files") && !many.contains('{'), "{many}");
}

#[test]
fn one_device_is_declared_once() {
    let error = parse(&format!("{HEAD}spec: {{}}\n---\n{HEAD}spec: {{}}\n"), "f").unwrap_err();
    let line = "f: document 2: metadata.name: default/billing is declared in document 1 already";
    assert_eq!(error.to_string(), line);
}

#[test]
fn what_is_not_yaml_or_not_a_resource_is_one_line() {
    let error = parse("a: [\nb: }", "f").unwrap_err().to_string();
    assert!(error.starts_with("f: not YAML: ") && !error.contains('\n'), "{error}");
    for (text, line) in [
        ("just a text", "must be a Kubernetes resource with apiVersion, kind and metadata"),
        ("kind: WhatsAppDevice", "apiVersion: is missing"),
        ("apiVersion: v1", "kind: is missing"),
        (
            "apiVersion: enlace.dev/v1\nkind: WhatsAppDevice",
            "apiVersion: must be enlace.dev/v1alpha1, not \"enlace.dev/v1\"",
        ),
    ] {
        assert_eq!(parse(text, "f").unwrap_err().to_string(), format!("f: document 1: {line}"));
    }
    assert_eq!(parse("", "f").unwrap(), []);
}

#[test]
fn a_manifest_out_of_a_cluster_is_a_new_device() {
    let text = "apiVersion: enlace.dev/v1alpha1\nkind: WhatsAppDevice\nmetadata:\n  name: a\n  namespace: shop\n  uid: u\n  \
                resourceVersion: '7'\n  generation: 3\n  creationTimestamp: 2030-01-31T12:00:00Z\n  finalizers: [enlace.dev/logout]\n  \
                labels: {team: a}\nspec: {phoneNumber: '525550000001'}\nstatus: {phase: Connected, anything: 1}\n";
    let manifests = parse(text, "f").unwrap();
    let [Manifest::Device(device)] = manifests.as_slice() else { panic!("{manifests:?}") };
    let mut wanted = WhatsAppDevice::new(
        "a",
        WhatsAppDeviceSpec { phone_number: Some("525550000001".into()), ..WhatsAppDeviceSpec::default() },
    );
    wanted.metadata.namespace = Some("shop".into());
    wanted.metadata.labels = Some([("team".to_owned(), "a".to_owned())].into());
    assert_eq!(**device, wanted);
}

#[test]
fn a_change_is_checked_against_what_was() {
    let old = device("spec: {phoneNumber: '525550000001', storage: {size: 2Gi}}").unwrap();
    assert_eq!(validate_update(&old, &old), Ok(()));
    let new = device("spec: {phoneNumber: '525550000002', storage: {size: 1Gi}}").unwrap();
    let error = validate_update(&old, &new).unwrap_err().to_string();
    assert_eq!(
        error,
        "spec.phoneNumber: cannot change or be removed once it is set: create another device for another number\n\
         spec.storage.size: can grow but not shrink"
    );
}

#[test]
fn a_device_made_by_a_program_is_checked_like_a_manifest() {
    let mut device = device("spec: {}").unwrap();
    assert_eq!(validate(&device), Ok(()));
    device.spec.pod.priority_class_name = Some("x".repeat(254));
    let error = validate(&device).unwrap_err().to_string();
    assert_eq!(error, "spec.pod.priorityClassName: must be at most 253 characters, not 254");
    device.spec = WhatsAppDeviceSpec { display_name: Some("a\nb".into()), ..WhatsAppDeviceSpec::default() };
    assert!(validate(&device).unwrap_err().to_string().starts_with("spec.displayName: must be"));
}
