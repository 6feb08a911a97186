//! Refs of QR codes: which are good, and what the phone is told about the others.

use std::time::Duration;

use whatsapp_simulator::{ControlError, Options, Simulator};

use crate::companion::Companion;

const OWN: &str = "5255500000001";

fn words(error: ControlError) -> String {
    match error {
        ControlError::Refused { message, .. } => message,
        other => panic!("not a refusal: {other}"),
    }
}

#[tokio::test]
async fn an_expired_an_unknown_and_a_used_ref_are_told_apart() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let phone = simulator.control().phone(OWN);
    let companion = Companion::new();
    let unknown = phone.scan(&companion.qr("2@nobody")).await.unwrap_err();
    assert_eq!(words(unknown), "unknown QR code: its ref was not issued by this server");

    let (connection, refs) = companion.begin_pairing(&simulator).await;
    assert_eq!(refs.len(), 6);
    phone.scan(&companion.qr(&refs[0])).await.unwrap();
    let used = phone.scan(&companion.qr(&refs[0])).await.unwrap_err();
    assert_eq!(words(used), "this QR code was already scanned");
    drop(connection);

    let brief = Options { ref_lifetime: Duration::ZERO, refs: 2, ..Options::default() };
    let simulator = Simulator::start(brief).await.unwrap();
    let (_connection, refs) = companion.begin_pairing(&simulator).await;
    assert_eq!(refs.len(), 2);
    let expired = simulator.control().phone(OWN).scan(&companion.qr(&refs[1])).await.unwrap_err();
    assert_eq!(words(expired), "expired QR code: its ref is past its time");
}

#[tokio::test]
async fn a_text_that_is_no_qr_code_is_refused_in_words() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let error = simulator.control().scan("https://example.org").await.unwrap_err();
    assert!(words(error).starts_with("not a QR code of a companion"));
}

#[tokio::test]
async fn a_code_that_nobody_asked_for_is_refused() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let error = simulator.control().phone(OWN).enter_code("ABCD-1234").await.unwrap_err();
    assert_eq!(words(error), "no companion waits for a code of 5255500000001");
}
