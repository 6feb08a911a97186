//! What a control route answers when it cannot do what it was asked.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::types::Problem;

/// A refusal in plain words: `400 {"error": …}`. The simulator has nothing to hide, so it says everything.
pub(super) struct Refusal(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(Problem { error: format!("{:#}", self.0) })).into_response()
    }
}
