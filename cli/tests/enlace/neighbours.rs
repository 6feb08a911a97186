//! Two numbers in one process.

use serde_json::json;
use whatsapp_simulator::LoginFailure;

use crate::world::{CUSTOMER, NUMBER, SECOND, World, manifest};

#[tokio::test]
async fn one_is_banned_and_the_other_goes_on_sending() {
    let world = World::with_billing().await;
    world.write("desk.yaml", &manifest("desk", json!({})));
    let enlace = world.start().await;
    let linked = enlace.link("billing", NUMBER).await;
    enlace.link("desk", SECOND).await;
    let logins = world.logins(SECOND).await;

    let failure = LoginFailure { code: Some(101), expire_s: Some(86_400), ..LoginFailure::with_reason(402) };
    world.control().server().fail_next_login(failure).await.unwrap();
    world.control().server().drop_connection(NUMBER, linked.device).await.unwrap();
    enlace.until_phase("billing", "Banned").await;
    for number in 1..=3 {
        enlace.send_text("desk", CUSTOMER, &format!("message {number}")).await;
    }
    assert_eq!(world.logins(SECOND).await, logins, "the other's connection was not touched");
    let table = enlace.ok(&["get", "devices"]).await;
    let row = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(row("billing").contains("Banned") && row("billing").contains("TemporaryBan"), "{table}");
    assert!(row("desk").contains("Connected"), "{table}");
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}
