//! Errors on the wire: `application/problem+json` of RFC 9457.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// What kind of problem: `about:blank`, the meaning is the status code's and the reason's.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// The status code's own words.
    pub title: String,
    /// The status code.
    pub status: u16,
    /// A word a program can compare, in CamelCase.
    pub reason: String,
    /// What was wrong and what would be right, for a person.
    pub detail: String,
    /// Where the device is, when that is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<crate::state::Phase>,
    /// After how many seconds it is worth trying again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

fn about_blank() -> String {
    "about:blank".to_owned()
}

impl Problem {
    /// A problem of a status code, a reason and a sentence for a person.
    pub fn new(status: StatusCode, reason: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: about_blank(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            reason: reason.to_owned(),
            detail: detail.into(),
            phase: None,
            retry_after: None,
        }
    }

    /// The same, with the phase of the device.
    #[must_use]
    pub fn with_phase(mut self, phase: crate::state::Phase) -> Self {
        self.phase = Some(phase);
        self
    }

    /// The same, with the seconds after which to try again (also as the `Retry-After` header).
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after;
        let mut response = (status, axum::Json(self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
