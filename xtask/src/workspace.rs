//! Where the workspace and its build output are.

use std::path::PathBuf;

use anyhow::Context as _;
use cargo_metadata::{CargoOpt, Metadata, MetadataCommand};

/// The workspace that this program was built from.
pub(crate) struct Workspace {
    /// The folder of the root manifest.
    pub(crate) root: PathBuf,
    /// Where cargo puts finished programs.
    pub(crate) target: PathBuf,
    /// Where cargo keeps everything in between.
    pub(crate) intermediate: PathBuf,
    /// Its packages and their dependencies, with the features that are on by default.
    pub(crate) with_defaults: Metadata,
}

impl Workspace {
    /// Finds the workspace and reads what cargo knows of it.
    ///
    /// # Errors
    /// When cargo cannot read the manifests or the lock file does not fit them.
    pub(crate) fn open() -> anyhow::Result<Self> {
        // `cargo run` sets the variable; the value at build time serves a program that is started by hand.
        let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = PathBuf::from(own).parent().context("xtask has no parent folder")?.to_owned();
        let with_defaults = MetadataCommand::new()
            .current_dir(&root)
            .other_options(["--locked".to_owned()])
            .exec()
            .context("cargo cannot read the workspace")?;
        let target = with_defaults.target_directory.clone().into_std_path_buf();
        let intermediate = with_defaults.build_directory.clone().map_or_else(|| target.clone(), Into::into);
        Ok(Self { root, target, intermediate, with_defaults })
    }

    /// Its packages and their dependencies with every feature on: the most that can be reached.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub(crate) fn with_all_features(&self) -> anyhow::Result<Metadata> {
        MetadataCommand::new()
            .current_dir(&self.root)
            .features(CargoOpt::AllFeatures)
            .other_options(["--locked".to_owned()])
            .exec()
            .context("cargo cannot read the workspace with all features")
    }
}
