//! Who is refused, and what they are told.

use serde_json::json;

use crate::listener::client;
use crate::person::Person;
use crate::world::{NUMBER, World};

#[tokio::test]
async fn without_a_good_token_nobody_connects() {
    let Some(client) = client().await else { return };
    let world = World::new().await;
    let enlace = world.start().await;
    for (options, text) in [
        (json!({}), "No autorizado"),
        (json!({ "auth": { "token": "" } }), "No autorizado"),
        (json!({ "auth": { "token": "x" } }), "Token inválido o expirado"),
        (json!({ "auth": { "token": { "numero": 1 } } }), "No autorizado"),
        (json!({ "query": { "token": "0".repeat(64) } }), "Token inválido o expirado"),
        (json!({ "extraHeaders": { "Authorization": "Bearer x" } }), "Token inválido o expirado"),
    ] {
        let listener = client.listen(&enlace.url, &options);
        assert_eq!(listener.first("connect_error").await["message"], text, "{options}");
        assert!(listener.heard().iter().all(|(name, _)| name != "connect"), "{options}");
    }
    enlace.stop().await;
}

#[tokio::test]
async fn a_token_is_taken_from_wherever_a_client_can_put_it() {
    let Some(client) = client().await else { return };
    let world = World::new().await;
    let enlace = world.start().await;
    let token = Person::register(&enlace, NUMBER).await.token;
    for options in [
        json!({ "auth": { "token": token } }),
        json!({ "auth": { "token": format!("Bearer {token}") } }),
        json!({ "query": { "token": token } }),
        json!({ "extraHeaders": { "Authorization": format!("Bearer {token}") } }),
    ] {
        client.listen(&enlace.url, &options).first("connect").await;
    }
    enlace.stop().await;
}

#[tokio::test]
async fn with_several_replicas_websockets_work_and_polling_clients_are_told_so() {
    let Some(client) = client().await else { return };
    let world = World::new().await;
    let mut command = world.standalone();
    command.env("ENLACE_REPLICAS", "2");
    let enlace = world.start_with(command).await;
    let token = Person::register(&enlace, NUMBER).await.token;
    let polling = client.listen(&enlace.url, &json!({ "auth": { "token": token } }));
    let refused = polling.first("connect_error").await;
    assert!(refused["answer"].as_str().unwrap().contains("websocket"), "{refused}");
    let only = json!({ "auth": { "token": token }, "transports": ["websocket"] });
    let listener = client.listen(&enlace.url, &only);
    assert_eq!(listener.first("open").await, "websocket");
    listener.first("connect").await;
    enlace.stop().await;
}

#[tokio::test]
async fn the_script_for_pages_is_served() {
    let world = World::new().await;
    let enlace = world.start().await;
    let response = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .get(format!("{}/socket.io/socket.io.js", enlace.url))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/javascript; charset=utf-8");
    assert!(response.text().await.unwrap().starts_with("/*!\n * Socket.IO v4"));
    enlace.stop().await;
}
