//! Sending. What a device was asked to send is looked at as it was asked.
//!
//! * `sender`: who sends, and who may not, * `texts`, `files`, `fetching`: what is sent,
//! * `invoice`: the routes for several files, * `calls`: documented calls with the programs that they are written for.

mod calls;
mod fetching;
mod files;
mod invoice;
mod sender;
mod texts;

use axum::body::Body;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{Request, header};
use serde_json::{Value, json};

use crate::device::Played;
use crate::fixture::{Answer, Api, answer};
use crate::person::Person;

pub(crate) const OWN: &str = "525550000001";
pub(crate) const TO: &str = "525550000002";
/// A document that is one by its first bytes.
pub(crate) const PDF: &[u8] = b"%PDF-1.4\n%%EOF\n";

/// Somebody whose own number is linked.
pub(crate) async fn linked(api: &Api) -> (Person<'_>, String, Played) {
    let person = Person::register(api, OWN).await;
    let id = person.add(json!({ "nombre": "Ventas" })).await;
    let device = person.linked(&id, OWN).await;
    (person, id, device)
}

/// The batches that a device was asked to send.
pub(crate) fn batches(device: &Played) -> Vec<Value> {
    let asked = device.asked().into_iter().filter(|asked| asked.path == "/v1/messages/batch");
    asked.map(|asked| serde_json::from_slice(&asked.body).unwrap()).collect()
}

/// The messages of all batches.
pub(crate) fn messages(device: &Played) -> Vec<Value> {
    let of = |batch: &Value| batch["messages"].as_array().unwrap().clone();
    batches(device).iter().flat_map(of).collect()
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

impl Person<'_> {
    /// A request with a body of another type than JSON.
    pub(crate) async fn post_as(&self, path: &str, kind: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, kind);
        answer(self.api.send(request.body(body.into()).unwrap()).await).await
    }

    /// A form with files: name, file name, type, content. Without a file name it is a field.
    pub(crate) async fn upload(&self, path: &str, parts: &[(&str, &str, &str, &[u8])]) -> Answer {
        let mut body = Vec::new();
        for (name, file, kind, content) in parts {
            let file = if file.is_empty() {
                String::new()
            } else {
                format!("; filename=\"{file}\"\r\nContent-Type: {kind}")
            };
            let head = format!("--frontera\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--frontera--\r\n");
        self.post_as(path, "multipart/form-data; boundary=frontera", body).await
    }
}
