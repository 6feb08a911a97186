//! `GET /api/qr`: the code to scan. It is a credential: only the device's owner gets it.
//!
//! To ask for it is to ask for a link: a device that rests (nobody scanned, unlinked, disconnected) starts to make codes again. One that
//! runs is left alone, however often it is asked. A device that is suspended runs again only by a token that may change devices, and a
//! request for the headers alone (`HEAD`) begins nothing.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use enlace_contract::client::DeviceClient;
use enlace_contract::state::{DeviceState, PairRequest, Phase};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::answers::{INTERNAL, Json, Refusal};
use super::extract::{Anyone, Query, SeedUser};
use super::instances::{self, Instance};
use super::states::{Facts, Word, cause, cause_of};
use crate::auth::Action;
use crate::directory::DirectoryError;
use crate::http::App;

/// The largest picture of a code, in bytes; one has a few thousand.
const MAX_PICTURE: usize = 256 * 1024;
/// How long a device may take to draw one.
const DRAWN: Duration = Duration::from_secs(5);

/// `GET /api/qr?instancia_id=` or `?numero=`.
pub(super) async fn of_query(
    State(app): State<App>,
    method: Method,
    Anyone(user): Anyone,
    Query(query): Query,
) -> Result<Json<Value>, Refusal> {
    let named = query.first_text(&["instancia_id", "numero"])?;
    let named = named.ok_or_else(|| Refusal::bad_request("Falta identificación"))?;
    answered(&app, &method, user, named).await
}

/// `GET /api/qr/NUMERO`.
pub(super) async fn of_path(
    State(app): State<App>,
    method: Method,
    Anyone(user): Anyone,
    Path(named): Path<String>,
) -> Result<Json<Value>, Refusal> {
    answered(&app, &method, user, &named).await
}

/// The answer; a lost database is told as clients know it.
async fn answered(
    app: &App,
    method: &Method,
    user: Option<SeedUser>,
    named: &str,
) -> Result<Json<Value>, Refusal> {
    show(app, method, user, named).await.map_err(|refusal| refusal.database_said(INTERNAL))
}

async fn show(
    app: &App,
    method: &Method,
    user: Option<SeedUser>,
    named: &str,
) -> Result<Json<Value>, Refusal> {
    let user = user.ok_or_else(Refusal::no_token)?;
    user.needs(Action::DevicesPair)?;
    let not_found = || Refusal::new(http::StatusCode::NOT_FOUND, "NotFound", "Dispositivo no encontrado");
    let instance = instances::find(app, &user, named).await?.ok_or_else(not_found)?;
    let began = method != Method::HEAD && begin(app, &user, &instance).await?;
    let now = Timestamp::now();
    let (word, picture, cause) = if began {
        (Word::Init, None, None)
    } else {
        match app.directory().client(instance.key()).await {
            Ok(client) => said(&client, &instance, now).await?,
            Err(_) => (instance.word(now), None, cause_of(&instance.device)),
        }
    };
    let mut answer = json!({
        "qr": picture,
        "ready": word.ready(),
        "hasQr": word.has_qr(),
        "state": word,
        "estado": word.estado(),
        "numero": instance.number(),
        "instancia_id": instance.id,
    });
    if let Some(cause) = cause {
        answer["motivo"] = cause.into();
    }
    Ok(Json(answer))
}

async fn said(
    client: &DeviceClient,
    instance: &Instance,
    now: Timestamp,
) -> Result<(Word, Option<String>, Option<&'static str>), Refusal> {
    let state: DeviceState = client.state().await?;
    let word = Facts::said(&instance.device, &state).word(now);
    let picture = if state.qr.is_some() { picture(client).await } else { None };
    Ok((word, picture, state.reason.and_then(cause)))
}

/// Lets a device that rests make codes; whether it does so now.
async fn begin(app: &App, user: &SeedUser, instance: &Instance) -> Result<bool, Refusal> {
    let linked = instance.device.resource.status.as_ref().is_some_and(|status| status.is_true("Paired"));
    match instance.device.phase() {
        Phase::PairingExpired | Phase::LoggedOut => {}
        Phase::Disconnected if !linked => {}
        Phase::Suspended if !user.principal().may(Action::DevicesWrite) => return Ok(false),
        Phase::Suspended => match app.directory().set_suspended(instance.key(), false).await {
            Ok(_) => {}
            // It is suspended where it is declared.
            Err(DirectoryError::NotOurs { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        },
        _ => return Ok(false),
    }
    let at = Timestamp::now();
    app.directory().request_pairing(instance.key(), at).await?;
    if let Ok(client) = app.directory().client(instance.key()).await {
        // It is told at once; the request is remembered, if it is not heard now.
        let told = client.pair(&PairRequest { requested_at: Some(at) }).await;
        if let Err(error) = told {
            let device = instance.key();
            tracing::warn!(%device, error = &error as &dyn std::error::Error, "device {device} did not hear that codes are asked for");
        }
    }
    Ok(true)
}

/// The code as a `data:` URL, drawn by the device.
pub(super) async fn picture(client: &DeviceClient) -> Option<String> {
    let request = Request::get("/v1/qr?format=png").body(Body::empty()).ok()?;
    let drawn = async {
        let response = client.forward(request).await.ok()?;
        if !response.status().is_success() {
            // It was scanned a moment ago.
            return None;
        }
        Some(Limited::new(response.into_body(), MAX_PICTURE).collect().await.ok()?.to_bytes())
    };
    let bytes = tokio::time::timeout(DRAWN, drawn).await.ok()??;
    Some(format!("data:image/png;base64,{}", BASE64_STANDARD.encode(bytes)))
}
