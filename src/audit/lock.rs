//! `LOCK`: one process a folder.
//!
//! The lock belongs to the open file description (`flock(2)`): a second open in the same process meets it too, and
//! the kernel lets go of it however the process ends.

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
    _file: File,
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
        Ok(Self { _file: file })
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}
