//! What a command says when a person has to act.

use crate::program::Program;
use crate::world::{CUSTOMER, NUMBER, World, condition};

#[tokio::test]
async fn a_device_that_cannot_be_unlinked_is_deleted_and_what_is_left_to_do_is_said() {
    let world = World::new().await;
    let enlace = world.start().await;
    enlace.create("shop").await;
    let linked = enlace.link("shop", NUMBER).await;
    assert_eq!(enlace.call("POST", "/v1/devices/default/shop/suspend", None).await.0, 200);
    enlace
        .until("shop", |device| (condition(device?, "PodReady")["reason"] == "Suspended").then_some(()))
        .await;
    let ended = enlace.run(&["delete", "shop"]).await;
    let says =
        "default/shop is deleted, but could not be unlinked: remove it on the phone under Linked devices\n";
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), says), "{}", enlace.program.stderr.text());
    assert!(world.lists(&linked).await, "it is so");
    enlace.stop().await;
}

#[tokio::test]
async fn a_message_that_waits_for_a_person_says_so() {
    let world = World::with_billing().await;
    let enlace = world.start().await;
    let linked = enlace.link("billing", NUMBER).await;
    world.phone(NUMBER).unlink(linked.device).await.unwrap();
    enlace.until_phase("billing", "LoggedOut").await;
    let send = ["send", "billing", "--to", CUSTOMER, "--text", "hello"];
    let ended = enlace.run(&send).await;
    let says = "cannot go out while default/billing is LoggedOut (LoggedOutOnPhone): `enlace pair default/billing` asks for new codes";
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains(" queued to "), "{ended:?}");
    assert!(ended.stderr.lines().count() == 1 && ended.stderr.contains(says), "{ended:?}");
    let ended = enlace.run(&[&send[..], &["--wait", "1s"]].concat()).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.lines().count() == 1 && ended.stderr.contains(says), "{ended:?}");
    enlace.stop().await;
}

#[tokio::test]
async fn what_is_no_message_is_refused_before_anything_is_asked() {
    let world = World::new().await;
    let pipe = world.path("pipe");
    assert!(tokio::process::Command::new("mkfifo").arg(&pipe).status().await.unwrap().success());
    let large = world.path("large");
    std::fs::File::create(&large).unwrap().set_len(64 * 1024 * 1024).unwrap();
    let send = |more: &[&str]| {
        let mut command = world.command(&[&["send", "billing", "--to", CUSTOMER], more].concat());
        command.env("ENLACE_TOKEN", "0").env("ENLACE_URL", "http://127.0.0.1:9");
        Program::start(command).ended()
    };
    for (file, says) in [
        ("/dev/zero", "is not a regular file"),
        (pipe.to_str().unwrap(), "is not a regular file"),
        (large.to_str().unwrap(), "which no message takes"),
        ("/nowhere", "cannot be read"),
    ] {
        let ended = send(&["--file", file]).await;
        assert!(ended.refused().contains(says), "{file}: {ended:?}");
    }
    let ended = send(&["--text", "hello", "--wait", "2m"]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("60s at most"), "{ended:?}");
}

#[tokio::test]
async fn a_variable_that_is_empty_is_not_set() {
    let world = World::new().await;
    let mut command = world.command(&["get", "devices"]);
    command.env("ENLACE_URL", "").env("ENLACE_DATA_DIR", "").env("HOME", world.path(""));
    let ended = Program::start(command).ended().await;
    assert!(ended.refused().contains(".local/share/enlace/token"), "{ended:?}");
    let mut command = world.command(&["get", "devices"]);
    command.env("ENLACE_URL", "").env("ENLACE_TOKEN", "0");
    let ended = Program::start(command).ended().await;
    assert!(ended.refused().contains("127.0.0.1:3000"), "{ended:?}");
}
