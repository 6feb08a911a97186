//! `enlace get`, for people and for programs, and what the command says of itself.

use serde_json::{Value, json};

use crate::world::{CUSTOMER, NUMBER, World, manifest};

#[tokio::test]
async fn every_form_can_be_read() {
    let world = World::with_billing().await;
    world.write("desk.yaml", &manifest("desk", json!({ "suspend": true })));
    let enlace = world.start().await;
    enlace.link("billing", NUMBER).await;
    enlace.until_phase("desk", "Suspended").await;

    assert_eq!(enlace.ok(&["get", "devices", "-o", "name"]).await, "default/billing\ndefault/desk\n");
    let list = enlace.json(&["get", "devices"]).await;
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&json!("List"), 2));
    let yaml = enlace.ok(&["get", "wad", "-o", "yaml"]).await;
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap()["items"][0]["metadata"]["name"], "billing");

    let one = enlace.json(&["get", "devices", "billing"]).await;
    assert_eq!((&one["kind"], &one["status"]["phase"]), (&json!("WhatsAppDevice"), &json!("Connected")));
    let yaml = enlace.ok(&["get", "device", "default/billing", "-o", "yaml"]).await;
    let read = serde_saphyr::from_str::<Value>(&yaml).unwrap();
    assert_eq!(read["metadata"]["uid"], one["metadata"]["uid"]);
    let send = ["send", "billing", "--to", CUSTOMER, "--text", "hello", "--wait", "30s", "-o", "yaml"];
    let sent = serde_saphyr::from_str::<Value>(&enlace.ok(&send).await).unwrap();
    assert_eq!((&sent["to"], &sent["type"]), (&json!(CUSTOMER), &json!("text")), "{sent}");
    assert!(sent["id"].is_string() && sent["sentAt"].is_string(), "{sent}");
    let table = enlace.ok(&["get", "devices", "desk"]).await;
    assert_eq!(table.lines().count(), 2);
    assert!(table.lines().all(|line| line.trim_end() == line), "{table:?}");
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn what_get_writes_as_yaml_is_a_manifest_again() {
    let world = World::with_billing().await;
    let enlace = world.start().await;
    enlace.link("billing", NUMBER).await;
    let one = enlace.ok(&["get", "devices", "billing", "-o", "yaml"]).await;
    enlace.stop().await;

    let elsewhere = World::new().await;
    elsewhere.write("copy.yaml", &one);
    let enlace = elsewhere.start().await;
    let device = enlace.until_phase("billing", "AwaitingScan").await;
    assert_eq!(device["spec"]["sending"]["interval"], "0s");
    assert_eq!(device["status"].get("account"), None, "the status of elsewhere says nothing here");
    let log = enlace.stop().await.stderr;
    assert!(!log.contains("copy.yaml"), "{log}");
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_error() {
    let world = World::with_billing().await;
    let enlace = world.start().await;
    enlace.until_phase("billing", "AwaitingScan").await;
    let mut command = tokio::process::Command::new("sh");
    world.prepare(&mut command);
    let enough = format!("{} events billing -o json | head -n 1", env!("CARGO_BIN_EXE_enlace"));
    command.args(["-c", &enough]).env("ENLACE_URL", &enlace.url);
    let events = crate::program::Program::start(command);
    events.stdout.line("state").await;
    // The next event finds nobody.
    enlace.link("billing", NUMBER).await;
    assert_eq!(events.ended().await.stderr, "");
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn the_version_tells_whom_it_trusts() {
    let world = World::new().await;
    let version = world.run(&["--version"]).await.ok();
    let number = env!("CARGO_PKG_VERSION");
    assert_eq!(version, format!("enlace {number} (trusts simulator (not for production))\n"));
    let mut plugin = world.command(&["--version"]);
    std::os::unix::process::CommandExt::arg0(plugin.as_std_mut(), "kubectl-enlace");
    let version = crate::program::Program::start(plugin).ended().await.ok();
    assert_eq!(version, format!("kubectl-enlace {number} (trusts simulator (not for production))\n"));
}

#[tokio::test]
async fn a_wrong_command_line_ends_with_2() {
    let world = World::new().await;
    for arguments in [
        ["frobnicate"].as_slice(),
        &["get"],
        &["get", "pods"],
        &["get", "devices", "Not_A_Name"],
        &["get", "devices", "--url", "localhost:3000"],
        &["send", "billing", "--text", "to whom?"],
        &["send", "billing", "--to", "525550000002"],
        &["qr", "billing", "--timeout", "soon"],
        &["standalone"],
        &["standalone", "devices", "--listen", "everywhere"],
    ] {
        let ended = world.run(arguments).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.starts_with("error: "), "{arguments:?}: {ended:?}");
    }
}

#[tokio::test]
async fn help_has_what_can_be_used() {
    let world = World::new().await;
    let standalone = world.run(&["standalone", "--help"]).await.ok();
    assert!(standalone.contains("--listen") && standalone.contains("--data-dir"), "{standalone}");
    assert!(!standalone.contains("--url") && !standalone.contains("--token"), "{standalone}");
    let send = world.run(&["send", "--help"]).await.ok();
    assert!(
        send.contains("--url") && send.contains("--token") && send.contains("3 when the time ran out"),
        "{send}"
    );
    let qr = world.run(&["qr", "--help"]).await.ok();
    assert!(qr.contains("160 seconds"), "{qr}");
    let nothing = world.run(&["send", "billing", "--to", "525550000002"]).await.stderr;
    assert!(nothing.contains("--text <TEXT>|--file <FILE>"), "{nothing}");
}

#[tokio::test]
async fn events_wait_for_devices_that_start() {
    let world = World::new().await;
    // They start one after the other, half a second apart: most of them are away when the port listens.
    let names = ["billing", "desk", "sales", "shop"];
    for name in names {
        world.write(&format!("{name}.yaml"), &manifest(name, json!({})));
    }
    let enlace = world.start().await;
    let readers = names.map(|name| enlace.begin(&["events", name]));
    for (name, reader) in names.iter().zip(&readers) {
        let line = reader.stdout.line("state").await;
        assert!(line.contains("Starting") || line.contains("AwaitingScan"), "{name}: {line}");
    }
    enlace.stop().await;
}

#[tokio::test]
async fn events_say_why_they_ended() {
    let world = World::with_billing().await;
    world.write("desk.yaml", &manifest("desk", json!({})));
    let enlace = world.start().await;
    let begin = async |name: &str| {
        enlace.until_phase(name, "AwaitingScan").await;
        let events = enlace.begin(&["events", name]);
        events.stdout.line("AwaitingScan").await;
        events
    };
    let suspended = begin("billing").await;
    world.write("billing.yaml", &manifest("billing", json!({ "suspend": true })));
    let suspended = suspended.ended().await;
    assert_eq!(suspended.code, Some(1));
    assert_eq!(suspended.stderr, "enlace: the events ended: default/billing was suspended\n");

    let stopped = begin("desk").await;
    enlace.stop().await;
    let stopped = stopped.ended().await;
    assert_eq!(stopped.code, Some(1));
    assert_eq!(stopped.stderr, "enlace: the events ended: Enlace was stopped\n");
}
