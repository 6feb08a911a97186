//! What a control route answers when it cannot do what it was asked.

use axum::Json;
use axum::body::to_bytes;
use axum::http::{StatusCode, header};
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

/// The framework's own words are a sentence at most.
const MAX_WORDS: usize = 64 << 10;

/// Puts what the framework itself refuses (a broken body, a wrong path or method) into the same shape.
pub(super) async fn in_words(response: Response) -> Response {
    let status = response.status();
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if !(status.is_client_error() || status.is_server_error()) || is_json {
        return response;
    }
    let words = to_bytes(response.into_body(), MAX_WORDS).await.unwrap_or_default();
    let error =
        if words.is_empty() { status.to_string() } else { String::from_utf8_lossy(&words).into_owned() };
    (status, Json(Problem { error })).into_response()
}
