//! What the figures depend on.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

/// The machine and the programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Environment {
    cores: usize,
    kernel: String,
    build: String,
    /// The file system of the device's data: each stored message waits for its disk.
    file_system: String,
    /// How busy the machine was before: processes that ran or waited to, over the last minute.
    load_before: String,
}

impl Environment {
    /// Of this machine, for programs that were built so and data in this folder.
    ///
    /// # Errors
    /// The kernel does not say (`/proc`): this is not Linux.
    pub(crate) fn read(build: &str, data: &Path) -> anyhow::Result<Self> {
        let data = data.canonicalize().context("the data folder is gone")?;
        let load = proc("/proc/loadavg")?;
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            kernel: proc("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            build: build.to_owned(),
            file_system: file_system(&proc("/proc/self/mounts")?, &data),
            load_before: load.split_whitespace().next().unwrap_or_default().to_owned(),
        })
    }
}

fn proc(file: &str) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("{file} cannot be read: the benchmark needs Linux"))
}

/// The type of the innermost mount that holds a folder; of mounts over one another the last.
fn file_system(mounts: &str, folder: &Path) -> String {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((Path::new(fields.next()?), fields.next()?))
    });
    mounts
        .filter(|(place, _)| folder.starts_with(place))
        .max_by_key(|(place, _)| place.components().count())
        .map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, kernel, build, file_system, load_before } = self;
        write!(
            f,
            "{cores} cores, Linux {kernel}, {build}, data on {file_system}, load average before {load_before}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_counts() {
        let mounts =
            "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/x xfs rw 0 0\nproc /proc proc rw 0 0";
        assert_eq!(file_system(mounts, Path::new("/tmp/data")), "tmpfs");
        assert_eq!(file_system(mounts, Path::new("/tmp/x/data")), "xfs");
        assert_eq!(file_system(mounts, Path::new("/tmpfiles")), "ext4");
        assert_eq!(file_system("", Path::new("/")), "unknown");
    }
}
