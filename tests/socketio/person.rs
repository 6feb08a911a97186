//! Somebody with a token of the compatible API.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rqrr::PreparedImage;
use serde_json::{Value, json};

use crate::standalone::Standalone;

pub(crate) struct Person {
    url: String,
    http: reqwest::Client,
    pub(crate) token: String,
}

impl Person {
    pub(crate) async fn register(enlace: &Standalone<'_>, number: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut person = Self { url: enlace.url.clone(), http, token: String::new() };
        let account = json!({ "numero": number, "password": "clave-larga" });
        let registered = person.call("POST", "/api/registro", Some(account)).await;
        registered["token"].as_str().unwrap().clone_into(&mut person.token);
        person
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success(), "{path} answers {status}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Adds a device; its identifier.
    pub(crate) async fn add_device(&self) -> String {
        let added = self.call("POST", "/api/add-device", Some(json!({ "nombre": "Ventas" }))).await;
        added["instancia_id"].as_str().unwrap().to_owned()
    }
}

/// What the phone's camera reads in a picture.
pub(crate) fn scanned(data_url: &str) -> String {
    let bytes = BASE64_STANDARD.decode(data_url.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
    let picture = image::load_from_memory(&bytes).unwrap().to_luma8();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let mut prepared =
        PreparedImage::prepare_from_greyscale(width, height, |x, y| picture[(x as u32, y as u32)].0[0]);
    prepared.detect_grids()[0].decode().unwrap().1
}
