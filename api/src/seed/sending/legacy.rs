//! `POST /api/send-whatsap-legacy`: the XML and the PDF of an invoice, from a billing system.
//!
//! Both are one batch of the device: both are stored or none, they go out as XML, then PDF, with [`GAP`] in between and nothing else, and
//! when the XML fails the PDF is not sent. They wait their turn like everything that the number sends.
//!
//! The answer comes when both went out, so that `Documentos enviados correctamente` is true; when that takes longer than
//! [`PATIENCE`], it says that they are in the queue, where they are safe: they are on disk. Whoever is answered with an error may send them again.

use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use enlace_contract::messages::{SendBatch, SendMessage};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use super::body::{self, Said};
use super::delivery::{Delivery, Texts};
use super::file::{self, Claims, File};
use super::sender::{self, Sender};
use crate::http::App;
use crate::seed::answers::{Json, Refusal};
use crate::seed::extract::{Fields, SeedUser};

/// How long a caller waits at most, from the beginning of its request. Many have a time limit of 10 s, and would send again what is in the queue.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long it waits at least once both are stored, however long that took.
const LEAST: Duration = Duration::from_secs(1);
/// Between the XML and the PDF.
const GAP: Duration = Duration::from_secs(1);
/// The name of a file for which none is given.
const NAME: &str = "comprobante";
/// `venta.tipocomp` of an invoice; others are for people.
const INVOICE: &str = "01";

/// Sends an invoice.
pub(super) async fn invoice(
    State(app): State<App>,
    user: SeedUser,
    request: Request,
) -> Result<Json<Map<String, Value>>, Refusal> {
    sender::may(&user)?;
    let start = Instant::now();
    let headers = request.headers().clone();
    let said = body::read(&app, request, None).await?;
    let (delivery, names) = store(&app, &user, &headers, said).await?;
    let more = Map::from_iter([
        ("filename".to_owned(), names[1].as_str().into()),
        ("filenames".to_owned(), names.to_vec().into()),
    ]);
    let texts = Texts {
        sent: "Documentos enviados correctamente via Baileys",
        waiting: "Documentos en cola (tiempo de espera agotado)",
    };
    let left = PATIENCE.saturating_sub(start.elapsed()).max(LEAST);
    delivery.outcome(left, texts, more).await
}

async fn store(
    app: &App,
    user: &SeedUser,
    headers: &HeaderMap,
    mut said: Said,
) -> Result<(Delivery, [String; 2]), Refusal> {
    let fields = &mut said.fields;
    let missing = || Refusal::bad_request("Faltan datos requeridos");
    // As text: the country code stands before the number, whatever either was written as.
    let number = fields.text_or_integer("numws")?.ok_or_else(missing)?;
    let country = fields.text_or_integer("codnumws")?.ok_or_else(missing)?;
    let caption = caption(fields)?;
    let name = |field: &str, end: &str| -> Result<String, Refusal> {
        let name = fields.text_or_integer(field)?.and_then(|name| file::plain_name(&name));
        Ok(format!("{}.{end}", name.as_deref().unwrap_or(NAME)))
    };
    let names = [name("nombrexml", "xml")?, name("nombrepdf", "pdf")?];
    if fields.text("xml")?.is_none() || fields.text("pdf")?.is_none() {
        return Err(missing());
    }
    let mut files = Vec::new();
    for (field, mime, name) in [("xml", "application/xml", &names[0]), ("pdf", "application/pdf", &names[1])]
    {
        let Some(Value::String(text)) = fields.take(field) else { return Err(missing()) };
        let (bytes, _) = file::decode(&text)
            .ok_or_else(|| Refusal::bad_request(format!("El campo {field} no es base64 válido")))?;
        files.push(File::new(bytes, Claims { name: Some(name), mime: Some(mime) }));
    }
    let names = [files[0].shown_name(), files[1].shown_name()];
    let sender = Sender::own(app, user)
        .await?
        .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "NotFound", "Dispositivo no configurado"))?;
    let to = sender::recipient(&format!("{country}{number}"))?;
    let messages = files.into_iter().map(|file| {
        let (content, _) = file.content(true, Some(caption.clone()));
        SendMessage { to: to.clone(), content }
    });
    let batch = SendBatch { messages: messages.collect(), gap: GAP.into() };
    Ok((Delivery::store(app, user, sender, to, &batch, headers).await?, names))
}

/// The text under both files. What is not given is left empty.
fn caption(fields: &Fields) -> Result<String, Refusal> {
    let value = |object: &str, name: &str| fields.value(object).and_then(|object| object.get(name));
    let of = |object: &str, name: &str| -> Result<String, Refusal> {
        let Some(value) = value(object, name) else { return Ok(String::new()) };
        // Under the name by which its caller finds it.
        let path = format!("{object}.{name}");
        let field = Fields::new(Map::from_iter([(path.clone(), value.clone())]));
        Ok(field.text_or_integer(&path)?.unwrap_or_default())
    };
    let customer = if is_invoice(value("venta", "tipocomp")) { "razon_social" } else { "nombre" };
    Ok(format!(
        "*{}*\n\
         *RUC: {}*\n\
         =========================\n\
         *ESTIMADO CLIENTE,*\n\
         Sr(es). {}\n\
         =========================\n\
         *SE ADJUNTA SU COMPROBANTE EN FORMATO XML Y PDF*\n\
         =========================\n\
         Número de whatsapp solo para notificaciones, no responder a este mensaje",
        of("emisor", "razon_social")?,
        of("emisor", "ruc")?,
        of("cliente", customer)?,
    ))
}

/// Whether `venta.tipocomp` equals [`INVOICE`] as in JavaScript, where a number is compared as one.
fn is_invoice(kind: Option<&Value>) -> bool {
    match kind {
        Some(Value::String(text)) => text == INVOICE,
        Some(Value::Number(number)) => number.as_f64() == INVOICE.parse().ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn caption_of(value: Value) -> String {
        caption(&Fields::new(value.as_object().unwrap().clone())).unwrap()
    }

    #[test]
    fn the_caption_is_the_known_one() {
        let invoice = json!({
            "venta": { "tipocomp": "01" }, "emisor": { "razon_social": "MI EMPRESA SAC", "ruc": 20100000001_u64 },
            "cliente": { "razon_social": "CLIENTE SA", "nombre": "Cliente" },
        });
        assert_eq!(
            caption_of(invoice),
            "*MI EMPRESA SAC*\n*RUC: 20100000001*\n=========================\n*ESTIMADO CLIENTE,*\nSr(es). CLIENTE SA\n\
             =========================\n*SE ADJUNTA SU COMPROBANTE EN FORMATO XML Y PDF*\n=========================\n\
             Número de whatsapp solo para notificaciones, no responder a este mensaje"
        );
    }

    #[test]
    fn an_invoice_is_one_as_in_javascript() {
        for (kind, customer) in [
            (json!("01"), "A"),
            (json!(1), "A"),
            (json!(1.0), "A"),
            (json!("1"), "Ana"),
            (json!(3), "Ana"),
            (json!({ "a": 1 }), "Ana"),
            (Value::Null, "Ana"),
        ] {
            let sold =
                json!({ "venta": { "tipocomp": kind }, "cliente": { "razon_social": "A", "nombre": "Ana" } });
            assert!(caption_of(sold).contains(&format!("\nSr(es). {customer}\n")), "{kind}");
        }
    }

    #[test]
    fn a_receipt_is_for_a_person_and_what_is_missing_is_empty() {
        let receipt =
            json!({ "venta": { "tipocomp": "03" }, "cliente": { "razon_social": "A", "nombre": "Ana" } });
        assert!(caption_of(receipt).contains("\nSr(es). Ana\n"));
        let nothing = caption_of(json!({}));
        assert!(nothing.starts_with("**\n*RUC: *\n"), "{nothing}");
        assert!(!nothing.contains("undefined") && nothing.contains("\nSr(es). \n"), "{nothing}");
    }
}
