//! Adding, renaming, closing and deleting devices.
//!
//! To be disconnected is to be unlinked at WhatsApp and suspended: nothing runs and nothing comes back, also after a restart, until a QR
//! code is asked for. The device itself stays.

use std::time::Duration;

use axum::extract::State;
use enlace_contract::client::{ClientError, DeviceClient};
use enlace_contract::name::DeviceKey;
use enlace_contract::number::PhoneNumber;
use enlace_contract::state::Phase;
use enlace_crds::{WhatsAppDevice, manifest, names};
use futures::StreamExt as _;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::answers::{Json, Refusal};
use super::extract::{Fields, LargeBody, Query, SeedUser};
use super::instances::{self, DEFAULT_NAME, INSTANCE_ID, Instance};
use crate::auth::Action;
use crate::database::{InstanceId, NewInstance, Unique, WriteError};
use crate::directory::{Deletion, DirectoryError};
use crate::http::App;

/// The longest name of a device, in characters.
const MAX_NAME: usize = 100;
/// Random letters and digits in the name of a resource.
const SUFFIX: usize = 12;
/// What is left to do of a device that could not be unlinked.
const STILL_LISTED: &str = "WhatsApp no estaba al alcance: elimine el dispositivo vinculado en el teléfono";
/// How long a device may take to be unlinked.
const UNLINKED: Duration = Duration::from_secs(10);

/// `POST /api/add-device`: a new device, or the caller's one of the number that is given.
pub(super) async fn add(
    State(app): State<App>,
    user: SeedUser,
    LargeBody(fields): LargeBody,
) -> Result<Json<Value>, Refusal> {
    user.needs(Action::DevicesWrite)?;
    if !user.principal().sees_new_devices() {
        return Err(Refusal::forbidden());
    }
    if fields.is_absent() {
        return Err(Refusal::bad_request("Falta el cuerpo JSON"));
    }
    let name = name(&fields)?;
    let number = number(&fields)?;
    // One at a time: what is counted, and looked for, must still be so when the device is made.
    let busy = || Refusal::unavailable("Servidor ocupado, intente de nuevo", 5);
    let _turn = app.shares().creating(user.id()).await.ok_or_else(busy)?;
    if let Some(number) = &number
        && let Some(known) = instances::find(&app, &user, number.as_str()).await?
    {
        if let Some(name) = name {
            rename(&app, &known, name).await?;
        }
        return Ok(added(&known.id, Some(number), name.unwrap_or_else(|| known.name())));
    }
    let most = app.compatible().max_devices;
    if instances::all(&app, &user).await?.len() >= most {
        let error = format!("Límite de {most} dispositivos alcanzado");
        return Err(Refusal::new(StatusCode::FORBIDDEN, "TooManyDevices", error));
    }
    let name = name.unwrap_or(DEFAULT_NAME);
    let id = create(&app, &user, name, number.as_ref()).await?;
    Ok(added(id.as_str(), number.as_ref(), name))
}

fn added(id: &str, number: Option<&PhoneNumber>, name: &str) -> Json<Value> {
    let number = number.map(PhoneNumber::as_str);
    let message = match number {
        Some(number) => format!("Dispositivo {number} agregado correctamente"),
        None => "Dispositivo agregado correctamente".to_owned(),
    };
    Json(json!({ "success": true, "instancia_id": id, "message": message, "numero": number, "nombre": name }))
}

/// `POST /api/disconnect`: unlinks a device and keeps it.
pub(super) async fn disconnect(
    State(app): State<App>,
    user: SeedUser,
    Query(query): Query,
    LargeBody(body): LargeBody,
) -> Result<Json<Value>, Refusal> {
    user.needs(Action::DevicesWrite)?;
    let named = match query.first_text_or_integer(&["instancia_id", "numero"])? {
        Some(text) => Some(text),
        None => body.first_text_or_integer(&["instancia_id", "numero"])?,
    };
    let instance = target(&app, &user, named.as_deref()).await?;
    let unlinked = unlink(&app, &instance).await?;
    match app.directory().set_suspended(instance.key(), true).await {
        // What is declared elsewhere is unlinked, and runs on as it is declared.
        Ok(_) | Err(DirectoryError::NotOurs { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let key = instance.key();
    tracing::info!(device = %key, user = user.id(), "device {key} was disconnected on request");
    let named = instance.number().unwrap_or(&instance.id);
    let message = format!("Dispositivo {named} desconectado correctamente");
    let mut answer = json!({ "success": true, "message": message });
    if !unlinked {
        answer["warning"] = STILL_LISTED.into();
    }
    Ok(Json(answer))
}

/// `POST /api/delete-device`: unlinks a device and removes it.
pub(super) async fn delete(
    State(app): State<App>,
    user: SeedUser,
    LargeBody(fields): LargeBody,
) -> Result<Json<Value>, Refusal> {
    user.needs(Action::DevicesWrite)?;
    let named = fields.first_text_or_integer(&["instancia_id", "numero"])?;
    let instance = target(&app, &user, named.as_deref()).await?;
    let deletion = app.directory().delete(instance.key()).await?;
    if let Some(row) = &instance.row {
        app.database().delete_instance(row).await?;
    }
    let key = instance.key();
    tracing::info!(device = %key, user = user.id(), "device {key} was deleted on request");
    let mut answer = json!({ "success": true, "message": "Dispositivo eliminado correctamente" });
    if deletion == Deletion::StillListed {
        answer["warning"] = STILL_LISTED.into();
    }
    Ok(Json(answer))
}

/// `POST /api/update-device`: another name, another identifier. The session stays as it is.
pub(super) async fn update(
    State(app): State<App>,
    user: SeedUser,
    LargeBody(fields): LargeBody,
) -> Result<Json<Value>, Refusal> {
    user.needs(Action::DevicesWrite)?;
    let named = fields.first_text_or_integer(&["identifier", "instancia_id"])?;
    let named = named.ok_or_else(|| Refusal::bad_request("Identificador requerido"))?;
    let name = name(&fields)?;
    let id = fields.text_or_integer("instancia_id")?;
    let Some(instance) = instances::find(&app, &user, &named).await? else { return Ok(updated(false)) };
    if let Some(id) = id.filter(|id| *id != instance.id) {
        give_id(&app, &user, &instance, &id).await?;
    }
    if let Some(name) = name {
        rename(&app, &instance, name).await?;
    }
    Ok(updated(true))
}

/// `POST /api/update-instance`: another identifier.
pub(super) async fn update_instance(
    State(app): State<App>,
    user: SeedUser,
    LargeBody(fields): LargeBody,
) -> Result<Json<Value>, Refusal> {
    user.needs(Action::DevicesWrite)?;
    let (named, id) = (fields.text_or_integer("numero")?, fields.text_or_integer("instancia_id")?);
    let (Some(named), Some(id)) = (named, id) else { return Err(Refusal::bad_request("Faltan datos")) };
    let Some(instance) = instances::find(&app, &user, &named).await? else { return Ok(updated(false)) };
    if id != instance.id {
        give_id(&app, &user, &instance, &id).await?;
    }
    Ok(updated(true))
}

/// Clients take a success also where there is nothing to change, and where it is somebody else's: `actualizado` tells.
fn updated(done: bool) -> Json<Value> {
    Json(json!({ "success": true, "actualizado": done }))
}

/// `GET` and `POST /api/generate-instance`: an identifier that is free. Nothing is stored.
pub(super) async fn generate(State(app): State<App>, _: SeedUser) -> Result<Json<Value>, Refusal> {
    let id = instances::unused_id(&app).await?;
    Ok(Json(json!({ "success": true, "instancia_id": id.as_str() })))
}

async fn target(app: &App, user: &SeedUser, named: Option<&str>) -> Result<Instance, Refusal> {
    let named = named.ok_or_else(Refusal::not_found)?;
    instances::find(app, user, named).await?.ok_or_else(Refusal::not_found)
}

fn name(fields: &Fields) -> Result<Option<&str>, Refusal> {
    let Some(name) = fields.text("nombre")? else { return Ok(None) };
    if name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        let error = format!("Nombre inválido: hasta {MAX_NAME} caracteres, sin saltos de línea");
        return Err(Refusal::bad_request(error));
    }
    Ok(Some(name))
}

fn number(fields: &Fields) -> Result<Option<PhoneNumber>, Refusal> {
    let Some(text) = fields.text_or_integer("numero")? else { return Ok(None) };
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let invalid = |_| Refusal::bad_request("Número inválido: de 7 a 15 dígitos, con código de país");
    digits.parse().map(Some).map_err(invalid)
}

/// The row comes first, so that nobody takes the identifier meanwhile; without a device it names nothing.
async fn create(
    app: &App,
    user: &SeedUser,
    name: &str,
    number: Option<&PhoneNumber>,
) -> Result<InstanceId, Refusal> {
    let id = instances::unused_id(app).await?;
    let resource = format!("wa-{}", instances::random(SUFFIX)?.to_ascii_lowercase());
    let key = DeviceKey::new(&app.compatible().namespace, &resource).map_err(|error| {
        tracing::error!(%error, "the namespace of added devices is not a name");
        Refusal::internal()
    })?;
    let device = declaration(&key, user, &id, name, number)?;
    let row = NewInstance { id: &id, device: &key, device_uid: None, user_id: user.id() };
    app.database().create_instance(row, Timestamp::now()).await.map_err(not_written)?;
    let device = match app.directory().create(device).await {
        Ok(device) => device,
        Err(error) => {
            app.database().delete_instance(&id).await?;
            return Err(error.into());
        }
    };
    if let Some(uid) = &device.resource.metadata.uid {
        app.database().set_instance_uid(&id, uid).await?;
    }
    tracing::info!(device = %key, user = user.id(), "device {key} was created");
    Ok(id)
}

fn declaration(
    key: &DeviceKey,
    user: &SeedUser,
    id: &InstanceId,
    name: &str,
    number: Option<&PhoneNumber>,
) -> Result<WhatsAppDevice, Refusal> {
    let mut annotations = json!({ INSTANCE_ID: id.as_str() });
    if let Some(number) = number {
        annotations[instances::NUMBER] = number.as_str().into();
    }
    let declaration = json!({
        "apiVersion": names::API_VERSION,
        "kind": names::KIND,
        "metadata": {
            "namespace": key.namespace(),
            "name": key.name(),
            "labels": { names::OWNER: user.id() },
            "annotations": annotations,
        },
        "spec": { "displayName": name },
    });
    manifest::from_value(declaration).map_err(|error| DirectoryError::Invalid(error.to_string()).into())
}

async fn rename(app: &App, instance: &Instance, name: &str) -> Result<(), Refusal> {
    if instance.name() != name {
        app.directory().update(instance.key(), json!({ "displayName": name })).await?;
    }
    Ok(())
}

async fn give_id(app: &App, user: &SeedUser, instance: &Instance, id: &str) -> Result<(), Refusal> {
    let id: InstanceId = id.parse().map_err(|_| {
        Refusal::bad_request(format!("Instancia inválida: de 1 a {} caracteres", InstanceId::MAX))
    })?;
    let uid = instance.device.resource.metadata.uid.as_deref();
    let new = NewInstance { id: &id, device: instance.key(), device_uid: uid, user_id: user.id() };
    let done = match &instance.row {
        Some(row) => app.database().rename_instance(row, &id).await.map(drop),
        None => app.database().create_instance(new, Timestamp::now()).await.map(drop),
    };
    done.map_err(not_written)
}

fn not_written(error: WriteError) -> Refusal {
    match error {
        WriteError::Taken(
            Unique::InstanceId | Unique::Device | Unique::Name | Unique::PhoneNumber | Unique::Email,
        ) => Refusal::new(StatusCode::CONFLICT, "AlreadyExists", "La instancia ya existe"),
        WriteError::Database(error) => error.into(),
    }
}

/// Unlinks a device, when it is linked; whether nothing of the link is left.
async fn unlink(app: &App, instance: &Instance) -> Result<bool, Refusal> {
    let client = match app.directory().client(instance.key()).await {
        Ok(client) => client,
        // What does not run cannot be unlinked: nothing was, unless it was linked before it stopped.
        Err(_) => {
            let status = instance.device.resource.status.as_ref();
            return Ok(!status.is_some_and(|status| status.is_true("Paired")));
        }
    };
    match client.log_out().await {
        Ok(state) if state.phase == Phase::LoggedOut || !state.paired => Ok(true),
        Ok(_) => Ok(tokio::time::timeout(UNLINKED, until_logged_out(&client)).await.unwrap_or(false)),
        Err(ClientError::Refused(problem)) if problem.reason == "NotConnected" => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn until_logged_out(client: &DeviceClient) -> bool {
    let Ok(mut states) = client.states().await else { return false };
    while let Some(Ok(state)) = states.next().await {
        if !state.paired {
            return true;
        }
    }
    false
}
