//! Login, and who one is.

use axum::Json as Answer;
use axum::extract::State;
use enlace_contract::duration::Period;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::extract::{Address, Caller, Json};
use super::failure::{Failure, internal};
use crate::auth::password::MAX_PASSWORD;
use crate::auth::{Action, TokenValue};
use crate::database::{NewToken, TokenRecord, User};

/// What the tokens of logins are called.
const LOGIN_TOKEN: &str = "login";
/// Logins of one user that are good at a time; with one more, the oldest ends.
const MAX_LOGINS: i64 = 100;

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Login {
    /// The user's name.
    #[schema(example = "admin")]
    username: String,
    /// Its password.
    #[schema(format = "password")]
    password: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LoggedIn {
    /// What to send as `Authorization: Bearer …`. It is shown this once.
    token: String,
    /// When it ends.
    expires_at: Timestamp,
    user: User,
}

/// Logs in: a token in exchange for a password.
#[utoipa::path(post, path = "/v1/login", tag = "session", request_body = Login, responses((status = OK, body = LoggedIn)))]
pub(super) async fn login(
    State(app): State<App>,
    Address(address): Address,
    Json(Login { username, password }): Json<Login>,
) -> Result<Answer<LoggedIn>, Failure> {
    let attempt = app.limits.login(address, &username)?;
    if password.len() > MAX_PASSWORD {
        attempt.wrong();
        return Err(wrong());
    }
    let (user, hash) = app.database.user_to_verify(&username).await?.unzip();
    // Without a user it takes as long as with one.
    let verified = app.passwords.verify(password, hash).await?;
    let Some(user) = user.filter(|_| verified) else {
        attempt.wrong();
        return Err(wrong());
    };
    let now = Timestamp::now();
    let lifetime = SignedDuration::try_from(app.settings.login_lifetime).map_err(|_| internal())?;
    let expires_at = now.checked_add(lifetime).map_err(|_| internal())?;
    if app.database.count_tokens(&user.id).await? >= MAX_LOGINS {
        app.database.delete_oldest_token(&user.id, LOGIN_TOKEN).await?;
        app.tokens_ended();
    }
    let value = new_value()?;
    let new = NewToken {
        user_id: &user.id,
        name: LOGIN_TOKEN,
        devices: None,
        actions: None,
        expires_at: Some(expires_at),
    };
    app.database.create_token(new, &value.hash(), now).await?;
    tracing::info!(user = user.id, "user {} logged in", user.id);
    Ok(Answer(LoggedIn { token: value.expose().to_owned(), expires_at, user }))
}

/// Ends the token that the request shows.
#[utoipa::path(post, path = "/v1/logout", tag = "session", security(("token" = [])), responses((status = NO_CONTENT)))]
pub(super) async fn logout(State(app): State<App>, caller: Caller) -> Result<StatusCode, Failure> {
    app.database.delete_token(&caller.token.id, None).await?;
    app.tokens_ended();
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Me {
    user: User,
    token: TokenRecord,
    /// What the token allows.
    actions: Vec<Action>,
}

/// Who the token stands for, and what it allows.
#[utoipa::path(get, path = "/v1/me", tag = "session", security(("token" = [])), responses((status = OK, body = Me)))]
pub(super) async fn me(caller: Caller) -> Answer<Me> {
    let actions = Action::ALL.into_iter().filter(|action| caller.may(*action)).collect();
    Answer(Me { user: caller.user.clone(), token: caller.token.clone(), actions })
}

pub(super) fn new_value() -> Result<TokenValue, Failure> {
    TokenValue::generate().map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a token could not be made");
        internal()
    })
}

/// The end of something that lasts for a period.
pub(super) fn end_of(now: Timestamp, period: Period) -> Result<Timestamp, Failure> {
    let end = SignedDuration::try_from(period.get()).ok().and_then(|period| now.checked_add(period).ok());
    end.filter(|end| *end > now).ok_or_else(|| {
        Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", "expiresIn must be a duration like 720h")
    })
}

fn wrong() -> Failure {
    Failure::unauthorized("Bearer realm=\"enlace\"", "the user name or the password is wrong")
}
