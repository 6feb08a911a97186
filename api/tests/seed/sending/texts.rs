//! Texts, numbers of messages, and waiting for the outcome.

use http::{Request, StatusCode, header};
use serde_json::json;

use super::{OWN, TO, batches, linked, messages};
use crate::fixture::{Api, answer};
use crate::person::error;

#[tokio::test]
async fn a_text_is_answered_with_all_fields_that_clients_read() {
    let api = Api::start(&[]).await;
    let (ana, id, device) = linked(&api).await;
    let answer = ana
        .post(
            "/api/send-message",
            json!({ "number": "+52 555-000 0002", "message": "Hola ñ", "fromNumber": id }),
        )
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(
        answer.json(),
        json!({
            "success": true, "succes": true, "queue_id": 1, "message": "Mensaje encolado", "from": id, "to": TO,
        })
    );
    assert_eq!(
        batches(&device),
        [json!({ "messages": [{ "to": TO, "type": "text", "text": "Hola ñ" }], "gap": "1s" })]
    );
}

#[tokio::test]
async fn what_clients_write_in_other_ways_is_the_same_message() {
    let api = Api::start(&[]).await;
    let (ana, id, device) = linked(&api).await;
    for (path, body) in [
        ("/api/send-message", json!({ "number": 525550000002_u64, "message": "Hola" })),
        ("/api/send", json!({ "fromNumber": OWN, "toNumber": TO, "message": "Hola" })),
        ("/api/send-whatsap", json!({ "instanceId": id, "number": TO, "type": "text", "message": "Hola" })),
        (
            "/api/send-whatsap",
            json!({ "number": TO, "mediatype": "text", "media": "", "filename": "", "caption": "Hola" }),
        ),
        ("/api/send-media", json!({ "number": TO, "message": "Hola", "wait": false })),
    ] {
        let answer = ana.post(path, body.clone()).await;
        assert_eq!(answer.json()["message"], "Mensaje encolado", "{body}: {}", answer.text);
        let last = messages(&device).pop().unwrap();
        assert_eq!(last, json!({ "to": TO, "type": "text", "text": "Hola" }), "{body}");
    }
    let form = ana
        .post_as(
            "/api/send-message",
            "application/x-www-form-urlencoded",
            format!("number={TO}&message=a+%2B+b"),
        )
        .await;
    assert_eq!(form.json()["queue_id"], 6, "{}", form.text);
    assert_eq!(messages(&device).pop().unwrap()["text"], "a + b");
}

#[tokio::test]
async fn who_waits_hears_what_became_of_the_message() {
    let api = Api::start(&[]).await;
    let (ana, _, device) = linked(&api).await;
    let failed =
        |reason: &str| json!({ "state": "failed", "error": { "reason": reason, "message": "in English" } });
    for (fate, status, expected) in [
        (json!({ "state": "sent" }), 200, "Enviado correctamente"),
        (json!({ "state": "delivered" }), 200, "Enviado correctamente"),
        (json!({ "state": "queued" }), 200, "Mensaje en cola (tiempo de espera agotado)"),
        (failed("RefusedByWhatsApp"), 500, "WhatsApp rechazó el mensaje"),
        (failed("NotSent"), 500, "No se pudo enviar el mensaje"),
        (failed("NotOnWhatsApp"), 400, "Número no registrado en WhatsApp"),
    ] {
        device.fates.lock().unwrap().push(fate.clone());
        // Anything that is true in JavaScript waits.
        let answer =
            ana.post("/api/send-message", json!({ "number": TO, "message": "x", "wait": "false" })).await;
        let json = answer.json();
        assert_eq!(answer.status, status, "{fate}: {json}");
        if status == 200 {
            assert_eq!(json["message"], expected, "{fate}");
            assert_eq!(json["success"], true);
            assert_eq!(json["warning"] == "timeout", expected.contains("agotado"), "{json}");
        } else {
            assert_eq!(error(&answer), (status, expected.to_owned()));
            assert_eq!(json["number"] == TO, status == 400, "{json}");
        }
    }
    let asked = device.asked().into_iter().filter(|asked| asked.path.contains("wait=")).count();
    assert_eq!(asked, 6);
}

#[tokio::test]
async fn the_number_of_a_message_is_the_same_message_after_a_restart() {
    let api = Api::start(&[]).await;
    let (ana, id, device) = linked(&api).await;
    let key = ana.key(&id).await;
    for number in 1..=2 {
        let answer = ana.post("/api/send-message", json!({ "number": TO, "message": "x" })).await;
        assert_eq!(answer.json()["queue_id"], number);
    }
    let second = device.outbox.lock().unwrap()[1]["id"].clone();
    let token = ana.token;
    let api = api.restart(|_| {}).await;
    let queued = api.database.queued(2).await.unwrap().unwrap();
    assert_eq!((queued.device.to_string(), json!(queued.message_id)), (key.clone(), second));
    let ana = crate::person::Person { api: &api, token };
    ana.device(&id).await.links_granted(OWN);
    api.until_phase(&key, "Connected").await;
    let answer = ana.post("/api/send-message", json!({ "number": TO, "message": "x" })).await;
    assert_eq!(answer.json()["queue_id"], 3, "{}", answer.text);
}

#[tokio::test]
async fn what_cannot_be_a_message_is_refused_before_anything_else() {
    let api = Api::start(&[]).await;
    let (ana, _, device) = linked(&api).await;
    let wrong_number = "Número de destino inválido: solo dígitos, con código de país";
    for (body, expected) in [
        (json!({ "message": "x" }), "Número de destino requerido"),
        (json!({ "number": "", "message": "x" }), "Número de destino requerido"),
        (json!({ "number": TO }), "Faltan datos"),
        (json!({ "number": TO, "message": "" }), "Faltan datos"),
        // The text of a file that is not there.
        (json!({ "number": TO, "mediatype": "document", "caption": "Su factura" }), "Faltan datos"),
        (json!({ "number": "12", "message": "x" }), wrong_number),
        (json!({ "number": "525550000001-1@g.us", "message": "x" }), wrong_number),
        (json!({ "number": { "a": 1 }, "message": "x" }), "El campo number debe ser un texto"),
    ] {
        let answer = ana.post("/api/send-message", body.clone()).await;
        assert_eq!(error(&answer), (400, expected.to_owned()), "{body}");
    }
    let nothing = api.call("POST", "/api/send-message", &ana.token, None).await;
    assert_eq!(error(&nothing), (400, "Número de destino requerido".to_owned()));
    assert_eq!(messages(&device), Vec::<serde_json::Value>::new());
}

#[tokio::test]
async fn what_is_sent_again_with_its_key_is_the_same_message_with_the_same_number() {
    let api = Api::start(&[]).await;
    let (ana, _, device) = linked(&api).await;
    let send = async |key: &str| {
        let request = Request::post("/api/send-message")
            .header(header::AUTHORIZATION, format!("Bearer {}", ana.token))
            .header(header::CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", key);
        let body = json!({ "number": TO, "message": "x" }).to_string();
        let sent = answer(api.send(request.body(body.into()).unwrap()).await).await;
        assert_eq!(sent.status, StatusCode::OK, "{}", sent.text);
        sent.json()["queue_id"].clone()
    };
    let first = send("F001-1").await;
    assert_eq!(send("F001-1").await, first);
    assert_ne!(send("F001-2").await, first);
    let at_once = futures::future::join_all((0..8).map(|_| send("F001-3"))).await;
    assert!(at_once.iter().all(|number| *number == at_once[0] && *number != first), "{at_once:?}");
    assert_eq!(send("F001-1").await, first);
    let asked = device.asked().into_iter().find(|asked| asked.path == "/v1/messages/batch").unwrap();
    assert_eq!(asked.headers["idempotency-key"], "F001-1");
    assert_eq!(device.outbox.lock().unwrap().len(), 3);
}
