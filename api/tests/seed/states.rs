//! Health, and what is said without a token.

use std::io::Write as _;

use http::{Request, StatusCode, header};
use serde_json::json;

use crate::fixture::{Api, answer, settings};
use crate::person::{Person, error};

const NUMBER: &str = "525550000001";

#[tokio::test]
async fn health_and_system_status_are_for_everybody_with_and_without_their_prefix() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    ana.add(json!({})).await;
    for path in ["/api/health", "/health"] {
        let health = api.call("GET", path, "", None).await.json();
        assert_eq!(
            (&health["ok"], &health["db"], &health["status"]),
            (&json!(true), &json!(true), &json!("ok"))
        );
        assert!(health["uptime"].is_f64() && health["memory"]["rss"].as_u64() > Some(0), "{health}");
    }
    for path in ["/api/system-status", "/system-status"] {
        let system = api.call("GET", path, "", None).await.json();
        assert_eq!((&system["clients"], &system["platform"]), (&json!(1), &json!(std::env::consts::OS)));
    }
}

#[tokio::test]
async fn connections_without_a_token_are_counts_where_the_installation_allows_it() {
    let api = Api::start(&[]).await;
    assert_eq!(error(&api.call("GET", "/api/connections", "", None).await), (401, "No autorizado".into()));
    let api = Api::start_with(&[], settings(|settings| settings.compatible.anonymous_counts = true)).await;
    let ana = Person::register(&api, NUMBER).await;
    let id = ana.add(json!({})).await;
    ana.linked(&id, "525550000009").await;
    let counts = api.call("GET", "/api/connections", "", None).await.json();
    assert_eq!(counts, json!({ "totalClients": 1, "connectedClients": 1, "connections": {} }));
}

#[tokio::test]
async fn a_bad_token_is_told_where_one_is_needed_and_counts_as_none_elsewhere() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let id = ana.add(json!({})).await;
    for path in [format!("/api/status?instancia_id={id}"), format!("/api/status/{id}")] {
        for token in ["nope", &"0".repeat(64), ""] {
            let told = api.call("GET", &path, token, None).await;
            assert_eq!(told.json(), json!({ "ready": false, "state": "INIT" }), "{path} {token}");
        }
    }
    for path in ["/api/qr?numero=525550000001", "/api/connections", "/api/me"] {
        let answer = api.call("GET", path, "nope", None).await;
        assert_eq!(error(&answer), (401, "Token inválido o expirado".into()), "{path}");
    }
}

#[tokio::test]
async fn routes_tell_their_methods_and_others_are_unknown() {
    let api = Api::start(&[]).await;
    for (path, methods) in
        [("/api/login", "POST"), ("/api/health", "GET, HEAD"), ("/api/generate-instance", "GET, HEAD, POST")]
    {
        let options = api.call("OPTIONS", path, "", None).await;
        assert_eq!((options.status, options.text.as_str()), (StatusCode::OK, methods), "{path}");
        assert_eq!(options.headers[header::ALLOW], methods);
        assert!(!options.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    }
    for (method, path) in [
        ("GET", "/api/login"),
        ("DELETE", "/api/me"),
        ("GET", "/API/Nope/?x=1"),
        ("POST", "/nope"),
        ("GET", "/"),
    ] {
        let answer = api.call(method, path, "", None).await;
        assert_eq!(error(&answer), (404, "Ruta no encontrada".into()), "{method} {path}");
        assert_eq!(answer.json()["path"], path);
    }
}

#[tokio::test]
async fn a_path_is_taken_in_any_case_and_with_a_slash_at_its_end() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let id = ana.add(json!({})).await;
    for path in ["/api/health/", "/api/Health", "/API/HEALTH/", "/Health", "/api/SYSTEM-STATUS"] {
        assert_eq!(api.call("GET", path, "", None).await.status, StatusCode::OK, "{path}");
    }
    for path in [format!("/api/status/?instancia_id={id}"), format!("/Api/Status/{id}/")] {
        assert_eq!(ana.get(&path).await.json()["instancia_id"], id, "{path}");
    }
    assert_eq!(error(&ana.get("/api/qr/").await), (400, "Falta identificación".into()));
    // An identifier keeps its case.
    let shouted = ana.get(&format!("/api/status/{}", id.to_uppercase())).await;
    assert_eq!(shouted.json()["state"], "NONE");
    for path in ["/api/status/%FF", "/api/qr/%ff", "/API/QR/a%FFb/"] {
        assert_eq!(error(&ana.get(path).await), (400, "La dirección no es UTF-8 válido".into()), "{path}");
    }
}

#[tokio::test]
async fn a_body_may_begin_with_a_mark_and_be_compressed_and_its_limit_counts_what_comes_out() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let send = async |path: &str, encoding: &str, body: Vec<u8>| {
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONTENT_LENGTH, body.len())
            .header(header::CONTENT_ENCODING, encoding)
            .header(header::AUTHORIZATION, format!("Bearer {}", ana.token));
        answer(api.send(request.body(body.into()).unwrap()).await).await
    };
    let login = json!({ "numero": NUMBER, "password": crate::person::PASSWORD }).to_string();
    let marked = format!("\u{feff}{login}");
    for (encoding, body) in [
        ("identity", marked.clone().into_bytes()),
        ("gzip", gzip(marked.as_bytes())),
        ("deflate", deflate(login.as_bytes())),
    ] {
        let answer = send("/api/login", encoding, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{encoding}: {}", answer.text);
    }
    let large = format!("{{\"nombre\":\"{}\"}}", "x".repeat(26 << 20));
    let refused = send("/api/add-device", "gzip", gzip(large.as_bytes())).await;
    assert_eq!(error(&refused), (413, "El cuerpo supera el límite de 26214400 bytes".into()));
    let refused = send("/api/login", "gzip", gzip(large.as_bytes())).await;
    assert_eq!(error(&refused), (413, "El cuerpo supera el límite de 65536 bytes".into()));
    let broken = send("/api/login", "gzip", login.into_bytes()).await;
    assert_eq!(error(&broken), (400, "El cuerpo no llegó completo".into()));
    let text = "La codificación del cuerpo no se admite: use gzip, deflate o ninguna";
    for unknown in ["br", "zstd", "gzip, gzip"] {
        let unknown = send("/api/login", unknown, Vec::new()).await;
        assert_eq!(error(&unknown), (415, text.into()));
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_the_callers_fault() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let send = async |path: &str, body: String| {
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
            .header(header::CONTENT_LENGTH, body.len())
            .header(header::AUTHORIZATION, format!("Bearer {}", ana.token));
        answer(api.send(request.body(body.into()).unwrap()).await).await
    };
    let broken = send("/api/login", "{\"numero\":".into()).await;
    assert_eq!(error(&broken), (400, "El cuerpo no es JSON válido".into()));
    assert!(broken.json()["timestamp"].is_string());
    let large = |bytes: usize| format!("{{\"nombre\":\"{}\"}}", "x".repeat(bytes));
    let login = send("/api/login", large(70_000)).await;
    assert_eq!(login.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", login.text);
    // With a token, 25 MB are read; the name is too long then.
    let device = send("/api/add-device", large(24 << 20)).await;
    assert_eq!(device.status, StatusCode::BAD_REQUEST, "{}", device.text);
    let device = send("/api/add-device", large(26 << 20)).await;
    assert_eq!(error(&device), (413, "El cuerpo supera el límite de 26214400 bytes".into()));
}
