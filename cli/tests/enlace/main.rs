//! The real `enlace`, against a simulated WhatsApp.
//!
//! * [`world`]: a simulator, a folder of manifests and a data directory; [`standalone`]: `enlace standalone` on them,
//! * [`program`]: a running program and what it writes, [`eye`]: the camera of a phone before a terminal,
//!   [`relay`]: a way to WhatsApp that can be cut, [`skipped`]: how a test says that it is skipped,
//! * [`cluster`]: the API server of a Kubernetes cluster, played, for [`plugin`],
//! * the others: what is proven, a file for each subject.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../../../api/tests/kubernetes/cluster.rs"]
#[expect(dead_code, reason = "the tests of the API need more of it")]
mod cluster;
mod eye;
mod program;
mod relay;
#[path = "../../../tests/skipped.rs"]
mod skipped;
mod standalone;
mod world;

mod advising;
mod compatible;
mod deleting;
mod folder;
mod linking;
mod neighbours;
mod pairing;
mod plugin;
mod refusals;
mod restarting;
mod secrets;
mod showing;
