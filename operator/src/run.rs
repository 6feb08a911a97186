//! All of it together.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use enlace_contract::program;
use enlace_contract::state::Phase;
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::controller::{Config, Error as ControllerError, applier};
use kube::runtime::events::{Recorder, Reporter};
use kube::{Api, Client};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::caches::Caches;
use crate::config::OperatorConfig;
use crate::context::{Context, Memories, Settings};
use crate::controller::{error_policy, reconcile};
use crate::leader::Candidate;
use crate::pods::{PORT, SeenPod};
use crate::rollout::{Before, COME_BACK, Rollout};
use crate::streams::Streams;
use crate::sweep::sweep;
use crate::triggers::{Triggers, device_ref};
use crate::{health, keys, triggers};

/// Between two looks at the rollout, the claims and the counts; none of them asks the API server.
const TICK: Duration = Duration::from_secs(5);
/// Between two attempts to read the keys.
const KEYS_PAUSE: Duration = Duration::from_secs(5);

/// What the operator is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its configuration.
    pub config: OperatorConfig,
    /// The installation's namespace.
    pub namespace: String,
    /// The name of its pod.
    pub pod_name: String,
}

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It is not the leader any more; another replica may be, so it must not write.
    #[error("the leader's lease was lost")]
    LeaseLost,
    /// A cache ended.
    #[error("the caches ended")]
    CachesEnded,
    /// It cannot listen.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Where probes and metrics are served.
pub struct Ports {
    /// Probes.
    pub health: SocketAddr,
    /// Metrics.
    pub metrics: SocketAddr,
}

/// Runs until it is asked to stop, or the lease is lost.
///
/// # Errors
/// When a port is taken, or the lease is lost.
pub async fn run(
    options: Options,
    client: Client,
    ports: Ports,
    recorder: PrometheusHandle,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let triggers = Triggers::default();
    let (caches, filled) = Caches::new(&client, &options.namespace, &triggers);
    let filling = tokio::spawn(filled);
    tokio::spawn(serve(bind(ports.health).await?, health::router(Arc::clone(&caches))));
    tokio::spawn(serve(bind(ports.metrics).await?, program::metrics_router(recorder)));
    metrics::gauge!("enlace_operator_leader").set(0.0);

    let leases = Api::namespaced(client.clone(), &options.namespace);
    let candidate = Candidate::new(leases, options.config.leader_lease(), &options.pod_name);
    let mut leadership = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        leadership = candidate.acquire() => leadership,
    };
    tracing::info!("this replica is the leader");
    metrics::gauge!("enlace_operator_leader").set(1.0);
    let lost = tokio::select! {
        () = stop.cancelled() => None,
        () = leadership.hold() => Some(RunError::LeaseLost),
        _ = filling => Some(RunError::CachesEnded),
        () = lead(&options, client, caches, triggers) => Some(RunError::CachesEnded),
    };
    // From here on nothing is written: the future that writes is gone.
    metrics::gauge!("enlace_operator_leader").set(0.0);
    match lost {
        None => {
            leadership.release().await;
            tracing::info!("the operator stops");
            Ok(())
        }
        Some(error) => Err(error),
    }
}

/// What only the leader does.
async fn lead(options: &Options, client: Client, caches: Arc<Caches>, triggers: Triggers) {
    caches.ready().await;
    let keys = keys(options, &client).await;
    let reporter = Reporter {
        controller: enlace_crds::names::FIELD_MANAGER.into(),
        instance: Some(options.pod_name.clone()),
    };
    let concurrency = options.config.reconcile.concurrency;
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        client,
        streams: Streams::new(keys.signer, PORT, triggers.clone()),
        rollout: Mutex::new(Rollout::new(usize::from(options.config.rollout.max_concurrent))),
        memories: Memories::default(),
        settings: Settings {
            namespace: options.namespace.clone(),
            config: options.config.clone(),
            token_keys: keys.public,
        },
        caches: Arc::clone(&caches),
        triggers: triggers.clone(),
    });
    resume(&context, Timestamp::now());
    triggers.restart(caches.by_right());
    let looks = applier(
        |device, context| Box::pin(reconcile(device, context)),
        error_policy,
        Arc::clone(&context),
        caches.devices.clone(),
        triggers.stream(),
        Config::default().concurrency(concurrency),
    );
    let looks = looks.for_each(async |look| {
        // It is gone: nothing of it is to be remembered. Other errors are logged where they happen.
        if let Err(ControllerError::ObjectNotFound(gone)) = look {
            context.forget(&device_ref(gone.namespace.as_deref().unwrap_or_default(), &gone.name));
        }
    });
    tokio::select! {
        () = looks => {}
        () = tick(&context) => {}
    }
}

/// The keys, once the API server gives them.
async fn keys(options: &Options, client: &Client) -> keys::Keys {
    let api = Api::namespaced(client.clone(), &options.namespace);
    loop {
        match keys::ensure(&api, &options.config).await {
            Ok(keys) => return keys,
            Err(error) => {
                tracing::error!(
                    error = crate::telemetry::chain(&error),
                    "without keys no device can be reached; they are tried again"
                );
                tokio::time::sleep(KEYS_PAUSE).await;
            }
        }
    }
}

/// Counts pods that the leader before seems to have restarted.
fn resume(context: &Context, now: Timestamp) {
    let young = |pod: &SeenPod| {
        !pod.facts.ready
            && pod
                .created
                .and_then(|created| created.checked_add(COME_BACK).ok())
                .is_some_and(|end| end > now)
    };
    let mut rollout = context.rollout();
    for pod in context.caches.pods.state() {
        if let (Some(seen), Some(device)) = (SeenPod::of(&pod), device_of(&pod))
            && young(&seen)
        {
            rollout.resume(&device, Before::Ready, seen.created.unwrap_or(now));
        }
    }
}

fn device_of(pod: &Pod) -> Option<triggers::DeviceRef> {
    let name = pod.metadata.labels.as_ref()?.get(enlace_crds::names::DEVICE)?;
    Some(device_ref(pod.metadata.namespace.as_deref()?, name))
}

/// What is done every few seconds.
async fn tick(context: &Context) {
    let mut interval = tokio::time::interval(TICK);
    let mut stopped = false;
    loop {
        interval.tick().await;
        let now = Timestamp::now();
        let (next, is_stopped, counts) = {
            let mut rollout = context.rollout();
            (rollout.next(now), rollout.is_stopped(now), rollout.counts(now))
        };
        context.triggers.extend(next);
        if is_stopped && !stopped {
            tell_stopped(context, now).await;
        }
        stopped = is_stopped;
        metrics::gauge!("enlace_operator_rollout_stopped").set(if stopped { 1.0 } else { 0.0 });
        for (state, number) in counts {
            metrics::gauge!("enlace_operator_rollout_devices", "state" => state).set(count(number));
        }
        count_phases(context);
        sweep(context).await;
    }
}

/// Tells each device that did not come back why nothing more is restarted.
async fn tell_stopped(context: &Context, now: Timestamp) {
    let late: Vec<_> = context.rollout().late(now).cloned().collect();
    tracing::error!(
        late = late.len(),
        "the rollout is stopped: {} devices did not come back from their restart",
        late.len()
    );
    for reference in late {
        let Some(device) = context.caches.devices.get(&reference) else { continue };
        if let Ok(device) = &device.0 {
            let note = "the device did not come back from its restart; no others are restarted until it does, or the operator is restarted";
            crate::status::tell(context, device, crate::events::Told::warning("RolloutStopped", note)).await;
        }
    }
}

fn count_phases(context: &Context) {
    let mut phases = std::collections::HashMap::new();
    for device in context.caches.devices.state() {
        let phase = match &device.0 {
            Ok(device) => {
                device.status.as_ref().and_then(|status| status.phase).unwrap_or(Phase::Pending).to_string()
            }
            Err(_) => "Unreadable".to_owned(),
        };
        *phases.entry(phase).or_insert(0_usize) += 1;
    }
    for phase in Phase::ALL.map(|phase| phase.to_string()).into_iter().chain(["Unreadable".to_owned()]) {
        let number = phases.get(&phase).copied().unwrap_or_default();
        metrics::gauge!("enlace_operator_devices", "phase" => phase).set(count(number));
    }
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source })
}

async fn serve(listener: TcpListener, router: axum::Router) {
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the HTTP server ended");
    }
}
