//! A namespace for one test, and what is shown when it fails.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use whatsapp_simulator::{Control, Linked, LoginOutcome, LoginRecord, overlaps, overlaps_by_number};

use crate::commands::{Refused, kubectl, try_kubectl};
use crate::installation::{self, SYSTEM};

/// Tests that end a part of the installation have it for themselves; all others share it.
static INSTALLATION: RwLock<()> = RwLock::const_new(());

/// What a test holds while it runs.
pub struct Scene {
    /// Its namespace.
    pub namespace: String,
    /// The people who hold the phones, and the operator of WhatsApp's server.
    pub whatsapp: Control,
    /// Whether the installation has other values than at first.
    changed: AtomicBool,
    turn: Turn,
}

enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

impl Scene {
    /// A scene in a namespace of its own.
    pub async fn new(name: &str) -> Self {
        let turn = Turn::Shared { _guard: INSTALLATION.read().await };
        let scene = Self::open(format!("enlace-e2e-{name}"), turn);
        installation::make_namespace(&scene.namespace);
        scene
    }

    /// The same for a test that ends a part of the installation: no other runs meanwhile.
    pub async fn alone(name: &str) -> Self {
        let turn = Turn::Alone { _guard: INSTALLATION.write().await };
        let scene = Self::open(format!("enlace-e2e-{name}"), turn);
        installation::make_namespace(&scene.namespace);
        scene
    }

    /// A scene in a namespace that is there: one that the installation knows of.
    pub async fn within(namespace: &str) -> Self {
        let turn = Turn::Shared { _guard: INSTALLATION.read().await };
        Self::open(namespace.to_owned(), turn)
    }

    fn open(namespace: String, turn: Turn) -> Self {
        let whatsapp = installation::whatsapp();
        Self { whatsapp, namespace, changed: AtomicBool::new(false), turn }
    }

    /// Gives the installation other values, until the scene ends. Only for one that is alone.
    pub fn upgrade(&self, changes: &Value) {
        assert!(matches!(self.turn, Turn::Alone { .. }), "others use the installation");
        self.changed.store(true, Ordering::Relaxed);
        installation::upgrade(changes).unwrap();
    }

    /// The logins of a number that were accepted, oldest first: all of the one device that was linked.
    pub async fn logins(&self, linked: &Linked) -> Vec<LoginRecord> {
        let mut logins = self.whatsapp.server().logins().await.unwrap();
        logins.retain(|login| login.phone == linked.phone && login.outcome == LoginOutcome::Accepted);
        assert!(logins.iter().all(|login| login.device == linked.device), "it was linked again: {logins:?}");
        logins
    }

    /// Checks that a number's phone lists one device: the one that was linked.
    pub async fn is_the_only_device(&self, linked: &Linked) {
        let state = self.whatsapp.server().state().await.unwrap();
        let account = state.accounts.iter().find(|account| account.phone == linked.phone).unwrap();
        let devices: Vec<u16> =
            account.devices.iter().filter(|device| !device.logged_out).map(|device| device.id).collect();
        assert_eq!(devices, [linked.device]);
    }

    /// Ends the scene: no number ever had two clients, and everything in the namespace can be deleted.
    pub async fn end(self) {
        let logins = self.whatsapp.server().logins().await.unwrap();
        assert_eq!(overlaps(&logins), [], "two live sockets of one identity");
        assert_eq!(overlaps_by_number(&logins), [], "two devices of one number");
        let namespace = self.namespace.as_str();
        kubectl(&["--namespace", namespace, "delete", "whatsappdevices", "--all", "--timeout=60s"]);
        if namespace != installation::SECRETS {
            kubectl(&["delete", "namespace", namespace, "--wait=false"]);
        }
        if self.changed.swap(false, Ordering::Relaxed) {
            installation::upgrade(&json!({})).unwrap();
        }
    }
}

impl Drop for Scene {
    /// A test that fails shows the cluster as it is then.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for namespace in [self.namespace.as_str(), SYSTEM] {
            show(&[
                "--namespace",
                namespace,
                "get",
                "whatsappdevices,pods,statefulsets,pvc,leases",
                "--output",
                "wide",
            ]);
            show(&["--namespace", namespace, "get", "events", "--sort-by", ".lastTimestamp"]);
            show(&["--namespace", namespace, "describe", "pods"]);
        }
        show(&["--namespace", &self.namespace, "get", "whatsappdevices", "--output", "yaml"]);
        let of = |component| format!("app.kubernetes.io/component={component}");
        for (namespace, component) in
            [(self.namespace.as_str(), "device"), (SYSTEM, "operator"), (SYSTEM, "api")]
        {
            let more = ["--prefix", "--all-containers", "--tail=80"];
            show(
                &[["--namespace", namespace, "logs", "--selector", &of(component)].as_slice(), &more]
                    .concat(),
            );
        }
        if self.changed.load(Ordering::Relaxed) {
            // The other tests are not about these values.
            let done = installation::upgrade(&json!({}));
            println!("\n--- helm upgrade to the first values: {done:?}");
        }
    }
}

fn show(arguments: &[&str]) {
    println!("\n--- kubectl {}", arguments.join(" "));
    match try_kubectl(arguments) {
        Ok(text) => println!("{}", text.trim_end()),
        Err(Refused(words)) => println!("{words}"),
    }
}
