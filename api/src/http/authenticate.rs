//! From a request to a [`Principal`].

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header;
use jiff::Timestamp;

use super::App;
use super::extract::Caller;
use super::failure::Failure;
use crate::auth::{Principal, TokenValue};

const CHALLENGE: &str = "Bearer realm=\"enlace\"";
const BAD_TOKEN: &str = "Bearer realm=\"enlace\", error=\"invalid_token\"";

/// Lets a request with a good token pass, and puts its [`Caller`] into it.
pub(super) async fn authenticate(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let value = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(value) = value else {
        app.limits.address(address)?;
        return Err(Failure::unauthorized(CHALLENGE, "a token is needed: Authorization: Bearer TOKEN"));
    };
    let principal = match bearer(value).and_then(TokenValue::parse) {
        Some(token) => Principal::of_token(&app.database, &token, Timestamp::now()).await?,
        None => None,
    };
    let Some(principal) = principal else {
        app.limits.address(address)?;
        return Err(Failure::unauthorized(BAD_TOKEN, "this token opens nothing: it is unknown or has ended"));
    };
    app.limits.token(&principal.token.id)?;
    request.extensions_mut().insert(Caller::new(principal));
    Ok(next.run(request).await)
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
