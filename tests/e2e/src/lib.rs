//! What the tests on a real Kubernetes stand on. `cargo xtask test` runs them, and `cargo xtask cluster test` runs only them.
//!
//! * [`commands`]: kubectl and helm, as a person runs them,
//! * [`installation`]: the chart, installed once for all tests, and a simulated WhatsApp beside it,
//! * [`scene`]: a namespace for one test, and what is shown when it fails,
//! * [`device`]: one `WhatsAppDevice`,
//! * [`picture`]: a camera that reads QR codes from terminals,
//! * [`api`]: the REST API, through its Service,
//! * [`audit`]: what the API server wrote down of each request, and what the roles allow.
//!
//! Tests never look at `KUBECONFIG`: the cluster is the one that `ENLACE_TEST_KUBECONFIG` names.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a harness of tests: what fails here fails the test, with its words"
)]

pub mod api;
pub mod audit;
pub mod commands;
pub mod device;
pub mod installation;
pub mod picture;
pub mod scene;

use std::time::Duration;

/// How long something may take that takes seconds on a machine that does nothing else.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How often a condition is looked at again that kubectl cannot wait for.
const LOOK: Duration = Duration::from_millis(200);

/// Waits until there is what is looked for.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, waiting).await;
    found.unwrap_or_else(|_| panic!("waited {} s in vain for {what}", PATIENCE.as_secs()))
}

/// Writes past the test harness, which keeps what a test that passes prints.
pub fn tell(line: &str) {
    use std::io::Write as _;
    // Nobody may read it; the test does not depend on that.
    let _ = writeln!(std::io::stderr(), "{line}");
}
