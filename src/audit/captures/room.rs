//! How much room there is for what is captured: its own limit, and what the trail leaves of the quota. Both count in the
//! quota, and the trail goes first: captured files go before a record is refused for want of room.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{EXTENSION, FILE_BYTES, FOLDER};

/// More of a quota counts as full.
pub(in crate::audit) const fn most_of(quota: u64) -> u64 {
    quota / 100 * 95
}

/// What the trail's own files take.
pub(in crate::audit) fn used_by_trail(dir: &Path) -> io::Result<u64> {
    let mut used = 0;
    for entry in fs::read_dir(dir)? {
        used += entry?.metadata()?.blocks() * 512;
    }
    Ok(used)
}

/// Takes the oldest of what was captured away until all of it takes at most so much.
pub(in crate::audit) fn yield_room(dir: &Path, most: u64) -> io::Result<()> {
    let folder = dir.join(FOLDER);
    if !folder.is_dir() {
        return Ok(());
    }
    let mut used = used(&folder)?;
    for (path, len) in files(&folder)? {
        if used <= most {
            break;
        }
        remove(&path)?;
        used = used.saturating_sub(len);
        tracing::warn!(
            file = %path.display(),
            "the oldest of what decisions were made of made room for the trail: see `audit.quota_bytes`"
        );
    }
    Ok(())
}

/// Takes the oldest files away until another one fits: into so many bytes, and into what the trail leaves of its quota.
pub(super) fn make_room(dir: &Path, bytes_max: u64, quota: Option<u64>) -> io::Result<()> {
    let folder = dir.join(FOLDER);
    let left = match quota {
        Some(quota) => most_of(quota).saturating_sub(used_by_trail(dir)?),
        None => u64::MAX,
    };
    let files = files(&folder)?;
    let mut captured: u64 = files.iter().map(|(_, len)| len).sum();
    let beside = used(&folder)?.saturating_sub(captured);
    let most = bytes_max.min(left.saturating_sub(beside));
    for (path, len) in files {
        if captured + FILE_BYTES <= most {
            break;
        }
        remove(&path)?;
        captured -= len;
        tracing::info!(
            file = %path.display(),
            "the oldest of what decisions were made of made room: see `audit.capture_bytes` and `audit.quota_bytes`"
        );
    }
    if captured + FILE_BYTES > most { Err(io::ErrorKind::QuotaExceeded.into()) } else { Ok(()) }
}

/// The files of blobs, the oldest first: writers sort by the instant of their start.
pub(super) fn files(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let (path, found) = (entry.as_ref().map(fs::DirEntry::path), entry.as_ref().map(fs::DirEntry::metadata));
        let (Ok(path), Ok(found)) = (path, found) else { continue };
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            files.push((path, found?.len()));
        }
    }
    files.sort();
    Ok(files)
}

/// Blobs and bundles.
fn used(folder: &Path) -> io::Result<u64> {
    let (mut used, mut folders) = (0, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => used += found.len(),
                // The other thread takes files away too.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(used)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
