//! The cluster, and its refusals in words.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use enlace_contract::name::DeviceKey;
use enlace_crds::WhatsAppDevice;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::Status;
use kube::runtime::watcher;
use kube::{Api, Client, Config};

use super::Cluster;
use crate::output::printable;

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a call may take.
const CALL: Duration = Duration::from_secs(30);

/// A cluster, and the namespace that is meant.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) namespace: String,
}

impl Connection {
    /// The cluster that the command line names.
    pub(super) async fn open(cluster: Cluster) -> anyhow::Result<Self> {
        let Cluster { namespace, context, kubeconfig } = cluster;
        // Another part of the program may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let file = match &kubeconfig {
            Some(file) => Kubeconfig::read_from(file),
            None => Kubeconfig::read(),
        };
        let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
        let mut config = match file {
            Ok(file) => {
                let proxy = names_a_proxy(&file, options.context.as_deref());
                let mut config = Config::from_custom_kubeconfig(file, &options).await.map_err(explained)?;
                // HTTPS_PROXY is for the world outside; the client would take it for the cluster too, whatever NO_PROXY says.
                config.proxy_url = config.proxy_url.filter(|_| proxy);
                config
            }
            Err(KubeconfigError::ReadConfig(error, path)) if error.kind() == std::io::ErrorKind::NotFound => {
                // In a pod, the service account is the identity.
                let in_pod = kubeconfig.is_none().then(Config::incluster).and_then(Result::ok);
                in_pod.ok_or_else(|| {
                    anyhow!(
                        "there is no kubeconfig {}: name one with --kubeconfig, or set KUBECONFIG",
                        path.display()
                    )
                })?
            }
            Err(error) => return Err(explained(error)),
        };
        config.connect_timeout = Some(CONNECT);
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client = match Client::try_from(config) {
            Err(kube::Error::ProxyProtocolDisabled { .. } | kube::Error::ProxyProtocolUnsupported { .. }) => {
                bail!("the kubeconfig names a proxy (proxy-url): this command cannot use one")
            }
            client => client.context("the kubeconfig cannot be used")?,
        };
        Ok(Self { client, namespace })
    }

    /// The devices of the namespace.
    pub(super) fn devices(&self) -> Api<WhatsAppDevice> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The key of a device of the namespace.
    pub(super) fn key(&self, name: &str) -> anyhow::Result<DeviceKey> {
        Ok(DeviceKey::new(&self.namespace, name)?)
    }
}

/// A call, within its time, with its error in words.
pub(super) async fn call<T>(
    key: Option<&DeviceKey>,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> anyhow::Result<T> {
    match tokio::time::timeout(CALL, call).await {
        Ok(answer) => answer.map_err(|error| refused(key, &error)),
        Err(_) => Err(anyhow!("the cluster's API server did not answer within {} s", CALL.as_secs())),
    }
}

/// Why a call failed, for a person.
pub(super) fn refused(key: Option<&DeviceKey>, error: &kube::Error) -> anyhow::Error {
    let kube::Error::Api(status) = error else {
        return anyhow!("the cluster's API server cannot be asked: {}", root(error));
    };
    match (status.code, key) {
        (404, Some(key)) if names_an_object(status) => anyhow!("there is no WhatsAppDevice {key}"),
        (404, _) => anyhow!(
            "this cluster does not know WhatsAppDevices: Enlace is not installed in it, or not its CustomResourceDefinition"
        ),
        (401, _) => anyhow!("the cluster does not accept the credentials of the kubeconfig"),
        (403, _) => anyhow!("a permission is missing: {}", printable(&status.message)),
        _ => anyhow!("the cluster's API server refused: {}", printable(&status.message)),
    }
}

/// The same of a watch; none when it may come right by itself.
pub(super) fn refused_watch(key: &DeviceKey, error: &watcher::Error) -> Option<anyhow::Error> {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => match error {
            kube::Error::Api(status) if !matches!(status.code, 401 | 403 | 404) => None,
            kube::Error::Api(_) | kube::Error::SerdeError(_) => Some(refused(Some(key), error)),
            _ => None,
        },
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => None,
    }
}

/// The same of a first attempt: whatever it is, it is told.
pub(super) fn refused_first(key: &DeviceKey, error: &watcher::Error) -> anyhow::Error {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => refused(Some(key), error),
        other => anyhow!("the cluster's API server cannot be asked: {other}"),
    }
}

fn names_an_object(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}

/// What an error comes from: the layers above it say little to a person.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.last().map(ToString::to_string).unwrap_or_default()
}

/// Whether the cluster of a context has a proxy in the kubeconfig itself.
fn names_a_proxy(file: &Kubeconfig, context: Option<&str>) -> bool {
    let wanted = context.or(file.current_context.as_deref());
    let context = file.contexts.iter().find(|context| Some(context.name.as_str()) == wanted);
    let cluster =
        context.and_then(|context| context.context.as_ref()).map(|context| context.cluster.as_str());
    let cluster = file.clusters.iter().find(|named| Some(named.name.as_str()) == cluster);
    cluster.and_then(|named| named.cluster.as_ref()).is_some_and(|cluster| cluster.proxy_url.is_some())
}

fn explained(error: KubeconfigError) -> anyhow::Error {
    match error {
        KubeconfigError::LoadContext(name) => anyhow!("the kubeconfig has no context {name}"),
        KubeconfigError::CurrentContextNotSet => {
            anyhow!("the kubeconfig has no current context: name one with --context")
        }
        error => anyhow!("the kubeconfig cannot be used: {}", printable(&error.to_string())),
    }
}
