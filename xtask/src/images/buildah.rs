//! buildah: builds an image without a daemon, by a Containerfile that `docker build` understands as well.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::{VERSION, remove};
use crate::run;
use crate::setup;

/// buildah with a store of its own, which is gone when it is closed.
pub(super) struct Buildah {
    store: PathBuf,
}

impl Buildah {
    /// Installs buildah when it is missing, after saying so, and starts with an empty store below `folder`.
    ///
    /// # Errors
    /// It is missing and cannot be installed, or the folder cannot be written.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Self> {
        install()?;
        let store = folder.join(".store");
        remove(&store)?;
        std::fs::create_dir_all(&store).with_context(|| format!("cannot make {}", store.display()))?;
        Ok(Self { store })
    }

    /// Builds an image from the `Containerfile` in `folder` and the files in `context`.
    ///
    /// # Errors
    /// buildah fails.
    pub(super) fn build(&self, folder: &Path, context: &Path, reference: &str) -> anyhow::Result<()> {
        let mut command = self.command();
        // A fixed time, so that the same files are the same image; nothing is run in it, so no isolation is needed that a container
        // might not allow.
        command
            .args(["bud", "--quiet", "--isolation", "chroot", "--format", "oci", "--timestamp", "0"])
            .args(["--build-arg", &format!("VERSION={VERSION}"), "--tag", reference, "--file"])
            .arg(folder.join("Containerfile"))
            .arg(context)
            // The image's identifier, which nobody needs.
            .stdout(Stdio::null());
        run::run(&mut command)
    }

    /// Writes an image as an OCI archive.
    ///
    /// # Errors
    /// buildah fails.
    pub(super) fn archive(&self, reference: &str, file: &Path) -> anyhow::Result<()> {
        let mut command = self.command();
        command
            .args(["push", "--quiet", reference])
            .arg(format!("oci-archive:{}:{reference}", file.display()));
        run::run(&mut command)
    }

    /// Pushes an image to the registry in its name.
    ///
    /// # Errors
    /// buildah fails, the registry refuses.
    pub(super) fn push(&self, reference: &str) -> anyhow::Result<()> {
        println!("Pushing {reference}.");
        run::run(self.command().args(["push", reference, &format!("docker://{reference}")]))
    }

    /// Removes the store.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(super) fn close(self) -> anyhow::Result<()> {
        remove(&self.store)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("buildah");
        // The plain driver works where no overlay can be mounted.
        command.args(["--storage-driver", "vfs"]);
        command.arg("--root").arg(self.store.join("root"));
        command.arg("--runroot").arg(self.store.join("run"));
        command
    }
}

fn install() -> anyhow::Result<()> {
    let there = || setup::answers(Command::new("buildah").arg("--version"));
    if there() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() || !setup::answers(Command::new("apt-get").arg("--version")) {
        bail!("buildah is needed to build images: install it, on Debian with `apt-get install buildah`");
    }
    println!("Installing the Debian package buildah.");
    for arguments in [&["update"][..], &["install", "--yes", "--no-install-recommends", "buildah"]] {
        let mut command = Command::new("apt-get");
        command.args(["--quiet", "--quiet"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        run::run(&mut command)?;
    }
    if !there() {
        bail!("apt-get installed buildah, but it does not start");
    }
    Ok(())
}
