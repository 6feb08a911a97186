//! From a code to a linked session, and back.

use std::time::Duration;

use axum::body::Body;
use enlace_contract::number::PhoneNumber;
use enlace_contract::problem::Problem;
use enlace_contract::state::{ClaimDecision, ClaimState, PairRequest, PairingText, Phase, Reason};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;
use whatsapp_simulator::Options;

use crate::fixture::{NUMBER, OTHER, World, config, quick};

async fn scan_and_talk(options: Options) {
    let world = World::with(options).await;
    let (device, linked) = world.linked(quick()).await;
    let account = device.device.state().borrow().account.clone().unwrap();
    assert_eq!((account.phone_number.as_str(), account.jid.as_str()), (NUMBER, linked.jid.as_str()));

    let message = device.send_text(OTHER, "hola").await;
    let seen = world.other().wait_for_id(&message.id, crate::fixture::PATIENCE).await.unwrap();
    assert_eq!(seen.text.as_deref(), Some("hola"));

    world.other().send_text(NUMBER, "qué tal").await.unwrap();
    let record = crate::receiving::until_records(&device, 1).await.remove(0);
    assert_eq!((record.text.as_deref(), record.sender_number.unwrap().as_str()), (Some("qué tal"), OTHER));
    world.end(device).await;
}

#[tokio::test]
async fn a_scan_links_and_messages_go_both_ways() {
    scan_and_talk(Options::default()).await;
}

#[tokio::test]
async fn an_account_that_is_addressed_by_lid_works_the_same() {
    scan_and_talk(Options { lid: true, ..Options::default() }).await;
}

#[tokio::test]
async fn a_session_comes_back_from_its_volume_without_a_scan() {
    let world = World::new().await;
    let (device, linked) = world.linked(quick()).await;
    device.device.stop().await;

    let device = world.start(quick()).await;
    let state = device.until_phase(Phase::Connected).await;
    assert_eq!(state.account.unwrap().jid, linked.jid);
    assert!(device.client.send(&crate::sending::text(OTHER, "again")).await.is_ok());
    world.end(device).await;
}

#[tokio::test]
async fn the_drawn_qr_code_is_read_as_the_code() {
    let world = World::new().await;
    let device = world.start(quick()).await;
    let qr = device.until(|state| state.qr.is_some()).await.qr.unwrap();

    let lines: Vec<Vec<char>> = qr.text.lines().map(|line| line.chars().collect()).collect();
    let width = lines[0].len();
    let light = |x: usize, y: usize| match lines[y / 2].get(x) {
        Some('█') => true,
        Some('▀') => y.is_multiple_of(2),
        Some('▄') => !y.is_multiple_of(2),
        _ => false,
    };
    const SCALE: usize = 4;
    let mut drawn =
        rqrr::PreparedImage::prepare_from_greyscale(width * SCALE, lines.len() * 2 * SCALE, |x, y| {
            if light(x / SCALE, y / SCALE) { 255 } else { 0 }
        });
    assert_eq!(drawn.detect_grids()[0].decode().unwrap().1, qr.code);

    let picture = fetch(&device, "/v1/qr?format=png").await;
    let picture = image::load_from_memory(&picture).unwrap().to_luma8();
    let mut picture = rqrr::PreparedImage::prepare_from_greyscale(
        picture.width() as usize,
        picture.height() as usize,
        |x, y| picture.get_pixel(u32::try_from(x).unwrap(), u32::try_from(y).unwrap()).0[0],
    );
    assert_eq!(picture.detect_grids()[0].decode().unwrap().1, qr.code);
    assert_eq!(fetch(&device, "/v1/qr?format=raw").await, qr.code.as_bytes());
    assert_eq!(fetch(&device, "/v1/qr?format=terminal").await, format!("{}\n", qr.text).as_bytes());
    let svg = String::from_utf8(fetch(&device, "/v1/qr?format=svg").await).unwrap();
    let (side, dark) = modules(&svg);
    let mut picture = rqrr::PreparedImage::prepare_from_greyscale(side, side, |x, y| {
        let is_dark = dark.iter().any(|[left, top, width, height]| {
            (*left..left + width).contains(&x) && (*top..top + height).contains(&y)
        });
        if is_dark { 0 } else { 255 }
    });
    assert_eq!(picture.detect_grids()[0].decode().unwrap().1, qr.code);

    for (accept, kind) in [
        ("image/png", "image/png"),
        ("image/svg+xml", "image/svg+xml"),
        ("image/avif, image/png;q=0.8, */*", "image/png"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("*/*", "text/plain; charset=utf-8"),
    ] {
        let request = Request::get("/v1/qr").header("accept", accept).body(Body::empty()).unwrap();
        let response = device.client.forward(request).await.unwrap();
        assert_eq!(response.headers()["content-type"], kind, "{accept}");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["enlace-code-expires-at"], qr.expires_at.to_string());
    }
    assert_eq!(
        refused(&device, "/v1/pairing-code").await,
        "there is no pairing code yet: the device is AwaitingScan"
    );
    world.phone().scan(&qr.code).await.unwrap();
    device.until_phase(Phase::Connected).await;
    assert_eq!(refused(&device, "/v1/qr").await, "there is no QR code: the device is linked");
    world.end(device).await;
}

/// The side of a drawing, and its dark rectangles: left, top, width, height.
fn modules(svg: &str) -> (usize, Vec<[usize; 4]>) {
    let number = |text: &str| text.parse::<usize>().unwrap();
    let between = |text: &str, open: &str, close: &str| -> String {
        text.split_once(open).unwrap().1.split_once(close).unwrap().0.to_owned()
    };
    assert!(svg.starts_with("<?xml") && svg.ends_with("</svg>"), "{svg}");
    assert_eq!(
        (between(svg, "<rect x=\"0\" y=\"0\" ", "/>").contains("#fff"), svg.contains("path fill=\"#000\"")),
        (true, true)
    );
    let rectangles = between(svg, " d=\"", "\"");
    let rectangles = rectangles.split('M').skip(1).map(|rectangle| {
        let (at, rest) = rectangle.split_once('h').unwrap();
        let (left, top) = at.split_once(' ').unwrap();
        let (width, rest) = rest.split_once('v').unwrap();
        let (height, _) = rest.split_once('H').unwrap();
        [left, top, width, height].map(number)
    });
    (number(&between(svg, "width=\"", "\"")), rectangles.collect())
}

async fn fetch(device: &crate::fixture::Running, path: &str) -> Vec<u8> {
    let response = device.client.forward(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    assert!(response.status().is_success(), "{path}: {}", response.status());
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

/// Why there is no code.
async fn refused(device: &crate::fixture::Running, path: &str) -> String {
    let response = device.client.forward(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::CONFLICT);
    let problem: Problem =
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(problem.reason, "NoCode");
    problem.detail
}

#[tokio::test]
async fn a_code_that_is_typed_on_the_phone_links() {
    let world = World::new().await;
    let device =
        world.start(config(json!({ "phoneNumber": NUMBER, "pairing": { "method": "PairingCode" } }))).await;
    let state = device.until_phase(Phase::AwaitingCode).await;
    let code = state.pairing_code.unwrap().code;
    assert_eq!((code.len(), state.qr), (8, None));
    let shown: PairingText = serde_json::from_slice(&fetch(&device, "/v1/pairing-code").await).unwrap();
    assert_eq!(shown.code, code);
    assert!(shown.expires_at > jiff::Timestamp::now());
    world.phone().enter_code(&code).await.unwrap();
    device.until_phase(Phase::Connected).await;
    assert_eq!(refused(&device, "/v1/pairing-code").await, "there is no pairing code: the device is linked");
    world.end(device).await;
}

#[tokio::test]
async fn the_wrong_phone_is_logged_out_again() {
    let world = World::new().await;
    let device = world.start(quick()).await;
    let linked = device.scanned_by(&world.other()).await;
    let state = device.until_phase(Phase::LoggedOut).await;
    assert_eq!((state.reason, state.paired), (Some(Reason::NumberMismatch), false));
    let server = world.control().server().state().await.unwrap();
    assert!(
        server.device(OTHER, linked.device).is_none_or(|device| device.logged_out),
        "unlinked at the server"
    );

    // The right phone can be linked at once.
    device.client.pair(&PairRequest::default()).await.unwrap();
    device.scanned_by(&world.phone()).await;
    device.until_phase(Phase::Connected).await;
    world.end(device).await;
}

#[tokio::test]
async fn another_form_of_the_declared_number_is_the_same_number() {
    let world = World::new().await;
    let device = world.start(config(json!({ "phoneNumber": "5215550000001" }))).await;
    device.scanned_by(&world.phone()).await;
    device.until_phase(Phase::Connected).await;
    world.end(device).await;
}

#[tokio::test]
async fn a_number_that_nobody_declared_sends_nothing_until_it_is_claimed() {
    let world = World::new().await;
    let (device, _) = world.linked(config(json!({}))).await;
    let message = device.send_text(OTHER, "patience").await;
    let state = device.device.state().borrow().clone();
    assert_eq!(state.claim, ClaimState::Pending);
    assert!(world.control().server().wire_messages(NUMBER).await.unwrap().is_empty());

    let number = NUMBER.parse::<PhoneNumber>().unwrap().canonical();
    device.client.decide_claim(&ClaimDecision { number, granted: true }).await.unwrap();
    world.other().wait_for_id(&message.id, crate::fixture::PATIENCE).await.unwrap();
    world.end(device).await;
}

#[tokio::test]
async fn a_number_of_another_device_is_logged_out_again() {
    let world = World::new().await;
    let (device, linked) = world.linked(config(json!({}))).await;
    let other = OTHER.parse::<PhoneNumber>().unwrap().canonical();
    let refused = device.client.decide_claim(&ClaimDecision { number: other, granted: false }).await;
    assert!(refused.is_err(), "an answer about another number changes nothing");

    let number = NUMBER.parse::<PhoneNumber>().unwrap().canonical();
    device.client.decide_claim(&ClaimDecision { number, granted: false }).await.unwrap();
    let state = device.until_phase(Phase::LoggedOut).await;
    assert_eq!(state.reason, Some(Reason::DuplicateNumber));
    let server = world.control().server().state().await.unwrap();
    assert!(
        server.device(NUMBER, linked.device).is_none_or(|device| device.logged_out),
        "unlinked at the server"
    );
    world.end(device).await;
}

#[tokio::test]
async fn codes_stop_when_nobody_scans_and_come_back_on_request() {
    // The engine shows its first code for 60 s and each further one for 20 s: one is the shortest wait.
    let world = World::with(Options { refs: 1, ..Options::default() }).await;
    let device = world.start(quick()).await;
    device.until_phase(Phase::AwaitingScan).await;
    let patience = Duration::from_secs(90);
    let mut states = device.device.state();
    let state =
        tokio::time::timeout(patience, states.wait_for(|state| state.phase == Phase::Disconnected)).await;
    let state = state.expect("codes never stopped").unwrap().clone();
    assert_eq!((state.reason, state.qr), (Some(Reason::NobodyScanned), None));

    device.client.pair(&PairRequest::default()).await.unwrap();
    device.scanned_by(&world.phone()).await;
    device.until_phase(Phase::Connected).await;
    world.end(device).await;
}
