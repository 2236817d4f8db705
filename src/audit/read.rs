//! Reading records back: the bytes of each line, in order, without a server or a lock; without a key too, unless they are
//! encrypted.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    bytes::len64,
    cipher::{self, DataKey},
    folder::{Folder, SegmentFile, read_header},
    frame::{self, Kind},
    header::{HEADER_BYTES, Header},
    keyring::{EncryptionKeys, SealedError},
    walk,
};
use crate::domain::Timestamp;

/// Which records to read.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Not those before.
    pub since: Option<Timestamp>,
    /// Only the last so many.
    pub tail: Option<usize>,
    /// Only those with this decision id, request id or receipt (`WRITER/SEQ`).
    pub lookup: Option<String>,
    /// What opens them, if they are encrypted.
    pub keys: EncryptionKeys,
}

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    pub writer: Arc<str>,
    pub seq: u64,
    pub segment: u32,
    pub frame: u64,
    /// The line, without its newline.
    pub line: Vec<u8>,
}

/// Why a folder could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read `{}`", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Sealed(#[from] SealedError),
}

impl ReadError {
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// The records of a folder in order, each once.
///
/// Damage does not end the reading: what is whole is given, and [`verify`](super::verify()) says what is not.
///
/// # Errors
///
/// The folder cannot be listed, or a key to it is missing.
pub fn records(dir: &Path, filter: Filter) -> Result<impl Iterator<Item = Result<StoredRecord, ReadError>>, ReadError> {
    let mut reader = Reader::open(dir, filter.keys.clone())?;
    let mut waiting: VecDeque<StoredRecord> = VecDeque::new();
    let mut failed = false;
    let tail = filter.tail;
    if let Some(most) = tail {
        loop {
            match reader.next_record()? {
                None => break,
                Some(record) if filter.takes(&record) => {
                    waiting.push_back(record);
                    if waiting.len() > most {
                        waiting.pop_front();
                    }
                }
                Some(_) => {}
            }
        }
    }
    Ok(std::iter::from_fn(move || {
        if tail.is_some() {
            return waiting.pop_front().map(Ok);
        }
        while !failed {
            match reader.next_record() {
                Ok(Some(record)) if filter.takes(&record) => return Some(Ok(record)),
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(error) => {
                    failed = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }))
}

/// Whether the record of a receipt stands in the folder.
///
/// # Errors
///
/// The folder cannot be read.
pub fn holds(dir: &Path, writer: &str, seq: u64, decision_id: Option<&str>) -> Result<bool, ReadError> {
    let filter = Filter { lookup: Some(format!("{writer}/{seq}")), ..Filter::default() };
    for record in records(dir, filter)? {
        let record = record?;
        if decision_id.is_none_or(|id| said(&record.line, "decision_id").as_deref() == Some(id)) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Filter {
    fn takes(&self, record: &StoredRecord) -> bool {
        let since = self.since.is_none_or(|since| {
            said(&record.line, "at").and_then(|at| at.parse::<Timestamp>().ok()).is_some_and(|at| at >= since)
        });
        since && self.lookup.as_deref().is_none_or(|id| matches_id(record, id))
    }
}

fn matches_id(record: &StoredRecord, id: &str) -> bool {
    if let Some((writer, seq)) = id.split_once('/') {
        return *record.writer == *writer && seq.parse() == Ok(record.seq);
    }
    let needle = id.as_bytes();
    !needle.is_empty()
        && record.line.windows(needle.len()).any(|window| window == needle)
        && (said(&record.line, "decision_id").as_deref() == Some(id)
            || said(&record.line, "request_id").as_deref() == Some(id))
}

/// A text of the record by its name.
fn said(line: &[u8], name: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_slice(line).ok()?;
    line.get(name)?.as_str().map(str::to_owned)
}

fn read_from(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    read_upto(path, offset, u64::MAX)
}

fn read_upto(path: &Path, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut stored = Vec::new();
    file.take(len).read_to_end(&mut stored)?;
    Ok(stored)
}

/// A place in the folder that moves on as records come: [`Reader::next_record`] gives `None` at the end of what is
/// written now, and goes on from there when asked again (`audit tail -f`).
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    /// Up to where each segment was read.
    read: BTreeMap<PathBuf, u64>,
    /// The last frame given, by writer: a frame that stands in two segments is given once.
    given: BTreeMap<uuid::Uuid, u64>,
    segments: VecDeque<SegmentFile>,
    waiting: VecDeque<StoredRecord>,
    keys: EncryptionKeys,
    /// What opens each writer's records, once it was looked for.
    opened: BTreeMap<uuid::Uuid, Option<Arc<DataKey>>>,
}

impl Reader {
    /// # Errors
    ///
    /// The folder cannot be listed.
    pub fn open(dir: &Path, keys: EncryptionKeys) -> Result<Self, ReadError> {
        let mut reader = Self {
            dir: dir.to_owned(),
            read: BTreeMap::new(),
            given: BTreeMap::new(),
            segments: VecDeque::new(),
            waiting: VecDeque::new(),
            keys,
            opened: BTreeMap::new(),
        };
        reader.list()?;
        Ok(reader)
    }

    fn list(&mut self) -> Result<(), ReadError> {
        let folder = Folder::list(&self.dir).map_err(ReadError::at(&self.dir))?;
        self.segments = folder.writers.into_iter().flat_map(|files| files.segments).collect();
        Ok(())
    }

    /// The next record, or `None` at the end of what is written.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or its records are encrypted and their key is not here.
    pub fn next_record(&mut self) -> Result<Option<StoredRecord>, ReadError> {
        loop {
            if let Some(record) = self.waiting.pop_front() {
                return Ok(Some(record));
            }
            let Some(segment) = self.segments.pop_front() else {
                self.list()?;
                return Ok(None);
            };
            match self.unlock(&segment)?.and_then(|()| self.read_segment(&segment)) {
                Ok(()) => {}
                // Pruned, or a spare taken away, since the folder was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(ReadError::at(&segment.path)(error)),
            }
        }
    }

    /// Finds what opens the records of a segment. To pass over encrypted ones would look like there were none.
    fn unlock(&mut self, segment: &SegmentFile) -> Result<io::Result<()>, SealedError> {
        if self.opened.contains_key(&segment.writer) {
            return Ok(Ok(()));
        }
        match read_header(&segment.path) {
            Ok(Ok(header)) => {
                self.opened.insert(segment.writer, self.keys.open(&header)?);
                Ok(Ok(()))
            }
            // A spare, or damage.
            Ok(Err(_)) => Ok(Ok(())),
            Err(error) => Ok(Err(error)),
        }
    }

    fn read_segment(&mut self, segment: &SegmentFile) -> io::Result<()> {
        let from = self.read.get(&segment.path).copied().unwrap_or(0);
        // A look at the next head is enough to see that nothing came.
        if from > 0 && super::bytes::all_zero(&read_upto(&segment.path, from, len64(frame::HEAD_BYTES))?) {
            return Ok(());
        }
        let mut stored = read_from(&segment.path, from)?;
        let mut at = 0;
        if from == 0 {
            if Header::decode(&stored).is_err() {
                return Ok(());
            }
            at = HEADER_BYTES;
        }
        let mut last = self.given.get(&segment.writer).copied().unwrap_or(0);
        let writer: Arc<str> = segment.writer.to_string().into();
        loop {
            while let Ok(frame) = frame::decode(stored.get(at..).unwrap_or_default()) {
                at += frame.len;
                last = self.take_frame(&frame, segment, &writer, last);
            }
            // A frame behind a damaged one: or a running writer was met between the two, and a second look tells.
            let is_whole = walk::frames_beyond(&stored, at, last).next().is_none();
            let again = if is_whole { None } else { Some(read_from(&segment.path, from)?) };
            match again.filter(|again| *again != stored) {
                Some(again) => stored = again,
                None => break,
            }
        }
        self.read.insert(segment.path.clone(), from + len64(at));
        // What the next segment holds again is read there: here some of it may be lost, and the rest out of turn.
        let upto = self.first_frame_of_the_next(segment)?;
        let beyond: Vec<_> =
            walk::frames_beyond(&stored, at, last).filter(|(_, frame)| frame.head.frame < upto).collect();
        for (found_at, frame) in beyond {
            last = self.take_frame(&frame, segment, &writer, last);
            self.read.insert(segment.path.clone(), from + len64(found_at + frame.len));
        }
        self.given.insert(segment.writer, last);
        Ok(())
    }

    fn first_frame_of_the_next(&self, segment: &SegmentFile) -> io::Result<u64> {
        let next = self.segments.iter().filter(|next| next.writer == segment.writer);
        for next in next {
            match read_header(&next.path) {
                Ok(Ok(header)) => return Ok(header.first_frame),
                Ok(Err(_)) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(u64::MAX)
    }

    fn take_frame(&mut self, frame: &frame::Frame<'_>, segment: &SegmentFile, writer: &Arc<str>, last: u64) -> u64 {
        let key = self.opened.get(&segment.writer).and_then(Option::as_deref);
        // A body that does not open with its key was changed: it is passed over like any damage.
        if frame.head.frame > last
            && frame.head.kind == Kind::Records
            && let Ok(body) = cipher::clear(frame, key)
        {
            self.waiting.extend(cipher::lines(&body).zip(frame.head.first_seq..).map(|(line, seq)| StoredRecord {
                writer: Arc::clone(writer),
                seq,
                segment: segment.number,
                frame: frame.head.frame,
                line: line.to_vec(),
            }));
        }
        last.max(frame.head.frame)
    }
}
