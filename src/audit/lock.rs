//! `LOCK`: one process a folder.
//!
//! The lock belongs to the open file description (`flock(2)`): a second open in the same process meets it too, and
//! the kernel lets go of it however the process ends. A child that is just being started has a copy of the description
//! until its `exec`, so that closing the file does not end the lock by itself: dropping it unlocks first.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

pub(super) const LOCK_NAME: &str = "LOCK";

/// Held for the life of a trail.
#[derive(Debug)]
pub(super) struct FolderLock {
    file: File,
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "the lock of the trail's folder ends with the process");
        }
    }
}

pub(super) enum LockError {
    /// Another process holds it: the pid it wrote.
    Taken(String),
    Io(io::Error),
}

impl FolderLock {
    pub(super) fn take(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join(LOCK_NAME);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(LockError::Io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                (&mut file).take(32).read_to_string(&mut pid).map_err(LockError::Io)?;
                return Err(LockError::Taken(pid.trim().to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
        write_pid(&mut file).map_err(LockError::Io)?;
        Ok(Self { file })
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_file_that_a_child_inherited_does_not_keep_the_folder_locked() {
        let dir = tempfile::tempdir().unwrap();
        let lock = FolderLock::take(dir.path()).map_err(|_taken| "not taken").unwrap();
        let inherited = lock.file.try_clone().unwrap();
        assert!(
            matches!(FolderLock::take(dir.path()), Err(LockError::Taken(pid)) if pid == std::process::id().to_string())
        );
        drop(lock);
        assert!(FolderLock::take(dir.path()).is_ok());
        drop(inherited);
    }
}
