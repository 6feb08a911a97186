//! The identifiers by which callers of the Spanish-language API know devices.

use std::fmt;
use std::str::FromStr;

use enlace_contract::name::DeviceKey;
use jiff::Timestamp;
use sqlx::any::AnyRow;

use super::statement::Columns as _;
use super::{Database, DatabaseError, Unique, WriteError, time};

/// An instance's identifier: any text of 1 to 255 characters without control characters. Case matters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InstanceId(String);

/// The text is no identifier of an instance.
#[derive(Debug, thiserror::Error)]
#[error("an instance identifier has 1 to {} characters and no control characters", InstanceId::MAX)]
pub struct InvalidInstanceId;

impl InstanceId {
    /// The most characters.
    pub const MAX: usize = 255;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InstanceId {
    type Err = InvalidInstanceId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=Self::MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidInstanceId) }
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A device under its identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The identifier.
    pub id: InstanceId,
    /// The device.
    pub device: DeviceKey,
    /// The device's UID, once it is known: another device may have the name later.
    pub device_uid: Option<String>,
    /// The user who owns it.
    pub user_id: String,
    /// When it was stored.
    pub created_at: Timestamp,
}

/// An instance to be stored.
#[derive(Clone, Copy, Debug)]
pub struct NewInstance<'a> {
    /// The identifier.
    pub id: &'a InstanceId,
    /// The device.
    pub device: &'a DeviceKey,
    /// The device's UID.
    pub device_uid: Option<&'a str>,
    /// The user who owns it.
    pub user_id: &'a str,
}

impl Database {
    /// Stores an instance. A device has one at most.
    ///
    /// # Errors
    /// [`Unique::InstanceId`] or [`Unique::Device`] when it is another one's; when the database fails, so for all calls.
    pub async fn create_instance(
        &self,
        new: NewInstance<'_>,
        now: Timestamp,
    ) -> Result<Instance, WriteError> {
        let NewInstance { id, device, device_uid, user_id } = new;
        let insert = self
            .statement(
                "INSERT INTO enlace_instances (instance_id, device_namespace, device_name, device_uid, user_id, \
                 created_at) VALUES (?, ?, ?, ?, ?, ?)",
            )
            .text(id.as_str())
            .text(device.namespace())
            .text(device.name())
            .text(device_uid)
            .text(user_id)
            .time(now);
        match self.run(insert).await {
            Ok(_) => Ok(Instance {
                id: id.clone(),
                device: device.clone(),
                device_uid: device_uid.map(str::to_owned),
                user_id: user_id.to_owned(),
                created_at: time(now.as_millisecond()).map_err(WriteError::from)?,
            }),
            Err(error) if error.is_duplicate() => {
                let taken = self.instance(id).await?.map_or(Unique::Device, |_| Unique::InstanceId);
                Err(WriteError::Taken(taken))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The instance of an identifier.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn instance(&self, id: &InstanceId) -> Result<Option<Instance>, DatabaseError> {
        let read = async {
            let find =
                self.statement("SELECT * FROM enlace_instances WHERE instance_id = ?").text(id.as_str());
            self.run(find).await?.row().map(instance).transpose()
        };
        match &self.known {
            Some(known) => known.instances.or_read(id, read).await,
            None => read.await,
        }
    }

    /// The instance of a device.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn instance_of_device(&self, device: &DeviceKey) -> Result<Option<Instance>, DatabaseError> {
        let find = self
            .statement("SELECT * FROM enlace_instances WHERE device_namespace = ? AND device_name = ?")
            .text(device.namespace())
            .text(device.name());
        self.run(find).await?.row().map(instance).transpose()
    }

    /// A page of a user's instances by identifier, after an identifier; `""` for the first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn instances(
        &self,
        user_id: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Instance>, DatabaseError> {
        let page = self
            .statement(
                "SELECT * FROM enlace_instances WHERE user_id = ? AND instance_id > ? \
                 ORDER BY instance_id LIMIT ?",
            )
            .text(user_id)
            .text(after)
            .number(i64::from(limit));
        self.run(page).await?.rows.iter().map(instance).collect()
    }

    /// Gives an instance another identifier; false when there is none.
    ///
    /// # Errors
    /// [`Unique::InstanceId`] when it is another one's; when the database fails.
    pub async fn rename_instance(&self, id: &InstanceId, new: &InstanceId) -> Result<bool, WriteError> {
        let rename = self
            .statement("UPDATE enlace_instances SET instance_id = ? WHERE instance_id = ?")
            .text(new.as_str())
            .text(id.as_str());
        match self.run(rename).await {
            Ok(done) => Ok(done.one()),
            Err(error) if error.is_duplicate() => Err(WriteError::Taken(Unique::InstanceId)),
            Err(error) => Err(error.into()),
        }
    }

    /// Notes the UID of an instance's device; false when there is no such instance.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_instance_uid(&self, id: &InstanceId, device_uid: &str) -> Result<bool, DatabaseError> {
        let set = self
            .statement("UPDATE enlace_instances SET device_uid = ? WHERE instance_id = ?")
            .text(device_uid)
            .text(id.as_str());
        Ok(self.run(set).await?.one())
    }

    /// Deletes an instance; false when there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_instance(&self, id: &InstanceId) -> Result<bool, DatabaseError> {
        let delete = self.statement("DELETE FROM enlace_instances WHERE instance_id = ?").text(id.as_str());
        Ok(self.run(delete).await?.one())
    }
}

fn instance(row: &AnyRow) -> Result<Instance, DatabaseError> {
    let id = row.text("instance_id")?;
    Ok(Instance {
        id: id.parse().map_err(|error: InvalidInstanceId| DatabaseError::Corrupt(error.to_string()))?,
        device: device(row)?,
        device_uid: row.text_or_null("device_uid")?,
        user_id: row.text("user_id")?,
        created_at: row.time("created_at")?,
    })
}

pub(super) fn device(row: &AnyRow) -> Result<DeviceKey, DatabaseError> {
    DeviceKey::new(&row.text("device_namespace")?, &row.text("device_name")?)
        .map_err(|error| DatabaseError::Corrupt(error.to_string()))
}
