//! `cargo xtask images`: the container images, as OCI archives.
//!
//! * [`programs`]: which images there are, and the programs in them,
//! * [`root`]: the root filesystem of an image: a program, what it is linked to, a few files,
//! * [`buildah`]: makes an image of it by the Containerfile in `images/`.
//!
//! No base image is pulled: an image has nothing that its program does not need.

mod buildah;
mod programs;
mod root;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use self::buildah::Buildah;
use self::programs::Image;
use crate::workspace::Workspace;

/// The tag of every image, and the version in its labels: the workspace's.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How a container runtime completes a name without a registry, so that an imported image has the name that a pod asks for.
const DEFAULT_REGISTRY: &str = "docker.io/library";

/// Options of `cargo xtask images`.
#[derive(Args)]
pub(crate) struct Options {
    /// What the images are made from.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
    /// The folder of the archives [default: images/PROFILE in the target folder].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Take the finished programs from this folder instead of building them.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// The registry, with a path if there is one, in the images' names: registry.example.com/team.
    #[arg(long)]
    registry: Option<String>,
    /// Push them to that registry as well. It takes the credentials that `buildah login` or `docker login` stored.
    #[arg(long, requires = "registry")]
    push: bool,
}

/// What the images are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Profile {
    /// Programs as they are released.
    Release,
    /// For tests: what `cargo xtask test` builds anyway, stripped. The device accepts a simulator; the simulator is an image as well.
    Light,
    /// For benchmarks, beside the released ones: a device that is built as it is released but accepts a simulator, and the simulator.
    #[value(skip)]
    Measured,
}

impl Profile {
    /// The name of its folder below `images` in the target folder.
    fn folder(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Light => "light",
            Self::Measured => "measured",
        }
    }
}

/// Makes the images and prints where they are.
///
/// # Errors
/// A program does not build, is linked to something that is not there, or buildah fails.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let Options { profile, out, programs: finished, registry, push } = options;
    if *push && *profile != Profile::Release {
        bail!(
            "images of the profile light are for tests: their device accepts any server's certificate. They are not pushed"
        );
    }
    let workspace = Workspace::open()?;
    let out = match out {
        Some(folder) => std::path::absolute(folder)?,
        None => folder(&workspace, *profile),
    };
    let buildah = Buildah::open(&out)?;
    let finished = match finished {
        Some(folder) => folder.clone(),
        None => programs::build(&workspace, *profile)?,
    };
    let registry = registry.as_deref().unwrap_or(DEFAULT_REGISTRY).trim_end_matches('/');
    let mut table = vec![["IMAGE", "PROGRAM", "ARCHIVE", "FILE"].map(str::to_owned)];
    for image in programs::images(*profile) {
        let program = finished.join(image.program);
        programs::check_trust(image, &program, *profile)?;
        // A root filesystem from before may have a library that is not needed any more.
        let context = out.join(image.name);
        remove(&context)?;
        root::write(&workspace.root.join("images/etc"), &program, &context.join("root"))?;
        if image.certificates {
            root::write_certificates(&context.join("root"))?;
        }
        let reference = format!("{registry}/{}:{VERSION}", image.name);
        let archive = out.join(format!("{}.tar", image.name));
        remove(&archive)?;
        buildah.build(&workspace.root.join("images").join(image.folder), &context, &reference)?;
        buildah.archive(&reference, &archive)?;
        if *push {
            buildah.push(&reference)?;
        }
        let Image { name, program: file, folder: _, accepts_simulator: _, certificates: _ } = image;
        let size = |path: &Path| -> anyhow::Result<String> { Ok(mebibytes(fs::metadata(path)?.len())) };
        table.push([
            format!("{name}:{VERSION}"),
            size(&context.join("root/usr/bin").join(file))?,
            size(&archive)?,
            archive.display().to_string(),
        ]);
    }
    buildah.close()?;
    print!("{}", columns(&table));
    Ok(ExitCode::SUCCESS)
}

/// Makes the images for tests; gives their archives.
///
/// # Errors
/// As for [`run`].
pub(crate) fn light(workspace: &Workspace) -> anyhow::Result<Vec<PathBuf>> {
    archives(workspace, Profile::Light)
}

/// Makes the images for a measurement; gives their archives. The operator and the API are as they are released, in [`released_folder`]; the
/// device accepts a simulator, which is the last one.
///
/// # Errors
/// As for [`run`].
pub(crate) fn measured(workspace: &Workspace) -> anyhow::Result<Vec<PathBuf>> {
    let mut all = archives(workspace, Profile::Release)?;
    let measured = archives(workspace, Profile::Measured)?;
    // One name, one image: pods ask for a device by the same name.
    all.retain(|archive| !measured.iter().any(|other| other.file_name() == archive.file_name()));
    all.extend(measured);
    Ok(all)
}

/// Where the released images are once they were made.
pub(crate) fn released_folder(workspace: &Workspace) -> PathBuf {
    folder(workspace, Profile::Release)
}

fn folder(workspace: &Workspace, profile: Profile) -> PathBuf {
    workspace.target.join("images").join(profile.folder())
}

fn archives(workspace: &Workspace, profile: Profile) -> anyhow::Result<Vec<PathBuf>> {
    run(&Options { profile, out: None, programs: None, registry: None, push: false })?;
    let out = folder(workspace, profile);
    Ok(programs::images(profile).iter().map(|image| out.join(format!("{}.tar", image.name))).collect())
}

/// Removes a file or a folder that may not be there.
fn remove(path: &Path) -> anyhow::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes & 0xF_FFFF) * 10) >> 20)
}

/// A table with aligned columns.
fn columns(rows: &[[String; 4]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths = [0, 1, 2].map(width);
    rows.iter()
        .map(|[image, program, archive, file]| {
            let [first, second, third] = widths;
            format!("{image:first$}  {program:>second$}  {archive:>third$}  {file}\n")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned_and_sizes_are_readable() {
        let rows = [
            ["IMAGE", "PROGRAM", "ARCHIVE", "FILE"].map(str::to_owned),
            ["enlace-api:1".to_owned(), mebibytes(11_010_048), mebibytes(1 << 20), "a.tar".to_owned()],
        ];
        assert_eq!(
            columns(&rows),
            "IMAGE          PROGRAM  ARCHIVE  FILE\nenlace-api:1  10.5 MiB  1.0 MiB  a.tar\n"
        );
    }
}
