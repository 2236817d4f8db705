//! What the trail asks of a disk, as a trait, so that tests can let every single call fail.
//!
//! Reading is not part of it: recovery and verification read files as any other program would.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

/// The folder's side.
pub trait Storage: Send + Sync + std::fmt::Debug {
    /// Creates a file that must not exist yet, for its owner alone.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>>;

    /// # Errors
    ///
    /// As the system says.
    fn unlink(&self, path: &Path) -> io::Result<()>;

    /// Puts a file in the place of another, if there is one.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes names created or removed in `dir` durable.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// One file that is written at given places. A failed `sync` is never asked again of the same file.
pub trait StorageFile: Send + Sync + std::fmt::Debug {
    /// Writes at `offset`, maybe fewer bytes than given.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn pwrite(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Reserves `len` bytes of zeros.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Makes all that was written durable.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn sync(&self) -> io::Result<()>;

    /// Gives the room of zeros from `offset` to `end` back; the file keeps its length.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn punch(&self, offset: u64, end: u64) -> io::Result<()>;
}

/// Writes all of `bytes`, however many calls that takes.
pub(super) fn write_all(file: &dyn StorageFile, bytes: &[u8], offset: u64) -> io::Result<()> {
    let (mut rest, mut at) = (bytes, offset);
    while !rest.is_empty() {
        let written = match file.pwrite(rest, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        rest = rest.get(written..).unwrap_or_default();
        at += super::bytes::len64(written);
    }
    Ok(())
}

/// Whether an error says that there is no room (or no leave) to write, rather than that the disk is broken.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// The disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Storage for Disk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Arc::new(DiskFile(file)))
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    #[expect(clippy::disallowed_methods, reason = "whoever calls it syncs the file before and the folder behind it")]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

/// A file of the disk.
#[derive(Debug)]
pub(super) struct DiskFile(pub(super) File);

impl StorageFile for DiskFile {
    fn pwrite(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            // Where the file system cannot reserve, writing the zeros does.
            Err(Errno::OPNOTSUPP) => write_zeros(&self.0, len),
            other => other.map_err(io::Error::from),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn punch(&self, offset: u64, end: u64) -> io::Result<()> {
        let page = 4096;
        let Some(from) = offset.checked_next_multiple_of(page) else { return Ok(()) };
        let to = end / page * page;
        if from >= to {
            return Ok(());
        }
        match fallocate(&self.0, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, from, to - from) {
            Err(Errno::OPNOTSUPP) => Ok(()),
            other => other.map_err(io::Error::from),
        }
    }
}

fn write_zeros(file: &File, len: u64) -> io::Result<()> {
    let zeros = vec![0; 64 * 1024];
    let mut at = 0;
    while at < len {
        let part = zeros.get(..super::bytes::index(len - at)).unwrap_or(&zeros);
        file.write_all_at(part, at)?;
        at += super::bytes::len64(part.len());
    }
    Ok(())
}
