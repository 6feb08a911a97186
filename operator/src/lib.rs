//! The operator: makes of each `WhatsAppDevice` a claim of its number, a volume, a pod and a status.
//!
//! A reconcile has five stages, one file each. Only `observe`, `apply` and `status` hold a client; a type carries how far a device has come.
//!
//! * [`observe`]: what is known of one device, out of caches; nothing is asked for,
//! * [`validate`]: what can be followed, parsed once, and why it cannot be followed otherwise,
//! * [`plan`]: what is to be done, a pure function of what was observed and of the time,
//! * [`apply`]: does it,
//! * [`status`]: writes what is so, when it differs from what is stored.
//!
//! Around them:
//!
//! * [`config`]: the operator's configuration, [`keys`]: the keys that open devices and the first administrator,
//! * [`leader`]: one replica writes, the others keep their caches warm,
//! * [`caches`]: the caches and what they leave out, [`written`]: what was written and is not in them yet,
//! * [`triggers`]: the devices that are to be looked at,
//! * [`streams`]: the states of running devices, [`sweep`]: the release of numbers whose device is gone,
//! * [`rollout`]: how many pods may be restarted at a time,
//! * [`build`]: what each child is, one file for a kind,
//! * [`events`]: what is told as an Event, [`telemetry`]: logs and metrics, [`health`]: liveness and readiness,
//! * [`controller`]: the five stages in a row, and what becomes of errors; [`run`]: all of it together,
//! * [`uninstall`]: what is left to do when the installation goes.
//!
//! # Permissions
//!
//! Everything that the operator asks of the API server, and why. `cluster` means a ClusterRole, `own` a Role in the installation's
//! namespace, `listed` a Role in each namespace of `secretNamespaces`.
//!
//! | scope | group | resource | verbs | why |
//! |---|---|---|---|---|
//! | cluster | `enlace.dev` | `whatsappdevices` | list, watch | the cache of devices |
//! | cluster | `enlace.dev` | `whatsappdevices` | patch | to add and drop the finalizer `enlace.dev/logout` |
//! | cluster | `enlace.dev` | `whatsappdevices/status` | patch | the status, by server-side apply |
//! | cluster | core | `persistentvolumeclaims` | list, watch | the cache (metadata only) |
//! | cluster | core | `persistentvolumeclaims` | get, create, patch | the volume of a session; it grows, and is kept or not |
//! | cluster | core | `persistentvolumeclaims` | delete | the empty volume of a device that nobody linked |
//! | cluster | core | `configmaps` | list, watch | the cache (metadata only, of devices' children only) |
//! | cluster | core | `configmaps` | get, create, patch, update | a device's configuration; update puts right what somebody edited |
//! | cluster | `apps` | `statefulsets` | list, watch | the cache (metadata only) |
//! | cluster | `apps` | `statefulsets` | get, create, patch, update | a device's pod; update puts right what somebody edited |
//! | cluster | `networking.k8s.io` | `networkpolicies` | list, watch | the cache (metadata only) |
//! | cluster | `networking.k8s.io` | `networkpolicies` | get, create, patch, update | who reaches a device; update puts right what somebody edited |
//! | cluster | core | `pods` | list, watch | addresses and readiness of devices' pods |
//! | cluster | core | `pods` | delete | to restart a device, with a precondition on the pod's UID |
//! | cluster | `events.k8s.io` | `events` | create, patch | Events on devices |
//! | own | `coordination.k8s.io` | `leases` | get, list, watch, create, update, delete | claims of numbers, and the leader's lease |
//! | own | core | `secrets` | create | the two keys and the first administrator, when they are missing |
//! | own | core | `secrets` named `<installation>-operator-key`, `-api-key`, `-admin` | get | to read them |
//! | listed | core | `secrets` | create, patch, delete | `pairing.publishIn: Secret` |
//!
//! `get` of children is for two things: before one is made, whether somebody else has an object of that name; and before a number is
//! released, whether its volume is really gone.
//!
//! Not among them: Secrets elsewhere, `whatsappdevices` create or delete, exec, nodes. Children go with their device by garbage
//! collection; the owner references do not block the owner's deletion, so no permission on `whatsappdevices/finalizers` is needed.

pub mod apply;
pub mod build;
pub mod caches;
pub mod config;
pub mod context;
pub mod controller;
pub mod events;
pub mod health;
pub mod keys;
pub mod leader;
pub mod observe;
pub mod plan;
pub mod pods;
pub mod rollout;
pub mod run;
pub mod status;
pub mod streams;
pub mod sweep;
pub mod telemetry;
pub mod triggers;
pub mod uninstall;
pub mod validate;
pub mod written;
