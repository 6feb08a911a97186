//! Several files that belong together: invoices and receipts.

use enlace_contract::duration::Period;
use http::StatusCode;
use serde_json::{Value, json};

use super::{OWN, PDF, TO, base64, batches, linked, messages};
use crate::fixture::Api;
use crate::person::{error, text};

const CAPTION: &str = "*MI EMPRESA SAC & Cía*\n*RUC: 20100000001*\n=========================\n*ESTIMADO CLIENTE,*\n\
    Sr(es). CLIENTE SA\n=========================\n*SE ADJUNTA SU COMPROBANTE EN FORMATO XML Y PDF*\n\
    =========================\nNúmero de whatsapp solo para notificaciones, no responder a este mensaje";

/// A file whose base64 has a plus and a slash.
const XML: &[u8] = b"<a>\xc3\xb1\xfb\xff\xbf</a>";

fn invoice() -> Value {
    json!({
        "numws": "5550000002", "codnumws": "52", "nombrexml": "20100-01-F001-1", "nombrepdf": "20100-01-F001-1",
        "xml": base64(XML), "pdf": base64(PDF), "licencia": "x", "venta": { "tipocomp": "01" },
        "emisor": { "razon_social": "MI EMPRESA SAC & Cía", "ruc": "20100000001" },
        "cliente": { "razon_social": "CLIENTE SA", "nombre": "Cliente" },
    })
}

fn expected() -> Value {
    let document = |data: &[u8], mime: &str, name: &str| {
        json!({
            "to": TO, "type": "document", "caption": CAPTION,
            "media": { "data": base64(data), "mimeType": mime, "fileName": name },
        })
    };
    json!({
        "messages": [
            document(XML, "application/xml", "20100-01-F001-1.xml"),
            document(PDF, "application/pdf", "20100-01-F001-1.pdf"),
        ],
        "gap": "1s",
    })
}

#[tokio::test]
async fn xml_and_pdf_are_one_batch_and_the_answer_says_that_both_went_out() {
    let api = Api::start(&[]).await;
    let (ana, _, device) = linked(&api).await;
    device.fates.lock().unwrap().extend([json!({ "state": "sent" }), json!({ "state": "sent" })]);
    let answer = ana.post("/api/send-whatsap-legacy", invoice()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(
        answer.json(),
        json!({
            "success": true, "succes": true, "message": "Documentos enviados correctamente via Baileys",
            "queue_id": 1, "queue_ids": [1, 2], "from": OWN, "to": TO, "filename": "20100-01-F001-1.pdf",
            "filenames": ["20100-01-F001-1.xml", "20100-01-F001-1.pdf"],
        })
    );
    assert_eq!(batches(&device), [expected()]);
}

/// The invoice with names as PHP writes them.
fn pairs() -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (name, value) in invoice().as_object().unwrap() {
        match value {
            Value::Object(inner) => {
                pairs.extend(inner.iter().map(|(inner, value)| (format!("{name}[{inner}]"), text(value))))
            }
            value => pairs.push((name.clone(), text(value))),
        }
    }
    pairs
}

#[tokio::test]
async fn a_form_with_nested_names_is_the_same_invoice() {
    let api = Api::start(&[]).await;
    let (ana, _, device) = linked(&api).await;
    assert!(base64(XML).contains(['+', '/']), "a plus must be on the way");
    // What an invoice has beside what is used: lines, and their taxes.
    let lines = (0..2000).flat_map(|line| {
        [
            (format!("venta[items][{line}][descripcion]"), "Pan".to_owned()),
            (format!("venta[items][{line}][impuestos][0][tipo]"), "IGV".to_owned()),
            (format!("venta[items][{line}][impuestos][0][a][b][c][d][e][f]"), "1".to_owned()),
        ]
    });
    let mut form = form_urlencoded::Serializer::new(String::new());
    let answer = ana
        .post_as(
            "/api/send-whatsap-legacy",
            "application/x-www-form-urlencoded; charset=utf-8",
            form.extend_pairs(pairs().into_iter().chain(lines)).finish(),
        )
        .await;
    assert_eq!(answer.json()["message"], "Documentos en cola (tiempo de espera agotado)", "{}", answer.text);
    assert_eq!(answer.json()["warning"], "timeout");
    assert_eq!(batches(&device), [expected()]);
    // Clients with a time limit of 10 s get to read the answer.
    let waits =
        device.asked().into_iter().find_map(|asked| Some(asked.path.split_once("?wait=")?.1.to_owned()));
    let waits: Period = waits.unwrap().parse().unwrap();
    assert!((1..=8).contains(&waits.get().as_secs()), "{waits}");
}

#[tokio::test]
async fn names_of_multipart_are_nested_as_well() {
    let api = Api::start(&[]).await;
    let (ana, _, device) = linked(&api).await;
    let mut pairs = pairs();
    pairs.extend((0..100).map(|line| (format!("venta[items][{line}][total]"), "1.50".to_owned())));
    pairs.push(("emisor[logo]".to_owned(), "A".repeat(300_000)));
    let parts: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), "", "", value.as_bytes())).collect();
    let answer = ana.upload("/api/send-whatsap-legacy", &parts).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(batches(&device), [expected()]);
}

#[tokio::test]
async fn a_form_in_another_encoding_is_refused() {
    let api = Api::start(&[]).await;
    let (ana, _, device) = linked(&api).await;
    let refused = (400, "Los campos deben ser texto en UTF-8".to_owned());
    let form = "application/x-www-form-urlencoded";
    let answer = ana.post_as("/api/send-message", form, format!("number={TO}&message=%F1and%FA")).await;
    assert_eq!(error(&answer), refused);
    let answer = ana.post_as("/api/send-message", form, [b"number=1&message=", &b"\xf1"[..]].concat()).await;
    assert_eq!(error(&answer), refused);
    let parts = [("number", "", "", TO.as_bytes()), ("message", "", "", b"\xf1and\xfa".as_slice())];
    assert_eq!(error(&ana.upload("/api/send-message", &parts).await), refused);
    assert_eq!(batches(&device), Vec::<Value>::new());
    let answer = ana.post_as("/api/send-message", form, format!("number={TO}&message=%C3%B1and%C3%BA")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(messages(&device)[0]["text"], "ñandú");
}

#[tokio::test]
async fn a_form_may_have_25_megabytes_of_base64() {
    let api = Api::start(&[]).await;
    let (ana, _, device) = linked(&api).await;
    let pdf = vec![0xfb; 18 * 1024 * 1024];
    let form = format!(
        "numws=5550000002&codnumws=52&xml=AA&pdf={}",
        base64(&pdf).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
    );
    assert!(form.len() > 25 * 1024 * 1024);
    let answer = ana.post_as("/api/send-whatsap-legacy", "application/x-www-form-urlencoded", form).await;
    // Every letter of it needs three bytes, so this one is too large; an ordinary one has few of them.
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", answer.text);
    let pdf: Vec<u8> =
        (0..18 * 1024 * 1024_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let form = format!(
        "numws=5550000002&codnumws=52&xml=AA&pdf={}",
        base64(&pdf).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
    );
    assert!(form.len() > 25 * 1024 * 1024);
    let answer = ana.post_as("/api/send-whatsap-legacy", "application/x-www-form-urlencoded", form).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let sent = messages(&device);
    assert!(sent[1]["media"]["data"] == base64(&pdf), "another file arrived");
    assert_eq!(sent[1]["media"]["fileName"], "comprobante.pdf");
}

#[tokio::test]
async fn a_number_is_put_together_as_text_whatever_it_was_written_as() {
    let api = Api::start(&[]).await;
    let (ana, _, device) = linked(&api).await;
    let answer = ana
        .post(
            "/api/send-whatsap-legacy",
            json!({ "numws": 5550000002_u64, "codnumws": 52, "xml": "AA==", "pdf": "AA==" }),
        )
        .await;
    assert_eq!(answer.json()["to"], TO, "{}", answer.text);
    let sent = messages(&device);
    assert_eq!(sent[0]["media"]["fileName"], "comprobante.xml");
    assert!(!sent[0]["caption"].as_str().unwrap().contains("undefined"));
}

#[tokio::test]
async fn an_invoice_is_stored_whole_or_not_at_all() {
    let api = Api::start(&[]).await;
    let (ana, _, device) = linked(&api).await;
    for field in ["numws", "codnumws", "xml", "pdf"] {
        for value in [Value::Null, json!("")] {
            let mut body = invoice();
            body[field] = value;
            let answer = ana.post("/api/send-whatsap-legacy", body).await;
            assert_eq!(error(&answer), (400, "Faltan datos requeridos".to_owned()), "{field}");
        }
    }
    let mut body = invoice();
    body["emisor"]["ruc"] = json!(1.5);
    let answer = ana.post("/api/send-whatsap-legacy", body).await;
    assert_eq!(error(&answer), (400, "El campo emisor.ruc debe ser un texto".to_owned()));
    let mut body = invoice();
    body["pdf"] = json!("%%%");
    let answer = ana.post("/api/send-whatsap-legacy", body).await;
    assert_eq!(error(&answer), (400, "El campo pdf no es base64 válido".to_owned()));
    assert_eq!(batches(&device), Vec::<Value>::new());
}

#[tokio::test]
async fn a_failure_is_told_by_what_failed_first() {
    let api = Api::start(&[]).await;
    let (ana, _, device) = linked(&api).await;
    let failed = |reason: &str| json!({ "state": "failed", "error": { "reason": reason, "message": "" } });
    device.fates.lock().unwrap().extend([failed("NotOnWhatsApp"), failed("EarlierFailed")]);
    let answer = ana.post("/api/send-whatsap-legacy", invoice()).await;
    assert_eq!(answer.json(), json!({ "error": "Número no registrado en WhatsApp", "number": TO }));
    device.fates.lock().unwrap().extend([json!({ "state": "sent" }), failed("RefusedByWhatsApp")]);
    let answer = ana.post("/api/send-whatsap-legacy", invoice()).await;
    assert_eq!(error(&answer), (500, "WhatsApp rechazó el mensaje".to_owned()));
}

#[tokio::test]
async fn a_receipt_is_several_files_in_order_a_second_and_a_half_apart() {
    let api = Api::start(&[]).await;
    let (ana, id, device) = linked(&api).await;
    let files = json!([
        { "type": "base64", "media": base64(PDF), "filename": "F001.pdf", "caption": "Su factura" },
        { "type": "base64", "media": base64(b"<a/>"), "filename": "F001.xml" },
    ]);
    let body = json!({ "instanceId": id, "number": TO, "files": files });
    let answer = ana.post("/api/send-receipt", body.clone()).await;
    assert_eq!(answer.json()["message"], "Documentos encolados", "{}", answer.text);
    assert_eq!(answer.json()["queue_ids"], json!([1, 2]));
    assert_eq!(answer.json()["filenames"], json!(["F001.pdf", "F001.xml"]));
    let batch = batches(&device).pop().unwrap();
    assert_eq!(batch["gap"], "1s500ms");
    assert_eq!(batch["messages"][0]["caption"], "Su factura");
    assert_eq!(batch["messages"][1]["media"]["mimeType"], "application/xml");
    device.fates.lock().unwrap().extend([json!({ "state": "sent" }), json!({ "state": "read" })]);
    let mut waiting = body.clone();
    waiting["wait"] = json!(true);
    let answer = ana.post("/api/send-receipt", waiting).await;
    assert_eq!(answer.json()["message"], "Documentos enviados correctamente");
    for files in [json!([]), Value::Null, json!([{ "filename": "a" }]), json!(["a"])] {
        let mut body = body.clone();
        body["files"] = files;
        assert_eq!(error(&ana.post("/api/send-receipt", body).await), (400, "Faltan datos".to_owned()));
    }
    let mut many = body;
    many["files"] = json!(vec![json!({ "media": "AA==" }); 11]);
    let answer = ana.post("/api/send-receipt", many).await;
    assert_eq!(error(&answer), (400, "Se aceptan hasta 10 archivos por envío".to_owned()));
    assert_eq!(batches(&device).len(), 2);
}

#[tokio::test]
async fn files_of_a_form_are_in_the_order_of_their_numbers() {
    let api = Api::start(&[]).await;
    let (ana, _, device) = linked(&api).await;
    let mut pairs = vec![("number".to_owned(), TO.to_owned())];
    for number in [11, 8, 10, 9] {
        pairs.push((format!("files[{number}][media]"), base64(PDF)));
        pairs.push((format!("files[{number}][filename]"), format!("{number}.pdf")));
    }
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
    let sent = ana.post_as("/api/send-receipt", "application/x-www-form-urlencoded", form).await;
    assert_eq!(sent.json()["filenames"], json!(["8.pdf", "9.pdf", "10.pdf", "11.pdf"]), "{}", sent.text);
    let parts: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), "", "", value.as_bytes())).collect();
    let sent = ana.upload("/api/send-receipt", &parts).await;
    assert_eq!(sent.json()["filenames"], json!(["8.pdf", "9.pdf", "10.pdf", "11.pdf"]), "{}", sent.text);
    let names: Vec<_> =
        messages(&device).iter().map(|message| message["media"]["fileName"].clone()).collect();
    assert_eq!(names[..4], ["8.pdf", "9.pdf", "10.pdf", "11.pdf"]);
    assert_eq!(names[..4], names[4..]);
}
