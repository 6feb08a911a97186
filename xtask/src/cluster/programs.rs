//! The programs that are built from source once and kept outside of the checkout: Kubernetes itself, from the Go module in
//! `tests/cluster`, and helm.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use super::host;
use crate::helm;
use crate::run;
use crate::setup;
use crate::workspace::Workspace;

/// The module's sources, apart from `cmd`.
const MODULE_FILES: [&str; 2] = ["go.mod", "go.sum"];

/// Folders of finished programs.
pub(super) struct Programs {
    /// `hyperkube`, `pause` and `provisioner`.
    pub(super) kubernetes: PathBuf,
    /// The file `helm`.
    pub(super) helm: PathBuf,
}

impl Programs {
    /// Where they are or will be.
    ///
    /// # Errors
    /// The sources cannot be read, or there is no place for a cache.
    pub(super) fn of(workspace: &Workspace) -> anyhow::Result<Self> {
        let cache =
            setup::cache().context("HOME is not set: there is no folder to keep built programs in")?;
        let key = key(&module(workspace))?;
        Ok(Self {
            kubernetes: cache.join(format!("cluster-{key}")),
            helm: helm::kept().context("HOME is not set: there is no folder to keep helm in")?,
        })
    }

    /// What [`Self::build`] will do, one sentence for each; none when everything is there.
    pub(super) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if !self.kubernetes.is_dir() {
            missing.push(format!(
                "build Kubernetes with Go into {}: about 8 minutes on two cores, once",
                self.kubernetes.display()
            ));
        }
        if !self.helm.is_file() {
            missing.push(format!("build helm {} with Go: about 3 minutes, once", helm::VERSION));
        }
        missing
    }

    /// Why what is missing cannot be built, if so.
    pub(super) fn obstacle(&self) -> Option<String> {
        let needed = !self.missing().is_empty() && host::find("go").is_none();
        needed.then(|| "its programs are built with Go 1.26 or newer, which is not installed".to_owned())
    }

    /// Builds what is missing, after saying so.
    ///
    /// # Errors
    /// There is no Go, or it fails.
    pub(super) fn build(&self, workspace: &Workspace) -> anyhow::Result<()> {
        for sentence in self.missing() {
            println!("Going to {sentence}.");
        }
        if !self.kubernetes.is_dir() {
            let kubernetes = self.kubernetes.clone();
            finished_or_nothing(&kubernetes, |folder| {
                let flags = link_flags(&module(workspace))?;
                let mut command = go("build")?;
                command.current_dir(module(workspace)).args(["-trimpath", "-ldflags", &flags, "-o"]);
                run::run(command.arg(folder).arg("./cmd/..."))
            })?;
        }
        if !self.helm.is_file() {
            helm::build()?;
        }
        Ok(())
    }
}

fn module(workspace: &Workspace) -> PathBuf {
    workspace.root.join("tests/cluster")
}

/// Go without cgo: programs that run in an image without a C library, and a build cache that no C compiler has a part in.
fn go(verb: &str) -> anyhow::Result<Command> {
    let Some(go) = host::find("go") else {
        bail!("Go is needed to build the test cluster's programs, 1.26 or newer: https://go.dev/dl");
    };
    let mut command = Command::new(go);
    command.arg(verb).env("CGO_ENABLED", "0");
    Ok(command)
}

/// Kubernetes learns its version when it is linked; charts ask for it.
fn link_flags(module: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(module.join("go.mod")).context("cannot read tests/cluster/go.mod")?;
    let version = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "))
        .context("tests/cluster/go.mod requires no k8s.io/kubernetes")?;
    let numbers: Vec<&str> = version.trim_start_matches('v').split('.').collect();
    let [major, minor, _] = numbers.as_slice() else { bail!("{version} is not a version of Kubernetes") };
    let set = |name: &str, value: &str| format!(" -X k8s.io/component-base/version.{name}={value}");
    Ok(format!("-s -w{}{}{}", set("gitVersion", version), set("gitMajor", major), set("gitMinor", minor)))
}

/// Makes a folder whole: it has its name only once everything is in it.
fn finished_or_nothing(folder: &Path, make: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut unfinished = folder.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
    make(&unfinished)?;
    fs::rename(&unfinished, folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// A short name for the sources as they are: whoever changes them builds anew, every other checkout finds what was built.
fn key(module: &Path) -> anyhow::Result<String> {
    let mut files: Vec<PathBuf> = MODULE_FILES.iter().map(|name| module.join(name)).collect();
    for command in fs::read_dir(module.join("cmd"))? {
        for file in fs::read_dir(command?.path())? {
            files.push(file?.path());
        }
    }
    files.sort();
    let mut hash = Sha256::new_with_prefix(link_flags(module)?);
    for file in files {
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        hash.update(file.strip_prefix(module)?.as_os_str().as_encoded_bytes());
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    }
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_a_source_is_another_build() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        write("go.mod", "require (\n\tk8s.io/kubernetes v1.34.4\n)");
        write("go.sum", "");
        write("cmd/pause/main.go", "package main");
        let before = key(folder.path()).unwrap();
        assert_eq!(before, key(folder.path()).unwrap());
        write("cmd/pause/main.go", "package other");
        assert_ne!(before, key(folder.path()).unwrap());
    }

    #[test]
    fn kubernetes_is_told_its_version() {
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cluster");
        let flags = link_flags(&module).unwrap();
        assert!(flags.contains("version.gitVersion=v1.") && flags.contains("version.gitMajor=1 "), "{flags}");
    }

    #[test]
    fn what_could_not_be_built_is_not_there_the_next_time() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = folder.path().join("helm-v4.3.1");
        finished_or_nothing(&wanted, |_| bail!("no network")).unwrap_err();
        assert!(!wanted.exists());
        finished_or_nothing(&wanted, |made| Ok(fs::write(made.join("helm"), "")?)).unwrap();
        assert!(wanted.join("helm").is_file());
    }
}
