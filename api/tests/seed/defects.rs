//! The defects of the system that this API is compatible with are not in it. One test for each that concerns what is tested here.

use http::{Request, StatusCode, header};
use serde_json::json;

use crate::fixture::{Answer, Api, answer};
use crate::person::{PASSWORD, Person, error, text};

const NUMBER: &str = "525550000001";
const OTHER: &str = "525550000002";

#[tokio::test]
async fn passwords_and_tokens_are_not_stored_and_tokens_can_be_revoked() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    for name in ["enlace.db", "enlace.db-wal"] {
        let stored = std::fs::read(api.database_file(name)).unwrap_or_default();
        let has = |text: &str| stored.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!has(PASSWORD), "{name} has the password");
        assert!(!has(&ana.token), "{name} has the token");
    }
    let revoked = api.call("POST", "/v1/logout", &ana.token, None).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    assert_eq!(error(&ana.get("/api/me").await), (401, "Token inválido o expirado".into()));
}

#[tokio::test]
async fn registering_an_account_that_exists_takes_its_password() {
    let api = Api::start(&[]).await;
    Person::register(&api, NUMBER).await;
    let stolen = json!({ "numero": NUMBER, "password": "otra-clave" });
    let answer = api.call("POST", "/api/registro", "", Some(stolen.clone())).await;
    assert_eq!(error(&answer), (409, "El usuario ya existe".into()));
    // The password is the old one still.
    let login = api.call("POST", "/api/login", "", Some(stolen)).await;
    assert_eq!(error(&login), (401, "Credenciales incorrectas".into()));
    Person::register(&api, NUMBER).await;
}

#[tokio::test]
async fn objects_are_no_credentials() {
    let api = Api::start(&[]).await;
    Person::register(&api, NUMBER).await;
    for body in [
        json!({ "identifier": { "numero": 1 }, "password": { "password": 1 } }),
        json!({ "numero": NUMBER, "password": { "password": 1 } }),
        json!({ "numero": [NUMBER], "password": PASSWORD }),
        json!({ "numero": true, "password": true }),
    ] {
        let login = api.call("POST", "/api/login", "", Some(body.clone())).await;
        assert_eq!(error(&login), (400, "Faltan datos".into()), "{body}");
        let register = api.call("POST", "/api/registro", "", Some(body.clone())).await;
        assert_eq!(error(&register), (400, "Faltan datos".into()), "{body}");
    }
}

#[tokio::test]
async fn without_a_token_nobody_gets_a_code_or_learns_of_a_number() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let id = ana.add(json!({})).await;
    ana.device(&id).await.shows_code();
    api.until_phase(&ana.key(&id).await, "AwaitingScan").await;
    for path in
        [format!("/api/qr?instancia_id={id}"), format!("/api/qr/{id}"), "/api/qr?numero=525550000009".into()]
    {
        assert_eq!(error(&api.call("GET", &path, "", None).await), (401, "No autorizado".into()), "{path}");
    }
    let status = api.call("GET", &format!("/api/status?instancia_id={id}"), "", None).await;
    assert_eq!(status.json(), json!({ "ready": false, "state": "QR" }));
    ana.linked(&id, "525550000009").await;
    for path in
        ["/api/status?numero=525550000009", "/api/status?numero=NTI1NTUwMDAwMDA5", "/api/status/525550000009"]
    {
        let status = api.call("GET", path, "", None).await;
        assert_eq!(status.json(), json!({ "ready": false, "state": "NONE" }), "{path}");
    }
}

#[tokio::test]
async fn another_users_device_is_not_there() {
    let api = Api::start(&[]).await;
    let (ana, beto) = (Person::register(&api, NUMBER).await, Person::register(&api, OTHER).await);
    let id = ana.add(json!({ "nombre": "de Ana" })).await;
    let device = ana.linked(&id, "525550000009").await;
    let nobody = json!({ "ready": false, "state": "NONE", "hasQr": false });
    for named in [id.clone(), "525550000009".into(), "NTI1NTUwMDAwMDA5".into()] {
        assert_eq!(beto.get(&format!("/api/status?numero={named}")).await.json(), nobody);
        let code = beto.get(&format!("/api/qr?instancia_id={named}")).await;
        assert_eq!(error(&code), (404, "Dispositivo no encontrado".into()));
        let named = json!({ "instancia_id": named, "numero": named });
        for path in ["/api/disconnect", "/api/delete-device"] {
            assert_eq!(error(&beto.post(path, named.clone()).await), (404, "No encontrado".into()), "{path}");
        }
    }
    for (path, change) in [
        ("/api/update-device", json!({ "identifier": id, "instancia_id": "de-beto", "nombre": "de Beto" })),
        ("/api/update-instance", json!({ "numero": id, "instancia_id": "de-beto" })),
    ] {
        // As for one that nobody has: a success that changed nothing.
        let unknown = json!({ "success": true, "actualizado": false });
        assert_eq!(beto.post(path, change).await.json(), unknown, "{path}");
    }
    assert_eq!(beto.get("/api/connections").await.json()["totalClients"], 0);
    assert!(*device.running.borrow());
    assert_eq!(ana.state(&id).await, "CONNECTED");
    assert_eq!(ana.get("/api/connections").await.json()["connections"]["525550000009"]["name"], "de Ana");
    // An administrator's own devices are none of Ana's either, here.
    let admin = Person { api: &api, token: api.admin.clone() };
    assert_eq!(admin.get("/api/connections").await.json()["totalClients"], 0);
}

#[tokio::test]
async fn an_identifier_is_no_path() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let (id, other) = (ana.add(json!({})).await, ana.add(json!({})).await);
    let key = ana.key(&id).await;
    ana.device(&id).await;
    let session = ana.device(&other).await.directory.join("session.db");
    for evil in ["../../evil", "..", ".", "/etc", "a/../../b", "%2e%2e%2f"] {
        let change = json!({ "identifier": id, "instancia_id": evil });
        assert_eq!(ana.post("/api/update-device", change).await.json()["success"], true, "{evil}");
        let change = json!({ "identifier": evil, "instancia_id": id });
        assert_eq!(ana.post("/api/update-device", change).await.json()["actualizado"], true, "{evil}");
    }
    let change = json!({ "identifier": id, "instancia_id": "../.." });
    assert_eq!(ana.post("/api/update-device", change).await.json()["success"], true);
    assert_eq!(
        ana.post("/api/delete-device", json!({ "instancia_id": "../.." })).await.json()["success"],
        true
    );
    assert!(!api.data(&key).exists(), "its data is left");
    assert!(session.exists(), "another device's data is gone");
    assert_eq!(ana.state(&other).await, "INIT");
}

#[tokio::test]
async fn no_text_of_the_database_leaves_the_api_and_its_failure_is_no_bad_token() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let id = ana.add(json!({})).await;
    api.database.close().await;
    let away = |answer: &Answer, text: &str| {
        assert_eq!(error(answer), (503, text.to_owned()));
        assert_eq!(answer.headers[header::RETRY_AFTER], "5");
    };
    for path in ["/api/me", "/api/connections", "/api/generate-instance"] {
        away(&ana.get(path).await, "Error de base de datos");
    }
    for path in ["/api/send-message", "/api/add-device", "/api/disconnect"] {
        away(&ana.post(path, json!({ "instancia_id": id })).await, "Error de base de datos");
    }
    // Clients know these texts.
    let login = json!({ "numero": NUMBER, "password": PASSWORD });
    for path in ["/api/login", "/api/registro"] {
        away(&api.call("POST", path, "", Some(login.clone())).await, "Error de base de datos");
    }
    let status = format!("/api/status?instancia_id={id}");
    away(&api.call("GET", &status, "", None).await, "Error interno");
    for path in [&status, &format!("/api/qr?instancia_id={id}")] {
        away(&ana.get(path).await, "Error interno");
    }
    let health = api.call("GET", "/api/health", "", None).await;
    assert_eq!((health.status, &health.json()["db"]), (StatusCode::OK, &json!(false)));
    assert_eq!(text(&health.json()["error"]), "base de datos no disponible");
}

#[tokio::test]
async fn guesses_are_slowed_down_and_told_when_to_come_back() {
    let api = Api::start(&[]).await;
    let login = json!({ "numero": NUMBER, "password": "mala-clave" });
    let mut last = None;
    for _ in 0..12 {
        last = Some(api.call("POST", "/api/login", "", Some(login.clone())).await);
    }
    let last = last.unwrap();
    assert_eq!(error(&last), (429, "Demasiadas solicitudes, intente más tarde".into()));
    assert!(last.headers[header::RETRY_AFTER].to_str().unwrap().parse::<u64>().unwrap() > 0);
}

#[tokio::test]
async fn a_repeated_parameter_breaks_nothing() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    for path in [
        "/api/status?numero=a&numero=b",
        "/api/qr?numero=a&numero=b",
        "/api/status?instancia_id=a&instancia_id=b",
    ] {
        let answer = ana.get(path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {}", answer.text);
    }
    let request = Request::post("/api/disconnect?numero=a&numero=b")
        .header(header::AUTHORIZATION, format!("Bearer {}", ana.token));
    let disconnected = answer(api.send(request.body(axum::body::Body::empty()).unwrap()).await).await;
    assert_eq!(disconnected.status, StatusCode::BAD_REQUEST, "{}", disconnected.text);
}

/// Names were put into pages as they had been written.
#[tokio::test]
async fn what_somebody_wrote_comes_back_as_data_and_never_as_a_page() {
    const EVIL: &str = "<script>alert(1)</script>";
    const ENCODED: &str = "%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let api = Api::start(&[]).await;
    let account = json!({ "numero": NUMBER, "password": PASSWORD, "name": EVIL });
    let registered = api.call("POST", "/api/registro", "", Some(account)).await;
    let ana = Person { api: &api, token: text(&registered.json()["token"]) };
    let added = ana.post("/api/add-device", json!({ "nombre": EVIL })).await;
    let change = json!({ "identifier": added.json()["instancia_id"], "instancia_id": EVIL });
    let changed = ana.post("/api/update-device", change).await;
    let wrong =
        ana.post("/api/send-message", json!({ "number": EVIL, "message": "x", "fromNumber": EVIL })).await;
    let mut answers = vec![registered, added, changed, wrong];
    for path in [
        "/api/me".to_owned(),
        "/api/connections".to_owned(),
        "/api/connections?keys=instancia_id".to_owned(),
        format!("/api/status?instancia_id={ENCODED}"),
        format!("/api/status/{ENCODED}"),
        format!("/api/qr?instancia_id={ENCODED}"),
        format!("/api/connections?keys={ENCODED}"),
        format!("/api/{ENCODED}"),
    ] {
        answers.push(ana.get(&path).await);
    }
    assert!(answers.iter().filter(|answer| answer.text.contains(EVIL)).count() >= 5);
    for answer in answers {
        assert_eq!(answer.headers["content-type"], "application/json; charset=utf-8", "{}", answer.text);
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{}", answer.text);
        assert!(answer.headers["content-security-policy"].to_str().unwrap().contains("sandbox"));
        serde_json::from_str::<serde_json::Value>(&answer.text).unwrap();
    }
    // There is no page at all.
    for path in ["/", "/index.html", "/login.html", "/dashboard.html", "/public/dashboard.html"] {
        let answer = ana.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("application/"), "{path}");
    }
}
