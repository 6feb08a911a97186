//! From a cluster, whole or half dead, to nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use super::layout::{self, CNI_RESULTS, CONTAINER_LOGS, DEVICE_PLUGINS, POD_CGROUP};
use super::process::{self, Process, wait_for};
use super::{host, network};
use crate::setup;

/// Folders that programs make for whoever comes first; they go when nobody else has anything in them.
const SHARED_FOLDERS: [&str; 9] = [
    DEVICE_PLUGINS,
    "/var/lib/kubelet",
    CNI_RESULTS,
    "/var/lib/cni",
    "/var/lib/cni/networks",
    CONTAINER_LOGS,
    "/run/containerd/s",
    "/run/containerd",
    "/run/netns",
];

/// containerd's folder of running containers, one folder for each.
const BUNDLES: &str = "containerd/state/io.containerd.runtime.v2.task/k8s.io";

/// Ends everything and removes what it made, in the order in which nothing comes back: first who starts containers, then the containers.
///
/// # Errors
/// A process does not end, or a file cannot be removed.
pub(super) fn stop_all() -> anyhow::Result<()> {
    process::end(&Process::all_recorded())?;
    process::end(&pods_processes())?;
    process::end(&shims())?;

    let sandboxes = sandboxes();
    for mount in mounts_below(layout::folder()) {
        unmount(&mount);
    }
    for Sandbox { network_namespace, files } in &sandboxes {
        unmount(network_namespace);
        remove_file(network_namespace);
        files.iter().for_each(|file| remove_file(file));
    }
    network::remove();
    remove_cgroups()?;
    shim_sockets().iter().chain(&log_links()).for_each(|file| remove_file(file));
    remove_file(&Path::new(DEVICE_PLUGINS).join("kubelet.sock"));
    for folder in SHARED_FOLDERS {
        // Not empty or not there: no matter.
        let _ = fs::remove_dir(folder);
    }
    match fs::remove_dir_all(layout::folder()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", layout::folder().display()))
        }
        _ => Ok(()),
    }
}

/// What runs in the pods' cgroups, in whichever depth.
fn pods_processes() -> Vec<Process> {
    let numbers: BTreeSet<i32> = pod_cgroups()
        .iter()
        .filter_map(|folder| fs::read_to_string(folder.join("cgroup.procs")).ok())
        .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<i32>>())
        .collect();
    numbers.into_iter().filter_map(Process::of).collect()
}

/// The parents of the pods' containers, which outlive containerd: those that were told this cluster's socket.
fn shims() -> Vec<Process> {
    let socket = layout::containerd_socket();
    let is_ours = |pid: i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words.any(|word| word == b"-address")
            && words.next().is_some_and(|word| word == socket.as_os_str().as_encoded_bytes())
    };
    entries(Path::new("/proc"))
        .filter_map(|entry| entry.file_name()?.to_str()?.parse().ok())
        .filter(|pid| is_ours(*pid))
        .filter_map(Process::of)
        .collect()
}

/// A pod's network: its name in the kernel, and what the CNI library wrote down about it.
struct Sandbox {
    network_namespace: PathBuf,
    files: Vec<PathBuf>,
}

fn sandboxes() -> Vec<Sandbox> {
    let results: Vec<PathBuf> = entries(Path::new(CNI_RESULTS)).collect();
    let sandbox = |bundle: PathBuf| {
        let id = bundle.file_name()?.to_str()?;
        let config: Value = serde_json::from_slice(&fs::read(bundle.join("config.json")).ok()?).ok()?;
        let namespaces = config.pointer("/linux/namespaces")?.as_array()?;
        let network = namespaces.iter().find(|namespace| namespace["type"] == "network")?;
        let network_namespace: PathBuf = network["path"].as_str()?.into();
        let of_it =
            |file: &&PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().contains(id));
        // Those of the machine's own network have no name in this folder.
        let named =
            network_namespace.starts_with("/run/netns") || network_namespace.starts_with("/var/run/netns");
        named.then(|| Sandbox { network_namespace, files: results.iter().filter(of_it).cloned().collect() })
    };
    entries(&layout::path(BUNDLES)).filter_map(sandbox).collect()
}

/// Mounts in a folder, the innermost first.
fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = text.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    let mut mounts: Vec<PathBuf> = points.filter(|point| point.starts_with(folder)).collect();
    mounts.sort();
    mounts.reverse();
    mounts
}

/// Lazily: what still has a file open there has been killed and is on its way out.
fn unmount(point: &Path) {
    setup::answers(Command::new("umount").arg("--lazy").arg(point));
}

/// The pods' cgroups of every hierarchy, the innermost first.
fn pod_cgroups() -> Vec<PathBuf> {
    fn add(folder: PathBuf, all: &mut Vec<PathBuf>) {
        entries(&folder).filter(|entry| entry.is_dir()).for_each(|inner| add(inner, all));
        all.push(folder);
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut all = Vec::new();
    if layout::folder().exists() {
        let tops = host::cgroup_mounts(&mounts).into_iter().map(|mount| mount.join(POD_CGROUP));
        tops.filter(|top| top.is_dir()).for_each(|top| add(top, &mut all));
    }
    all
}

/// A cgroup can be removed a moment after its last process has ended.
fn remove_cgroups() -> anyhow::Result<()> {
    wait_for("the pods' cgroups to be empty", std::time::Duration::from_secs(10), || {
        Ok(pod_cgroups().iter().filter(|folder| fs::remove_dir(folder).is_err()).count() == 0)
    })
}

/// Each shim's socket, which it would have removed itself had it not been killed.
fn shim_sockets() -> Vec<PathBuf> {
    entries(&layout::path(BUNDLES))
        .filter_map(|bundle| fs::read_to_string(bundle.join("address")).ok())
        .filter_map(|address| Some(PathBuf::from(address.trim().strip_prefix("unix://")?)))
        .collect()
}

/// The kubelet's links to logs in the cluster's folder.
fn log_links() -> Vec<PathBuf> {
    let ours = |link: &PathBuf| fs::read_link(link).is_ok_and(|target| target.starts_with(layout::folder()));
    entries(Path::new(CONTAINER_LOGS)).filter(ours).collect()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn remove_file(file: &Path) {
    // Gone already, or somebody's who can see to it: the folder that is left says so.
    let _ = fs::remove_file(file);
}
