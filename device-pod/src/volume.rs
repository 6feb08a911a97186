//! The data directory of one device: locked, and bound to its device.
//!
//! The lock comes before anything else is read, and so before the first byte to WhatsApp: two processes on one directory would be two
//! clients of one session. The directory remembers its device's UID: a directory that came to the wrong device is refused.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tokio::sync::watch;

/// How many bytes of the volume must stay free while the device is connected: room for what is on its way when the connection is closed,
/// and for the write-ahead logs of both stores.
pub const RESERVE: u64 = 32 << 20;

/// The room on a volume that must stay free.
#[derive(Clone, Debug)]
pub(crate) struct Reserve {
    directory: PathBuf,
    bytes: watch::Receiver<u64>,
}

impl Reserve {
    /// So many bytes of a data directory's file system; changes are followed.
    pub(crate) fn new(directory: &Path, bytes: watch::Receiver<u64>) -> Self {
        Self { directory: directory.to_owned(), bytes }
    }

    /// How many bytes it is.
    pub(crate) fn bytes(&self) -> u64 {
        *self.bytes.borrow()
    }

    /// Whether it is still there for this user after so many bytes more were written.
    ///
    /// # Errors
    /// When the file system does not say.
    pub(crate) fn outlasts(&self, written: u64) -> io::Result<bool> {
        let space = rustix::fs::statvfs(&self.directory)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize) >= self.bytes().saturating_add(written))
    }
}

/// An open, locked data directory. The lock ends with this value.
#[derive(Debug)]
pub struct Volume {
    directory: PathBuf,
    /// The UID that is still to be written.
    adopting: Option<String>,
    _lock: File,
}

/// The data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Another process has it.
    #[error("the data directory {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// It is another device's.
    #[error(
        "the data directory {} belongs to the device with UID {found}, not to {expected}: \
         put its file device-uid back from a backup, give this device a directory of its own, or let a pod take it over \
         (device-pod --adopt)", .directory.display()
    )]
    OtherDevice {
        /// The directory.
        directory: PathBuf,
        /// The UID it remembers.
        found: String,
        /// The UID of this device.
        expected: String,
    },
    /// The file system refused.
    #[error("the data directory {} cannot be used", .directory.display())]
    Io {
        /// The directory.
        directory: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

impl Volume {
    /// Opens (and creates, for this user only) the directory of the device with a UID. With `adopt` it takes over another device's:
    /// see [`Self::is_adopting`].
    ///
    /// # Errors
    /// When it is in use, another device's, or the file system refuses.
    pub fn open(directory: &Path, uid: &str, adopt: bool) -> Result<Self, VolumeError> {
        let io = |source| VolumeError::Io { directory: directory.to_owned(), source };
        create_private(directory).map_err(io)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join("lock"))
            .map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(VolumeError::InUse(directory.to_owned())),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        let mut volume = Self { directory: directory.to_owned(), adopting: None, _lock: lock };
        match fs::read_to_string(volume.uid_file()) {
            Ok(found) if found.trim() == uid => {}
            Ok(found) if !adopt => {
                return Err(VolumeError::OtherDevice {
                    directory: directory.to_owned(),
                    found: found.trim().to_owned(),
                    expected: uid.to_owned(),
                });
            }
            Ok(_) => volume.adopting = Some(uid.to_owned()),
            // A session that nobody says whose it is may be anybody's.
            Err(error) if error.kind() == io::ErrorKind::NotFound && volume.session().exists() => {
                volume.adopting = Some(uid.to_owned());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write_durably(&volume.uid_file(), uid).map_err(io)?;
            }
            Err(error) => return Err(io(error)),
        }
        Ok(volume)
    }

    /// Whether what is in the directory is another device's still. It is this one's with [`Self::adopted`], which has to wait until
    /// what the other device was allowed is forgotten: a start that is cut short in between begins again.
    pub fn is_adopting(&self) -> bool {
        self.adopting.is_some()
    }

    /// The directory is this device's now.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn adopted(&mut self) -> Result<(), VolumeError> {
        let Some(uid) = &self.adopting else { return Ok(()) };
        let written = write_durably(&self.uid_file(), uid);
        written.map_err(|source| VolumeError::Io { directory: self.directory.clone(), source })?;
        self.adopting = None;
        Ok(())
    }

    fn uid_file(&self) -> PathBuf {
        self.directory.join("device-uid")
    }

    /// The database of outbox, inbox and memory.
    pub fn database(&self) -> PathBuf {
        self.directory.join("device.db")
    }

    /// The engine's session store.
    pub fn session(&self) -> PathBuf {
        self.directory.join("session.db")
    }

    /// Removes the session store. No client may have it open.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn erase_session(&self) -> io::Result<()> {
        for suffix in ["", "-wal", "-shm"] {
            let mut name = self.session().into_os_string();
            name.push(suffix);
            match fs::remove_file(name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        File::open(&self.directory)?.sync_all()
    }
}

fn create_private(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

fn write_durably(file: &Path, text: &str) -> io::Result<()> {
    let temporary = file.with_extension("new");
    let mut written = File::create(&temporary)?;
    written.write_all(text.as_bytes())?;
    written.sync_all()?;
    fs::rename(&temporary, file)?;
    match file.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_user_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let first = Volume::open(directory.path(), "uid", false).unwrap();
        assert!(matches!(Volume::open(directory.path(), "uid", false), Err(VolumeError::InUse(_))));
        drop(first);
        Volume::open(directory.path(), "uid", false).unwrap();
    }

    #[test]
    fn a_directory_of_another_device_is_refused_unless_adopted() {
        let directory = tempfile::tempdir().unwrap();
        drop(Volume::open(directory.path(), "first", false).unwrap());
        let error = Volume::open(directory.path(), "second", false).unwrap_err().to_string();
        assert!(error.contains("UID first, not to second"), "{error}");
        let interrupted = Volume::open(directory.path(), "second", true).unwrap();
        assert!(interrupted.is_adopting());
        drop(interrupted);
        let mut adopting = Volume::open(directory.path(), "second", true).unwrap();
        assert!(adopting.is_adopting(), "an adoption that was cut short begins again");
        adopting.adopted().unwrap();
        assert!(!adopting.is_adopting());
        drop(adopting);
        assert!(!Volume::open(directory.path(), "second", false).unwrap().is_adopting());
    }

    #[test]
    fn a_session_without_an_owner_is_adopted() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!Volume::open(directory.path(), "uid", false).unwrap().is_adopting(), "nothing is there");
        fs::remove_file(directory.path().join("device-uid")).unwrap();
        fs::write(directory.path().join("session.db"), "x").unwrap();
        assert!(Volume::open(directory.path(), "uid", false).unwrap().is_adopting());
    }

    #[test]
    fn room_is_what_the_file_system_says() {
        let directory = tempfile::tempdir().unwrap();
        let (bytes, kept) = watch::channel(0);
        let reserve = Reserve::new(directory.path(), kept);
        assert!(reserve.outlasts(0).unwrap());
        assert!(!reserve.outlasts(u64::MAX).unwrap());
        bytes.send_replace(u64::MAX);
        assert!(!reserve.outlasts(0).unwrap());
        assert!(!reserve.outlasts(1).unwrap(), "nothing is beyond that");
    }

    #[test]
    fn an_erased_session_leaves_nothing_and_erasing_twice_is_fine() {
        let directory = tempfile::tempdir().unwrap();
        let volume = Volume::open(directory.path(), "uid", false).unwrap();
        fs::write(volume.session(), "x").unwrap();
        volume.erase_session().unwrap();
        volume.erase_session().unwrap();
        assert!(!volume.session().exists());
    }
}
