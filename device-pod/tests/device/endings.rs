//! Each way a connection can end, and the phase and reason it ends in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use enlace_contract::client::{ClientError, DeviceClient};
use enlace_contract::state::{PairRequest, Phase, Reason};
use enlace_device_pod::endpoints::Endpoints;
use whatsapp_simulator::{Linked, LoginFailure, LoginOutcome};

use crate::fixture::{NUMBER, OTHER, Running, World, quick};

/// A linked device, and the server's hand on its connection.
async fn linked() -> (World, Running, Linked) {
    let world = World::new().await;
    let (device, linked) = world.linked(quick()).await;
    (world, device, linked)
}

/// The device's next login gets a failure.
async fn refused(failure: LoginFailure) -> (World, Running) {
    let (world, device, linked) = linked().await;
    world.control().server().fail_next_login(failure).await.unwrap();
    world.control().server().drop_connection(NUMBER, linked.device).await.unwrap();
    (world, device)
}

#[tokio::test]
async fn a_lost_connection_comes_back() {
    let (world, device, linked) = linked().await;
    world.control().server().drop_connection(NUMBER, linked.device).await.unwrap();
    let state = device.until(|state| state.phase == Phase::Reconnecting).await;
    assert_eq!(state.reason, Some(Reason::ConnectionLost));
    assert_eq!(state.last_disconnect.unwrap().reason, Reason::ConnectionLost);
    let state = device.until_phase(Phase::Connected).await;
    assert_eq!((state.reconnects, state.reason, state.disconnected_at), (1, None, None));
    world.end(device).await;
}

#[tokio::test]
async fn a_server_that_answers_503_is_tried_again() {
    let (world, device) = refused(LoginFailure::with_reason(503)).await;
    let state = device.until(|state| state.reason == Some(Reason::ServiceUnavailable)).await;
    assert_eq!(state.phase, Phase::Reconnecting);
    device.until_phase(Phase::Connected).await;
    world.end(device).await;
}

#[tokio::test]
async fn a_stream_that_ends_with_503_comes_back() {
    let (world, device, linked) = linked().await;
    world.control().server().stream_error(NUMBER, linked.device, 503).await.unwrap();
    let state = device.until_phase(Phase::Reconnecting).await;
    // The engine does not tell why an open stream ends.
    assert_eq!(state.reason, Some(Reason::ConnectionLost));
    device.until_phase(Phase::Connected).await;
    world.end(device).await;
}

#[tokio::test]
async fn a_server_that_falls_silent_is_noticed() {
    let (world, device, linked) = linked().await;
    world.control().server().silence(NUMBER, linked.device).await.unwrap();
    // The engine pings every 15 to 30 s and waits 20 s for an answer.
    let patience = Duration::from_secs(90);
    let mut states = device.device.state();
    let lost =
        tokio::time::timeout(patience, states.wait_for(|state| state.phase == Phase::Reconnecting)).await;
    let state = lost.expect("still believed to be connected").unwrap().clone();
    assert_eq!(state.reason, Some(Reason::ConnectionLost));
    device.until_phase(Phase::Connected).await;
    world.end(device).await;
}

#[tokio::test]
async fn a_session_that_was_taken_over_does_not_fight_and_comes_back_on_request() {
    let (world, device, linked) = linked().await;
    world.control().server().replace(NUMBER, linked.device).await.unwrap();
    let state = device.until_phase(Phase::Conflict).await;
    assert_eq!((state.reason, state.paired), (Some(Reason::Replaced), true));
    device.device.stop().await;

    let device = world.start(quick()).await;
    let state = device.device.state().borrow().clone();
    assert_eq!(state.phase, Phase::Conflict, "a restart does not fight either");
    let logins = world.control().server().logins().await.unwrap().len();
    device.client.pair(&PairRequest::default()).await.unwrap();
    device.until_phase(Phase::Connected).await;
    assert_eq!(world.control().server().logins().await.unwrap().len(), logins + 1);
    world.end(device).await;
}

#[tokio::test]
async fn a_device_that_is_removed_on_the_phone_is_logged_out_and_can_be_linked_again() {
    let (world, device, linked) = linked().await;
    world.phone().unlink(linked.device).await.unwrap();
    let state = device.until_phase(Phase::LoggedOut).await;
    assert_eq!((state.reason, state.paired, state.account), (Some(Reason::LoggedOutOnPhone), false, None));
    device.device.stop().await;

    let device = world.start(quick()).await;
    assert_eq!(device.device.state().borrow().phase, Phase::LoggedOut, "it waits for a person");
    device.client.pair(&PairRequest::default()).await.unwrap();
    device.scanned_by(&world.phone()).await;
    device.until_phase(Phase::Connected).await;
    world.end(device).await;
}

#[tokio::test]
async fn a_ban_is_final_and_says_how_long() {
    let failure = LoginFailure { code: Some(101), expire_s: Some(86_400), ..LoginFailure::with_reason(402) };
    let (world, device) = refused(failure).await;
    let state = device.until_phase(Phase::Banned).await;
    assert_eq!(state.reason, Some(Reason::TemporaryBan));
    let message = state.message.as_deref().unwrap();
    let banned = message.strip_prefix("WhatsApp banned this account for 24 h, until ").unwrap();
    assert!(banned.contains(" UTC; `pair` tries again after that ("), "{message}");
    let logged_out = device.client.log_out().await.unwrap_err();
    let ClientError::Refused(problem) = logged_out else { panic!("{logged_out}") };
    assert!(
        problem.detail.contains("`pair`") && problem.detail.contains("Linked devices"),
        "{}",
        problem.detail
    );
    world.end(device).await;
}

#[tokio::test]
async fn a_session_that_cannot_be_opened_is_said_at_once() {
    let (world, device, _) = linked().await;
    device.device.stop().await;
    let session = world.directory.path().join("session.db");
    // Another file in its place: what the client that ended still writes goes into its own.
    let other = world.directory.path().join("other");
    std::fs::write(&other, "no database at all").unwrap();
    std::fs::rename(&other, &session).unwrap();
    let device = world.start(quick()).await;
    let patience = Duration::from_secs(10);
    let said = device.until(|state| state.reason == Some(Reason::StoreFailed));
    let state = tokio::time::timeout(patience, said).await.expect("it is tried for long before it is said");
    let message = state.message.unwrap();
    assert!(message.contains("session.db") && message.contains("not a database"), "{message}");
    device.device.stop().await;
    assert_eq!(std::fs::read(&session).unwrap(), b"no database at all", "it is left as it is");
}

#[tokio::test]
async fn a_locked_account_is_banned() {
    let (world, device) = refused(LoginFailure::with_reason(403)).await;
    let state = device.until_phase(Phase::Banned).await;
    assert_eq!(state.reason, Some(Reason::AccountLocked));
    world.end(device).await;
}

/// A linked device whose next logins are refused as outdated, how often it looked for a newer version, and what it finds.
async fn outdated(logins: usize, page: &'static str) -> (World, Running, Arc<AtomicU32>) {
    let world = World::new().await;
    let (device, _) = world.linked(quick()).await;
    device.device.stop().await;
    let looks = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&looks);
    let answer = move || {
        count.fetch_add(1, Ordering::Relaxed);
        std::future::ready(page)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let media = Some(format!("http://{}", listener.local_addr().unwrap()));
    let router = axum::Router::new().route("/sw.js", axum::routing::get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    for _ in 0..logins {
        world.control().server().fail_next_login(LoginFailure::with_reason(405)).await.unwrap();
    }
    let device = world.start_at(quick(), Endpoints { media, ..world.endpoints() }).await;
    (world, device, looks)
}

#[tokio::test]
async fn an_outdated_client_looks_for_a_newer_version_once() {
    for (refused, page) in [(1, "no version at all"), (2, "\"client_revision\":4000000001")] {
        let (world, device, looks) = outdated(refused, page).await;
        let state = device.until_phase(Phase::Outdated).await;
        assert_eq!(state.reason, Some(Reason::ClientOutdated));
        assert!(state.message.as_deref().unwrap().contains("update Enlace"), "{:?}", state.message);
        assert_eq!(looks.load(Ordering::Relaxed), 1, "{page}");
        let logins = world.control().server().logins().await.unwrap();
        let outdated = LoginOutcome::Refused { reason: 405 };
        assert_eq!(logins.iter().filter(|login| login.outcome == outdated).count(), refused, "{page}");
        world.end(device).await;
    }
}

#[tokio::test]
async fn a_newer_version_that_is_found_connects() {
    let (world, device, looks) = outdated(1, "\"client_revision\":4000000001").await;
    device.until_phase(Phase::Connected).await;
    assert_eq!(looks.load(Ordering::Relaxed), 1);
    world.end(device).await;
}

#[tokio::test]
async fn a_login_that_is_refused_for_another_reason_is_a_failure_with_its_name() {
    let (world, device) = refused(LoginFailure::with_reason(409)).await;
    let state = device.until_phase(Phase::Failed).await;
    assert_eq!(state.reason, Some(Reason::LoginRefused));
    assert!(state.message.as_deref().unwrap().contains("BadUserAgent"), "{:?}", state.message);
    world.end(device).await;
}

#[tokio::test]
async fn a_logout_on_request_unlinks_at_the_server_and_erases_the_session() {
    let (world, device, linked) = linked().await;
    device.client.log_out().await.unwrap();
    let state = device.until_phase(Phase::LoggedOut).await;
    assert_eq!((state.reason, state.paired), (Some(Reason::LoggedOutByRequest), false));
    let server = world.control().server().state().await.unwrap();
    assert!(server.device(NUMBER, linked.device).is_none_or(|device| device.logged_out));
    assert!(!world.directory.path().join("session.db").exists(), "no keys are left");
    world.end(device).await;
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_a_failed_connection() {
    let world = World::new().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let endpoints = enlace_device_pod::endpoints::Endpoints {
        websocket: format!("ws://{nobody}/ws/chat"),
        ..world.endpoints()
    };
    let device =
        enlace_device_pod::Device::start(quick(), world.directory.path(), endpoints, false).await.unwrap();
    let mut states = device.state();
    let state = states.wait_for(|state| state.reason == Some(Reason::ConnectFailed)).await.unwrap().clone();
    assert_eq!(state.phase, Phase::Starting);
    assert!(state.message.as_deref().unwrap().contains("refused"), "{:?}", state.message);
    device.stop().await;
}

#[tokio::test]
async fn a_volume_that_runs_full_ends_the_connection_until_there_is_room() {
    let world = World::new().await;
    let reserve = tokio::sync::watch::Sender::new(0);
    let device = enlace_device_pod::Device::start_reserving(
        quick(),
        world.directory.path(),
        world.endpoints(),
        false,
        reserve.subscribe(),
    );
    let device = device.await.unwrap();
    let device = Running { client: DeviceClient::in_process(device.router()), device };
    device.scanned_by(&world.phone()).await;
    device.until_phase(Phase::Connected).await;

    reserve.send_replace(u64::MAX);
    // At once, whether the session has seen it yet or not.
    match device.client.send(&crate::sending::text(OTHER, "no room")).await {
        Err(ClientError::Refused(problem)) => {
            assert_eq!((problem.status, problem.reason.as_str()), (507, "DiskFull"));
        }
        other => panic!("{other:?}"),
    }
    let state = device.until(|state| state.reason == Some(Reason::DiskFull)).await;
    assert_eq!((state.phase, state.paired), (Phase::Reconnecting, true));
    assert!(state.message.as_deref().unwrap().contains("make room"), "{:?}", state.message);
    world.other().send_text(NUMBER, "meanwhile").await.unwrap();
    assert!(device.client.inbox(0, 1).await.unwrap().items.is_empty(), "the connection has ended");

    reserve.send_replace(0);
    device.until_phase(Phase::Connected).await;
    let record = crate::receiving::until_records(&device, 1).await.remove(0);
    assert_eq!(record.text.as_deref(), Some("meanwhile"), "nothing was lost");
    world.end(device).await;
}
