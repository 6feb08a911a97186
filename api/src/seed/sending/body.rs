//! What a request says: JSON, a form, or multipart with at most one file. All of it is in memory, within limits; of what is large, few at a
//! time.

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use multer::{Constraints, Multipart, SizeLimit};

use super::file::MAX_FILE;
use super::form::{Form, Wrong};
use crate::http::App;
use crate::seed::Room;
use crate::seed::answers::Refusal;
use crate::seed::extract::{self, Fields, MAX_JSON};

/// The largest form, in bytes: what has 25 MB as JSON, with `+`, `/` and `=` written as three bytes.
const MAX_FORM: usize = 32 * 1024 * 1024;
/// The largest multipart body: a file, or what JSON may have, and room for the rest.
const MAX_MULTIPART: u64 = MAX_FILE as u64 + 1024 * 1024;

/// What a request says.
pub(super) struct Said {
    /// Its fields.
    pub(super) fields: Fields,
    /// Its file.
    pub(super) file: Option<Upload>,
    /// Room among the large bodies, until the device has the message; a small body has none.
    pub(super) room: Option<Room>,
}

/// A file of a multipart body.
pub(super) struct Upload {
    /// Its name, as the sender's program has it.
    pub(super) name: Option<String>,
    /// Its MIME type, the same.
    pub(super) mime: Option<String>,
    /// Its bytes.
    pub(super) bytes: Bytes,
}

/// Reads a request. A file may come in the part `upload` only, and once.
pub(super) async fn read(app: &App, request: Request, upload: Option<&str>) -> Result<Said, Refusal> {
    let (parts, body) = request.into_parts();
    let room = extract::room_for_body(app, &parts, body.size_hint().upper()).await?;
    let (fields, file) = extract::paced(body, |body| by_kind(&parts.headers, body, upload)).await?;
    Ok(Said { fields, file, room })
}

async fn by_kind(
    headers: &HeaderMap,
    body: Body,
    upload: Option<&str>,
) -> Result<(Fields, Option<Upload>), Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => {
            let bytes = extract::whole(headers, body, MAX_JSON).await?;
            Ok((extract::of_json(&bytes)?, None))
        }
        "application/x-www-form-urlencoded" => {
            let bytes = extract::whole(headers, body, MAX_FORM).await?;
            Ok((Fields::new(Form::of_urlencoded(&bytes)?.into_fields()), None))
        }
        "multipart/form-data" => {
            let boundary = multer::parse_boundary(kind).map_err(refused)?;
            let limits = SizeLimit::new().whole_stream(MAX_MULTIPART).per_field(MAX_FILE as u64);
            let constraints = Constraints::new().size_limit(limits);
            multipart(Multipart::with_constraints(body.into_data_stream(), boundary, constraints), upload)
                .await
        }
        _ => Ok((Fields::absent(), None)),
    }
}

async fn multipart(
    mut parts: Multipart<'_>,
    upload: Option<&str>,
) -> Result<(Fields, Option<Upload>), Refusal> {
    let (mut form, mut file) = (Form::default(), None);
    while let Some(part) = parts.next_field().await.map_err(refused)? {
        let name = part.name().unwrap_or_default().to_owned();
        if part.file_name().is_none() {
            // However long it is: a field may have a file in base64.
            let value = part.bytes().await.map_err(refused)?;
            form.add(&name, String::from_utf8(value.into()).map_err(|_| Wrong::NotUtf8)?)?;
            continue;
        }
        if upload != Some(name.as_str()) || file.is_some() {
            let refusal = Refusal::bad_request("Campo de archivo inesperado");
            return Err(refusal.with("message", "Unexpected field").with("field", name).with_time());
        }
        let (name, mime) =
            (part.file_name().map(str::to_owned), part.content_type().map(ToString::to_string));
        file = Some(Upload { name, mime, bytes: part.bytes().await.map_err(refused)? });
    }
    Ok((Fields::new(form.into_fields()), file))
}

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::TooLarge => Self::bad_request("El formulario tiene demasiados campos").with_time(),
            Wrong::NotUtf8 => Self::bad_request("Los campos deben ser texto en UTF-8"),
        }
    }
}

fn refused(error: multer::Error) -> Refusal {
    match error {
        multer::Error::FieldSizeExceeded { limit, .. } | multer::Error::StreamSizeExceeded { limit } => {
            let error = format!("El archivo o el campo supera el límite de {limit} bytes");
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "BodyTooLarge", error).with_time()
        }
        _ => Refusal::bad_request("El formulario multipart no es válido o llegó incompleto").with_time(),
    }
}
