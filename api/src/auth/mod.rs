//! Who calls, and what they may do.
//!
//! * [`action`]: what can be done,
//! * [`token`]: the value of a token,
//! * [`password`]: hashes of passwords, on a pool of their own,
//! * [`bootstrap`]: the first administrator, and the token for this machine; [`mounted`]: the one of a mounted Secret.
//!
//! A caller shows a token (`Authorization: Bearer …`). It opens what its user may do, narrowed to the token's devices and actions.

pub mod action;
pub mod bootstrap;
pub mod mounted;
mod narrowing;
pub mod password;
pub mod token;

use enlace_contract::name::DeviceKey;
use enlace_crds::names;
use jiff::Timestamp;

use crate::database::{Database, DatabaseError, TokenRecord, User};
use crate::directory::Device;

pub use action::Action;
pub use bootstrap::{GeneratedPassword, bootstrap_admin, local_token};
pub use password::Passwords;
pub use token::TokenValue;

/// Whoever a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The user.
    pub user: User,
    /// The token that was shown.
    pub token: TokenRecord,
}

impl Principal {
    /// The principal of a token's value; none for one that is unknown or has ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn of_token(
        database: &Database,
        value: &TokenValue,
        now: Timestamp,
    ) -> Result<Option<Self>, DatabaseError> {
        let found = database.token_by_hash(&value.hash(), now).await?;
        Ok(found.map(|(token, user)| Self { user, token }))
    }

    /// Whether an action is allowed, on the devices that are visible.
    pub fn may(&self, action: Action) -> bool {
        (self.user.administrator || !action.is_administration())
            && self.token.actions.as_ref().is_none_or(|actions| actions.contains(&action))
    }

    /// Whether a device is visible: an administrator sees all, a user those with its identifier in the label `enlace.dev/owner`; a token
    /// may be narrowed to some of them.
    pub fn sees(&self, device: &Device) -> bool {
        let owner = device.resource.metadata.labels.as_ref().and_then(|labels| labels.get(names::OWNER));
        let of_user = self.user.administrator || owner == Some(&self.user.id);
        of_user && self.opens(&device.key, device.resource.metadata.uid.as_deref())
    }

    fn opens(&self, key: &DeviceKey, uid: Option<&str>) -> bool {
        let Some(devices) = &self.token.devices else { return true };
        devices.iter().any(|device| device.key == *key && Some(device.uid.as_str()) == uid)
    }

    /// Whether the token opens whatever its user may: what makes new devices must.
    pub fn sees_new_devices(&self) -> bool {
        self.token.devices.is_none()
    }
}
