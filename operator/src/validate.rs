//! The second stage: what can be followed, parsed once, and why it cannot be followed otherwise.

use enlace_contract::config::DeviceConfig;
use enlace_contract::name::DeviceKey;
use enlace_crds::resource::PublishIn;
use enlace_crds::{config, names};

use crate::build::volume_claim;
use crate::context::Settings;
use crate::observe::Seen;

/// A device whose spec was looked at.
#[derive(Clone, Debug)]
pub struct Validated {
    /// What is known of it.
    pub seen: Seen,
    /// What it is called.
    pub key: DeviceKey,
    /// What it is told, or why its spec cannot be followed.
    pub config: Result<DeviceConfig, String>,
    /// Where its code may be published.
    pub publish: PublishTo,
}

/// Where a code is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishTo {
    /// In the status.
    Status,
    /// In a Secret.
    Secret,
    /// Nowhere: a Secret is wanted in a namespace where the operator may not write one.
    Nowhere,
}

/// Looks at the spec of a device. The error is for a name that nothing could be called after.
///
/// # Errors
/// When the namespace or the name is not a device's.
pub fn validate(seen: Seen, settings: &Settings) -> Result<Validated, config::ConfigError> {
    let key = config::device_key(&seen.device)?;
    let config = config::device_config(&seen.device, settings.token_keys.clone())
        .and_then(|told| config::pairing_timeout(&seen.device).map(|_| told))
        .map_err(|error| error.to_string())
        .and_then(|told| other_owner(&seen).or_else(|| other_session(&seen)).map_or(Ok(told), Err));
    let listed = settings.config.secret_namespaces.iter().any(|namespace| namespace == key.namespace());
    let publish = match seen.device.spec.pairing.publish_in {
        PublishIn::Status => PublishTo::Status,
        PublishIn::Secret if listed => PublishTo::Secret,
        PublishIn::Secret => PublishTo::Nowhere,
    };
    Ok(Validated { seen, key, config, publish })
}

/// Why the volume that an earlier device of this name left must not be adopted: its session is another owner's. The status is the new
/// device's owner's to read: it does not say whose.
fn other_owner(seen: &Seen) -> Option<String> {
    let volume = seen.children.volume_claim.as_ref()?;
    (!volume_claim::may_use(&seen.device, volume)).then(|| {
        let (volume, owner) = (volume.name.as_deref().unwrap_or_default(), names::OWNER);
        format!("the volume claim {volume} keeps the session of an earlier device with another owner: use another name, or have an administrator delete the volume claim or give its annotation {owner} the value of this device's label {owner}")
    })
}

/// Why the volume that an earlier device of this name left must not be adopted: it keeps the session of another number.
fn other_session(seen: &Seen) -> Option<String> {
    let volume = seen.children.volume_claim.as_ref()?;
    if !volume_claim::is_adopted(&seen.device, volume) {
        return None;
    }
    let declared = seen.claims.wanted.number.as_ref()?;
    let kept = |claim: &&crate::observe::SeenClaim| claim.holder != seen.uid && !claim.holder_exists;
    let mut kept = seen.claims.of_name.iter().filter(kept).peekable();
    kept.peek()?;
    let same = kept.any(|claim| claim.number.as_ref() == Some(declared));
    (!same).then(|| {
        let volume = volume.name.as_deref().unwrap_or_default();
        format!("the volume claim {volume} keeps the session of another number: use another name, or delete the volume claim")
    })
}
