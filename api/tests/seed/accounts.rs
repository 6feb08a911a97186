//! Registration, login and tokens.

use std::time::Duration;

use enlace_api::http::Settings;
use http::StatusCode;
use serde_json::json;

use crate::fixture::{Api, settings};
use crate::person::{PASSWORD, Person, error, text};

#[tokio::test]
async fn whoever_registers_can_log_in_with_number_or_address_under_each_name_of_the_field() {
    let api = Api::start(&[]).await;
    let body =
        json!({ "numero": "525550000001", "email": "Ana@example.com", "password": PASSWORD, "name": "Ana" });
    let registered = api.call("POST", "/api/registro", "", Some(body)).await;
    assert_eq!(registered.status, StatusCode::OK, "{}", registered.text);
    assert_eq!(registered.json()["name"], "Ana");
    assert_eq!(registered.json()["numero"], "525550000001");
    for (field, value) in [
        ("identifier", "525550000001"),
        ("numero", "+52 555 000 0001"),
        ("email", "ana@example.com"),
        ("identifier", "Ana@example.com"),
    ] {
        let answer =
            api.call("POST", "/api/login", "", Some(json!({ field: value, "password": PASSWORD }))).await;
        assert_eq!(answer.status, StatusCode::OK, "{field} {value}: {}", answer.text);
        let person = Person { api: &api, token: text(&answer.json()["token"]) };
        let me = json!({ "numero": "525550000001", "email": "Ana@example.com", "nombre": "Ana" });
        assert_eq!(person.get("/api/me").await.json(), me);
    }
}

#[tokio::test]
async fn each_login_brings_one_more_token_and_the_one_unused_for_longest_gives_way() {
    let api = Api::start_with(&[], settings(|settings| settings.compatible.max_tokens = 3)).await;
    let first = Person::register(&api, "525550000001").await;
    let mut later = Vec::new();
    for _ in 0..2 {
        later.push(Person::register(&api, "525550000001").await);
    }
    for person in later.iter().chain([&first]) {
        assert_eq!(person.get("/api/me").await.status, StatusCode::OK);
    }
    // The first one is in use and stays; one of the others ends.
    let newest = Person::register(&api, "525550000001").await;
    assert_eq!(newest.get("/api/me").await.status, StatusCode::OK);
    let mut ended = 0;
    for person in later.iter().chain([&first]) {
        ended += usize::from(person.get("/api/me").await.status == StatusCode::UNAUTHORIZED);
    }
    assert_eq!(ended, 1);
}

#[tokio::test]
async fn a_token_may_have_an_end() {
    let api =
        Api::start_with(&[], settings(|settings| settings.compatible.token_lifetime = Some(Duration::ZERO)))
            .await;
    let person = Person::register(&api, "525550000001").await;
    assert_eq!(error(&person.get("/api/me").await), (401, "Token inválido o expirado".into()));
}

#[tokio::test]
async fn a_new_account_needs_a_good_number_address_and_password() {
    let api = Api::start(&[]).await;
    for (body, expected) in [
        (
            json!({ "numero": "abc", "password": PASSWORD }),
            "Número inválido: solo dígitos, con código de país",
        ),
        (json!({ "email": "nadie", "password": PASSWORD }), "Email inválido"),
        (
            json!({ "numero": "525550000001", "password": "corta" }),
            "La contraseña debe tener entre 8 y 256 caracteres",
        ),
        (json!({ "numero": "525550000001" }), "Faltan datos"),
        (json!({ "password": PASSWORD }), "Faltan datos"),
    ] {
        let answer = api.call("POST", "/api/registro", "", Some(body.clone())).await;
        assert_eq!(error(&answer), (400, expected.to_owned()), "{body}");
    }
}

#[tokio::test]
async fn nobody_registers_unless_the_installation_is_open() {
    let api = Api::start_with(&[], Settings::default()).await;
    let body = json!({ "numero": "525550000001", "password": PASSWORD });
    let answer = api.call("POST", "/api/registro", "", Some(body)).await;
    assert_eq!(
        error(&answer),
        (403, "El registro está cerrado: pida una cuenta al administrador".to_owned())
    );
    assert_eq!(api.get("/v1/users").await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_user_of_the_native_api_logs_in_by_name() {
    let api = Api::start(&[]).await;
    api.user("maria").await;
    let body = json!({ "identifier": "maria", "password": "a long password" });
    let answer = api.call("POST", "/api/login", "", Some(body)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let person = Person { api: &api, token: text(&answer.json()["token"]) };
    let me = json!({ "numero": null, "email": null, "nombre": "Usuario" });
    assert_eq!(person.get("/api/me").await.json(), me);
}

#[tokio::test]
async fn a_narrowed_token_does_here_what_it_may() {
    let api = Api::start(&[]).await;
    let narrowed = api.token(json!({ "actions": ["devices:read"] })).await;
    let person = Person { api: &api, token: narrowed };
    assert_eq!(person.get("/api/connections").await.status, StatusCode::OK);
    let refused = (403, "El token no tiene permiso para esta operación".to_owned());
    assert_eq!(error(&person.post("/api/add-device", json!({})).await), refused);
    assert_eq!(error(&person.get("/api/qr?numero=525550000001").await), refused);
}

#[tokio::test]
async fn forgetting_a_password_is_answered_the_same_for_everybody() {
    let api = Api::start(&[]).await;
    let body = json!({ "email": "x@example.com" });
    let answer = api.call("POST", "/api/forgot-password", "", Some(body)).await;
    let expected = json!({ "success": true, "message": "Si el correo existe, se enviarán instrucciones." });
    assert_eq!(answer.json(), expected);
    let answer = api.call("POST", "/api/forgot-password", "", Some(json!({}))).await;
    assert_eq!(error(&answer), (400, "Email requerido".into()));
}
