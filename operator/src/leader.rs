//! One replica writes.
//!
//! The rules are those of client-go's leader election: the lease is taken when nobody renewed it for its whole duration *by this process's
//! own clock*, so that clocks may differ between nodes, and a leader that could not renew in time gives up before another one may begin. The
//! crates that exist go on believing in a lease which they could not renew. Losing the lease ends the process.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Api;
use kube::api::PostParams;
use tokio::time::{Instant, sleep, timeout};

/// After how long without a renewal another replica takes over.
const DURATION: Duration = Duration::from_secs(15);
/// After how long without a renewal the leader gives up; less than [`DURATION`] by more than a request takes to die.
const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// Between two attempts.
const RETRY: Duration = Duration::from_secs(2);
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(5);

/// A candidate for the lease.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
}

/// The lease is this process's. Without [`Leadership::hold`] it runs out.
pub struct Leadership {
    candidate: Candidate,
    lease: Lease,
    renewed: Instant,
}

/// The lease cannot be asked for.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("the lease cannot be read or written")]
    Kube(#[source] kube::Error),
    #[error("the API server did not answer within {REQUEST:?}")]
    Timeout,
    #[error("the lease is another's")]
    Lost,
}

impl Candidate {
    /// A candidate; its identity is unique among replicas and their restarts.
    pub fn new(api: Api<Lease>, name: String, pod_name: &str) -> Self {
        Self { api, name, identity: format!("{pod_name}_{:016x}", rand::random::<u64>()) }
    }

    /// Waits until the lease is this process's.
    pub async fn acquire(self) -> Leadership {
        let mut seen: Option<(Option<String>, Instant)> = None;
        let mut complained = false;
        loop {
            let began = Instant::now();
            match self.attempt(&mut seen).await {
                Ok(Some(lease)) => return Leadership { candidate: self, lease, renewed: began },
                Ok(None) => complained = false,
                Err(error) if !complained => {
                    complained = true;
                    tracing::warn!(
                        error = crate::telemetry::chain(&error),
                        lease = self.name,
                        "the leader's lease is not reached"
                    );
                }
                Err(_) => {}
            }
            sleep(RETRY.mul_f64(rand::random_range(0.8..1.2))).await;
        }
    }

    /// Takes the lease if it is free: none; or `seen` long enough without a change.
    async fn attempt(
        &self,
        seen: &mut Option<(Option<String>, Instant)>,
    ) -> Result<Option<Lease>, LeaseError> {
        let Some(mut lease) = bounded(self.api.get_opt(&self.name)).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.spec(0)),
            };
            return won(bounded(self.api.create(&PostParams::default(), &lease)).await);
        };
        let version = lease.metadata.resource_version.clone();
        let spec = lease.spec.take().unwrap_or_default();
        let held = spec.holder_identity.as_deref().is_some_and(|holder| !holder.is_empty());
        let fresh = match seen {
            Some((known, since)) if *known == version => since.elapsed() < DURATION,
            _ => {
                *seen = Some((version, Instant::now()));
                true
            }
        };
        if held && fresh {
            return Ok(None);
        }
        lease.spec = Some(self.spec(spec.lease_transitions.unwrap_or(0).saturating_add(1)));
        // The resource version makes it fail when another candidate was faster.
        won(bounded(self.api.replace(&self.name, &PostParams::default(), &lease)).await)
    }

    fn spec(&self, transitions: i32) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

impl Leadership {
    /// Renews the lease, for ever; ends when it is lost.
    pub async fn hold(&mut self) {
        loop {
            sleep(RETRY).await;
            let began = Instant::now();
            let rest = RENEW_WITHIN.saturating_sub(self.renewed.elapsed());
            match timeout(rest, self.renew()).await {
                Ok(Ok(())) => self.renewed = began,
                Ok(Err(LeaseError::Lost)) => return,
                Ok(Err(error)) => {
                    tracing::warn!(
                        error = crate::telemetry::chain(&error),
                        "the leader's lease was not renewed"
                    );
                }
                Err(_) => {}
            }
            if self.renewed.elapsed() >= RENEW_WITHIN {
                return;
            }
        }
    }

    /// Gives the lease away, so that another replica need not wait for its end.
    pub async fn release(self) {
        if let Err(error) = self.give_away().await {
            tracing::warn!(error = crate::telemetry::chain(&error), "the leader's lease was not released");
        }
    }

    async fn give_away(&self) -> Result<(), LeaseError> {
        let mut lease = self.current().await?;
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        let Candidate { api, name, .. } = &self.candidate;
        bounded(api.replace(name, &PostParams::default(), &lease)).await.map(|_| ())
    }

    async fn renew(&mut self) -> Result<(), LeaseError> {
        let mut lease = self.lease.clone();
        if let Some(spec) = &mut lease.spec {
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        let Candidate { api, name, .. } = &self.candidate;
        self.lease = match bounded(api.replace(name, &PostParams::default(), &lease)).await {
            // A renewal whose answer was lost counts, and makes the next one a conflict.
            Err(LeaseError::Kube(kube::Error::Api(status))) if status.is_conflict() => self.current().await?,
            renewed => renewed?,
        };
        Ok(())
    }

    /// The lease as it is, if it is still this process's.
    async fn current(&self) -> Result<Lease, LeaseError> {
        let Candidate { api, name, identity } = &self.candidate;
        let lease = bounded(api.get_opt(name)).await?.ok_or(LeaseError::Lost)?;
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref());
        if holder == Some(identity) { Ok(lease) } else { Err(LeaseError::Lost) }
    }
}

/// A lease that another candidate took in the same moment is not an error.
fn won(result: Result<Lease, LeaseError>) -> Result<Option<Lease>, LeaseError> {
    match result {
        Ok(lease) => Ok(Some(lease)),
        Err(LeaseError::Kube(kube::Error::Api(status)))
            if status.is_conflict() || status.is_already_exists() =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn bounded<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, LeaseError> {
    timeout(REQUEST, request).await.map_err(|_| LeaseError::Timeout)?.map_err(LeaseError::Kube)
}
