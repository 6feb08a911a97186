//! What the machine must be, and the Debian packages that are installed when they are missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use crate::run;

/// A program that the cluster starts, and the Debian package that has it.
const PROGRAMS: [(&str, &str); 6] = [
    ("containerd", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("runc", "runc"),
    ("etcd", "etcd-server"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
];

/// Where Debian's package of CNI plugins puts them, and others do.
const CNI_PLUGINS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];
const CNI_PACKAGE: &str = "containernetworking-plugins";

/// Folders that are searched beside those of `PATH`, which may leave them out.
const MORE_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Bits of `CapEff` in `/proc/self/status`: to set up networks, and to mount.
const CAPABILITIES: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")];

/// Why no cluster can run on this machine, if so.
pub(super) fn obstacle() -> Option<String> {
    if !cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))) {
        return Some(format!(
            "it needs Linux on x86_64 or aarch64, this is {} on {}",
            std::env::consts::OS,
            std::env::consts::ARCH
        ));
    }
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root, for networks, mounts and containers".to_owned());
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(missing) = missing_capability(&status) {
        return Some(format!("it needs {missing}, which this container does not give to root"));
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let cgroups = cgroup_mounts(&mounts);
    if cgroups.is_empty() {
        return Some("it needs cgroups, none are mounted".to_owned());
    }
    let read_only = |folder: &&PathBuf| rustix::fs::access(*folder, rustix::fs::Access::WRITE_OK).is_err();
    if let Some(folder) = cgroups.iter().find(read_only) {
        return Some(format!("it needs to write to {}, which is read-only", folder.display()));
    }
    if !missing_packages().is_empty() && find("apt-get").is_none() {
        return Some(format!("it needs {}, and there is no apt-get", missing_packages().join(", ")));
    }
    None
}

/// The Debian packages of which a program is missing.
pub(super) fn missing_packages() -> Vec<&'static str> {
    let mut packages: Vec<&str> = PROGRAMS
        .into_iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, package)| package)
        .chain(cni_plugins().is_none().then_some(CNI_PACKAGE))
        .collect();
    packages.dedup();
    packages
}

/// Installs what is missing, after saying so.
///
/// # Errors
/// apt-get fails, or a program is still missing.
pub(super) fn install_packages() -> anyhow::Result<()> {
    let missing = missing_packages();
    if missing.is_empty() {
        return Ok(());
    }
    println!("Installing Debian packages: {}.", missing.join(", "));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .args(["--quiet", "--quiet"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Their services stay off: the cluster has its own processes of them.
            .env("RUNLEVEL", "1");
        run::run(&mut command)
    };
    apt(&["update"])?;
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(&missing);
    apt(&install)?;
    match missing_packages().as_slice() {
        [] => Ok(()),
        missing => bail!("apt-get installed {}, but not all of their programs are there", missing.join(", ")),
    }
}

/// A program's file.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(MORE_FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// The folder of the CNI plugins.
pub(super) fn cni_plugins() -> Option<&'static Path> {
    CNI_PLUGINS.into_iter().map(Path::new).find(|folder| folder.join("bridge").is_file())
}

/// Where cgroups are mounted: one folder for version 2, one for each controller for version 1.
pub(super) fn cgroup_mounts(mounts: &str) -> Vec<PathBuf> {
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (folder, kind) = (words.next()?, words.next()?);
            kind.starts_with("cgroup").then(|| PathBuf::from(folder))
        })
        .collect()
}

fn missing_capability(status: &str) -> Option<&'static str> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let effective = u64::from_str_radix(line.trim(), 16).ok()?;
    CAPABILITIES.into_iter().find(|(bit, _)| effective & (1 << bit) == 0).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_of_both_versions_are_found() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(
            cgroup_mounts(mounts),
            [Path::new("/sys/fs/cgroup/memory"), Path::new("/sys/fs/cgroup/unified")]
        );
    }

    #[test]
    fn a_root_without_the_right_to_mount_is_told_so() {
        assert_eq!(missing_capability("Name:\tx\nCapEff:\t00000000a80425fb\n"), Some("CAP_NET_ADMIN"));
        assert_eq!(missing_capability("CapEff:\t00000000a80435fb\n"), Some("CAP_SYS_ADMIN"));
        assert_eq!(missing_capability("CapEff:\t000001fffeffffff\n"), None);
    }
}
