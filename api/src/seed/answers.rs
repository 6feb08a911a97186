//! What the compatible API answers: JSON in UTF-8, and errors of the form `{"error": "<text in Spanish>"}`.
//!
//! What went wrong inside goes into the log: no answer has a text of the database, of a file or of another machine.

use std::any::Any;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use enlace_contract::client::ClientError;
use enlace_contract::problem::Problem;
use enlace_contract::program::chain;
use http::{HeaderValue, StatusCode, Uri, header};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::auth::password::PasswordError;
use crate::database::DatabaseError;
use crate::directory::{Away, DirectoryError};
use crate::http::{Reason, TooMany, log_panic};

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// The text of a failure here.
pub(super) const INTERNAL: &str = "Error interno";

/// An answer of JSON.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => ([(header::CONTENT_TYPE, JSON)], Body::from(bytes)).into_response(),
            Err(error) => {
                tracing::error!(%error, "an answer could not be written");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

/// A request that was not followed.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    body: Map<String, Value>,
    retry_after: Option<u64>,
    /// For the log line and the measurement.
    reason: &'static str,
}

impl Refusal {
    /// `{"error": text}`.
    pub fn new(status: StatusCode, reason: &'static str, error: impl Into<String>) -> Self {
        let body = Map::from_iter([("error".to_owned(), Value::String(error.into()))]);
        Self { status, body, retry_after: None, reason }
    }

    /// Something is missing or of the wrong form.
    pub fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Invalid", error)
    }

    /// There is no such instance, or it is another user's.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", "No encontrado")
    }

    /// No token.
    pub fn no_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "No autorizado")
    }

    /// A token that opens nothing.
    pub fn bad_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Token inválido o expirado")
    }

    /// The token is good, but not for this.
    pub fn forbidden() -> Self {
        let error = "El token no tiene permiso para esta operación";
        Self::new(StatusCode::FORBIDDEN, "Forbidden", error)
    }

    /// Something failed here; the log has it.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal", INTERNAL)
    }

    /// It cannot be done now.
    pub fn unavailable(error: impl Into<String>, retry_after: u64) -> Self {
        let mut refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", error);
        refusal.retry_after = Some(retry_after);
        refusal
    }

    /// The same, with the time after which it is worth trying again.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same, with one more field.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.body.insert(field.to_owned(), value.into());
        self
    }

    /// Whether another request would be answered otherwise, and not the same one later.
    pub fn is_callers_fault(&self) -> bool {
        self.status.is_client_error() && self.status != StatusCode::TOO_MANY_REQUESTS
    }

    /// The same, with the time.
    #[must_use]
    pub fn with_time(self) -> Self {
        self.with("timestamp", timestamp(Timestamp::now()))
    }

    /// The same, but a failure of the database is told with the text that clients know from the route.
    #[must_use]
    pub fn database_said(mut self, error: &str) -> Self {
        if self.reason == DATABASE {
            self.body.insert("error".to_owned(), error.into());
        }
        self
    }
}

/// The text alone, for who gets no JSON.
impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.body.get("error").and_then(Value::as_str).unwrap_or_default())
    }
}

const DATABASE: &str = "DatabaseFailed";

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, body, retry_after, reason } = self;
        let mut response = (status, Json(body)).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"enlace\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response.extensions_mut().insert(Reason(reason.to_owned()));
        response
    }
}

impl From<DatabaseError> for Refusal {
    fn from(error: DatabaseError) -> Self {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "a request failed because the database did"
        );
        Self::new(StatusCode::SERVICE_UNAVAILABLE, DATABASE, "Error de base de datos").retry_after(5)
    }
}

impl From<PasswordError> for Refusal {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::unavailable("Servidor ocupado, intente de nuevo", 3),
            PasswordError::Failed(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a password could not be hashed");
                Self::internal()
            }
        }
    }
}

impl From<DirectoryError> for Refusal {
    fn from(error: DirectoryError) -> Self {
        match &error {
            DirectoryError::NotFound(_) => Self::not_found(),
            DirectoryError::Invalid(detail) => {
                tracing::info!(detail, "a device was not accepted: {detail}");
                Self::bad_request("Datos del dispositivo inválidos")
            }
            DirectoryError::AlreadyExists { .. } => {
                Self::new(StatusCode::CONFLICT, "AlreadyExists", "El dispositivo ya existe")
            }
            DirectoryError::NotOurs { .. } => {
                let text = "El dispositivo está declarado fuera de esta API y se cambia allí";
                Self::new(StatusCode::CONFLICT, "NotOurs", text)
            }
            DirectoryError::NotWritten { .. } => {
                tracing::error!("a request failed: {}", chain(&error));
                let text = "El servidor no puede guardar el dispositivo";
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "NotWritten", text)
            }
            DirectoryError::Unavailable { .. } => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a request failed because the directory did"
                );
                Self::unavailable("Servicio no disponible, intente de nuevo", 5)
            }
        }
    }
}

impl From<Away> for Refusal {
    fn from(away: Away) -> Self {
        Self::unavailable("El dispositivo no está disponible, intente de nuevo", away.retry_after)
    }
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        if let ClientError::Refused(Problem { status, reason, detail, .. }) = &error {
            tracing::info!(status, reason, "a device refused: {detail}");
        } else {
            tracing::warn!(error = &error as &dyn std::error::Error, "a device could not be asked");
        }
        Self::unavailable("El dispositivo no está disponible, intente de nuevo", 5)
    }
}

impl From<TooMany> for Refusal {
    fn from(TooMany { seconds, detail: _ }: TooMany) -> Self {
        let error = "Demasiadas solicitudes, intente más tarde";
        let mut refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", error);
        refusal.retry_after = Some(seconds);
        refusal
    }
}

/// The answer to a route that is not there, or does not have the method.
pub fn unknown_route(uri: &Uri) -> Response {
    let path = uri.path_and_query().map_or(uri.path(), |whole| whole.as_str());
    let body =
        json!({ "error": "Ruta no encontrada", "path": path, "timestamp": timestamp(Timestamp::now()) });
    let mut response = (StatusCode::NOT_FOUND, Json(body)).into_response();
    response.extensions_mut().insert(Reason("UnknownRoute".to_owned()));
    response
}

/// The answer when a handler panicked.
pub(crate) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    log_panic(&*panic);
    Refusal::internal().into_response()
}

/// A time as JavaScript writes it: `2026-01-31T12:00:00.000Z`.
pub fn timestamp(at: Timestamp) -> String {
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_milliseconds_and_a_z() {
        assert_eq!(
            timestamp(Timestamp::from_millisecond(1_769_860_800_000).unwrap()),
            "2026-01-31T12:00:00.000Z"
        );
        assert_eq!(timestamp(Timestamp::from_nanosecond(1_234_567_899).unwrap()), "1970-01-01T00:00:01.234Z");
    }

    #[tokio::test]
    async fn a_panic_is_answered_as_every_other_error() {
        let broken = axum::Router::<()>::new()
            .route("/", axum::routing::get(async || -> StatusCode { panic!("SECRET") }))
            .layer(tower_http::catch_panic::CatchPanicLayer::custom(panicked));
        let request = http::Request::get("/").body(Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(broken, request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
        assert_eq!(&body[..], br#"{"error":"Error interno"}"#);
    }

    #[test]
    fn an_unknown_route_is_told_with_its_query() {
        let response = unknown_route(&"/api/nope?x=1".parse().unwrap());
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json; charset=utf-8");
    }
}
