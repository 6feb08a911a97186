//! A data directory that came from another device: its session may have a client there.

use std::fs;
use std::path::Path;

use enlace_contract::client::DeviceClient;
use enlace_contract::config::DeviceConfig;
use enlace_contract::state::{ClaimDecision, ClaimState, PairRequest, Phase, Reason};
use enlace_device_pod::Device;
use tempfile::TempDir;

use crate::fixture::{NUMBER, Running, World, config, quick};

/// A device that is connected, and a copy of its directory.
async fn copied() -> (World, Running, u16, TempDir) {
    let world = World::new().await;
    let (device, linked) = world.linked(quick()).await;
    device.device.stop().await;
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(world.directory.path()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let incumbent = world.start(quick()).await;
    incumbent.until_phase(Phase::Connected).await;
    (world, incumbent, linked.device, copy)
}

/// The configuration of another device.
fn other(settings: serde_json::Value) -> DeviceConfig {
    DeviceConfig { uid: "uid-2".into(), ..config(settings) }
}

async fn start(world: &World, config: DeviceConfig, directory: &Path, adopt: bool) -> Running {
    let device = Device::start(config, directory, world.endpoints(), adopt).await.unwrap();
    Running { client: DeviceClient::in_process(device.router()), device }
}

/// How many logins there were.
async fn logins(world: &World) -> usize {
    world.control().server().logins().await.unwrap().len()
}

fn decision(granted: bool) -> ClaimDecision {
    ClaimDecision {
        number: NUMBER.parse::<enlace_contract::number::PhoneNumber>().unwrap().canonical(),
        granted,
    }
}

/// It waits for its claim, and is told that the number is the incumbent's.
async fn is_refused(device: &Running) {
    let state = device.until(|state| state.message.is_some() && state.claim == ClaimState::Pending).await;
    assert_eq!((state.phase, state.paired, state.account.is_some()), (Phase::Starting, true, true));
    let state = device.client.decide_claim(&decision(false)).await.unwrap();
    assert_eq!(
        (state.phase, state.reason, state.claim, state.paired),
        (Phase::Failed, Some(Reason::DuplicateNumber), ClaimState::Refused, true)
    );
}

#[tokio::test]
async fn a_copy_of_a_session_leaves_the_device_alone_that_has_it() {
    let (world, incumbent, number, copy) = copied().await;
    let before = logins(&world).await;
    // Even one that declares the number.
    let settings = serde_json::json!({ "phoneNumber": NUMBER });
    let device = start(&world, other(settings.clone()), copy.path(), true).await;
    is_refused(&device).await;
    device.client.pair(&PairRequest::default()).await.unwrap();
    is_refused(&device).await;
    device.client.log_out().await.unwrap_err();
    device.device.stop().await;

    let device = start(&world, other(settings), copy.path(), false).await;
    is_refused(&device).await;
    device.device.stop().await;

    assert!(copy.path().join("session.db").exists(), "the session is kept");
    let server = world.control().server().state().await.unwrap();
    assert!(!server.device(NUMBER, number).unwrap().logged_out, "and was not ended");
    let state = incumbent.client.state().await.unwrap();
    assert_eq!((state.phase, state.reconnects), (Phase::Connected, 0));
    assert_eq!(logins(&world).await, before, "nobody else logged in");
    world.end(incumbent).await;
}

#[tokio::test]
async fn a_restored_session_connects_with_its_claim_and_after_that_at_once() {
    let (world, incumbent, _, copy) = copied().await;
    let device = start(&world, other(serde_json::json!({})), copy.path(), true).await;
    is_refused(&device).await;
    incumbent.device.stop().await;
    device.client.pair(&PairRequest::default()).await.unwrap();
    device.client.decide_claim(&decision(true)).await.unwrap();
    device.until_phase(Phase::Connected).await;
    device.device.stop().await;

    let device = start(&world, other(serde_json::json!({})), copy.path(), true).await;
    let state = device.until_phase(Phase::Connected).await;
    assert_eq!(state.claim, ClaimState::Granted);
    world.end(device).await;
}

#[tokio::test]
async fn a_session_that_nobody_remembers_waits_too() {
    let (world, incumbent, _, copy) = copied().await;
    let before = logins(&world).await;
    for file in ["device.db", "device.db-wal", "device.db-shm", "device-uid"] {
        // Which of them are there is SQLite's business.
        let _ = fs::remove_file(copy.path().join(file));
    }
    let device = start(&world, other(serde_json::json!({})), copy.path(), false).await;
    is_refused(&device).await;
    device.device.stop().await;
    assert_eq!(incumbent.client.state().await.unwrap().phase, Phase::Connected);
    assert_eq!(logins(&world).await, before, "nobody else logged in");
    world.end(incumbent).await;
}
