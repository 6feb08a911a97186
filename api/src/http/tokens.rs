//! Tokens: made, listed and ended. The value is shown once, when a token is made.

use axum::Json as Answer;
use axum::extract::State;
use enlace_contract::duration::Period;
use enlace_contract::name::DeviceKey;
use enlace_contract::paging;
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::extract::{Caller, DevicePath, Json, Path, Query, page_size};
use super::failure::Failure;
use super::session::{end_of, new_value};
use crate::auth::Action;
use crate::database::{NewToken, TokenDevice, TokenRecord};

/// Tokens of one user.
const MAX_TOKENS: i64 = 500;
/// Tokens that are read at a time.
const PAGE: u32 = 500;
/// Devices that one token is narrowed to.
const MAX_DEVICES: usize = 200;
/// The longest name of a token, in characters.
const MAX_NAME: usize = 100;

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateToken {
    /// What it is for.
    #[schema(example = "invoices")]
    name: String,
    /// The devices it opens. Absent: those that the token which makes it opens.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>, example = json!(["default/billing"]))]
    devices: Option<Vec<DeviceKey>>,
    /// What it allows. Absent: what the token which makes it allows.
    #[serde(default)]
    actions: Option<Vec<Action>>,
    /// For how long. Absent: until it is ended; made by a narrowed token that ends, as long as that one.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "720h")]
    expires_in: Option<Period>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreatedToken {
    #[serde(flatten)]
    token: TokenRecord,
    /// What to send as `Authorization: Bearer …`. It is shown this once.
    value: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenPage {
    items: Vec<TokenRecord>,
    /// `after` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Listing {
    /// The `next` of the page before.
    #[serde(default)]
    after: String,
    /// How many: 100 unless told, 500 at most.
    limit: Option<u32>,
    /// Of every user: takes an administrator's token that is not narrowed.
    #[serde(default)]
    all: bool,
}

/// Makes a token for the own user. It allows no more than the one that makes it, and has a life of its own: it stays good when the one that
/// made it is ended or expires (one made by a narrowed token that expires does so no later). A new password, or the deletion of the user,
/// ends all of them.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", security(("token" = [])), request_body = CreateToken,
    responses((status = CREATED, body = CreatedToken)))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(CreateToken { name, devices, actions, expires_in }): Json<CreateToken>,
) -> Result<(StatusCode, Answer<CreatedToken>), Failure> {
    caller.needs(Action::TokensWrite)?;
    let invalid = |detail: String| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", detail);
    if name.trim().is_empty() || name.chars().count() > MAX_NAME {
        return Err(invalid(format!("name must have from 1 to {MAX_NAME} characters")));
    }
    if let Some(missing) = actions.iter().flatten().find(|action| !caller.may(**action)) {
        return Err(Failure::forbidden(*missing));
    }
    let devices = match devices {
        None => caller.token.devices.clone(),
        Some(keys) if keys.is_empty() || keys.len() > MAX_DEVICES => {
            return Err(invalid(format!("devices must name from 1 to {MAX_DEVICES} devices")));
        }
        Some(keys) => Some(of_keys(&app, &caller, keys).await?),
    };
    if app.database.count_tokens(&caller.user.id).await? >= MAX_TOKENS {
        return Err(Failure::new(
            StatusCode::CONFLICT,
            "TooManyTokens",
            "this user has too many tokens: end some",
        ));
    }
    let now = Timestamp::now();
    let expires_at = expires_in.map(|period| end_of(now, period)).transpose()?;
    let expires_at = no_longer_than(&caller, expires_at)?;
    let value = new_value()?;
    let actions = actions.or_else(|| caller.token.actions.clone());
    let new = NewToken { user_id: &caller.user.id, name: name.trim(), devices, actions, expires_at };
    let token = app.database.create_token(new, &value.hash(), now).await?;
    tracing::info!(token = token.id, user = token.user_id, "user {} made token {}", token.user_id, token.id);
    Ok((StatusCode::CREATED, Answer(CreatedToken { token, value: value.expose().to_owned() })))
}

async fn of_keys(app: &App, caller: &Caller, keys: Vec<DeviceKey>) -> Result<Vec<TokenDevice>, Failure> {
    let mut devices = Vec::with_capacity(keys.len());
    for key in keys {
        // What the caller cannot see it cannot give away.
        let device = caller.device(app, &DevicePath(key.clone()), Action::TokensWrite).await?;
        let uid = device.resource.metadata.uid.clone().unwrap_or_default();
        devices.push(TokenDevice { key, uid });
    }
    Ok(devices)
}

/// A narrowed token that ends makes none that outlives it.
fn no_longer_than(caller: &Caller, end: Option<Timestamp>) -> Result<Option<Timestamp>, Failure> {
    let Some(own) = caller.token.expires_at.filter(|_| !caller.token.is_whole()) else { return Ok(end) };
    match end {
        Some(end) if end > own => {
            let detail =
                format!("expiresIn: this token is narrowed and ends at {own}: it makes none that ends later");
            Err(Failure::new(StatusCode::FORBIDDEN, "Forbidden", detail))
        }
        end => Ok(end.or(Some(own))),
    }
}

/// Lists tokens of the own user, or of every user. A narrowed token lists itself and those that are no wider.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", security(("token" = [])), params(Listing),
    responses((status = OK, body = TokenPage)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(Listing { after, limit, all }): Query<Listing>,
) -> Result<Answer<TokenPage>, Failure> {
    caller.needs(if all { Action::UsersWrite } else { Action::TokensWrite })?;
    if all && !caller.token.is_whole() {
        let detail = "this token is narrowed: it lists no tokens of other users";
        return Err(Failure::new(StatusCode::FORBIDDEN, "Forbidden", detail));
    }
    let limit = page_size(limit)?;
    let mut items = if caller.token.is_whole() {
        let user = (!all).then_some(caller.user.id.as_str());
        app.database.tokens(user, &after, limit + 1).await?
    } else {
        let mut items = no_wider(&app, &caller).await?;
        items.retain(|token| token.id > after);
        items.truncate(limit as usize + 1);
        items
    };
    let next = paging::cut(&mut items, limit, |token| token.id.clone());
    Ok(Answer(TokenPage { items, next }))
}

/// The caller's own tokens that are no wider than the one that it shows, by identifier.
async fn no_wider(app: &App, caller: &Caller) -> Result<Vec<TokenRecord>, Failure> {
    let mut tokens: Vec<TokenRecord> = Vec::new();
    let mut after = String::new();
    loop {
        let page = app.database.tokens(Some(&caller.user.id), &after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(tokens) };
        after.clone_from(&last.id);
        let whole = page.len() < PAGE as usize;
        tokens.extend(page.into_iter().filter(|token| token.is_within(&caller.token)));
        if whole {
            return Ok(tokens);
        }
    }
}

/// Ends a token: of the own user, or of any with an administrator's token that is not narrowed. A narrowed token ends itself and those of its
/// user that are no wider. Tokens that it made stay good: `GET /v1/tokens` lists them, to be ended each by itself.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "tokens", security(("token" = [])),
    params(("id" = String, Path, description = "The token's identifier")), responses((status = NO_CONTENT)))]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    let any = caller.may(Action::UsersWrite) && caller.token.is_whole();
    if !any {
        caller.needs(Action::TokensWrite)?;
    }
    let user = (!any).then_some(caller.user.id.as_str());
    // A wider token is answered like one that is not there.
    let hidden =
        !caller.token.is_whole() && !no_wider(&app, &caller).await?.iter().any(|token| token.id == id);
    if hidden || !app.database.delete_token(&id, user).await? {
        return Err(Failure::new(StatusCode::NOT_FOUND, "NotFound", "there is no such token"));
    }
    app.tokens_ended();
    tracing::info!(token = id, user = caller.user.id, "user {} ended token {id}", caller.user.id);
    Ok(StatusCode::NO_CONTENT)
}
