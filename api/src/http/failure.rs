//! Errors on the wire: what the caller may know. What the log gets is written where the error is turned into one of these.

use std::any::Any;

use axum::response::{IntoResponse, Response};
use enlace_contract::client::ClientError;
use enlace_contract::problem::Problem;
use enlace_contract::program::chain;
use http::{HeaderValue, StatusCode, header};

use super::limits::TooMany;
use crate::auth::Action;
use crate::auth::password::PasswordError;
use crate::database::DatabaseError;
use crate::directory::{Away, DirectoryError};

/// A request that was not followed.
#[derive(Debug)]
pub(super) struct Failure {
    problem: Box<Problem>,
    /// The `WWW-Authenticate` header.
    challenge: Option<String>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, reason: &str, detail: impl Into<String>) -> Self {
        Problem::new(status, reason, detail).into()
    }

    /// A parameter is not as it must be.
    pub(super) fn invalid_query(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidQuery", detail)
    }

    /// Nobody knows who calls (RFC 6750, section 3).
    pub(super) fn unauthorized(challenge: &str, detail: &str) -> Self {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "Unauthorized", detail);
        Self { problem: Box::new(problem), challenge: Some(challenge.to_owned()) }
    }

    /// The caller is known, and may not.
    pub(super) fn forbidden(needed: Action) -> Self {
        let detail = format!("this needs the action {needed}, which this token or its user does not have");
        let problem = Problem::new(StatusCode::FORBIDDEN, "Forbidden", detail);
        let challenge = format!("Bearer realm=\"enlace\", error=\"insufficient_scope\", scope=\"{needed}\"");
        Self { problem: Box::new(problem), challenge: Some(challenge) }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), challenge: None }
    }
}

impl From<TooMany> for Failure {
    fn from(TooMany { seconds, detail }: TooMany) -> Self {
        let when = if seconds == 1 { "1 second".to_owned() } else { format!("{seconds} seconds") };
        let detail = format!("{detail}: try again in {when}");
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", detail).retry_after(seconds).into()
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "a request failed because the database did"
        );
        let detail = "the API's database failed; try again later";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "DatabaseFailed", detail).retry_after(5).into()
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Self {
        let (status, reason) = match &error {
            DirectoryError::NotFound(_) => (StatusCode::NOT_FOUND, "NotFound"),
            DirectoryError::AlreadyExists { .. } => (StatusCode::CONFLICT, "AlreadyExists"),
            DirectoryError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
            DirectoryError::NotOurs { .. } => (StatusCode::CONFLICT, "NotOurs"),
            DirectoryError::NotWritten { .. } => {
                let detail = chain(&error);
                tracing::error!("a request failed: {detail}");
                return Self::new(StatusCode::INSUFFICIENT_STORAGE, "NotWritten", detail);
            }
            DirectoryError::Unavailable { .. } => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a request failed because the directory did"
                );
                let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", error.to_string());
                return problem.retry_after(5).into();
            }
        };
        Self::new(status, reason, error.to_string())
    }
}

impl From<Away> for Failure {
    fn from(away: Away) -> Self {
        let Away { phase, detail, retry_after } = away;
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "DeviceAway", detail);
        problem.with_phase(phase).retry_after(retry_after).into()
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(problem) => problem.into(),
            ClientError::Timeout(_) => {
                let detail = "the device did not answer in time";
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "DeviceSilent", detail).retry_after(5).into()
            }
            ClientError::Unreachable(_) | ClientError::Unauthorized | ClientError::Unreadable(_) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a device could not be asked");
                let detail = "the device cannot be reached";
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "DeviceAway", detail).retry_after(5).into()
            }
        }
    }
}

impl From<PasswordError> for Failure {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => {
                let detail = "too many passwords are being verified; try again soon";
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Busy", detail).retry_after(3).into()
            }
            PasswordError::Failed(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a password could not be hashed");
                internal()
            }
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self { problem, challenge } = self;
        let reason = problem.reason.clone();
        let mut response = problem.into_response();
        if let Some(value) = challenge.and_then(|text| HeaderValue::try_from(text).ok()) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
        response.extensions_mut().insert(Reason(reason));
        response
    }
}

/// The reason of a problem, for the log line and the measurement of its request.
#[derive(Clone, Debug)]
pub(crate) struct Reason(pub(crate) String);

/// Something that should not happen; the log has it.
pub(super) fn internal() -> Failure {
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal", "something failed here; the log has it")
}

/// The answer when a handler panicked.
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    log_panic(&*panic);
    internal().into_response()
}

/// Notes what a handler panicked with.
pub(crate) fn log_panic(panic: &(dyn Any + Send)) {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(panic = said, "a request's handler panicked: {said}");
}
