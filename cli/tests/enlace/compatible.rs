//! The compatible API as a client of it uses it: from registration to a linked phone, and off again.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rqrr::PreparedImage;
use serde_json::{Value, json};

use crate::standalone::Standalone;
use crate::world::{NUMBER, World};

/// Somebody with a token of the compatible API.
struct Client<'a> {
    enlace: &'a Standalone<'a>,
    http: reqwest::Client,
    token: String,
}

impl<'a> Client<'a> {
    async fn register(enlace: &'a Standalone<'_>) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut client = Self { enlace, http, token: String::new() };
        let account = json!({ "numero": NUMBER, "password": "clave-larga", "name": "Ana" });
        let registered = client.post("/api/registro", account).await;
        registered["token"].as_str().unwrap().clone_into(&mut client.token);
        client
    }

    async fn get(&self, path: &str) -> Value {
        let request = self.http.get(format!("{}{path}", self.enlace.url)).bearer_auth(&self.token);
        request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let request =
            self.http.post(format!("{}{path}", self.enlace.url)).bearer_auth(&self.token).json(&body);
        request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    }

    /// Asks again whenever a device is another than before, until something is found in the answer.
    async fn poll<T>(&self, path: &str, find: impl Fn(&Value) -> Option<T>) -> T {
        self.enlace.after_each_event(path, async || find(&self.get(path).await)).await
    }

    /// The code in the picture that `/api/qr` shows.
    async fn code(&self, id: &str) -> String {
        let path = format!("/api/qr?instancia_id={id}");
        let picture = self.poll(&path, |answer| answer["qr"].as_str().map(str::to_owned)).await;
        let encoded = picture.strip_prefix("data:image/png;base64,").unwrap();
        let bytes = BASE64_STANDARD.decode(encoded).unwrap();
        let picture = image::load_from_memory(&bytes).unwrap().to_luma8();
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let mut prepared =
            PreparedImage::prepare_from_greyscale(width, height, |x, y| picture[(x as u32, y as u32)].0[0]);
        prepared.detect_grids()[0].decode().unwrap().1
    }

    async fn until_state(&self, id: &str, state: &str) {
        self.poll(&format!("/api/status?instancia_id={id}"), |status| {
            (status["state"] == state).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_client_of_the_compatible_api_links_a_phone_disconnects_it_and_links_it_again() {
    let world = World::new().await;
    let enlace = world.start().await;
    let ana = Client::register(&enlace).await;
    let added = ana.post("/api/add-device", json!({ "nombre": "Ventas" })).await;
    let id = added["instancia_id"].as_str().unwrap();

    let linked = world.phone(NUMBER).scan(&ana.code(id).await).await.unwrap();
    ana.until_state(id, "CONNECTED").await;
    let all = ana.get("/api/connections").await;
    assert_eq!(
        (&all["connectedClients"], &all["connections"][NUMBER]["name"]),
        (&json!(1), &json!("Ventas"))
    );

    let disconnected = ana.post("/api/disconnect", json!({ "numero": NUMBER })).await;
    assert_eq!(disconnected["success"], true);
    assert_eq!(disconnected.get("warning"), None, "it was not unlinked");
    assert!(!world.lists(&linked).await, "the phone lists it still");
    ana.until_state(id, "OFFLINE").await;

    world.phone(NUMBER).scan(&ana.code(id).await).await.unwrap();
    ana.until_state(id, "CONNECTED").await;
    ana.post("/api/delete-device", json!({ "instancia_id": id })).await;
    ana.until_state(id, "NONE").await;
    enlace.stop().await;
    world.assert_one_client_at_a_time().await;
}
