//! From nothing to a node that is ready.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::credentials::{self, certificate, key, kubeconfig};
use super::layout::{self, API_PORT, NODE_ADDRESS, NODE_NAME, POD_NETWORK, SERVICE_NETWORK};
use super::network::quietly;
use super::process::{Process, last_words, start, wait_for};
use super::programs::Programs;
use super::{configuration, host, network, pause};
use crate::setup;

/// How long each stage may take; each takes a few seconds on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Programs of Kubernetes, all in one file, which goes by its name.
const HYPERKUBE: [&str; 6] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"];

/// All that `up` starts.
const PROCESSES: [&str; 8] = [
    "etcd",
    "containerd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "provisioner",
];

/// Whether everything runs and answers.
pub(super) fn is_healthy() -> bool {
    PROCESSES.iter().all(|name| Process::recorded(name).is_some())
        && setup::answers(kubectl().args(["--request-timeout=5s", "get", "--raw", "/readyz"]))
}

/// Starts the cluster. Whatever goes wrong, `down` takes away what was made.
///
/// # Errors
/// What did not start, with its last words.
pub(super) fn start_all(programs: &Programs) -> anyhow::Result<()> {
    ensure!(
        !network::is_taken() && !pods_of_another(),
        "another Kubernetes runs on this machine; only one can have kube-proxy's tables and the kubelet's cgroups"
    );
    for folder in ["", "bin", "containerd", "etcd", "logs", "node", "pki", "run", "volumes"] {
        // Keys and volumes are in it.
        let made = DirBuilder::new().mode(0o700).create(layout::path(folder));
        made.with_context(|| format!("cannot make {}", layout::path(folder).display()))?;
    }
    link_programs(programs)?;
    credentials::write()?;
    let plugins = host::cni_plugins().context("the CNI plugins are not there")?;
    configuration::write(plugins)?;
    network::make()?;

    start("etcd", &etcd())?;
    start(
        "containerd",
        Command::new(program("containerd")).arg("--config").arg(layout::path("containerd.toml")),
    )?;
    start("kube-apiserver", &api_server())?;
    import_pause(programs)?;
    wait_for_program("kube-apiserver", || {
        Ok(setup::answers(kubectl().args(["--request-timeout=5s", "get", "--raw", "/readyz"])))
    })?;

    start("kube-controller-manager", &controller_manager())?;
    start("kube-scheduler", &scheduler())?;
    start("kubelet", &kubelet())?;
    start("kube-proxy", &proxy())?;
    quietly(kubectl().arg("apply").arg("--filename").arg(layout::path("objects.yaml")))?;
    start("provisioner", &provisioner(programs))?;
    wait_for_node()
}

/// `kubectl` as the administrator.
pub(super) fn kubectl() -> Command {
    let mut command = Command::new(layout::path("bin/kubectl"));
    command.arg("--kubeconfig").arg(layout::kubeconfig());
    command
}

/// `ctr`, containerd's own command, where the kubelet's images and containers are.
pub(super) fn ctr() -> Command {
    let mut command = Command::new(program("ctr"));
    command.arg("--address").arg(layout::containerd_socket()).args(["--namespace", "k8s.io"]);
    command
}

/// A kubelet makes its folder of cgroups whether or not it has pods.
fn pods_of_another() -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    host::cgroup_mounts(&mounts).iter().any(|mount| mount.join(layout::POD_CGROUP).exists())
}

/// Puts what a person needs into one folder, and the programs of the one file beside it.
fn link_programs(programs: &Programs) -> anyhow::Result<()> {
    for name in HYPERKUBE {
        symlink(programs.kubernetes.join("hyperkube"), layout::path("bin").join(name))?;
    }
    symlink(&programs.helm, layout::path("bin/helm"))?;
    Ok(())
}

fn import_pause(programs: &Programs) -> anyhow::Result<()> {
    let archive = layout::path("pause.tar");
    pause::write(&programs.kubernetes.join("pause"), &archive)?;
    wait_for_program("containerd", || Ok(setup::answers(ctr().arg("version"))))?;
    quietly(ctr().args(["images", "import"]).arg(archive))?;
    Ok(())
}

/// Waits for what a program does once it is up, as long as it runs.
fn wait_for_program(name: &str, mut does: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let result = wait_for(name, PATIENCE, || {
        if Process::recorded(name).is_none() {
            bail!("{name} ended");
        }
        does()
    });
    result.with_context(|| format!("{name} did not start: {}", last_words(name)))
}

/// The node, and the service account without which no pod is accepted.
fn wait_for_node() -> anyhow::Result<()> {
    let node = format!("node/{NODE_NAME}");
    wait_for_program("kubelet", || Ok(setup::answers(kubectl().args(["get", &node]))))?;
    wait_for_program("kubelet", || {
        let ready = ["get", &node, "--output", "jsonpath={.status.conditions[?(@.type=='Ready')].status}"];
        Ok(quietly(kubectl().args(ready))?.trim() == "True")
    })?;
    wait_for_program("kube-controller-manager", || {
        Ok(setup::answers(kubectl().args(["--namespace", "default", "get", "serviceaccount/default"])))
    })
}

/// A program of the system.
fn program(name: &str) -> PathBuf {
    host::find(name).unwrap_or_else(|| name.into())
}

fn hyperkube(name: &str) -> Command {
    let mut command = Command::new(layout::path("bin").join(name));
    // kube-proxy runs nft, the kubelet mount: whatever `PATH` the caller has, they are found.
    let more =
        ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Ok(path) = std::env::join_paths(std::env::split_paths(&path).chain(more)) {
        command.env("PATH", path);
    }
    command
}

/// A flag with a file or folder as its value.
fn flag(name: &str, value: &Path) -> String {
    format!("--{name}={}", value.display())
}

/// On loopback, where pods do not come, for holders of a certificate of its own authority.
fn etcd() -> Command {
    let mut command = Command::new(program("etcd"));
    let (client, peer) = ("https://127.0.0.1:2379", "https://127.0.0.1:2380");
    command
        .arg(flag("data-dir", &layout::path("etcd")))
        .args(["--listen-client-urls", client, "--advertise-client-urls", client])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--initial-cluster", &format!("default={peer}")]);
    for prefix in ["", "peer-"] {
        command
            .arg(format!("--{prefix}client-cert-auth"))
            .arg(flag(&format!("{prefix}trusted-ca-file"), &certificate("etcd-ca")))
            .arg(flag(&format!("{prefix}cert-file"), &certificate("etcd-server")))
            .arg(flag(&format!("{prefix}key-file"), &key("etcd-server")));
    }
    if cfg!(target_arch = "aarch64") {
        command.env("ETCD_UNSUPPORTED_ARCH", "arm64");
    }
    command
}

fn api_server() -> Command {
    let mut command = hyperkube("kube-apiserver");
    command
        .arg("--etcd-servers=https://127.0.0.1:2379")
        .arg(flag("etcd-cafile", &certificate("etcd-ca")))
        .arg(flag("etcd-certfile", &certificate("apiserver-etcd-client")))
        .arg(flag("etcd-keyfile", &key("apiserver-etcd-client")))
        .arg(format!("--bind-address={NODE_ADDRESS}"))
        .arg(format!("--advertise-address={NODE_ADDRESS}"))
        .arg(format!("--secure-port={API_PORT}"))
        .arg(flag("tls-cert-file", &certificate("apiserver")))
        .arg(flag("tls-private-key-file", &key("apiserver")))
        .arg(flag("client-ca-file", &certificate("kubernetes-ca")))
        .arg("--anonymous-auth=false")
        .arg("--authorization-mode=Node,RBAC")
        .arg("--enable-admission-plugins=NodeRestriction")
        .arg(flag("service-account-signing-key-file", &key("service-accounts")))
        .arg(flag("service-account-key-file", &layout::path("pki/service-accounts.pub")))
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(format!("--service-cluster-ip-range={SERVICE_NETWORK}"))
        .arg(flag("kubelet-certificate-authority", &certificate("kubernetes-ca")))
        .arg(flag("kubelet-client-certificate", &certificate("apiserver-kubelet-client")))
        .arg(flag("kubelet-client-key", &key("apiserver-kubelet-client")))
        .arg("--kubelet-preferred-address-types=InternalIP")
        .arg(flag("audit-policy-file", &layout::path("audit-policy.yaml")))
        .arg(flag("audit-log-path", &layout::audit_log()));
    command
}

/// Its client limits are raised: by default it makes no more than some six pods a second.
fn controller_manager() -> Command {
    let mut command = hyperkube("kube-controller-manager");
    command
        .arg(flag("kubeconfig", &kubeconfig("controller-manager")))
        .arg("--bind-address=127.0.0.1")
        .arg(flag("flex-volume-plugin-dir", &layout::path("node/plugins")))
        .arg(flag("service-account-private-key-file", &key("service-accounts")))
        .arg(flag("root-ca-file", &certificate("kubernetes-ca")))
        .args([
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            "--allocate-node-cidrs=false",
        ])
        .args(["--kube-api-qps=200", "--kube-api-burst=400", "--concurrent-statefulset-syncs=20"]);
    command
}

fn scheduler() -> Command {
    let mut command = hyperkube("kube-scheduler");
    command
        .arg(flag("kubeconfig", &kubeconfig("scheduler")))
        .args(["--bind-address=127.0.0.1", "--leader-elect=false"])
        .args(["--kube-api-qps=200", "--kube-api-burst=400"]);
    command
}

fn kubelet() -> Command {
    let mut command = hyperkube("kubelet");
    command
        .arg(flag("config", &layout::path("kubelet.yaml")))
        .arg(flag("kubeconfig", &kubeconfig("kubelet")))
        .arg(format!("--hostname-override={NODE_NAME}"))
        .arg(format!("--node-ip={NODE_ADDRESS}"))
        .arg(flag("root-dir", &layout::path("node")))
        .arg(flag("cert-dir", &layout::path("node/pki")));
    command
}

fn proxy() -> Command {
    let mut command = hyperkube("kube-proxy");
    command
        .arg(flag("kubeconfig", &kubeconfig("proxy")))
        .arg(format!("--hostname-override={NODE_NAME}"))
        .arg("--proxy-mode=nftables")
        .arg(format!("--cluster-cidr={POD_NETWORK}"))
        .arg(format!("--nodeport-addresses={NODE_ADDRESS}/32"))
        .args(["--healthz-bind-address=127.0.0.1:10256", "--metrics-bind-address=127.0.0.1:10249"])
        // The kernel's limit stays as it is.
        .args([
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0s",
            "--conntrack-tcp-timeout-close-wait=0s",
        ]);
    command
}

fn provisioner(programs: &Programs) -> Command {
    let mut command = Command::new(programs.kubernetes.join("provisioner"));
    command.arg(flag("kubeconfig", &kubeconfig("provisioner"))).arg(flag("root", &layout::path("volumes")));
    command
}
