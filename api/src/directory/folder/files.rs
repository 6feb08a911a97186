//! Reading and writing manifests.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use enlace_contract::name::DeviceKey;
use enlace_crds::manifest::{self, Manifest};
use enlace_crds::{WhatsAppDevice, names};

use super::data::write_atomically;

/// The largest file that is read, in bytes: the limit of an API server's storage for one resource, and more than people write.
const MAX_FILE: u64 = 1024 * 1024;

/// What is known of one file.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownFile {
    /// What it said when it was read last.
    text: String,
    /// What it declared when it was last good.
    pub(super) devices: Vec<WhatsAppDevice>,
    /// How many documents it had then: the API rewrites only files with one.
    pub(super) documents: usize,
    /// Why it is not accepted now.
    pub(super) error: Option<String>,
}

/// The texts of the folder's files, by name; for a file that cannot be read, why.
pub(super) type Texts = BTreeMap<String, Result<String, String>>;

/// Reads the folder.
///
/// # Errors
/// When the folder itself cannot be read.
pub(super) fn read_folder(folder: &Path) -> io::Result<Texts> {
    let mut texts = Texts::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let shown = name.to_string_lossy().into_owned();
        let manifest = shown.ends_with(".yaml") || shown.ends_with(".yml");
        if !manifest || shown.starts_with('.') {
            continue;
        }
        let Ok(name) = name.into_string() else {
            texts.insert(shown, Err("its name is not UTF-8: give it another one".to_owned()));
            continue;
        };
        match read_file(&entry.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Otherwise it disappeared since it was listed.
                if fs::symlink_metadata(entry.path()).is_ok() {
                    texts.insert(name, Err("it is a link to nothing: mend it, or remove it".to_owned()));
                }
            }
            Err(error) => {
                texts.insert(name, Err(format!("cannot be read: {error}")));
            }
            Ok(text) => {
                texts.insert(name, Ok(text));
            }
        }
    }
    Ok(texts)
}

fn read_file(path: &Path) -> io::Result<String> {
    // Opening a pipe would wait for a writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

/// Takes the texts in: files that are gone are forgotten, those whose text changed are parsed. What a file declared when it was last good
/// stays while it is not accepted.
pub(super) fn take_in(files: &mut BTreeMap<String, KnownFile>, texts: Texts) {
    files.retain(|name, _| texts.contains_key(name));
    for (name, text) in texts {
        let file = files.entry(name.clone()).or_default();
        match text {
            Err(error) => file.error = Some(format!("{name}: {error}")),
            Ok(text) if text == file.text && file.error.is_none() && file.documents > 0 => {}
            Ok(text) => {
                file.read(&name, &text);
                file.text = text;
            }
        }
    }
}

impl KnownFile {
    fn read(&mut self, name: &str, text: &str) {
        // An editor truncates a file before it writes it: that is no deletion.
        if text.trim().is_empty() && !self.devices.is_empty() {
            self.error = Some(format!("{name}: is empty; remove the file to stop its devices"));
            return;
        }
        match manifest::parse(text, name) {
            Err(error) => self.error = Some(error.to_string()),
            Ok(manifests) => {
                if text != self.text {
                    for skipped in manifests.iter().filter_map(Manifest::skipped) {
                        tracing::info!(file = name, "{name}: {skipped}");
                    }
                }
                self.error = None;
                self.documents = manifests.len();
                let device = |manifest| match manifest {
                    Manifest::Device(device) => Some(*device),
                    Manifest::Other { .. } => None,
                };
                self.devices = manifests.into_iter().filter_map(device).collect();
            }
        }
    }
}

/// The file of a device that the API creates. Names have no dots: no two devices have one file.
pub(super) fn name_for(key: &DeviceKey) -> String {
    if key.namespace() == DeviceKey::DEFAULT_NAMESPACE {
        format!("{}.yaml", key.name())
    } else {
        format!("{}.{}.yaml", key.namespace(), key.name())
    }
}

/// Whether the API made a device's file and nobody added to it.
pub(super) fn is_ours(key: &DeviceKey, device: &WhatsAppDevice, name: &str, file: &KnownFile) -> bool {
    let label = device.metadata.labels.as_ref().and_then(|labels| labels.get(names::CREATED_BY));
    label.is_some_and(|value| value == names::CREATED_BY_API) && name == name_for(key) && file.documents == 1
}

/// Writes a device's file, whole or not at all.
pub(super) fn write(folder: &Path, key: &DeviceKey, device: &WhatsAppDevice) -> io::Result<()> {
    let mut value = serde_json::to_value(device)?;
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
    let yaml = serde_saphyr::to_string(&value).map_err(io::Error::other)?;
    write_atomically(&folder.join(name_for(key)), yaml.as_bytes(), 0o644)
}

/// Removes what writing a file has left behind when it was cut short: see [`write_atomically`].
///
/// # Errors
/// When the folder cannot be read, or something cannot be removed.
pub(super) fn remove_leftovers(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let leftover = |name: &str| name.starts_with('.') && name.ends_with(".yaml.new");
        if entry.file_name().to_str().is_some_and(leftover) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Removes a device's file.
pub(super) fn remove(folder: &Path, key: &DeviceKey) -> io::Result<()> {
    match fs::remove_file(folder.join(name_for(key))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::File::open(folder)?.sync_all()
}

#[cfg(all(test, unix))]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_told_and_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::os::unix::fs::symlink(at("nothing"), at("link.yaml")).unwrap();
        fs::write(folder.path().join(OsStr::from_bytes(b"caf\xe9.yaml")), "").unwrap();
        fs::write(at("good.yaml"), "a: 1").unwrap();
        fs::write(at("notes.txt"), "").unwrap();
        let texts: Vec<_> = read_folder(folder.path()).unwrap().into_iter().collect();
        let expected = [
            ("caf\u{fffd}.yaml", Err("its name is not UTF-8: give it another one")),
            ("good.yaml", Ok("a: 1")),
            ("link.yaml", Err("it is a link to nothing: mend it, or remove it")),
        ];
        let owned = |text: &str| text.to_owned();
        assert_eq!(texts, expected.map(|(name, text)| (owned(name), text.map(owned).map_err(owned))));
    }

    #[test]
    fn what_a_write_that_was_cut_short_left_behind_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [".billing.yaml.new", ".notes.new", "billing.yaml", "other.yaml.new"] {
            fs::write(at(name), "").unwrap();
        }
        remove_leftovers(folder.path()).unwrap();
        assert!(!at(".billing.yaml.new").exists());
        assert!([".notes.new", "billing.yaml", "other.yaml.new"].iter().all(|name| at(name).exists()));
    }
}
