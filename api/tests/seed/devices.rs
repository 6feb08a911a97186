//! Adding, renaming and finding devices.

use enlace_contract::state::{Phase, Reason};
use http::StatusCode;
use serde_json::{Value, json};

use crate::fixture::{Api, settings};
use crate::person::{Person, error, text};

const NUMBER: &str = "525550000001";

#[tokio::test]
async fn an_added_device_is_a_resource_of_its_owner() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let answer =
        ana.post("/api/add-device", json!({ "nombre": "Ventas", "numero": "+52 555 000 0009" })).await;
    let id = text(&answer.json()["instancia_id"]);
    assert_eq!(
        answer.json(),
        json!({
            "success": true, "instancia_id": id, "message": "Dispositivo 525550000009 agregado correctamente",
            "numero": "525550000009", "nombre": "Ventas",
        })
    );
    assert_eq!(id.len(), 16);
    let key = ana.key(&id).await;
    let device = api.get(&format!("/v1/devices/{key}")).await.json();
    assert!(key.starts_with("default/wa-"), "{key}");
    assert_eq!(device["spec"]["displayName"], "Ventas");
    assert_eq!(device["spec"]["phoneNumber"], Value::Null, "the phone that scans has the number");
    assert_eq!(device["spec"]["pairing"]["timeout"], "1h");
    let me = api.call("GET", "/v1/me", &ana.token, None).await.json();
    assert_eq!(device["metadata"]["labels"]["enlace.dev/owner"], me["user"]["id"]);
}

#[tokio::test]
async fn a_device_is_found_by_identifier_number_and_base64_of_the_number() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let id = ana.add(json!({ "nombre": "Ventas" })).await;
    // What WhatsApp calls it, with the 1 of a Mexican mobile, is the same number.
    ana.linked(&id, "5215550000009").await;
    for named in [
        format!("instancia_id={id}"),
        format!("numero={id}"),
        "numero=5215550000009".into(),
        "numero=525550000009".into(),
        "instancia_id=NTIxNTU1MDAwMDAwOQ==".into(),
        "numero=NTIxNTU1MDAwMDAwOQ".into(),
    ] {
        let status = ana.get(&format!("/api/status?{named}")).await.json();
        assert_eq!(status["instancia_id"], id, "{named}");
        assert_eq!(status["numero"], "5215550000009", "{named}");
        assert_eq!(status["ready"], true, "{named}");
    }
    let alias = ana.get("/api/status/5215550000009").await.json();
    assert_eq!(alias["instancia_id"], id);
}

#[tokio::test]
async fn an_identifier_may_be_any_text_and_is_changed_without_a_new_link() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let id = ana.add(json!({ "nombre": "Ventas" })).await;
    ana.linked(&id, "525550000009").await;
    let change = json!({ "identifier": id, "instancia_id": "Ventas-01", "nombre": "Ventas 2" });
    assert_eq!(ana.post("/api/update-device", change).await.json()["success"], true);
    assert_eq!(ana.state("Ventas-01").await, "CONNECTED");
    assert_eq!(ana.state(&id).await, "NONE");
    let change = json!({ "numero": "525550000009", "instancia_id": "con espacios / ñ" });
    assert_eq!(ana.post("/api/update-instance", change).await.json()["success"], true);
    assert_eq!(ana.state("con%20espacios%20%2F%20%C3%B1").await, "CONNECTED");
    let all = ana.get("/api/connections").await.json();
    assert_eq!(all["connections"]["525550000009"]["name"], "Ventas 2");
}

#[tokio::test]
async fn an_identifier_that_is_taken_or_too_long_is_refused() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let (one, two) = (ana.add(json!({})).await, ana.add(json!({})).await);
    let change = json!({ "identifier": one, "instancia_id": two });
    assert_eq!(error(&ana.post("/api/update-device", change).await), (409, "La instancia ya existe".into()));
    let change = json!({ "identifier": one, "instancia_id": "x".repeat(256) });
    assert_eq!(ana.post("/api/update-device", change).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(ana.state(&one).await, "INIT");
}

#[tokio::test]
async fn adding_a_number_again_is_the_same_device() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let id = ana.add(json!({ "numero": "525550000009" })).await;
    assert_eq!(ana.add(json!({ "numero": 525_550_000_009_u64, "nombre": "Principal" })).await, id);
    let all = ana.get("/api/connections").await.json();
    assert_eq!(all["totalClients"], 1);
    assert_eq!(all["connections"]["525550000009"]["name"], "Principal");
}

#[tokio::test]
async fn a_number_is_of_the_device_whose_phone_has_it_whoever_named_it_first() {
    let api = Api::start(&[]).await;
    let (ana, beto) = (Person::register(&api, NUMBER).await, Person::register(&api, "525550000003").await);
    let named = ana.add(json!({ "numero": "525550000009" })).await;
    let own = beto.add(json!({ "numero": "525550000009" })).await;
    for person in [&ana, &beto] {
        let status = person.get("/api/status?numero=525550000009").await.json();
        assert_eq!((&status["numero"], &status["state"]), (&json!("525550000009"), &json!("INIT")));
    }
    beto.linked(&own, "525550000009").await;
    let status = beto.get("/api/status?numero=525550000009").await.json();
    assert_eq!((&status["instancia_id"], &status["state"]), (&json!(own), &json!("CONNECTED")));
    assert_eq!(status["motivo"], Value::Null);

    // Another phone than the one that was named is as good.
    ana.linked(&named, "525550000010").await;
    let status = ana.get(&format!("/api/status?instancia_id={named}")).await.json();
    assert_eq!((&status["numero"], &status["state"]), (&json!("525550000010"), &json!("CONNECTED")));
    assert_eq!(ana.state("525550000009").await, "NONE");
}

#[tokio::test]
async fn who_links_a_number_that_is_linked_already_is_told_why_it_ends() {
    let api = Api::start(&[]).await;
    let (ana, beto) = (Person::register(&api, NUMBER).await, Person::register(&api, "525550000003").await);
    let (first, second) = (ana.add(json!({})).await, beto.add(json!({})).await);
    ana.linked(&first, "525550000009").await;
    let device = beto.device(&second).await;
    device.says(|state| {
        state.phase = Phase::LoggedOut;
        state.reason = Some(Reason::DuplicateNumber);
    });
    api.until_phase(&beto.key(&second).await, "LoggedOut").await;
    let cause = "El número ya está vinculado en otro dispositivo";
    let status = beto.get(&format!("/api/status?instancia_id={second}")).await.json();
    assert_eq!((&status["state"], &status["motivo"]), (&json!("OFFLINE"), &json!(cause)));
    let all = beto.get("/api/connections").await.json();
    assert_eq!(all["connections"][&second]["motivo"], cause);
    assert_eq!(ana.state(&first).await, "CONNECTED");
}

#[tokio::test]
async fn a_user_has_a_bounded_number_of_devices() {
    let api = Api::start_with(&[], settings(|settings| settings.compatible.max_devices = 1)).await;
    let ana = Person::register(&api, NUMBER).await;
    ana.add(json!({})).await;
    let answer = ana.post("/api/add-device", json!({})).await;
    assert_eq!(error(&answer), (403, "Límite de 1 dispositivos alcanzado".into()));
}

#[tokio::test]
async fn however_many_are_added_at_once_there_are_no_more_than_a_user_may_have() {
    let api = Api::start_with(&[], settings(|settings| settings.compatible.max_devices = 3)).await;
    let ana = Person::register(&api, NUMBER).await;
    let adding = (0..8).map(|at| {
        let ana = &ana;
        async move {
            if at % 2 == 0 {
                return ana.post("/api/add-device", json!({})).await.status;
            }
            let device =
                json!({ "metadata": { "name": format!("d{at}"), "namespace": "default" }, "spec": {} });
            ana.post("/v1/devices", device).await.status
        }
    });
    let statuses = futures::future::join_all(adding).await;
    let made = statuses.iter().filter(|status| status.is_success()).count();
    let refused = statuses.iter().filter(|status| **status == StatusCode::FORBIDDEN).count();
    assert_eq!((made, refused), (3, 5), "{statuses:?}");
    assert_eq!(ana.get("/api/connections?keyBy=instancia").await.json()["totalClients"], 3);
}

#[tokio::test]
async fn a_number_that_is_added_many_times_at_once_is_one_device() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let ids = (0..6).map(|_| ana.add(json!({ "numero": "525550000009" })));
    let ids = futures::future::join_all(ids).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(ana.get("/api/connections").await.json()["totalClients"], 1);
}

#[tokio::test]
async fn a_text_that_is_too_long_for_an_identifier_names_nothing() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    for length in [256, 60_000, 65_533, 100_000] {
        let long = "x".repeat(length);
        let updated = ana.post("/api/update-device", json!({ "identifier": long, "nombre": "A" })).await;
        assert_eq!(updated.json(), json!({ "success": true, "actualizado": false }), "{length}");
        let deleted = ana.post("/api/delete-device", json!({ "instancia_id": long })).await;
        assert_eq!(error(&deleted), (404, "No encontrado".into()), "{length}");
    }
}

#[tokio::test]
async fn a_number_or_identifier_may_be_an_integer() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let number = 525550000009_u64;
    ana.add(json!({ "numero": number })).await;
    let name = "ñ".repeat(100);
    let updated = ana.post("/api/update-device", json!({ "identifier": number, "nombre": name })).await;
    assert_eq!(updated.json(), json!({ "success": true, "actualizado": true }));
    assert_eq!(ana.get("/api/connections").await.json()["connections"][number.to_string()]["name"], name);
    let updated = ana.post("/api/update-instance", json!({ "numero": number, "instancia_id": 7 })).await;
    assert_eq!(updated.json(), json!({ "success": true, "actualizado": true }));
    let updated = ana.post("/api/update-device", json!({ "identifier": 7, "instancia_id": 8 })).await;
    assert_eq!(updated.json(), json!({ "success": true, "actualizado": true }));
    for path in ["/api/disconnect", "/api/delete-device"] {
        let unknown = ana.post(path, json!({ "numero": 525550000008_u64 })).await;
        assert_eq!(error(&unknown), (404, "No encontrado".into()), "{path}");
        let done = ana.post(path, json!({ "numero": number })).await;
        assert_eq!(done.status, StatusCode::OK, "{path}: {}", done.text);
    }
    assert_eq!(ana.get("/api/connections").await.json()["totalClients"], 0);
}

#[tokio::test]
async fn names_and_numbers_that_cannot_be_are_refused() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    for device in [
        json!({ "nombre": "x".repeat(101) }),
        json!({ "nombre": "a\nb" }),
        json!({ "nombre": { "x": 1 } }),
        json!({ "numero": "123" }),
        json!({ "numero": [1] }),
    ] {
        let answer = ana.post("/api/add-device", device.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{device}: {}", answer.text);
    }
    assert_eq!(ana.get("/api/connections").await.json()["totalClients"], 0);
}

#[tokio::test]
async fn a_generated_identifier_is_new_each_time_and_makes_nothing() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let one = ana.get("/api/generate-instance").await.json();
    let two = ana.post("/api/generate-instance", json!({})).await.json();
    assert_ne!(one["instancia_id"], two["instancia_id"]);
    assert_eq!(text(&one["instancia_id"]).len(), 16);
    assert_eq!(ana.get("/api/connections").await.json()["totalClients"], 0);
}

#[tokio::test]
async fn connections_have_numbers_as_keys_or_identifiers_on_request() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let (first, second) = (ana.add(json!({ "nombre": "A" })).await, ana.add(json!({ "nombre": "B" })).await);
    ana.linked(&first, "525550000009").await;
    let all = ana.get("/api/connections").await.json();
    let keys = |all: &Value| all["connections"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let mut expected = vec!["525550000009".to_owned(), second.clone()];
    expected.sort();
    assert_eq!(keys(&all), expected);
    assert_eq!((&all["totalClients"], &all["connectedClients"]), (&json!(2), &json!(1)));
    let connected = &all["connections"]["525550000009"];
    assert_eq!(connected["instancia_id"], first);
    assert_eq!((&connected["state"], &connected["estado"]), (&json!("CONNECTED"), &json!("conectado")));
    assert!(connected["connectedAt"].is_i64() && connected["lastSeen"].is_i64(), "{connected}");
    let mut by_id = vec![first, second];
    by_id.sort();
    assert_eq!(keys(&ana.get("/api/connections?keys=instancia_id").await.json()), by_id);
    assert_eq!(ana.get("/api/connections?keys=x").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_declared_device_of_the_user_is_seen_and_changed_only_where_it_is_declared() {
    let api = Api::start(&[]).await;
    let ana = Person::register(&api, NUMBER).await;
    let me = api.call("GET", "/v1/me", &ana.token, None).await.json();
    let manifest = json!({
        "apiVersion": "enlace.dev/v1alpha1", "kind": "WhatsAppDevice",
        "metadata": {
            "name": "billing", "labels": { "enlace.dev/owner": me["user"]["id"] },
            "annotations": { "enlace.dev/instancia-id": "Facturas" },
        },
        "spec": {},
    });
    api.write("billing.yaml", &manifest.to_string());
    api.directory.rescan().await;
    assert_eq!(ana.state("Facturas").await, "INIT");
    let rename = json!({ "identifier": "Facturas", "nombre": "Otro" });
    assert_eq!(ana.post("/api/update-device", rename).await.status, StatusCode::CONFLICT);
    let delete = json!({ "instancia_id": "Facturas" });
    assert_eq!(ana.post("/api/delete-device", delete).await.status, StatusCode::CONFLICT);
    // Its identifier is the API's own affair.
    let rename = json!({ "identifier": "Facturas", "instancia_id": "F-1" });
    assert_eq!(ana.post("/api/update-device", rename).await.json()["success"], true);
    assert_eq!(ana.state("F-1").await, "INIT");
}
