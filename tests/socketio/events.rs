//! What is heard, and by whom.

use serde_json::{Value, json};

use crate::listener::client;
use crate::person::{Person, scanned};
use crate::world::{CUSTOMER, NUMBER, SECOND, World};

#[tokio::test]
async fn a_client_with_its_defaults_hears_its_own_devices_from_the_code_to_the_end_and_nobody_elses() {
    let Some(client) = client().await else { return };
    let world = World::new().await;
    let enlace = world.start().await;
    let (ana, luis) = (Person::register(&enlace, NUMBER).await, Person::register(&enlace, SECOND).await);
    let with_token = |person: &Person| json!({ "auth": { "token": person.token } });
    let (of_ana, of_luis) =
        (client.listen(&enlace.url, &with_token(&ana)), client.listen(&enlace.url, &with_token(&luis)));
    for listener in [&of_ana, &of_luis] {
        assert_eq!(listener.first("open").await, "polling");
        assert_eq!(listener.first("upgrade").await, "websocket");
        listener.first("connect").await;
    }

    let id = ana.add_device().await;
    let status = |of: &Value, status: &str| {
        (of["status"] == status && of["instancia_id"] == id.as_str()).then(|| of.clone())
    };
    let code = of_ana.until("deviceStatusChanged", |event| status(event, "conectando")).await;
    let picture = code["qr"].as_str().unwrap();
    assert_eq!(code, json!({ "instancia_id": id, "status": "conectando", "qr": picture, "state": "QR" }));
    world.phone(NUMBER).scan(&scanned(picture)).await.unwrap();
    let open = of_ana.until("deviceStatusChanged", |event| status(event, "conectado")).await;
    assert_eq!(open, json!({ "instancia_id": id, "numero": NUMBER, "status": "conectado", "ready": true }));

    world.phone(CUSTOMER).send_text(NUMBER, "¿Tiene factura?").await.unwrap();
    let received = of_ana.first("messageReceived").await;
    assert_eq!(
        (&received["instancia_id"], &received["from"], &received["mensaje"], &received["fromMe"]),
        (&json!(id), &json!(CUSTOMER), &json!("¿Tiene factura?"), &json!(false))
    );
    let message = json!({ "number": CUSTOMER, "message": "Sí", "fromNumber": id });
    ana.call("POST", "/api/send-message", Some(message)).await;
    let sent = of_ana
        .until("messageStatusChanged", |event| {
            // A receipt that comes before WhatsApp's acknowledgement says more.
            let out = event["estado"] == "enviado" || event["estado"] == "entregado";
            out.then(|| event.clone())
        })
        .await;
    assert_eq!((&sent["instancia_id"], &sent["to"]), (&json!(id), &json!(CUSTOMER)));

    ana.call("POST", "/api/disconnect", Some(json!({ "instancia_id": id }))).await;
    let closed = of_ana.until("deviceStatusChanged", |event| status(event, "desconectado")).await;
    assert_eq!(closed["ready"], false);

    // The server has just started: whoever was there before loads everything anew.
    let heard = of_luis.heard();
    let start = json!({ "action": "global_init", "status": "conectando" });
    let strangers: Vec<_> = heard
        .iter()
        .filter(|(name, data)| !matches!(name.as_str(), "open" | "connect" | "upgrade") && *data != start)
        .collect();
    assert!(strangers.is_empty(), "Luis hears of Ana's device: {strangers:?}");
    assert_eq!(of_luis.first("deviceStatusChanged").await, start);
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}

#[tokio::test]
async fn a_connection_ends_with_its_token() {
    let Some(client) = client().await else { return };
    let world = World::new().await;
    let enlace = world.start().await;
    let ana = Person::register(&enlace, NUMBER).await;
    let listener = client.listen(&enlace.url, &json!({ "auth": { "token": ana.token } }));
    listener.first("connect").await;
    let me = ana.call("GET", "/v1/me", None).await;
    let token = me["token"]["id"].as_str().unwrap();
    ana.call("DELETE", &format!("/v1/tokens/{token}"), None).await;
    assert_eq!(listener.first("disconnect").await, "io server disconnect");
    enlace.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_those_who_listen_and_they_come_back_by_themselves() {
    let Some(client) = client().await else { return };
    let world = World::new().await;
    let enlace = world.start().await;
    let ana = Person::register(&enlace, NUMBER).await;
    let with_token = json!({ "auth": { "token": ana.token } });
    let polling = json!({ "auth": { "token": ana.token }, "transports": ["polling"] });
    let listeners = [client.listen(&enlace.url, &with_token), client.listen(&enlace.url, &polling)];
    listeners[0].first("upgrade").await;
    listeners[0].first("connect").await;
    listeners[1].first("connect").await;
    let address = enlace.url.strip_prefix("http://").unwrap().trim_end_matches('/').to_owned();
    enlace.stop().await;
    for listener in &listeners {
        let reason = listener.first("disconnect").await;
        assert!(reason != "io server disconnect", "the client would not come back");
    }
    let mut again = world.command(&["standalone"]);
    again.arg(world.path("devices")).args(["--listen", &address]);
    let enlace = world.start_with(again).await;
    for listener in &listeners {
        listener.times("connect", 2).await;
    }
    enlace.stop().await;
}

#[tokio::test]
async fn a_token_that_may_not_link_hears_that_there_is_a_code_and_not_the_code() {
    let Some(client) = client().await else { return };
    let world = World::new().await;
    let enlace = world.start().await;
    let ana = Person::register(&enlace, NUMBER).await;
    let narrowed = json!({ "name": "monitor", "actions": ["events:read"] });
    let narrowed = ana.call("POST", "/v1/tokens", Some(narrowed)).await;
    let listener = client.listen(&enlace.url, &json!({ "auth": { "token": narrowed["value"] } }));
    listener.first("connect").await;
    let id = ana.add_device().await;
    let code =
        listener.until("deviceStatusChanged", |event| (event["state"] == "QR").then(|| event.clone())).await;
    assert_eq!(code, json!({ "instancia_id": id, "status": "conectando", "state": "QR" }));

    let blind = json!({ "name": "sender", "actions": ["messages:send"] });
    let blind = ana.call("POST", "/v1/tokens", Some(blind)).await;
    let refused = client.listen(&enlace.url, &json!({ "auth": { "token": blind["value"] } }));
    let refused = refused.first("connect_error").await;
    assert_eq!(refused["message"], "El token no tiene permiso para esta operación");
    enlace.stop().await;
}
