//! The first stage: what is known of one device, out of caches. Nothing is asked for: a list for each look would be the end of an API server.

use enlace_contract::name::DeviceKey;
use enlace_contract::number::CanonicalNumber;
use enlace_crds::rules::claims;
use enlace_crds::{WhatsAppDevice, WhatsAppDeviceStatus, config, names};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;

use crate::caches::{Caches, holder_of};
use crate::context::Context;
use crate::pods::SeenPod;
use crate::streams::{Heard, Target};
use crate::triggers::{DeviceRef, device_ref};

/// What is known of one device.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The resource.
    pub device: WhatsAppDevice,
    /// Its name.
    pub reference: DeviceRef,
    /// Its UID.
    pub uid: String,
    /// The status as it was last written.
    pub previous: WhatsAppDeviceStatus,
    /// Its children, as far as there are any.
    pub children: SeenChildren,
    /// Its pod.
    pub pod: Option<SeenPod>,
    /// What it says.
    pub heard: Heard,
    /// The claims that concern it.
    pub claims: SeenClaims,
}

/// Metadata of the children.
#[derive(Clone, Debug, Default)]
pub struct SeenChildren {
    /// The volume.
    pub volume_claim: Option<ObjectMeta>,
    /// The configuration.
    pub config_map: Option<ObjectMeta>,
    /// The policy.
    pub network_policy: Option<ObjectMeta>,
    /// The workload.
    pub stateful_set: Option<ObjectMeta>,
}

/// The claims that concern a device.
#[derive(Clone, Debug, Default)]
pub struct SeenClaims {
    /// The number that the device has to hold.
    pub wanted: claims::Wanted,
    /// The claim of that number.
    pub of_number: Option<SeenClaim>,
    /// The claims whose labels name this device: its own, and those of an earlier one of its name.
    pub of_name: Vec<SeenClaim>,
}

/// A claim.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenClaim {
    /// The lease.
    pub lease: Lease,
    /// The number.
    pub number: Option<CanonicalNumber>,
    /// The UID of its holder.
    pub holder: String,
    /// The name of its holder.
    pub key: Option<DeviceKey>,
    /// Whether the holder is there.
    pub holder_exists: bool,
}

/// What is known of a device; none when its metadata is not a stored resource's.
pub fn observe(context: &Context, device: &WhatsAppDevice, now: Timestamp) -> Option<Seen> {
    let (namespace, name, uid) = (device.namespace()?, device.name_any(), device.uid()?);
    let reference = device_ref(&namespace, &name);
    let Context { caches, streams, settings, .. } = context;
    let previous = device.status.clone().unwrap_or_default();
    let key = config::device_key(device).ok();
    let pod = key
        .as_ref()
        .and_then(|key| caches.pods.get(&ObjectRef::new(&names::pod(key)).within(&namespace)))
        .and_then(|pod| SeenPod::of(&pod));
    let address =
        pod.as_ref().and_then(|pod| pod.address.as_ref()?.parse().ok().map(|address| (pod, address)));
    let heard = if let Some((pod, address)) = address {
        let target = Target { uid: uid.clone(), pod: pod.uid.clone(), address };
        streams.follow(&reference, target, now)
    } else {
        streams.stop(&reference);
        Heard::NotRunning
    };
    let children = key.as_ref().map(|key| children(caches, key)).unwrap_or_default();
    let state = if let Heard::State(state) = &heard { Some(state.as_ref()) } else { None };
    let declared = config::phone_number(device).ok().flatten();
    let wanted = claims::wanted(declared.as_ref(), state, &previous);
    let claim = |lease: Lease| seen_claim(caches, lease);
    let claims = SeenClaims {
        of_number: wanted
            .number
            .as_ref()
            .and_then(|number| caches.claim(&settings.namespace, &names::claim_lease(number)))
            .map(claim),
        of_name: key
            .iter()
            .flat_map(|key| caches.leases_of(key))
            .filter_map(|lease| caches.claim(&settings.namespace, &lease))
            .map(claim)
            .collect(),
        wanted,
    };
    Some(Seen { device: device.clone(), reference, uid, previous, children, pod, heard, claims })
}

/// A claim, and whether its holder is there.
pub fn seen_claim(caches: &Caches, lease: Lease) -> SeenClaim {
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
    let key = holder_of(&lease).and_then(|(namespace, name)| DeviceKey::new(&namespace, &name).ok());
    let device = key.as_ref().and_then(|key| caches.device(key.namespace(), key.name()));
    let number = lease.labels().get(names::NUMBER).and_then(|number| number.clone().try_into().ok());
    SeenClaim {
        holder_exists: device.is_some_and(|device| device.uid().is_some_and(|uid| uid == holder)),
        number,
        holder,
        key,
        lease,
    }
}

/// The children of a device, as far as there are any.
pub fn children(caches: &Caches, key: &DeviceKey) -> SeenChildren {
    let namespace = key.namespace();
    SeenChildren {
        volume_claim: caches.volume_claims.get(namespace, &names::volume_claim(key)),
        config_map: caches.config_maps.get(namespace, &names::config_map(key)),
        network_policy: caches.network_policies.get(namespace, &names::network_policy(key)),
        stateful_set: caches.stateful_sets.get(namespace, &names::stateful_set(key)),
    }
}
