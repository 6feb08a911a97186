//! What a handler takes from a request, with errors a person understands.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use enlace_contract::client::DeviceClient;
use enlace_contract::name::DeviceKey;
use enlace_crds::rules::conditions::{ACCEPTED, DUPLICATE_NUMBER};
use http::request::Parts;
use http::{StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::App;
use super::failure::{Failure, internal};
use crate::auth::{Action, Principal};
use crate::directory::{Away, Device, DirectoryError};
use enlace_contract::body::{self, Wrong};
use enlace_contract::query;

/// How long a body of JSON may take to arrive: one that never ends must not keep its connection.
const BODY: Duration = Duration::from_secs(15);

/// Who calls.
#[derive(Clone, Debug)]
pub(super) struct Caller(Arc<Principal>);

impl Caller {
    pub(super) fn new(principal: Principal) -> Self {
        Self(Arc::new(principal))
    }

    /// What the caller needs to go on.
    pub(super) fn needs(&self, action: Action) -> Result<(), Failure> {
        if self.may(action) { Ok(()) } else { Err(Failure::forbidden(action)) }
    }

    /// A device, for an action. One that the caller cannot see is answered like one that is not there.
    pub(super) async fn device(
        &self,
        app: &App,
        path: &DevicePath,
        action: Action,
    ) -> Result<Arc<Device>, Failure> {
        self.needs(action)?;
        let DevicePath(key) = path;
        let device = app.directory.get(key).await?;
        if !self.sees(&device) {
            return Err(DirectoryError::NotFound(key.clone()).into());
        }
        Ok(device)
    }

    /// The way to a device that the caller sees.
    pub(super) async fn client(&self, app: &App, device: &Device) -> Result<DeviceClient, Failure> {
        app.directory.client(&device.key).await.map_err(|away| self.told(device, away))
    }

    /// What the caller may know of why a device is away: not whose its number is.
    pub(super) fn told(&self, device: &Device, mut away: Away) -> Failure {
        let accepted = device.resource.status.as_ref().and_then(|status| status.condition(ACCEPTED));
        let duplicate = accepted.is_some_and(|accepted| accepted.reason == DUPLICATE_NUMBER);
        if duplicate && !self.sees_everything() {
            away.detail = format!("{} does not run: {OTHER_DEVICE}", device.key);
        }
        away.into()
    }

    /// Whether every device is the caller's to see.
    pub(super) fn sees_everything(&self) -> bool {
        self.user.administrator && self.sees_new_devices()
    }
}

/// What those are told of a duplicate who may not know whose the number is.
pub(super) const OTHER_DEVICE: &str =
    "the number belongs to another device: use another number here, or have that device deleted first";

impl std::ops::Deref for Caller {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.0
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        // A guarded route without its guard would be a mistake here: it stays closed.
        parts.extensions.get::<Self>().cloned().ok_or_else(internal)
    }
}

/// `{namespace}/{name}` of a path.
#[derive(Debug)]
pub(super) struct DevicePath(pub(super) DeviceKey);

#[derive(Deserialize)]
struct Segments {
    namespace: String,
    name: String,
}

impl<S: Send + Sync> FromRequestParts<S> for DevicePath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(Segments { namespace, name }) = Path::from_request_parts(parts, state).await?;
        let key = DeviceKey::new(&namespace, &name);
        key.map(Self).map_err(|error| Failure::new(StatusCode::BAD_REQUEST, "InvalidName", error.to_string()))
    }
}

/// Segments of a path.
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) => {
                Err(Failure::new(rejection.status(), "InvalidPath", query::of_path(&rejection)))
            }
        }
    }
}

/// JSON from a request's body.
pub(super) struct Json<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let json = request.headers().get(header::CONTENT_TYPE).is_some_and(body::is_json);
        if !json {
            let detail = "the body must be JSON, with the header Content-Type: application/json";
            return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "NotJson", detail));
        }
        let read = tokio::time::timeout(BODY, Bytes::from_request(request, state)).await;
        let slow = || {
            let detail = "the body did not arrive in time";
            Failure::new(StatusCode::REQUEST_TIMEOUT, "BodyTooSlow", detail)
        };
        let bytes = read.map_err(|_| slow())?.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                let detail = format!("the body is larger than {} bytes", super::MAX_BODY);
                return Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "BodyTooLarge", detail);
            }
            Failure::new(rejection.status(), "InvalidBody", "the body could not be read to its end")
        })?;
        let read = body::read(&bytes);
        read.map(Self).map_err(|Wrong { status, sentence }| Failure::new(status, "InvalidBody", sentence))
    }
}

/// A query string.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(Failure::invalid_query(query::of_query(&rejection))),
        }
    }
}

/// Where the caller is, when that is known.
pub(crate) struct Address(pub(crate) Option<SocketAddr>);

impl<S: Send + Sync> FromRequestParts<S> for Address {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)))
    }
}

/// The size of a page: `?limit=`, 100 unless told, 500 at most.
pub(super) fn page_size(limit: Option<u32>) -> Result<u32, Failure> {
    query::page_size(limit).map_err(Failure::invalid_query)
}
