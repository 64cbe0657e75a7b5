//! The lock's file.
//!
//! Takes a folder. Returns the locked file of this thread's network namespace, or the fact that another process holds
//! it. Does not use a folder or a file that another user could lock or replace. Leaves the file in place.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::process::geteuid;

use crate::safe_folder;

/// The locked file. It is unlocked when it is dropped.
#[derive(Debug)]
pub(super) struct FileLock {
    _file: File,
    existed: bool,
}

impl FileLock {
    /// Takes the lock of this thread's network namespace; `None` if another process holds it.
    ///
    /// # Errors
    /// If the file cannot be created or opened, or another user could lock or replace it.
    pub(super) fn take(folder: &Path) -> io::Result<Option<Self>> {
        safe_folder::create(folder)?;
        // No two network namespaces that exist at a time have the same inode.
        let namespace = fs::metadata("/proc/thread-self/ns/net")?.ino();
        let path = folder.join(format!("lock-{namespace}"));
        let existed = path.symlink_metadata().is_ok();
        let no_follow = OFlags::NOFOLLOW.bits().cast_signed();
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.custom_flags(no_follow).open(&path)?;
        refuse_shared(&file)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file, existed })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// True if the file existed before, so that proxies of this network namespace are known to use this folder.
    pub(super) fn existed(&self) -> bool {
        self.existed
    }
}

/// Refuses a file that another user could open, and so lock.
fn refuse_shared(file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    let is_own = metadata.uid() == 0 || metadata.uid() == geteuid().as_raw();
    if metadata.is_file() && is_own && metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    let text = "the file of the lock is open to other users: remove it";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn the_file_is_held_by_one_and_open_to_no_other_user() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("run");
        let first = FileLock::take(&folder).unwrap().unwrap();
        assert!(!first.existed());
        assert!(FileLock::take(&folder).unwrap().is_none());
        drop(first);
        assert!(FileLock::take(&folder).unwrap().unwrap().existed());
        let path = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(FileLock::take(&folder).is_err());
        fs::remove_file(&path).unwrap();
        symlink(folder.join("elsewhere"), &path).unwrap();
        assert!(FileLock::take(&folder).is_err());
        assert!(!folder.join("elsewhere").exists());
    }
}
