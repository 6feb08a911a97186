//! The Lease that says whose a number is.
//!
//! It is in the installation's namespace, so that one name stands for one number of the whole cluster, and has no owner: the garbage
//! collector would delete it, the holder being in another namespace. It is never renewed.

use enlace_contract::name::DeviceKey;
use enlace_contract::number::CanonicalNumber;
use enlace_crds::names;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::owned;

/// The claim of a number by a device.
pub fn claim(namespace: &str, number: &CanonicalNumber, key: &DeviceKey, uid: &str) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(names::claim_lease(number)),
            namespace: Some(namespace.to_owned()),
            labels: Some(owned(names::claim_labels(number, key))),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec { holder_identity: Some(uid.to_owned()), ..LeaseSpec::default() }),
    }
}
