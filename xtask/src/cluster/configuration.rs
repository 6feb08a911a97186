//! The files that containerd, CNI, the kubelet and the API server read, and the objects that the cluster begins with.

use std::fs;
use std::path::Path;

use super::credentials::{KUBELET_CLIENT, certificate, key};
use super::layout::{self, NODE_ADDRESS, PAUSE_IMAGE, POD_LINK, POD_NETWORK, POD_NETWORK_NAME};

/// Writes them into the cluster's folder.
///
/// # Errors
/// A file cannot be written.
pub(super) fn write(cni_plugins: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(layout::path("cni"))?;
    fs::write(layout::path("cni/pods.conflist"), cni())?;
    fs::write(layout::path("containerd.toml"), containerd(cni_plugins, snapshotter()))?;
    fs::write(layout::path("kubelet.yaml"), kubelet())?;
    fs::write(layout::path("audit-policy.yaml"), AUDIT_POLICY)?;
    fs::write(layout::path("objects.yaml"), objects())?;
    Ok(())
}

/// Requests of the service accounts that tests install, without their bodies: who asked for what, and what the answer was. Streams are
/// told when they begin. Kubernetes' own controllers are left out.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    userGroups: ['system:serviceaccounts:kube-system']
  - level: Metadata
    userGroups: ['system:serviceaccounts']
  - level: None
";

/// Overlays cannot be put on an overlay, which is what a container's own file system often is.
fn snapshotter() -> &'static str {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let on_overlay = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (at, kind) = (words.next()?, words.next()?);
            layout::folder().starts_with(at).then_some((at.len(), kind))
        })
        .max_by_key(|(length, _)| *length)
        .is_some_and(|(_, kind)| kind == "overlay");
    if on_overlay { "native" } else { "overlayfs" }
}

/// One bridge. Neither masquerading nor ports of the host: no pod reaches beyond the machine.
fn cni() -> String {
    format!(
        r#"{{"cniVersion": "0.4.0", "name": "{POD_NETWORK_NAME}", "plugins": [
  {{"type": "bridge", "bridge": "{POD_LINK}", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{POD_NETWORK}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}],
            "dataDir": "{leases}"}}}}
]}}
"#,
        leases = layout::path("cni-addresses").display()
    )
}

/// `restrict_oom_score_adj`: root without `CAP_SYS_RESOURCE` cannot start a sandbox otherwise.
fn containerd(cni_plugins: &Path, snapshotter: &str) -> String {
    format!(
        r#"version = 2
root = "{root}"
state = "{state}"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{plugins}"
  conf_dir = "{cni}"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "{snapshotter}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  Root = "{runc}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{opt}"
[plugins."io.containerd.nri.v1.nri"]
  disable = true
"#,
        root = layout::path("containerd/root").display(),
        state = layout::path("containerd/state").display(),
        socket = layout::containerd_socket().display(),
        plugins = cni_plugins.display(),
        cni = layout::path("cni").display(),
        runc = layout::path("containerd/runc").display(),
        opt = layout::path("containerd/opt").display(),
    )
}

fn kubelet() -> String {
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {NODE_ADDRESS}
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: {authority}}}
authorization: {{mode: Webhook}}
tlsCertFile: {certificate}
tlsPrivateKeyFile: {key}
cgroupDriver: cgroupfs
failSwapOn: false
clusterDomain: cluster.local
containerRuntimeEndpoint: unix://{socket}
podLogsDir: {logs}
volumePluginDir: {plugins}
# Packet filters of iptables would outlive it.
makeIPTablesUtilChains: false
# Images come from archives: none could be fetched again.
imageGCHighThresholdPercent: 100
evictionHard: {{memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}}
podPidsLimit: 512
maxPods: 250
",
        authority = certificate("kubernetes-ca").display(),
        certificate = certificate("kubelet-server").display(),
        key = key("kubelet-server").display(),
        socket = layout::containerd_socket().display(),
        logs = layout::path("logs/pods").display(),
        plugins = layout::path("node/plugins").display(),
    )
}

/// The default storage class, and what the API server may do at the kubelet: logs, exec, port-forward.
fn objects() -> String {
    format!(
        "apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: directory
  annotations: {{storageclass.kubernetes.io/is-default-class: 'true'}}
provisioner: enlace.test/directory
volumeBindingMode: WaitForFirstConsumer
allowVolumeExpansion: true
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {KUBELET_CLIENT}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'system:kubelet-api-admin'}}
subjects:
  - {{apiGroup: rbac.authorization.k8s.io, kind: User, name: {KUBELET_CLIENT}}}
"
    )
}
