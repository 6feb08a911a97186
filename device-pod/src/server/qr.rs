//! The QR code in four forms, and the pairing code.

use std::io::Cursor;

use axum::Json as Answer;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use enlace_contract::problem::Problem;
use enlace_contract::state::{DeviceState, PairingText};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use image::{ImageFormat, Luma};
use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};
use serde::Deserialize;

use super::{Nothing, Query, Shared};

/// The side of one module of the picture, in pixels.
const MODULE: u32 = 8;

/// `?format=`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    format: Option<Format>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Raw,
    Png,
    Svg,
    Terminal,
}

/// `GET /v1/qr`: by `?format=`, else by what the caller accepts, else as text.
pub(super) async fn code(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Query(form): Query<Form>,
) -> Result<Response, Problem> {
    let state = shared.state.borrow().clone();
    let Some(qr) = &state.qr else { return Err(no_code(&state, "QR code")) };
    let format = form.format.unwrap_or_else(|| accepted(&headers));
    let (kind, body) = match format {
        Format::Raw => ("text/plain; charset=utf-8", qr.code.clone().into_bytes()),
        Format::Terminal => ("text/plain; charset=utf-8", format!("{}\n", qr.text).into_bytes()),
        Format::Svg => (
            "image/svg+xml",
            draw(&qr.code)?.render::<svg::Color>().min_dimensions(256, 256).build().into_bytes(),
        ),
        Format::Png => ("image/png", png(&qr.code)?),
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(expires) = HeaderValue::try_from(qr.expires_at.to_string()) {
        headers.insert("enlace-code-expires-at", expires);
    }
    Ok(response)
}

/// `GET /v1/pairing-code`.
pub(super) async fn pairing_code(
    State(shared): State<Shared>,
    Query(Nothing {}): Query<Nothing>,
) -> Result<Answer<PairingText>, Problem> {
    let state = shared.state.borrow().clone();
    state.pairing_code.clone().map(Answer).ok_or_else(|| no_code(&state, "pairing code"))
}

fn no_code(state: &DeviceState, what: &str) -> Problem {
    let detail = if state.paired {
        format!("there is no {what}: the device is linked")
    } else if state.phase.is_final() || state.phase == enlace_contract::state::Phase::Disconnected {
        format!("there is no {what}: the device is {}; ask for one with POST /v1/pair", state.phase)
    } else {
        format!("there is no {what} yet: the device is {}", state.phase)
    };
    Problem::new(StatusCode::CONFLICT, "NoCode", detail).with_phase(state.phase)
}

fn accepted(headers: &HeaderMap) -> Format {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("image/png") {
        Format::Png
    } else if accept.contains("image/svg+xml") {
        Format::Svg
    } else {
        Format::Raw
    }
}

fn draw(text: &str) -> Result<QrCode, Problem> {
    QrCode::with_error_correction_level(text, EcLevel::L).map_err(|error| {
        tracing::error!(%error, "a QR code could not be drawn");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "NotDrawn", "the QR code could not be drawn")
    })
}

fn png(text: &str) -> Result<Vec<u8>, Problem> {
    // The quiet zone of four modules is the renderer's.
    let picture = draw(text)?.render::<Luma<u8>>().module_dimensions(MODULE, MODULE).build();
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).map_err(|error| {
        tracing::error!(%error, "a QR code could not be encoded");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "NotDrawn", "the QR code could not be drawn")
    })?;
    Ok(bytes.into_inner())
}
