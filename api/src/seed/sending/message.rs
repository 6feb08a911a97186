//! `send-message`, `send-media`, `send-whatsap` and their other names: one text or one file. They differ in the name of the file's part.

use axum::extract::{Request, State};
use enlace_contract::messages::{Content, DEFAULT_GAP, SendBatch, SendMessage};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use super::body::{self, Said, Upload};
use super::delivery::{Delivery, Texts, WAIT};
use super::fetch::Fetcher;
use super::file::{self, Claims, File};
use super::sender::{self, Sender};
use crate::http::App;
use crate::seed::Room;
use crate::seed::answers::{Json, Refusal};
use crate::seed::extract::{self, Fields, SeedUser};

/// `POST /api/send-message`: no file but in JSON.
pub(super) async fn plain(
    State(app): State<App>,
    user: SeedUser,
    request: Request,
) -> Result<Json<Map<String, Value>>, Refusal> {
    send(&app, &user, request, None).await
}

/// `POST /api/send-media`.
pub(super) async fn media(
    State(app): State<App>,
    user: SeedUser,
    request: Request,
) -> Result<Json<Map<String, Value>>, Refusal> {
    send(&app, &user, request, Some("media")).await
}

/// `POST /api/send-whatsap`, with one `p` as clients write it.
pub(super) async fn document(
    State(app): State<App>,
    user: SeedUser,
    request: Request,
) -> Result<Json<Map<String, Value>>, Refusal> {
    send(&app, &user, request, Some("pdf")).await
}

async fn send(
    app: &App,
    user: &SeedUser,
    request: Request,
    upload: Option<&str>,
) -> Result<Json<Map<String, Value>>, Refusal> {
    sender::may(user)?;
    let headers = request.headers().clone();
    let said = body::read(app, request, upload).await?;
    let wait = said.fields.truthy("wait");
    let (delivery, filename) = store(app, user, &headers, said).await?;
    let more = filename.map(|name| ("filename".to_owned(), name.into())).into_iter().collect();
    if !wait {
        return Ok(delivery.answer("Mensaje encolado", more));
    }
    let texts =
        Texts { sent: "Enviado correctamente", waiting: "Mensaje en cola (tiempo de espera agotado)" };
    delivery.outcome(WAIT, texts, more).await
}

/// Until the device has stored it; the body and its file are gone then.
async fn store(
    app: &App,
    user: &SeedUser,
    headers: &HeaderMap,
    mut said: Said,
) -> Result<(Delivery, Option<String>), Refusal> {
    let to = number(&said.fields, &["number", "toNumber"])?;
    let wanted = Wanted::of(&mut said)?;
    let to = sender::recipient(&to)?;
    let sender = Sender::of(app, user, &said.fields).await?;
    let (content, more, filename) = match wanted {
        Wanted::Text(text) => (Content::Text { text }, None, None),
        Wanted::File { source, as_document, caption } => {
            // Nothing is fetched for a device that cannot send it.
            if let Source::Url { .. } = source {
                sender.ready(app).await?;
            }
            let file = source.file(app, user, &mut said.room).await?;
            let name = file.shown_name();
            let (content, more) = file.content(as_document, caption);
            (content, more, Some(name))
        }
    };
    let mut messages = vec![SendMessage { to: to.clone(), content }];
    messages.extend(more.map(|text| SendMessage { to: to.clone(), content: Content::Text { text } }));
    let batch = SendBatch { messages, gap: DEFAULT_GAP };
    Ok((Delivery::store(app, user, sender, to, &batch, headers).await?, filename))
}

/// The destination, as it was written.
pub(super) fn number(fields: &Fields, names: &[&str]) -> Result<String, Refusal> {
    for name in names {
        if let Some(number) = fields.text_or_integer(name)? {
            return Ok(number);
        }
    }
    Err(Refusal::bad_request("Número de destino requerido"))
}

/// What is to be sent.
enum Wanted {
    Text(String),
    File { source: Source, as_document: bool, caption: Option<String> },
}

/// Where a file is.
pub(super) enum Source {
    /// Here.
    Here(File),
    /// To be fetched.
    Url { url: String, name: Option<String>, mime: Option<String> },
}

impl Wanted {
    fn of(said: &mut Said) -> Result<Self, Refusal> {
        let Said { fields, file, .. } = said;
        let message = fields.text_or_integer("message")?;
        let caption = fields.text_or_integer("caption")?;
        let kind = match fields.text("mediatype")? {
            Some(kind) => Some(kind),
            None => fields.text("type")?,
        };
        let kind = kind.map(str::to_ascii_lowercase);
        let source = Source::of(fields, file.take())?;
        let as_document = kind.as_deref() == Some("document");
        // A caption without the file that it is for would say that there is one.
        let needs_file = matches!(kind.as_deref(), Some("document" | "image" | "video" | "audio"));
        match (source, message, caption) {
            (Some(source), message, caption) => {
                Ok(Self::File { source, as_document, caption: caption.or(message) })
            }
            (None, message, caption) if !needs_file => {
                message.or(caption).map(Self::Text).ok_or_else(|| Refusal::bad_request("Faltan datos"))
            }
            _ => Err(Refusal::bad_request("Faltan datos")),
        }
    }
}

impl Source {
    /// The file of a request: that of its part, else what `media` has: base64 or a URL.
    pub(super) fn of(fields: &mut Fields, upload: Option<Upload>) -> Result<Option<Self>, Refusal> {
        let name = fields.text_or_integer("filename")?;
        let said = fields.text("mimetype")?.map(str::to_owned);
        if let Some(Upload { name: own, mime, bytes }) = upload {
            if bytes.is_empty() {
                return Err(Refusal::bad_request("El archivo está vacío"));
            }
            let name = name.or(own);
            let claims = Claims { name: name.as_deref(), mime: said.as_deref().or(mime.as_deref()) };
            return Ok(Some(Self::Here(File::new(bytes.to_vec(), claims))));
        }
        for field in ["media", "fileUrl", "media_url", "mediaUrl"] {
            let text = match fields.take(field) {
                None | Some(Value::Null) => continue,
                Some(Value::String(text)) if text.is_empty() => continue,
                Some(Value::String(text)) => text,
                Some(_) => {
                    let error = "Error procesando archivo media";
                    return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "Invalid", error));
                }
            };
            let lower = text.get(..8).unwrap_or_default().to_ascii_lowercase();
            if lower.starts_with("http://") || lower.starts_with("https://") {
                return Ok(Some(Self::Url { url: text, name, mime: said }));
            }
            if field != "media" {
                return Err(Refusal::bad_request("La URL del archivo no es válida: se acepta http o https"));
            }
            let (bytes, mime) = file::decode(&text)
                .ok_or_else(|| Refusal::bad_request("El campo media no es base64 ni una URL válida"))?;
            let claims = Claims { name: name.as_deref(), mime: said.as_deref().or(mime) };
            return Ok(Some(Self::Here(File::new(bytes, claims))));
        }
        Ok(None)
    }

    /// The file itself. One that is to be fetched has room among the large bodies first.
    pub(super) async fn file(
        self,
        app: &App,
        user: &SeedUser,
        room: &mut Option<Room>,
    ) -> Result<File, Refusal> {
        match self {
            Self::Here(file) => Ok(file),
            Self::Url { url, name, mime } => {
                if room.is_none() {
                    *room = Some(extract::room(app, user).await?);
                }
                let claims = Claims { name: name.as_deref(), mime: mime.as_deref() };
                Ok(fetcher(app)?.fetch(&url, claims).await?)
            }
        }
    }
}

fn fetcher(app: &App) -> Result<&Fetcher, Refusal> {
    let kept = &app.seed().fetcher;
    if kept.get().is_none() {
        let made = Fetcher::new(&app.compatible().media_allow).map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "files cannot be fetched");
            Refusal::internal()
        })?;
        // Whoever came first is kept.
        let _ = kept.set(made);
    }
    kept.get().ok_or_else(Refusal::internal)
}
