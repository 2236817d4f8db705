//! Finishing a pruning that was cut off. A stub alone deletes nothing: somebody may have put it there. It must be signed
//! where the trail is, stand where the rest of the trail goes on, and a record must say that its pruning was begun. A stub
//! that is not believed leaves its segments as they are, and verifying calls it damage.

use std::{collections::BTreeSet, fs, io, path::Path};

use uuid::Uuid;

use super::{
    Stub, StubFile,
    prune::{Begun, begun},
    stub::is_unfinished,
};
use crate::audit::{
    folder::{Folder, SegmentFile, WriterFiles, read_header},
    header::{HEADER_BYTES, Header, Predecessor},
    key::SigningKey,
    keyring::EncryptionKeys,
    merkle::Hash,
    note::Signed,
    storage::Storage,
    walk::Position,
};

/// What a stub is held against, but for the folder itself.
pub(in crate::audit) struct Witness<'a> {
    pub(in crate::audit) key: Option<&'a SigningKey>,
    /// The trail is to be signed, also where its key could not be loaded.
    pub(in crate::audit) is_signed: bool,
    /// What opens the record of the pruning.
    pub(in crate::audit) encryption: &'a EncryptionKeys,
}

/// What was finished.
#[derive(Debug, Default)]
pub(in crate::audit) struct Finished {
    pub(in crate::audit) segments: usize,
    /// Of which writers, and up to which segment.
    pub(in crate::audit) writers: Vec<(Uuid, u32)>,
}

/// Takes away the segments that believed stubs stand for, and half a stub.
pub(in crate::audit) fn finish(dir: &Path, storage: &dyn Storage, witness: &Witness<'_>) -> io::Result<Finished> {
    let folder = Folder::list(dir)?;
    let mut finished = Finished::default();
    let mut left = BTreeSet::new();
    // Read when it is needed, which is almost never.
    let mut recorded: Option<Result<Vec<Begun>, String>> = None;
    for file in &folder.stubs {
        let stub = &file.stub;
        let files = folder.writers.iter().filter(|files| files.writer == stub.writer);
        for files in files.filter(|files| files.segments.iter().any(|segment| segment.number <= stub.segment)) {
            let recorded = recorded
                .get_or_insert_with(|| begun(dir, witness.encryption.clone()).map_err(|error| error.to_string()));
            let doubt = unsigned(file, witness)
                .map_or_else(|| misplaced(stub, files, &folder), |why| Ok(Some(why)))?
                .map(str::to_owned)
                .or_else(|| unrecorded(stub, recorded));
            if let Some(why) = doubt {
                tracing::error!(
                    writer = %stub.writer, segment = stub.segment, why,
                    "a stub says that segments were pruned which are here, and is not believed: nothing is deleted; \
                     run `chaperone audit verify`"
                );
                continue;
            }
            let gone = files.segments.iter().filter(|segment| segment.number <= stub.segment);
            left.extend(gone.map(|segment| segment.path.clone()));
            finished.writers.push((stub.writer, stub.segment));
        }
    }
    finished.segments = left.len();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(is_unfinished) {
            left.insert(path);
        }
    }
    if left.is_empty() {
        return Ok(finished);
    }
    // A stub whose name is not on disk yet must not go before its segments do.
    storage.sync_dir(dir)?;
    for path in &left {
        storage.unlink(path)?;
    }
    storage.sync_dir(dir)?;
    if finished.segments > 0 {
        tracing::warn!(segments = finished.segments, "a pruning that was cut off is finished");
    }
    Ok(finished)
}

/// Why the key does not vouch for a stub.
fn unsigned(file: &StubFile, witness: &Witness<'_>) -> Option<&'static str> {
    match witness.key {
        Some(key) if file.judged_by(&[key.verifier()]) == Signed::Valid => None,
        Some(_) => Some("the key in `audit.key_file` did not sign it"),
        None if witness.is_signed => Some("the key in `audit.key_file` could not be loaded to check it"),
        None if file.is_signed() => Some("it is signed, and no `audit.key_file` is set to check it"),
        None => None,
    }
}

/// Why a stub is not of these segments.
fn misplaced(stub: &Stub, files: &WriterFiles, folder: &Folder) -> io::Result<Option<&'static str>> {
    let next = files.segments.iter().find(|segment| segment.number > stub.segment);
    let is_next = match next {
        Some(next) => read_header(&next.path)?.is_ok_and(|header| goes_on(stub, &header)),
        None => successors(folder).any(|prev| found(stub, prev)),
    };
    if !is_next {
        return Ok(Some("what comes after it did not begin where it says that the pruned segments ended"));
    }
    for segment in files.segments.iter().filter(|segment| segment.number <= stub.segment) {
        if !is_of(stub, segment)? {
            return Ok(Some("a segment that it stands for does not lead to the end that it states"));
        }
    }
    Ok(None)
}

fn end(stub: &Stub) -> Position {
    Position { frame: stub.frame, seq: stub.seq, chain: stub.chain }
}

fn goes_on(stub: &Stub, next: &Header) -> bool {
    stub.end.is_none()
        && next.chain == Some(stub.chain)
        && (next.first_frame, next.first_seq) == (stub.frame.saturating_add(1), stub.seq.saturating_add(1))
        && next.tree_before().is_some_and(|tree| tree.root() == stub.root)
}

/// What writers say of those before them, be they gone themselves.
fn successors(folder: &Folder) -> impl Iterator<Item = &Predecessor> {
    let here = folder.writers.iter().filter_map(|files| files.header.as_ref()?.prev.as_ref());
    here.chain(folder.stubs.iter().filter_map(|file| file.stub.prev.as_ref()))
}

fn found(stub: &Stub, prev: &Predecessor) -> bool {
    (prev.writer, prev.segment) == (stub.writer, stub.segment)
        && Position { frame: prev.frame, seq: prev.seq, chain: prev.chain } == end(stub)
        && stub.end.is_some_and(|end| end.clean == prev.clean)
}

/// Whether a segment is one that the stub stands for: the last leads to its end. Of the others it is enough to know
/// whose they are and that they come before, since after a loss of power any of them can be left.
fn is_of(stub: &Stub, segment: &SegmentFile) -> io::Result<bool> {
    if segment.number < stub.segment {
        let header = read_header(&segment.path)?;
        return Ok(header.is_ok_and(|header| is_whose(stub, segment, &header) && header.first_seq <= stub.seq));
    }
    let stored = fs::read(&segment.path)?;
    let header = Header::decode(&stored).ok().filter(|header| is_whose(stub, segment, header));
    let Some((header, mut tree)) = header.and_then(|header| header.tree_before().map(|tree| (header, tree))) else {
        return Ok(false);
    };
    let (mut at, mut offset) = (Position::before(&header, &stored), HEADER_BYTES);
    while at != end(stub) {
        let Ok(frame) = at.step(&stored, offset) else { return Ok(false) };
        offset = offset.saturating_add(frame.len);
        frame.leaves.as_chunks::<32>().0.iter().for_each(|leaf| tree.push(Hash(*leaf)));
    }
    Ok(tree.root() == stub.root)
}

fn is_whose(stub: &Stub, segment: &SegmentFile, header: &Header) -> bool {
    (header.writer, header.segment) == (stub.writer, segment.number)
}

fn unrecorded(stub: &Stub, recorded: &Result<Vec<Begun>, String>) -> Option<String> {
    match recorded {
        Ok(recorded) if recorded.iter().any(|begun| begun.names(stub)) => None,
        Ok(_) => Some("no record says that this pruning was begun".to_owned()),
        Err(why) => Some(format!("the record of its pruning cannot be read: {why}")),
    }
}
