//! The log of logins says "overlap" for two live sockets, and only for them.

use whatsapp_simulator::{LoginEnd, LoginFailure, LoginOutcome, LoginRecord, Options, Simulator, overlaps};

use crate::companion::Companion;

const OWN: &str = "5255500000001";
/// Enough for the reader of the older socket to lose the race now and then.
const ROUNDS: usize = 50;

async fn started() -> (Simulator, Companion) {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let companion = Companion::link(&simulator, OWN).await;
    (simulator, companion)
}

async fn logins(simulator: &Simulator) -> Vec<LoginRecord> {
    simulator.control().server().logins().await.unwrap()
}

#[tokio::test]
async fn a_client_that_died_before_its_successor_logs_in_is_no_overlap() {
    let (simulator, companion) = started().await;
    for round in 0..ROUNDS {
        let mut connection = companion.login(&simulator).await;
        // Data that the server has not read and an answer that the client has not.
        connection.ping("p").await;
        if round % 2 == 0 { connection.reset() } else { drop(connection) }
    }
    let records = logins(&simulator).await;
    assert_eq!(records.len(), ROUNDS);
    assert_eq!(overlaps(&records), []);
    let closed = records.iter().rev().skip(1);
    assert!(closed.clone().all(|record| record.end == Some(LoginEnd::Client)), "{records:#?}");
}

#[tokio::test]
async fn a_client_that_said_goodbye_before_its_successor_logs_in_is_no_overlap() {
    let (simulator, companion) = started().await;
    let mut connections = Vec::new();
    for _ in 0..ROUNDS {
        let mut connection = companion.login(&simulator).await;
        connection.say_goodbye().await;
        connections.push(connection);
    }
    assert_eq!(overlaps(&logins(&simulator).await), []);
}

#[tokio::test]
async fn a_login_beside_a_live_socket_is_an_overlap_and_replaces_it() {
    let (simulator, companion) = started().await;
    let mut first = companion.login(&simulator).await;
    let mut second = companion.login(&simulator).await;
    let farewell = first.next().await.unwrap();
    assert_eq!(
        farewell.get_optional_child("conflict").unwrap().attrs.get("type").unwrap().to_string(),
        "replaced"
    );
    assert!(first.next().await.is_none());
    second.ping("alive").await;
    assert_eq!(second.next().await.unwrap().attrs.get("id").unwrap().to_string(), "alive");
    let records = logins(&simulator).await;
    assert_eq!(records[0].end, Some(LoginEnd::Replaced));
    assert_eq!(records[1].closed_at, None);
    assert_eq!(overlaps(&records).len(), 1);
}

#[tokio::test]
async fn a_silent_live_socket_still_counts_as_live() {
    let (simulator, companion) = started().await;
    let mut first = companion.login(&simulator).await;
    simulator.control().server().silence(OWN, 1).await.unwrap();
    first.ping("unanswered").await;
    companion.login(&simulator).await;
    assert_eq!(overlaps(&logins(&simulator).await).len(), 1);
}

#[tokio::test]
async fn a_socket_that_the_server_ended_is_no_overlap() {
    let (simulator, companion) = started().await;
    let server = simulator.control().server();
    let first = companion.login(&simulator).await;
    server.stream_error(OWN, 1, 503).await.unwrap();
    let second = companion.login(&simulator).await;
    server.drop_connection(OWN, 1).await.unwrap();
    let _third = companion.login(&simulator).await;
    let records = logins(&simulator).await;
    assert_eq!(overlaps(&records), []);
    assert_eq!([records[0].end, records[1].end], [Some(LoginEnd::Server); 2]);
    drop((first, second));
}

#[tokio::test]
async fn failures_are_served_in_order_and_logged() {
    let (simulator, companion) = started().await;
    let server = simulator.control().server();
    let banned = LoginFailure {
        reason: 402,
        code: Some(101),
        expire_s: Some(3600),
        message: Some("espera".to_owned()),
        ..LoginFailure::default()
    };
    server.fail_next_login(banned).await.unwrap();
    server.fail_next_login(LoginFailure::with_reason(405)).await.unwrap();
    let failure = companion.connect(&simulator).await.next().await.unwrap();
    let value = |key: &str| failure.attrs.get(key).unwrap().to_string();
    assert_eq!(failure.tag, "failure");
    assert_eq!(["reason", "code", "expire", "message"].map(value), ["402", "101", "3600", "espera"]);
    companion.connect(&simulator).await.next().await.unwrap();
    companion.login(&simulator).await;
    let outcomes: Vec<_> = logins(&simulator).await.into_iter().map(|record| record.outcome).collect();
    assert_eq!(
        outcomes,
        [
            LoginOutcome::Refused { reason: 402 },
            LoginOutcome::Refused { reason: 405 },
            LoginOutcome::Accepted
        ]
    );
}

#[tokio::test]
async fn a_client_has_the_time_to_end_the_connection_after_the_last_stanza() {
    let (simulator, companion) = started().await;
    let server = simulator.control().server();
    server.fail_next_login(LoginFailure::with_reason(401)).await.unwrap();
    let mut refused = companion.connect(&simulator).await;
    assert_eq!(refused.next().await.unwrap().tag, "failure");
    let mut replaced = companion.login(&simulator).await;
    server.replace(OWN, 1).await.unwrap();
    assert_eq!(replaced.next().await.unwrap().tag, "stream:error");
    for mut connection in [refused, replaced] {
        assert!(connection.is_open(), "the server ended it first");
        connection.say_goodbye().await;
        assert!(connection.is_answered().await);
    }
    let _after = companion.login(&simulator).await;
    assert_eq!(overlaps(&logins(&simulator).await), []);
}

#[tokio::test]
async fn an_unlinked_device_is_refused_from_then_on() {
    let (simulator, companion) = started().await;
    let mut connection = companion.login(&simulator).await;
    simulator.control().phone(OWN).unlink(1).await.unwrap();
    assert_eq!(connection.next().await.unwrap().attrs.get("code").unwrap().to_string(), "401");
    let failure = companion.connect(&simulator).await.next().await.unwrap();
    assert_eq!(failure.attrs.get("reason").unwrap().to_string(), "401");
}
