//! The image of every pod's sandbox: one static program, in an archive that containerd imports.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::layout::PAUSE_IMAGE;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Writes the archive.
///
/// # Errors
/// The program cannot be read or the archive not be written.
pub(super) fn write(program: &Path, archive: &Path) -> anyhow::Result<()> {
    let program = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let layer = tar_of(&[("pause", 0o755, &program)])?;
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = serde_json::to_vec(&json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    }))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &config),
        "layers": [descriptor(LAYER, &layer)],
    }))?;
    let mut listed = descriptor(MANIFEST, &manifest);
    listed["annotations"] = json!({"io.containerd.image.name": PAUSE_IMAGE});
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [listed]}))?;
    let blob = |bytes: &[u8]| digest(bytes).replacen("sha256:", "blobs/sha256/", 1);
    let whole = tar_of(&[
        ("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#),
        ("index.json", 0o644, &index),
        (&blob(&manifest), 0o644, &manifest),
        (&blob(&config), 0o644, &config),
        (&blob(&layer), 0o644, &layer),
    ])?;
    fs::write(archive, whole).with_context(|| format!("cannot write {}", archive.display()))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> serde_json::Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

fn tar_of(files: &[(&str, u32, &[u8])]) -> anyhow::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, mode, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(*mode);
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, *bytes)?;
    }
    Ok(builder.into_inner()?)
}
