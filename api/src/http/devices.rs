//! The devices themselves. A device is shown as its resource, which can be applied to a cluster as it is.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use enlace_contract::name::DeviceKey;
use enlace_contract::number::PhoneNumber;
use enlace_contract::paging;
use enlace_contract::problem::Problem;
use enlace_contract::state::{DeviceState, PairRequest, Phase};
use enlace_crds::names;
use enlace_crds::rules::conditions::{ACCEPTED, DUPLICATE_NUMBER, READY};
use http::{HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::extract::{Caller, DevicePath, Json, OTHER_DEVICE, Query, page_size};
use super::failure::{Failure, internal};
use super::new_device;
use crate::auth::Action;
use crate::directory::{Deletion, Device, DirectoryError, FileError};

/// A device: its resource, as a manifest has it, with its status.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WhatsAppDevice, value_type = Object)]
pub(super) struct Shown(Value);

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DevicePage {
    #[schema(inline = false)]
    items: Vec<Shown>,
    /// `after` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Listing {
    /// The `next` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<DeviceKey>,
    /// How many: 100 unless told, 500 at most.
    limit: Option<u32>,
    /// Only those of a namespace.
    namespace: Option<String>,
    /// Only the device of a number, in any form of it.
    #[param(value_type = Option<String>, example = "525550000001")]
    number: Option<PhoneNumber>,
}

/// What a new device is: a manifest, of which `apiVersion` and `kind` may be left out.
#[derive(Deserialize, ToSchema)]
#[schema(as = CreateDevice, value_type = Object)]
pub(super) struct CreateDevice(Map<String, Value>);

/// A change: a merge patch (RFC 7396) of the spec.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateDevice {
    #[schema(value_type = Object, example = json!({"displayName": "Billing"}))]
    spec: Map<String, Value>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct NotUnlinked {
    /// Always false.
    unlinked: bool,
    /// What is left to do, for a person.
    message: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct DeclarationErrors {
    items: Vec<FileError>,
}

impl Shown {
    /// What a caller may see of a device: codes that link a phone only with [`Action::DevicesPair`].
    pub(super) fn to(caller: &Caller, device: &Device) -> Result<Self, Failure> {
        let mut value = serde_json::to_value(&device.resource).map_err(|_| internal())?;
        if !caller.may(Action::DevicesPair)
            && let Some(status) = value.get_mut("status").and_then(Value::as_object_mut)
        {
            status.remove("qr");
            status.remove("pairingCode");
        }
        if !caller.sees_everything() {
            hide_holder(&mut value);
        }
        Ok(Self(value))
    }
}

/// Whose a number is is nobody's business but its owner's and the administrators'.
fn hide_holder(device: &mut Value) {
    let conditions = device.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
        let says = matches!(condition.get("type").and_then(Value::as_str), Some(ACCEPTED | READY));
        if says && condition.get("reason").and_then(Value::as_str) == Some(DUPLICATE_NUMBER) {
            condition.insert("message".to_owned(), OTHER_DEVICE.into());
        }
    }
}

/// Lists devices that the caller may see, by namespace and name.
#[utoipa::path(get, path = "/v1/devices", tag = "devices", security(("token" = [])), params(Listing),
    responses((status = OK, body = DevicePage)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(Listing { after, limit, namespace, number }): Query<Listing>,
) -> Result<Answer<DevicePage>, Failure> {
    caller.needs(Action::DevicesRead)?;
    let limit = page_size(limit)?;
    let devices = match number {
        Some(number) => app.directory.find_by_number(&number.canonical()).await?.into_iter().collect(),
        None => app.directory.list().await?,
    };
    let mut devices: Vec<Arc<Device>> = devices
        .into_iter()
        .filter(|device| after.as_ref().is_none_or(|after| device.key > *after))
        .filter(|device| namespace.as_deref().is_none_or(|namespace| device.key.namespace() == namespace))
        .filter(|device| caller.sees(device))
        .take(limit as usize + 1)
        .collect();
    let next = paging::cut(&mut devices, limit, |device| device.key.to_string());
    let items = devices.iter().map(|device| Shown::to(&caller, device)).collect::<Result<_, _>>()?;
    Ok(Answer(DevicePage { items, next }))
}

/// Creates a device. It belongs to the caller's user, unless an administrator sets the label `enlace.dev/owner`. Only administrators say
/// anything of its pod and its volume, and choose the namespace.
#[utoipa::path(post, path = "/v1/devices", tag = "devices", security(("token" = [])), request_body = CreateDevice,
    responses((status = CREATED, body = Shown)))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(CreateDevice(body)): Json<CreateDevice>,
) -> Result<(StatusCode, [(HeaderName, HeaderValue); 1], Answer<Shown>), Failure> {
    caller.needs(Action::DevicesWrite)?;
    if !caller.sees_new_devices() {
        let detail = "this token is narrowed to some devices: it creates none";
        return Err(Failure::new(StatusCode::FORBIDDEN, "Forbidden", detail));
    }
    let mut device = new_device::read(body).map_err(invalid)?;
    let mut _turn = None;
    if !caller.sees_everything() {
        new_device::for_users(&device, &app.compatible().namespace).map_err(forbidden)?;
        // One at a time: what is counted must still be so when the device is made.
        _turn = Some(app.shares().creating(&caller.user.id).await.ok_or_else(busy)?);
        let most = app.compatible().max_devices;
        let listed = app.directory.list().await?;
        if listed.iter().filter(|device| caller.sees(device)).count() >= most {
            let detail = format!("a user may have {most} devices: delete one first");
            return Err(Failure::new(StatusCode::FORBIDDEN, "TooManyDevices", detail));
        }
    }
    let labels = device.metadata.labels.get_or_insert_default();
    if !caller.user.administrator || !labels.contains_key(names::OWNER) {
        labels.insert(names::OWNER.to_owned(), caller.user.id.clone());
    }
    let device = app.directory.create(device).await.map_err(|error| match error {
        // Where the name is taken may be another user's.
        DirectoryError::AlreadyExists { .. } if !caller.sees_everything() => {
            Failure::new(StatusCode::CONFLICT, "AlreadyExists", "the name is taken")
        }
        error => error.into(),
    })?;
    tracing::info!(device = %device.key, user = caller.user.id, "device {} was created", device.key);
    let place = format!("/v1/devices/{}", device.key);
    let place = HeaderValue::try_from(place).map_err(|_| internal())?;
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Answer(Shown::to(&caller, &device)?)))
}

fn busy() -> Failure {
    let detail = "this user makes many devices at once; try again soon";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Busy", detail).retry_after(5).into()
}

fn forbidden(detail: String) -> Failure {
    Failure::new(StatusCode::FORBIDDEN, "Forbidden", detail)
}

/// Shows a device.
#[utoipa::path(get, path = "/v1/devices/{namespace}/{name}", tag = "devices", security(("token" = [])),
    params(("namespace" = String, Path), ("name" = String, Path)), responses((status = OK, body = Shown)))]
pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    path: DevicePath,
) -> Result<Answer<Shown>, Failure> {
    let device = caller.device(&app, &path, Action::DevicesRead).await?;
    Ok(Answer(Shown::to(&caller, &device)?))
}

/// Changes a device's spec. Only devices that the API created can be changed here.
#[utoipa::path(patch, path = "/v1/devices/{namespace}/{name}", tag = "devices", security(("token" = [])),
    request_body = UpdateDevice, params(("namespace" = String, Path), ("name" = String, Path)),
    responses((status = OK, body = Shown)))]
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    path: DevicePath,
    Json(UpdateDevice { spec }): Json<UpdateDevice>,
) -> Result<Answer<Shown>, Failure> {
    let device = caller.device(&app, &path, Action::DevicesWrite).await?;
    if !caller.sees_everything() {
        new_device::patch_for_users(&spec).map_err(forbidden)?;
    }
    let device = app.directory.update(&device.key, Value::Object(spec)).await?;
    Ok(Answer(Shown::to(&caller, &device)?))
}

/// Deletes a device as its `deletionPolicy` says. Only devices that the API created can be deleted here.
#[utoipa::path(delete, path = "/v1/devices/{namespace}/{name}", tag = "devices", security(("token" = [])),
    params(("namespace" = String, Path), ("name" = String, Path)), responses(
        (status = NO_CONTENT, description = "It is gone, and was unlinked where its policy says so. In a cluster the operator unlinks it: an \
            Event `LogoutSkipped` in its namespace says when that was not possible"),
        (status = OK, body = NotUnlinked, description = "It is gone, and could not be unlinked (it was suspended, say, or not connected): the \
            phone lists it until it is removed there")))]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    path: DevicePath,
) -> Result<Response, Failure> {
    let device = caller.device(&app, &path, Action::DevicesWrite).await?;
    let deletion = app.directory.delete(&device.key).await.map_err(|error| match error {
        DirectoryError::NotOurs { key, owner } => {
            let detail = format!("{key} belongs to {owner}: remove it there");
            Failure::new(StatusCode::CONFLICT, "NotOurs", detail)
        }
        error => error.into(),
    })?;
    tracing::info!(device = %device.key, user = caller.user.id, "device {} was deleted on request", device.key);
    Ok(match deletion {
        Deletion::Done => StatusCode::NO_CONTENT.into_response(),
        Deletion::StillListed => Answer(NotUnlinked {
            unlinked: false,
            message: format!(
                "{} is deleted, but could not be unlinked: remove it on the phone under Linked devices",
                device.key
            ),
        })
        .into_response(),
    })
}

/// Suspends a device: it stops, and its session is kept.
#[utoipa::path(post, path = "/v1/devices/{namespace}/{name}/suspend", tag = "devices", security(("token" = [])),
    params(("namespace" = String, Path), ("name" = String, Path)), responses((status = OK, body = Shown)))]
pub(super) async fn suspend(
    State(app): State<App>,
    caller: Caller,
    path: DevicePath,
) -> Result<Answer<Shown>, Failure> {
    set_suspended(&app, &caller, &path, true).await
}

/// Lets a suspended device run again.
#[utoipa::path(post, path = "/v1/devices/{namespace}/{name}/resume", tag = "devices", security(("token" = [])),
    params(("namespace" = String, Path), ("name" = String, Path)), responses((status = OK, body = Shown)))]
pub(super) async fn resume(
    State(app): State<App>,
    caller: Caller,
    path: DevicePath,
) -> Result<Answer<Shown>, Failure> {
    set_suspended(&app, &caller, &path, false).await
}

async fn set_suspended(
    app: &App,
    caller: &Caller,
    path: &DevicePath,
    suspended: bool,
) -> Result<Answer<Shown>, Failure> {
    let device = caller.device(app, path, Action::DevicesWrite).await?;
    let device = app.directory.set_suspended(&device.key, suspended).await?;
    Ok(Answer(Shown::to(caller, &device)?))
}

/// What the device says of itself now.
#[utoipa::path(get, path = "/v1/devices/{namespace}/{name}/status", tag = "devices", security(("token" = [])),
    params(("namespace" = String, Path), ("name" = String, Path)), responses((status = OK, body = DeviceState)))]
pub(super) async fn status(
    State(app): State<App>,
    caller: Caller,
    path: DevicePath,
) -> Result<Answer<DeviceState>, Failure> {
    let device = caller.device(&app, &path, Action::DevicesRead).await?;
    let state = caller.client(&app, &device).await?.state().await?;
    Ok(Answer(visible(&caller, state)))
}

/// What a caller may see of a state.
pub(super) fn visible(caller: &Caller, mut state: DeviceState) -> DeviceState {
    if !caller.may(Action::DevicesPair) {
        state.qr = None;
        state.pairing_code = None;
    }
    state
}

/// Asks for codes to link again, also of a device whose time to be linked is over, or whose session ended.
#[utoipa::path(post, path = "/v1/devices/{namespace}/{name}/pair", tag = "linking", security(("token" = [])),
    params(("namespace" = String, Path), ("name" = String, Path)),
    responses((status = OK, body = DeviceState, description = "The device heeds it"),
        (status = ACCEPTED, body = DeviceState, description = "The device is starting, and will heed it")))]
pub(super) async fn pair(
    State(app): State<App>,
    caller: Caller,
    path: DevicePath,
) -> Result<(StatusCode, Answer<DeviceState>), Failure> {
    let device = caller.device(&app, &path, Action::DevicesPair).await?;
    // What is refused is not remembered either. One that only waits for it has no way to it yet.
    if let Err(away) = app.directory.client(&device.key).await
        && matches!(away.phase, Phase::Suspended | Phase::Failed)
    {
        return Err(caller.told(&device, away));
    }
    let at = Timestamp::now();
    let device = app.directory.request_pairing(&device.key, at).await?;
    match app.directory.client(&device.key).await {
        Ok(client) => {
            let state = client.pair(&PairRequest { requested_at: Some(at) }).await?;
            Ok((StatusCode::OK, Answer(state)))
        }
        Err(away) if matches!(away.phase, Phase::Suspended | Phase::Failed) => {
            Err(caller.told(&device, away))
        }
        Err(_) => {
            let state = DeviceState { phase: Phase::Starting, ..DeviceState::default() };
            Ok((StatusCode::ACCEPTED, Answer(state)))
        }
    }
}

/// Unlinks the device at WhatsApp and erases its session. The device stays, to be linked again.
#[utoipa::path(post, path = "/v1/devices/{namespace}/{name}/logout", tag = "linking", security(("token" = [])),
    params(("namespace" = String, Path), ("name" = String, Path)), responses((status = OK, body = DeviceState)))]
pub(super) async fn log_out(
    State(app): State<App>,
    caller: Caller,
    path: DevicePath,
) -> Result<Answer<DeviceState>, Failure> {
    let device = caller.device(&app, &path, Action::DevicesWrite).await?;
    let state = caller.client(&app, &device).await?.log_out().await?;
    tracing::info!(device = %device.key, user = caller.user.id, "device {} was logged out on request", device.key);
    Ok(Answer(visible(&caller, state)))
}

/// The declarations that are not accepted, with what is wrong with them. Administrators only.
#[utoipa::path(get, path = "/v1/declaration-errors", tag = "devices", security(("token" = [])),
    responses((status = OK, body = DeclarationErrors)))]
pub(super) async fn declaration_errors(
    State(app): State<App>,
    caller: Caller,
) -> Result<Answer<DeclarationErrors>, Failure> {
    caller.needs(Action::DevicesRead)?;
    if !caller.user.administrator || !caller.sees_new_devices() {
        return Err(Failure::new(StatusCode::FORBIDDEN, "Forbidden", "this is for administrators"));
    }
    Ok(Answer(DeclarationErrors { items: app.directory.declaration_errors() }))
}

fn invalid(detail: String) -> Failure {
    Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", detail)
}
