//! Device tokens: who may speak to this device.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use enlace_contract::config::DeviceConfig;
use enlace_contract::problem::Problem;
use enlace_contract::token::TokenVerifier;
use http::{HeaderValue, StatusCode, header};
use tokio::sync::watch;

/// Checks tokens by the keys of the device's configuration, which can change.
#[derive(Clone)]
pub(super) struct Guard {
    config: watch::Receiver<DeviceConfig>,
}

impl Guard {
    pub(super) fn new(config: watch::Receiver<DeviceConfig>) -> Self {
        Self { config }
    }

    fn admits(&self, request: &Request) -> bool {
        let token = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        let Some(token) = token else { return false };
        let config = self.config.borrow();
        config.token_keys.iter().any(|key| match TokenVerifier::new(&config.uid, std::slice::from_ref(key)) {
            Ok(verifier) => verifier.verify(token.trim()).is_ok(),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a token key of the configuration cannot be read; the others count"
                );
                false
            }
        })
    }
}

/// Lets the probes pass, and whoever has a token for this device.
pub(super) async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let probe = matches!(request.uri().path(), "/livez" | "/readyz");
    if probe || guard.admits(&request) {
        return next.run(request).await;
    }
    metrics::counter!("enlace_device_requests_refused_total", "reason" => "Unauthorized").increment(1);
    let problem = Problem::new(
        StatusCode::UNAUTHORIZED,
        "Unauthorized",
        "a token for this device is needed: Authorization: Bearer TOKEN",
    );
    let mut response = problem.into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}
