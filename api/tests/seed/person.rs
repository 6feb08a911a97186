//! Somebody who uses the compatible API.

use http::StatusCode;
use serde_json::{Value, json};

use crate::device::Played;
use crate::fixture::{Answer, Api};

/// A password that is long enough.
pub(crate) const PASSWORD: &str = "clave-larga";

/// A user with a token.
pub(crate) struct Person<'a> {
    pub(crate) api: &'a Api,
    pub(crate) token: String,
}

impl<'a> Person<'a> {
    /// Registers with a number.
    pub(crate) async fn register(api: &'a Api, number: &str) -> Self {
        let body = json!({ "numero": number, "password": PASSWORD, "name": "Ana" });
        let answer = api.call("POST", "/api/registro", "", Some(body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        Self { api, token: text(&answer.json()["token"]) }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.api.call("GET", path, &self.token, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.api.call("POST", path, &self.token, Some(body)).await
    }

    /// Adds a device and returns its identifier.
    pub(crate) async fn add(&self, device: Value) -> String {
        let answer = self.post("/api/add-device", device).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        text(&answer.json()["instancia_id"])
    }

    /// The key of the device of an identifier, by its annotation.
    pub(crate) async fn key(&self, id: &str) -> String {
        let list = self.api.get("/v1/devices").await.json();
        let devices = list["items"].as_array().unwrap();
        let device =
            devices.iter().find(|device| device["metadata"]["annotations"]["enlace.dev/instancia-id"] == id);
        let metadata = &device.unwrap()["metadata"];
        format!("{}/{}", text(&metadata["namespace"]), text(&metadata["name"]))
    }

    /// The played device of an identifier.
    pub(crate) async fn device(&self, id: &str) -> Played {
        self.api.stage.device(&self.key(id).await).await
    }

    /// The device of an identifier, linked to a number.
    pub(crate) async fn linked(&self, id: &str, number: &str) -> Played {
        let device = self.device(id).await;
        device.links(number);
        device.claim(enlace_contract::state::ClaimState::Granted).await;
        self.api.until_phase(&self.key(id).await, "Connected").await;
        device
    }

    /// The word of an identifier.
    pub(crate) async fn state(&self, id: &str) -> String {
        text(&self.get(&format!("/api/status?instancia_id={id}")).await.json()["state"])
    }
}

/// A text of JSON.
#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// The status and the text of an error.
#[track_caller]
pub(crate) fn error(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.headers["content-type"], "application/json; charset=utf-8", "{}", answer.text);
    (answer.status.as_u16(), text(&answer.json()["error"]))
}
