//! Instances: devices by the identifiers under which callers of the compatible API know them.
//!
//! An identifier is any text (`Ventas-01`, 16 random letters and digits, the base64 of a number); it never becomes a path or the name of a
//! resource. The database has one for each device that this API created. A device that belongs to the caller by its label alone has the
//! one of its annotation [`INSTANCE_ID`], else the base64 of its number, else its UID.
//!
//! [`find`] looks among the caller's own devices only: what belongs to somebody else is not there.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use enlace_contract::name::DeviceKey;
use enlace_contract::number::{CanonicalNumber, PhoneNumber};
use enlace_crds::WhatsAppDevice;
use enlace_crds::rules::conditions::ACCEPTED;
use jiff::Timestamp;
use rand::TryRng as _;

use super::answers::Refusal;
use super::extract::SeedUser;
use super::states::{Facts, Word};
use crate::database::{self, DatabaseError, InstanceId};
use crate::directory::{Device, DirectoryError};
use crate::http::App;

/// Annotation of a device: the identifier that it was created with.
pub const INSTANCE_ID: &str = "enlace.dev/instancia-id";
/// Annotation of a device: the number under which its owner knows it until a phone is linked, whatever its number. It declares nothing, so
/// that nobody takes a number without the phone that has it.
pub const NUMBER: &str = "enlace.dev/numero";
/// The name of a device for which none was given.
pub const DEFAULT_NAME: &str = "Dispositivo";
/// Rows of one query.
const PAGE: u32 = 500;
/// Letters and digits of a generated identifier.
const LENGTH: usize = 16;

/// A device of the caller.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its identifier.
    pub id: String,
    /// The row that gives it; none when the identifier comes from the device.
    pub row: Option<InstanceId>,
    /// The device.
    pub device: Arc<Device>,
}

impl Instance {
    /// The device's key.
    pub fn key(&self) -> &DeviceKey {
        &self.device.key
    }

    /// Its number, when it is known: the linked one, or the declared one, or the one that its owner gave it.
    pub fn number(&self) -> Option<&str> {
        number(&self.device)
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        self.device.resource.spec.display_name.as_deref().unwrap_or(DEFAULT_NAME)
    }

    /// `state` at a moment, as the directory knows it.
    pub fn word(&self, now: Timestamp) -> Word {
        Facts::of(&self.device).word(now)
    }

    /// When it was connected or disconnected last, or created.
    pub fn last_activity(&self) -> Option<Timestamp> {
        let status = self.device.resource.status.as_ref();
        let times = status.and_then(|status| status.connected_at.max(status.disconnected_at));
        times.max(self.created())
    }

    /// When it was created.
    pub fn created(&self) -> Option<Timestamp> {
        self.device.resource.metadata.creation_timestamp.as_ref().map(|time| time.0)
    }

    fn new(device: Arc<Device>, row: Option<InstanceId>) -> Self {
        let id = row.as_ref().map_or_else(|| own_id(&device), |row| row.as_str().to_owned());
        Self { id, row, device }
    }
}

/// The caller's devices.
///
/// # Errors
/// When the database or the directory fails.
pub async fn all(app: &App, user: &SeedUser) -> Result<Vec<Instance>, Refusal> {
    let mut rows = rows(app, user).await?;
    let devices = app.directory().list().await?;
    let own = devices.into_iter().filter(|device| user.owns(device));
    Ok(own
        .map(|device| {
            let row = rows.iter().position(|row| names(row, &device)).map(|at| rows.swap_remove(at));
            Instance::new(device, row.map(|row| row.id))
        })
        .collect())
}

/// The caller's device of a text: an identifier, else a number, else the base64 of a number.
///
/// # Errors
/// When the database or the directory fails.
pub async fn find(app: &App, user: &SeedUser, text: &str) -> Result<Option<Instance>, Refusal> {
    if !may_name(text) {
        return Ok(None);
    }
    if let Some(found) = by_row(app, user, text).await? {
        return Ok(Some(found));
    }
    let all = all(app, user).await?;
    if let Some(found) = all.iter().find(|instance| instance.id == text) {
        return Ok(Some(found.clone()));
    }
    let number = canonical(text).or_else(|| canonical(&decoded(text)?));
    let Some(number) = number else { return Ok(None) };
    let of_number = |instance: &&Instance| instance.number().and_then(canonical).as_ref() == Some(&number);
    // A duplicate has the number in its declaration only, and one that is not linked may have it by its name only.
    let rank = |instance: &&Instance| {
        let status = instance.device.resource.status.as_ref();
        let accepted = status.is_some_and(|status| status.is_true(ACCEPTED));
        (instance.device.number().as_ref() != Some(&number), !accepted)
    };
    Ok(all.iter().filter(of_number).min_by_key(rank).cloned())
}

/// The device of exactly this identifier, whoever's it is: for what is told to everybody.
///
/// # Errors
/// When the database or the directory fails.
pub async fn of_anybody(app: &App, id: &str) -> Result<Option<Arc<Device>>, Refusal> {
    let Ok(id) = id.parse::<InstanceId>() else { return Ok(None) };
    let Some(row) = app.database().instance(&id).await? else { return Ok(None) };
    device_of(app, &row).await
}

/// The identifier of a device.
///
/// # Errors
/// When the database fails.
pub async fn id_of(app: &App, device: &Device) -> Result<String, DatabaseError> {
    let row = app.database().instance_of_device(&device.key).await?.filter(|row| names(row, device));
    Ok(row.map_or_else(|| own_id(device), |row| row.id.to_string()))
}

/// A new identifier that no instance has.
///
/// # Errors
/// When the database fails or the system has no random numbers.
pub async fn unused_id(app: &App) -> Result<InstanceId, Refusal> {
    loop {
        let id: InstanceId = random(LENGTH)?.parse().map_err(|_| Refusal::internal())?;
        if app.database().instance(&id).await?.is_none() {
            return Ok(id);
        }
    }
}

/// Random letters and digits: of 62, so 95 bits in 16.
///
/// # Errors
/// When the system has no random numbers.
pub fn random(length: usize) -> Result<String, Refusal> {
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 64];
    while text.len() < length {
        rand::rngs::SysRng.try_fill_bytes(&mut bytes).map_err(|error| {
            tracing::error!(%error, "the system gave no random numbers");
            Refusal::internal()
        })?;
        let letters = bytes.iter().map(|byte| char::from(*byte)).filter(char::is_ascii_alphanumeric);
        text.extend(letters.take(length - text.len()));
    }
    Ok(text)
}

async fn by_row(app: &App, user: &SeedUser, text: &str) -> Result<Option<Instance>, Refusal> {
    let Ok(id) = text.parse::<InstanceId>() else { return Ok(None) };
    let Some(row) = app.database().instance(&id).await? else { return Ok(None) };
    if row.user_id != user.id() {
        return Ok(None);
    }
    let device = device_of(app, &row).await?.filter(|device| user.owns(device));
    Ok(device.map(|device| Instance::new(device, Some(row.id))))
}

async fn device_of(app: &App, row: &database::Instance) -> Result<Option<Arc<Device>>, Refusal> {
    match app.directory().get(&row.device).await {
        Ok(device) => Ok(Some(device).filter(|device| names(row, device))),
        Err(DirectoryError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether a row is of this device, and not of an earlier one that had its name.
fn names(row: &database::Instance, device: &Device) -> bool {
    let uid = device.resource.metadata.uid.as_ref();
    row.device == device.key && row.device_uid.as_ref().is_none_or(|noted| Some(noted) == uid)
}

async fn rows(app: &App, user: &SeedUser) -> Result<Vec<database::Instance>, Refusal> {
    let mut rows: Vec<database::Instance> = Vec::new();
    loop {
        let after = rows.last().map(|row| row.id.to_string()).unwrap_or_default();
        let page = app.database().instances(user.id(), &after, PAGE).await?;
        let last = u32::try_from(page.len()).is_ok_and(|length| length < PAGE);
        rows.extend(page);
        if last {
            return Ok(rows);
        }
    }
}

/// The number of a device: the linked one, or the declared one, or the one that its owner gave it.
pub(super) fn number(device: &Device) -> Option<&str> {
    let WhatsAppDevice { metadata, spec, status } = &device.resource;
    let linked = status.as_ref().and_then(|status| status.phone_number.as_deref());
    let given = || metadata.annotations.as_ref()?.get(NUMBER).map(String::as_str);
    linked.or(spec.phone_number.as_deref()).or_else(given)
}

fn own_id(device: &Device) -> String {
    let metadata = &device.resource.metadata;
    let annotated = metadata.annotations.as_ref().and_then(|all| all.get(INSTANCE_ID)).cloned();
    let annotated = annotated.filter(|text| text.parse::<InstanceId>().is_ok());
    annotated
        .or_else(|| number(device).map(|number| BASE64_STANDARD.encode(number)))
        .or_else(|| metadata.uid.clone())
        .unwrap_or_default()
}

/// Whether a text is short enough to be an identifier: numbers and their base64 are shorter.
fn may_name(text: &str) -> bool {
    // The bytes first: what is very long is not read to its end.
    text.len() <= 4 * InstanceId::MAX && text.chars().count() <= InstanceId::MAX
}

/// What a text is as a number, in the form in which numbers are compared.
fn canonical(text: &str) -> Option<CanonicalNumber> {
    text.parse::<PhoneNumber>().ok().map(|number| number.canonical())
}

/// The digits of which a text is the base64, with or without its padding.
fn decoded(text: &str) -> Option<String> {
    let mut padded = text.to_owned();
    padded.extend(std::iter::repeat_n('=', text.len().next_multiple_of(4) - text.len()));
    let bytes = BASE64_STANDARD.decode(padded).ok()?;
    let digits = String::from_utf8(bytes).ok()?;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_a_number_is_that_number() {
        assert_eq!(decoded("NTI1NTUwMDAwMDAx").as_deref(), Some("525550000001"));
        assert_eq!(decoded("NTE5MDAwMDA2NDA=").as_deref(), Some("51900000640"));
        assert_eq!(decoded("NTE5MDAwMDA2NDA").as_deref(), Some("51900000640"));
        // Of other texts it is nothing: a plain number is never decoded into something else.
        for text in ["", "Ventas-01", "../../evil", "51900000640", "bm8gZGlnaXRz"] {
            assert_eq!(decoded(text), None, "{text}");
        }
    }

    #[test]
    fn a_text_of_any_length_is_no_number() {
        for length in [255, 256, 65_533, 1 << 20] {
            assert_eq!(decoded(&"x".repeat(length)), None, "{length}");
            assert_eq!(may_name(&"x".repeat(length)), length <= 255, "{length}");
            assert_eq!(may_name(&"ñ".repeat(length)), length <= 255, "{length}");
        }
    }

    #[test]
    fn generated_identifiers_are_letters_and_digits() {
        let id = random(16).unwrap();
        assert_eq!(id.len(), 16);
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        assert_ne!(id, random(16).unwrap());
    }
}
