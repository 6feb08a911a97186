//! `POST /api/send-receipt`: several files in one call, in their order, 1.5 s apart.

use std::time::Duration;

use axum::extract::{Request, State};
use enlace_contract::messages::{Content, MAX_BATCH, SendBatch, SendMessage};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use super::body::{self, Said};
use super::delivery::{Delivery, Texts, WAIT};
use super::file::MAX_FILE;
use super::message::{Source, number};
use super::sender::{self, Sender};
use crate::http::App;
use crate::seed::answers::{Json, Refusal};
use crate::seed::extract::{Fields, SeedUser};

/// Between two files.
const GAP: Duration = Duration::from_millis(1500);

/// Sends the files.
pub(super) async fn receipt(
    State(app): State<App>,
    user: SeedUser,
    request: Request,
) -> Result<Json<Map<String, Value>>, Refusal> {
    sender::may(&user)?;
    let headers = request.headers().clone();
    let said = body::read(&app, request, None).await?;
    let wait = said.fields.truthy("wait");
    let (delivery, names) = store(&app, &user, &headers, said).await?;
    let more = Map::from_iter([("filenames".to_owned(), names.into())]);
    if !wait {
        return Ok(delivery.answer("Documentos encolados", more));
    }
    let texts = Texts {
        sent: "Documentos enviados correctamente",
        waiting: "Documentos en cola (tiempo de espera agotado)",
    };
    delivery.outcome(WAIT, texts, more).await
}

async fn store(
    app: &App,
    user: &SeedUser,
    headers: &HeaderMap,
    mut said: Said,
) -> Result<(Delivery, Vec<String>), Refusal> {
    let to = number(&said.fields, &["number", "toNumber"])?;
    let files = files(said.fields.take("files"))?;
    let to = sender::recipient(&to)?;
    let sender = Sender::of(app, user, &said.fields).await?;
    // Nothing is fetched for a device that cannot send it.
    sender.ready(app).await?;
    let (mut messages, mut names, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (source, caption) in files {
        let file = source.file(app, user, &mut said.room).await?;
        bytes += file.bytes.len();
        if bytes > MAX_FILE {
            let error = format!("Los archivos superan juntos el límite de {MAX_FILE} bytes");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "BodyTooLarge", error));
        }
        names.push(file.shown_name());
        let (content, more) = file.content(false, caption);
        messages.push(SendMessage { to: to.clone(), content });
        messages.extend(more.map(|text| SendMessage { to: to.clone(), content: Content::Text { text } }));
    }
    let batch = SendBatch { messages, gap: GAP.into() };
    Ok((Delivery::store(app, user, sender, to, &batch, headers).await?, names))
}

/// The files, each with its caption: a list, or the numbered fields of a form.
fn files(value: Option<Value>) -> Result<Vec<(Source, Option<String>)>, Refusal> {
    let missing = || Refusal::bad_request("Faltan datos");
    let list: Vec<Value> = match value {
        Some(Value::Array(list)) => list,
        Some(Value::Object(numbered)) => in_order(numbered),
        _ => return Err(missing()),
    };
    if list.is_empty() {
        return Err(missing());
    }
    if list.len() > MAX_BATCH {
        return Err(Refusal::bad_request(format!("Se aceptan hasta {MAX_BATCH} archivos por envío")));
    }
    list.into_iter()
        .map(|file| {
            let Value::Object(fields) = file else { return Err(missing()) };
            let mut fields = Fields::new(fields);
            let caption = fields.text_or_integer("caption")?;
            Ok((Source::of(&mut fields, None)?.ok_or_else(missing)?, caption))
        })
        .collect()
}

/// The numbered fields of a form by their numbers, as text 10 would come before 9; what has another name comes last.
fn in_order(numbered: Map<String, Value>) -> Vec<Value> {
    let mut numbered: Vec<_> = numbered.into_iter().collect();
    numbered.sort_by_key(|(name, _)| name.parse().unwrap_or(u64::MAX));
    numbered.into_iter().map(|(_, file)| file).collect()
}
