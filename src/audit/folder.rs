//! The files of a trail: `<writer>.<nnnnnn>.trail`, and who came after whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use jiff::SignedDuration;
use uuid::Uuid;

use super::{
    header::{HEADER_BYTES, Header, HeaderError},
    retention::{Stub, StubFile, stub},
};
use crate::domain::Timestamp;

const EXTENSION: &str = ".trail";
/// A record's instant is taken before it is written: none in a segment is later than the next one's begin, but for clocks that
/// are set back. So far they may be.
pub(super) const CLOCK_SET_BACK_MAX: SignedDuration = SignedDuration::from_hours(1);

/// One segment file, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentFile {
    pub(super) writer: Uuid,
    pub(super) number: u32,
    pub(super) path: PathBuf,
}

/// All that one writer left.
#[derive(Clone, Debug)]
pub(super) struct WriterFiles {
    pub(super) writer: Uuid,
    /// By number.
    pub(super) segments: Vec<SegmentFile>,
    /// The first header of it that can be read.
    pub(super) header: Option<Header>,
}

/// A folder as it was listed.
#[derive(Clone, Debug, Default)]
pub(super) struct Folder {
    /// Each after its predecessor.
    pub(super) writers: Vec<WriterFiles>,
    /// Files that look like segments and have no segment's name.
    pub(super) strays: Vec<PathBuf>,
    /// What stays of segments that were pruned.
    pub(super) stubs: Vec<StubFile>,
    /// Files that are named like stubs and are none, and why.
    pub(super) bad_stubs: Vec<(Uuid, &'static str)>,
}

pub(super) fn segment_name(writer: Uuid, number: u32) -> String {
    format!("{writer}.{number:06}{EXTENSION}")
}

fn parse_name(name: &str) -> Option<(Uuid, u32)> {
    let (writer, number) = name.strip_suffix(EXTENSION)?.split_once('.')?;
    let parsed = (Uuid::try_parse(writer).ok()?, number.parse().ok()?);
    (segment_name(parsed.0, parsed.1) == name).then_some(parsed)
}

impl Folder {
    pub(super) fn list(dir: &Path) -> io::Result<Self> {
        let mut by_writer: BTreeMap<Uuid, Vec<SegmentFile>> = BTreeMap::new();
        let mut strays = Vec::new();
        let (mut stubs, mut bad_stubs) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            match parse_name(name) {
                Some((writer, number)) => {
                    by_writer.entry(writer).or_default().push(SegmentFile { writer, number, path });
                }
                None if name.ends_with(EXTENSION) => strays.push(path),
                None => {
                    let Some(writer) = stub::writer_of(name) else { continue };
                    match stub::read(&path, writer)? {
                        Ok(stub) => stubs.push(stub),
                        Err(why) => bad_stubs.push((writer, why)),
                    }
                }
            }
        }
        let mut writers = Vec::with_capacity(by_writer.len());
        for (writer, mut segments) in by_writer {
            segments.sort_by_key(|segment| segment.number);
            let header = first_header(&segments)?;
            writers.push(WriterFiles { writer, segments, header });
        }
        strays.sort();
        stubs.sort_by_key(|file| file.stub.writer);
        Ok(Self { writers: in_order(writers), strays, stubs, bad_stubs })
    }
}

/// The segments of one writer, by number.
pub(super) fn segments_of(dir: &Path, writer: Uuid) -> io::Result<Vec<SegmentFile>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(parse_name);
        if let Some((_, number)) = name.filter(|(of, _)| *of == writer) {
            segments.push(SegmentFile { writer, number, path });
        }
    }
    segments.sort_by_key(|segment| segment.number);
    Ok(segments)
}

fn first_header(segments: &[SegmentFile]) -> io::Result<Option<Header>> {
    for segment in segments {
        if let Ok(header) = read_header(&segment.path)? {
            return Ok(Some(header));
        }
    }
    Ok(None)
}

/// What a folder has of the trail, and what it is known to have had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderExtent {
    /// Writers whose first segment is here.
    pub begun_here: BTreeSet<String>,
    /// Writers whose records up to a number are here no more: they were shipped and taken away, pruned, or left on another
    /// volume.
    pub elsewhere: Vec<(String, u64)>,
    /// From this instant on nothing is elsewhere.
    pub whole_from: Option<Timestamp>,
}

/// Records that were in a folder and left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The last of them of one writer, as `WRITER/SEQ`: all of it up to there.
    pub upto: String,
    /// Who asks from this instant on misses nothing.
    pub whole_from: Timestamp,
}

impl FolderExtent {
    /// For a reader that has this folder alone.
    pub(super) fn missing(&self) -> Option<Missing> {
        let (writer, seq) = self.elsewhere.first()?;
        Some(Missing { upto: format!("{writer}/{seq}"), whole_from: self.whole_from? })
    }
}

/// What of the trail is here. Whoever needs all of a trail must not take the rest for it.
/// Of a folder since an instant: what is older counts as here, be it pruned under a stub or in a segment that had ended by then.
///
/// # Errors
///
/// The folder or a header of it cannot be read.
pub fn extent(dir: &Path, since: Timestamp) -> io::Result<FolderExtent> {
    Ok(extent_of(&Folder::list(dir)?, since))
}

/// What was in a folder at any time and left it without a stub: shipped and taken away, or on another volume.
pub(super) fn swept(dir: &Path) -> io::Result<Vec<(String, u64)>> {
    Ok(extent_between(&Folder::list(dir)?, Timestamp::MAX, Timestamp::MIN).elsewhere)
}

pub(super) fn extent_of(folder: &Folder, since: Timestamp) -> FolderExtent {
    extent_between(folder, since, since)
}

/// What was pruned under a stub and is older than `pruned_before` counts as here, and what had ended before `since`.
fn extent_between(folder: &Folder, pruned_before: Timestamp, since: Timestamp) -> FolderExtent {
    let old: BTreeMap<Uuid, &Stub> = folder
        .stubs
        .iter()
        .map(|file| &file.stub)
        .filter(|stub| stub.to < pruned_before)
        .map(|stub| (stub.writer, stub))
        .collect();
    let here: BTreeSet<Uuid> = folder.writers.iter().map(|files| files.writer).collect();
    let is_whole = |writer: &Uuid| old.get(writer).is_some_and(|stub| stub.end.is_some());
    let whole_from = |after: Timestamp| after.checked_add(CLOCK_SET_BACK_MAX).unwrap_or(Timestamp::MAX);
    let mut extent = FolderExtent::default();
    extent.begun_here.extend(old.keys().filter(|writer| is_whole(writer)).map(Uuid::to_string));
    for header in folder.writers.iter().filter_map(|files| files.header.as_ref()) {
        let from = whole_from(header.created);
        let before = header.first_seq.saturating_sub(1);
        let is_pruned_before = old.get(&header.writer).is_some_and(|stub| stub.seq >= before);
        if before > 0 && !is_pruned_before && from > since {
            extent.elsewhere.push((header.writer.to_string(), before));
            extent.whole_from = extent.whole_from.max(Some(from));
        } else {
            extent.begun_here.insert(header.writer.to_string());
        }
    }
    let heads = folder.writers.iter().filter_map(|files| files.header.as_ref());
    let heads = heads.filter_map(|header| Some((header.prev.as_ref()?, header.created)));
    let stubs = folder.stubs.iter().filter_map(|file| Some((file.stub.prev.as_ref()?, file.stub.to)));
    for (prev, after) in heads.chain(stubs).filter(|(prev, _)| prev.seq > 0 && !here.contains(&prev.writer)) {
        let from = whole_from(after);
        if is_whole(&prev.writer) {
            continue;
        }
        if from > since {
            extent.elsewhere.push((prev.writer.to_string(), prev.seq));
            extent.whole_from = extent.whole_from.max(Some(from));
        } else {
            extent.begun_here.insert(prev.writer.to_string());
        }
    }
    extent
}

pub(super) fn read_header(path: &Path) -> io::Result<Result<Header, HeaderError>> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    File::open(path)?.take(super::bytes::len64(HEADER_BYTES)).read_to_end(&mut bytes)?;
    Ok(Header::decode(&bytes))
}

/// When a writer began. The id of one whose headers cannot be read tells it too, to the millisecond: damage to the last
/// writer must not make it look like the first.
fn born(files: &WriterFiles) -> Option<Timestamp> {
    if let Some(header) = &files.header {
        return Some(header.created);
    }
    let (seconds, nanos) = files.writer.get_timestamp()?.to_unix();
    Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?).ok()
}

/// Sorts writers so that each follows its predecessor. Names alone would not do: two starts within one tick of the
/// clock get ids in any order.
fn in_order(mut writers: Vec<WriterFiles>) -> Vec<WriterFiles> {
    writers.sort_by_key(|files| (born(files), files.writer));
    let known: BTreeSet<Uuid> = writers.iter().map(|files| files.writer).collect();
    let previous =
        |files: &WriterFiles| files.header.as_ref().and_then(|header| header.prev.as_ref()).map(|prev| prev.writer);
    let mut ordered: Vec<WriterFiles> = Vec::with_capacity(writers.len());
    let mut placed: BTreeSet<Uuid> = BTreeSet::new();
    while !writers.is_empty() {
        // After the one placed last if possible, else any whose predecessor is placed or not here, else (a ring,
        // which only a forger builds) the first.
        let last = ordered.last().map(|files| files.writer);
        let next = writers
            .iter()
            .position(|files| last.is_some() && previous(files) == last)
            .or_else(|| {
                writers.iter().position(|files| {
                    previous(files).is_none_or(|prev| placed.contains(&prev) || !known.contains(&prev))
                })
            })
            .unwrap_or(0);
        let files = writers.remove(next);
        placed.insert(files.writer);
        ordered.push(files);
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_name_is_a_segment() {
        let writer = Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0001);
        assert_eq!(parse_name(&segment_name(writer, 1)), Some((writer, 1)));
        assert_eq!(parse_name(&segment_name(writer, 1_234_567)), Some((writer, 1_234_567)));
        assert_eq!(parse_name(&format!("{writer}.1.trail")), None);
        assert_eq!(parse_name(&format!("{}.000001.trail", writer.simple())), None);
    }
}
