//! The fixed names of the cluster: folder, addresses, links. There is one cluster on a machine, because kube-proxy's tables have one name.

use std::path::{Path, PathBuf};

/// Everything that the cluster keeps, for root alone. It is gone after `down`.
const STATE: &str = "/var/lib/enlace-cluster";

/// The node's only address, on a bridge without ports: no other machine has a way to it.
pub(super) const NODE_ADDRESS: &str = "10.100.0.1";
pub(super) const NODE_NETWORK: &str = "10.100.0.0/24";
pub(super) const POD_NETWORK: &str = "10.244.0.0/16";
pub(super) const SERVICE_NETWORK: &str = "10.96.0.0/16";
/// The API server, as pods know it.
pub(super) const API_SERVICE: &str = "10.96.0.1";
pub(super) const API_PORT: &str = "6443";

pub(super) const NODE_NAME: &str = "node1";
/// The bridge that has [`NODE_ADDRESS`].
pub(super) const NODE_LINK: &str = "enlace-node0";
/// The bridge that the pods are on.
pub(super) const POD_LINK: &str = "enlace-pods0";
/// The network's name in CNI.
pub(super) const POD_NETWORK_NAME: &str = "enlace-cluster-pods";
/// Where the CNI library keeps what each plugin answered. It has no setting for it.
pub(super) const CNI_RESULTS: &str = "/var/lib/cni/results";
/// Where the kubelet links the containers' logs. It has no setting for it.
pub(super) const CONTAINER_LOGS: &str = "/var/log/containers";
/// Where the kubelet listens for plugins of devices. It has no setting for it.
pub(super) const DEVICE_PLUGINS: &str = "/var/lib/kubelet/device-plugins";
/// The table of packet filters that keeps other machines out and pods in.
pub(super) const FILTER_TABLE: &str = "enlace-cluster";
/// The kubelet's folder of pods in each hierarchy of cgroups.
pub(super) const POD_CGROUP: &str = "kubepods";

/// The image that holds a pod's network namespace.
pub(super) const PAUSE_IMAGE: &str = "enlace.test/pause:1";

/// The cluster's folder.
pub(super) fn folder() -> &'static Path {
    Path::new(STATE)
}

/// A file or folder of the cluster.
pub(super) fn path(name: impl AsRef<Path>) -> PathBuf {
    folder().join(name)
}

/// The administrator's credentials, for kubectl, helm and tests.
pub(super) fn kubeconfig() -> PathBuf {
    path("kubeconfig")
}

/// One line of JSON for each request of a service account.
pub(super) fn audit_log() -> PathBuf {
    path("audit.log")
}

/// containerd's socket.
pub(super) fn containerd_socket() -> PathBuf {
    path("containerd.sock")
}
