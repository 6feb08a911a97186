//! `POST /api/send-receipt`: several files in one call, in their order, 1.5 s apart.

use std::time::Duration;

use axum::extract::{Request, State};
use enlace_contract::messages::{Content, MAX_BATCH, SendBatch, SendMessage};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use super::body::{self, Said};
use super::delivery::{Delivery, Outcome};
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
    let (sender, delivery, to, names) = store(&app, &user, &headers, said).await?;
    let answer = |message: &str| {
        let mut answer = delivery.answer(message, &sender.from, &to);
        answer.insert("filenames".to_owned(), names.clone().into());
        answer
    };
    if !wait {
        return Ok(Json(answer("Documentos encolados")));
    }
    match delivery.settled().await? {
        Outcome::Sent => Ok(Json(answer("Documentos enviados correctamente"))),
        Outcome::Failed(failed) => Err(failed.into()),
        Outcome::Waiting => {
            let mut answer = answer("Documentos en cola (tiempo de espera agotado)");
            answer.insert("warning".to_owned(), "timeout".into());
            Ok(Json(answer))
        }
    }
}

async fn store(
    app: &App,
    user: &SeedUser,
    headers: &HeaderMap,
    mut said: Said,
) -> Result<(Sender, Delivery, String, Vec<String>), Refusal> {
    let to = number(&said.fields, &["number", "toNumber"])?;
    let files = files(said.fields.take("files"))?;
    let to = sender::recipient(&to)?;
    let sender = Sender::of(app, user, &said.fields).await?;
    // Nothing is fetched for a device that cannot send it.
    sender.ready(app).await?;
    let (mut messages, mut names, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (source, caption) in files {
        let file = source.file(app).await?;
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
    let delivery = Delivery::store(app, user, &sender, &batch, headers).await?;
    Ok((sender, delivery, to, names))
}

/// The files, each with its caption: a list, or the numbered fields of a form.
fn files(value: Option<Value>) -> Result<Vec<(Source, Option<String>)>, Refusal> {
    let missing = || Refusal::bad_request("Faltan datos");
    let list: Vec<Value> = match value {
        Some(Value::Array(list)) => list,
        Some(Value::Object(numbered)) => numbered.into_iter().map(|(_, file)| file).collect(),
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
