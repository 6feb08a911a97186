//! Users.

use axum::Json as Answer;
use axum::extract::State;
use enlace_contract::paging;
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::extract::{Address, Caller, Json, Path, Query, page_size};
use super::failure::Failure;
use crate::auth::Action;
use crate::auth::password::{MAX_PASSWORD, MIN_PASSWORD};
use crate::database::User;

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateUser {
    /// The name to log in with: letters, digits, `.`, `_`, `-` and `@`, 64 at most.
    #[schema(example = "maria")]
    name: String,
    /// The password, 12 characters at least.
    #[schema(format = "password")]
    password: String,
    /// Whether it may do everything, with every device.
    #[serde(default)]
    administrator: bool,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserPage {
    items: Vec<User>,
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
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ChangePassword {
    /// The password until now; needed for the own one.
    #[serde(default)]
    #[schema(format = "password")]
    current_password: Option<String>,
    /// The new password, 12 characters at least.
    #[schema(format = "password")]
    password: String,
}

/// Creates a user. It takes an administrator's token that is not narrowed.
#[utoipa::path(post, path = "/v1/users", tag = "users", security(("token" = [])), request_body = CreateUser,
    responses((status = CREATED, body = User)))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(CreateUser { name, password, administrator }): Json<CreateUser>,
) -> Result<(StatusCode, Answer<User>), Failure> {
    manages_users(&caller)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(invalid("name must have from 1 to 64 letters, digits, '.', '_', '-' or '@'"));
    }
    let hash = app.passwords.hash(acceptable(password)?).await?;
    let user = app.database.create_user(&name, &hash, administrator, Timestamp::now()).await?;
    let exists = || {
        Failure::new(
            StatusCode::CONFLICT,
            "AlreadyExists",
            format!("there is a user {name} already (upper and lower case are the same)"),
        )
    };
    let user = user.ok_or_else(exists)?;
    tracing::info!(user = user.id, by = caller.user.id, administrator, "user {} was created", user.id);
    Ok((StatusCode::CREATED, Answer(user)))
}

/// Lists users.
#[utoipa::path(get, path = "/v1/users", tag = "users", security(("token" = [])), params(Listing),
    responses((status = OK, body = UserPage)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(Listing { after, limit }): Query<Listing>,
) -> Result<Answer<UserPage>, Failure> {
    lists_users(&caller)?;
    let limit = page_size(limit)?;
    let mut items = app.database.users(&after, limit + 1).await?;
    let next = paging::cut(&mut items, limit, |user| user.name.clone());
    Ok(Answer(UserPage { items, next }))
}

/// Deletes a user with its tokens. Its devices stay. The last administrator cannot be deleted. It takes an administrator's token that is not
/// narrowed.
#[utoipa::path(delete, path = "/v1/users/{id}", tag = "users", security(("token" = [])),
    params(("id" = String, Path, description = "The user's identifier")), responses((status = NO_CONTENT)))]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    manages_users(&caller)?;
    if app.database.user(&id).await?.is_none() {
        return Err(not_found());
    }
    if !app.database.delete_user(&id).await? {
        let detail = "this is the last administrator: create another one first";
        return Err(Failure::new(StatusCode::CONFLICT, "LastAdministrator", detail));
    }
    app.tokens_ended();
    tracing::info!(user = id, by = caller.user.id, "user {id} was deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// Changes a password. Every other token of the user ends. It takes a token that is not narrowed, for another user that of an administrator.
#[utoipa::path(put, path = "/v1/users/{id}/password", tag = "users", security(("token" = [])),
    request_body = ChangePassword, params(("id" = String, Path, description = "The user's identifier")),
    responses((status = NO_CONTENT)))]
pub(super) async fn change_password(
    State(app): State<App>,
    caller: Caller,
    Address(address): Address,
    Path(id): Path<String>,
    Json(ChangePassword { current_password, password }): Json<ChangePassword>,
) -> Result<StatusCode, Failure> {
    let password = acceptable(password)?;
    let own = id == caller.user.id;
    if own {
        is_whole(&caller, "changes no password")?;
        // A stolen token alone takes no user over.
        let attempt = app.limits.login(address, &caller.user.name)?;
        let (_, hash) = app.database.user_to_verify(&caller.user.name).await?.unzip();
        let current = current_password.filter(|password| password.len() <= MAX_PASSWORD).unwrap_or_default();
        if !app.passwords.verify(current, hash).await? {
            attempt.wrong();
            return Err(Failure::new(StatusCode::FORBIDDEN, "WrongPassword", "currentPassword is wrong"));
        }
    } else {
        manages_users(&caller)?;
    }
    let hash = app.passwords.hash(password).await?;
    let keep = own.then_some(caller.token.id.as_str());
    if !app.database.set_password(&id, &hash, keep).await? {
        return Err(not_found());
    }
    app.tokens_ended();
    tracing::info!(user = id, by = caller.user.id, "the password of user {id} was changed");
    Ok(StatusCode::NO_CONTENT)
}

/// Users own devices: a token of some devices knows no users.
fn lists_users(caller: &Caller) -> Result<(), Failure> {
    caller.needs(Action::UsersWrite)?;
    if caller.sees_new_devices() {
        return Ok(());
    }
    let detail = "this token is narrowed to some devices: it lists no users";
    Err(Failure::new(StatusCode::FORBIDDEN, "Forbidden", detail))
}

/// A narrowed token would log in as a user that it made, and be narrowed no more.
fn manages_users(caller: &Caller) -> Result<(), Failure> {
    caller.needs(Action::UsersWrite)?;
    is_whole(caller, "manages no users")
}

/// What a narrowed token never does, whatever its actions are.
fn is_whole(caller: &Caller, otherwise: &str) -> Result<(), Failure> {
    if caller.token.is_whole() {
        return Ok(());
    }
    let detail = format!(
        "this token is narrowed: it {otherwise}; log in, or use one with neither devices nor actions"
    );
    Err(Failure::new(StatusCode::FORBIDDEN, "Forbidden", detail))
}

fn acceptable(password: String) -> Result<String, Failure> {
    if password.chars().count() < MIN_PASSWORD || password.len() > MAX_PASSWORD {
        let detail =
            format!("password must have at least {MIN_PASSWORD} characters and at most {MAX_PASSWORD} bytes");
        return Err(invalid(&detail));
    }
    Ok(password)
}

fn invalid(detail: &str) -> Failure {
    Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", detail)
}

fn not_found() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "NotFound", "there is no such user")
}
