//! What a new writer finds in the folder, and what it says of it in its own header.
//!
//! No old file is appended to or cut. Only what holds nothing goes: unused spares, and the room of zeros.

use std::{fs, io, path::Path};

use uuid::Uuid;

use super::{
    bytes,
    folder::{Folder, SegmentFile, WriterFiles},
    header::{HEADER_BYTES, Header, HeaderError, Predecessor},
    merkle::{Frontier, Hash},
    note::Checkpoint,
    storage::{DiskFile, Storage, StorageFile},
    walk::Walk,
};

/// The writer before, as it was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) prev: Predecessor,
    /// The root over all its records.
    root: Option<Hash>,
    /// Records that its last checkpoint covers.
    signed: u64,
    /// A checkpoint of its own says otherwise than its records.
    pub(super) contradicted: bool,
}

impl Found {
    /// The head that the writer could not sign itself: over how many records, and their root. Never a second one of
    /// a size, and none for a tree of which something is known to be wrong.
    pub(super) fn unsigned_head(&self) -> Option<(u64, Hash)> {
        let is_sound = !self.prev.damaged && !self.contradicted && self.prev.seq > self.signed;
        self.root.filter(|_| is_sound).map(|root| (self.prev.seq, root))
    }
}

/// Finds where the last writer of the folder ended, and clears away what was never used. `kept` finds the last
/// checkpoint of a writer that is kept outside, if it was signed by a key that is trusted.
pub(super) fn recover(
    dir: &Path,
    storage: &dyn Storage,
    kept: impl FnOnce(Uuid) -> Option<Checkpoint>,
) -> io::Result<Option<Found>> {
    let mut folder = Folder::list(dir)?;
    let mut swept = false;
    for files in &mut folder.writers {
        swept |= sweep_unused(files, storage)?;
    }
    if swept {
        storage.sync_dir(dir)?;
    }
    folder.writers.retain(|files| !files.segments.is_empty());
    let Some(last) = folder.writers.last() else { return Ok(None) };
    let (found, used) = end_of(last, kept(last.writer).as_ref())?;
    if let Some(segment) = last.segments.last() {
        give_back_zeros(segment, used)?;
    }
    Ok(Some(found))
}

/// Unlinks segments that never got a header: the spare of a writer that died, or one that died while taking it.
fn sweep_unused(files: &mut WriterFiles, storage: &dyn Storage) -> io::Result<bool> {
    let mut swept = false;
    while let Some(segment) = files.segments.last() {
        if !is_unused(segment)? {
            break;
        }
        storage.unlink(&segment.path)?;
        swept = true;
        files.segments.pop();
    }
    Ok(swept)
}

fn is_unused(segment: &SegmentFile) -> io::Result<bool> {
    if super::folder::read_header(&segment.path)?.is_ok() {
        return Ok(false);
    }
    // A header is synced before the first frame is written, so a torn one has nothing but zeros behind it.
    let stored = fs::read(&segment.path)?;
    Ok(bytes::all_zero(stored.get(HEADER_BYTES..).unwrap_or_default()))
}

fn give_back_zeros(segment: &SegmentFile, used: u64) -> io::Result<()> {
    let file = fs::OpenOptions::new().write(true).open(&segment.path)?;
    let len = file.metadata()?.len();
    DiskFile(file).punch(used, len)
}

/// Where a dead writer ended, and how much of its last segment is used.
fn end_of(files: &WriterFiles, kept: Option<&Checkpoint>) -> io::Result<(Found, u64)> {
    let mut found: Option<Predecessor> = None;
    let mut unreadable = false;
    let mut contradicted = false;
    let mut root = None;
    let mut signed = kept.map_or(0, |kept| kept.size);
    let mut used: Option<u64> = None;
    let mut began_at: Option<u64> = None;
    // The last segment holds the end, unless it was begun to replace one whose sync had failed: then the frames that
    // were still to be copied are in the one before.
    for segment in files.segments.iter().rev() {
        let stored = fs::read(&segment.path)?;
        used.get_or_insert_with(|| bytes::len64(bytes::len_without_zeros(&stored)));
        let header = match Header::decode(&stored) {
            Ok(header) => header,
            Err(HeaderError::Empty) => continue,
            Err(_) => {
                unreadable = true;
                continue;
            }
        };
        let walk = Walk::of(&header, &stored, kept);
        contradicted |= walk.contradicted;
        signed = signed.max(walk.signed);
        let reached = walk.tree.as_ref().map(Frontier::root);
        match &mut found {
            None => {
                found = Some(predecessor(files, segment, &walk, &stored));
                root = reached;
            }
            Some(end) if walk.end.frame > end.frame => {
                (end.frame, end.seq, end.chain) = (walk.end.frame, walk.end.seq, walk.end.chain);
                root = reached;
            }
            Some(_) => {}
        }
        // A frame composed in this segment knows of synced ones in it; copied ones are older than its header.
        let began_at = *began_at.get_or_insert(header.first_frame);
        if walk.synced >= header.first_frame || header.first_frame < began_at {
            break;
        }
    }
    let mut prev = found.unwrap_or_else(|| nothing_readable(files));
    // A checkpoint leaves only when its records are on disk: fewer of them now were cut off or lost.
    contradicted |= kept.is_some_and(|kept| kept.size > prev.seq);
    prev.damaged |= unreadable || contradicted;
    Ok((Found { prev, root, signed, contradicted }, used.unwrap_or(u64::MAX)))
}

fn predecessor(files: &WriterFiles, segment: &SegmentFile, walk: &Walk, stored: &[u8]) -> Predecessor {
    let tail = walk.tail(stored);
    Predecessor {
        writer: files.writer,
        segment: segment.number,
        frame: walk.end.frame,
        seq: walk.end.seq,
        chain: walk.end.chain,
        clean: walk.is_final && tail.is_empty(),
        // Behind what is known to be synced nothing is lost but what nobody was told is on disk: a torn tail.
        damaged: walk.synced > walk.end.frame || (walk.is_final && !tail.is_empty()),
        tail_bytes: bytes::len64(tail.len()),
        tail_sha256: (!tail.is_empty()).then(|| Hash::of(&[tail])),
    }
}

fn nothing_readable(files: &WriterFiles) -> Predecessor {
    Predecessor {
        writer: files.writer,
        segment: files.segments.last().map_or(0, |segment| segment.number),
        frame: 0,
        seq: 0,
        chain: Hash([0; 32]),
        clean: false,
        damaged: true,
        tail_bytes: 0,
        tail_sha256: None,
    }
}
