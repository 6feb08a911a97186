//! Registration, login, and who one is.
//!
//! A token is made for each login and stays good beside the earlier ones, since billing programs keep theirs for years. A user has a
//! bounded number of them: with one more, the one that was not used for longest ends.

use std::net::SocketAddr;

use axum::extract::State;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::answers::{Json, Refusal};
use super::extract::{Fields, SeedUser, SmallBody};
use crate::auth::TokenValue;
use crate::auth::password::MAX_PASSWORD;
use crate::database::{Account, NewAccount, NewToken, Unique, User, WriteError};
use crate::http::{Address, App};

/// What the tokens of this API are called.
pub const TOKEN: &str = "compatible";
/// The shortest password of a new account, in characters (NIST SP 800-63B). Accounts that were taken over may have shorter ones.
const MIN_PASSWORD: usize = 8;
/// Tokens that one look at the database brings.
const PAGE: u32 = 500;
/// The name of a user who gave none.
const DEFAULT_NAME: &str = "Usuario";

/// `POST /api/registro`: a new account, or a token for an account that is there, with its password only.
pub(super) async fn register(
    State(app): State<App>,
    Address(address): Address,
    SmallBody(fields): SmallBody,
) -> Result<Json<Value>, Refusal> {
    let wanted = Wanted::read(&fields)?;
    let identifier = wanted.number.as_deref().or(wanted.email.as_deref()).ok_or_else(missing)?;
    let attempt = app.limits().login(address, identifier)?;
    let account = match existing(&app, &wanted).await? {
        Some((account, hash)) => {
            if !verify(&app, wanted.password, Some(hash)).await? {
                attempt.wrong();
                return Err(Refusal::new(StatusCode::CONFLICT, "AlreadyExists", "El usuario ya existe"));
            }
            account
        }
        // Whoever only wants to know which accounts there are has no more tries than who guesses.
        None => match create(&app, &wanted, address).await {
            Err(refusal) if refusal.is_callers_fault() => {
                attempt.wrong();
                return Err(refusal);
            }
            created => created?,
        },
    };
    let token = new_token(&app, &account.user).await?;
    Ok(Json(json!({
        "success": true,
        "message": "Usuario registrado correctamente",
        "token": token,
        "name": wanted.name.as_deref().unwrap_or(super::instances::DEFAULT_NAME),
        "numero": account.phone_number,
        "email": account.email,
    })))
}

/// `POST /api/login`: a token in exchange for a password.
pub(super) async fn log_in(
    State(app): State<App>,
    Address(address): Address,
    SmallBody(fields): SmallBody,
) -> Result<Json<Value>, Refusal> {
    let identifier = fields.first_text(&["identifier", "email", "numero"]).map_err(|_| missing())?;
    let password = fields.text("password").map_err(|_| missing())?;
    let (Some(identifier), Some(password)) = (identifier, password) else { return Err(missing()) };
    let identifier = normal(identifier);
    let attempt = app.limits().login(address, &identifier)?;
    let (account, hash) = find(&app, &identifier).await?.unzip();
    // Without an account it takes as long as with one.
    let verified = verify(&app, password, hash).await?;
    let Some(Account { user, phone_number, email, .. }) = account.filter(|_| verified) else {
        attempt.wrong();
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Credenciales incorrectas"));
    };
    let token = new_token(&app, &user).await?;
    tracing::info!(user = user.id, "user {} logged in", user.id);
    Ok(Json(json!({ "success": true, "token": token, "numero": phone_number, "email": email })))
}

/// `POST /api/forgot-password`: says the same of every address. There is no mail to send: an administrator sets a new password.
pub(super) async fn forgot_password(
    State(app): State<App>,
    Address(address): Address,
    SmallBody(fields): SmallBody,
) -> Result<Json<Value>, Refusal> {
    app.limits().address(address)?;
    fields.text("email")?.ok_or_else(|| Refusal::bad_request("Email requerido"))?;
    let message = "Si el correo existe, se enviarán instrucciones.";
    Ok(Json(json!({ "success": true, "message": message })))
}

/// `GET /api/me`.
pub(super) async fn me(State(app): State<App>, user: SeedUser) -> Result<Json<Value>, Refusal> {
    let account = app.database().account(user.id()).await?.ok_or_else(Refusal::bad_token)?;
    let Account { phone_number, email, display_name, .. } = account;
    let name = display_name.unwrap_or_else(|| DEFAULT_NAME.to_owned());
    Ok(Json(json!({ "numero": phone_number, "email": email, "nombre": name })))
}

/// What somebody wants to register with.
struct Wanted<'a> {
    number: Option<String>,
    email: Option<String>,
    name: Option<String>,
    password: &'a str,
}

impl<'a> Wanted<'a> {
    fn read(fields: &'a Fields) -> Result<Self, Refusal> {
        let text = |name| fields.text(name).map_err(|_| missing());
        let (number, email) = (text("numero")?.map(normal), text("email")?.map(normal));
        let password = text("password")?.ok_or_else(missing)?;
        let name = text("name")?.or(text("nombre")?).map(str::to_owned);
        if number.is_none() && email.is_none() {
            return Err(missing());
        }
        Ok(Self { number, email, name, password })
    }

    /// What a new account must have; one that was taken over may not.
    fn check(&self) -> Result<(), Refusal> {
        let Self { number, email, name, password } = self;
        let digits = |text: &String| {
            text.len() <= NewAccount::MAX_PHONE_NUMBER && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !number.as_ref().is_none_or(digits) {
            return Err(Refusal::bad_request("Número inválido: solo dígitos, con código de país"));
        }
        let fits = |text: &String| {
            text.chars().count() <= NewAccount::MAX_TEXT && !text.chars().any(char::is_control)
        };
        if !email.as_ref().is_none_or(|email| fits(email) && email.contains('@')) {
            return Err(Refusal::bad_request("Email inválido"));
        }
        if !name.as_ref().is_none_or(fits) {
            return Err(Refusal::bad_request("Nombre inválido"));
        }
        if password.chars().count() < MIN_PASSWORD || password.len() > MAX_PASSWORD {
            let error = format!("La contraseña debe tener entre {MIN_PASSWORD} y {MAX_PASSWORD} caracteres");
            return Err(Refusal::bad_request(error));
        }
        Ok(())
    }
}

/// A number in digits alone, however it was written; an address as it is.
fn normal(identifier: &str) -> String {
    let written = |c: char| c.is_ascii_digit() || matches!(c, '+' | ' ' | '-' | '(' | ')');
    if identifier.chars().all(written) && identifier.contains(|c: char| c.is_ascii_digit()) {
        return identifier.chars().filter(char::is_ascii_digit).collect();
    }
    identifier.trim().to_owned()
}

async fn existing(app: &App, wanted: &Wanted<'_>) -> Result<Option<(Account, String)>, Refusal> {
    for identifier in wanted.number.iter().chain(&wanted.email) {
        let found = app.database().account_by_identifier(identifier).await;
        if let Some(found) = found? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The account of a number, an address, or a user's name.
async fn find(
    app: &App,
    identifier: &str,
) -> Result<Option<(Account, String)>, crate::database::DatabaseError> {
    if let Some(found) = app.database().account_by_identifier(identifier).await? {
        return Ok(Some(found));
    }
    let Some((user, hash)) = app.database().user_to_verify(identifier).await? else { return Ok(None) };
    Ok(app.database().account(&user.id).await?.map(|account| (account, hash)))
}

async fn verify(app: &App, password: &str, hash: Option<String>) -> Result<bool, Refusal> {
    // One that is too long is not hashed: it is no account's.
    let (password, hash) = if password.len() > MAX_PASSWORD { ("", None) } else { (password, hash) };
    Ok(app.passwords().verify(password.to_owned(), hash).await?)
}

async fn create(app: &App, wanted: &Wanted<'_>, address: Option<SocketAddr>) -> Result<Account, Refusal> {
    if !app.compatible().registration {
        let error = "El registro está cerrado: pida una cuenta al administrador";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "RegistrationClosed", error));
    }
    wanted.check()?;
    app.limits().registration(address)?;
    let hash = app.passwords().hash(wanted.password.to_owned()).await?;
    let identifier = wanted.number.as_deref().or(wanted.email.as_deref()).unwrap_or_default();
    let new = NewAccount {
        name: identifier,
        phone_number: wanted.number.as_deref(),
        email: wanted.email.as_deref(),
        display_name: Some(wanted.name.as_deref().unwrap_or(DEFAULT_NAME)),
        password_hash: &hash,
    };
    let account = match app.database().create_account(new, Timestamp::now()).await {
        Ok(account) => account,
        Err(WriteError::Taken(
            Unique::Name | Unique::PhoneNumber | Unique::Email | Unique::InstanceId | Unique::Device,
        )) => {
            return Err(Refusal::new(StatusCode::CONFLICT, "AlreadyExists", "El usuario ya existe"));
        }
        Err(WriteError::Database(error)) => return Err(error.into()),
    };
    tracing::info!(user = account.user.id, "user {} registered", account.user.id);
    Ok(account)
}

/// One more token for a user.
async fn new_token(app: &App, user: &User) -> Result<String, Refusal> {
    let now = Timestamp::now();
    make_room(app, &user.id).await?;
    let lifetime = app.compatible().token_lifetime.map(SignedDuration::try_from).transpose();
    let end = lifetime.ok().flatten().and_then(|lifetime| now.checked_add(lifetime).ok());
    let value = TokenValue::generate().map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a token could not be made");
        Refusal::internal()
    })?;
    let new = NewToken { user_id: &user.id, name: TOKEN, devices: None, actions: None, expires_at: end };
    app.database().create_token(new, &value.hash(), now).await?;
    Ok(value.expose().to_owned())
}

/// Ends the tokens of this API that were not used for longest, until there is room for one more.
async fn make_room(app: &App, user_id: &str) -> Result<(), crate::database::DatabaseError> {
    let most = app.compatible().max_tokens.max(1);
    let count = app.database().count_tokens(user_id).await?;
    if usize::try_from(count).is_ok_and(|count| count < most) {
        return Ok(());
    }
    let mut tokens = app.database().tokens(Some(user_id), "", PAGE).await?;
    tokens.retain(|token| token.name == TOKEN);
    tokens.sort_by_key(|token| token.last_used_at.unwrap_or(token.created_at));
    let surplus = (tokens.len() + 1).saturating_sub(most);
    for token in tokens.iter().take(surplus) {
        app.database().delete_token(&token.id, Some(user_id)).await?;
        app.tokens_ended();
        tracing::info!(user = user_id, token = token.id, "token {} gave way to a newer one", token.id);
    }
    Ok(())
}

fn missing() -> Refusal {
    Refusal::bad_request("Faltan datos")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_in_digits_however_they_are_written() {
        assert_eq!(normal("+52 (555) 000-0001"), "525550000001");
        assert_eq!(normal("525550000001"), "525550000001");
        assert_eq!(normal("Ana@example.com"), "Ana@example.com");
        assert_eq!(normal("+"), "+");
    }
}
