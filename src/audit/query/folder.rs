//! A folder of segments as a source: segments from afar first, then those that can hold something, in order of time.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    fs::File,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use uuid::Uuid;

use super::{
    Cursor, Found, Matcher, Place, Query, QueryError, Reading, RecordRun, RecordSource, Until,
    digest::Digest,
    stamp,
    sweep::{Hit, Part, Swept, Wanted},
};
use crate::{
    audit::{
        bytes::index,
        folder::{Folder, FolderExtent, Missing, extent_of, read_header},
        keyring::EncryptionKeys,
    },
    clock::Clock,
    domain::Timestamp,
};

/// Places of records that are remembered from the first look at segments, so that they need no second one.
const HITS_KEPT_MAX: usize = 200_000;
/// Records of one stretch of time that are put in order at once. Each takes 64 bytes.
const HITS_MAX: usize = 2_000_000;
/// What the words of all digests may take in memory.
const WORDS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How long looking at segments may take before a reader is told to come again.
#[derive(Clone, Debug)]
pub enum Patience {
    /// As long as it takes: a person waits.
    Endless,
    Until {
        clock: Arc<dyn Clock>,
        each: Duration,
    },
}

/// The records of a folder.
#[derive(Clone, Debug)]
pub struct FolderRecords {
    dir: PathBuf,
    patience: Patience,
    /// Whether questions will come again and again: then each segment's words are remembered.
    is_lasting: bool,
    known: Arc<Mutex<Known>>,
    keys: EncryptionKeys,
}

#[derive(Debug, Default)]
struct Known {
    digests: HashMap<PathBuf, (Identity, Arc<Digest>)>,
    words_bytes: usize,
}

/// Tells a file from one that was put in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    inode: u64,
    len: u64,
    changed: (i64, i64),
}

impl FolderRecords {
    /// For one question, as long as it takes.
    pub fn once(dir: &Path) -> Self {
        Self::with(dir, Patience::Endless, false)
    }

    /// For a process that is asked again and again: `each` question may take so long.
    pub fn lasting(dir: &Path, clock: Arc<dyn Clock>, each: Duration) -> Self {
        Self::with(dir, Patience::Until { clock, each }, true)
    }

    fn with(dir: &Path, patience: Patience, is_lasting: bool) -> Self {
        Self { dir: dir.to_owned(), patience, is_lasting, known: Arc::default(), keys: EncryptionKeys::default() }
    }

    /// The same, of records that may be encrypted.
    #[must_use]
    pub fn opened_with(self, keys: EncryptionKeys) -> Self {
        Self { keys, ..self }
    }

    /// Begins a run. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// The folder cannot be read, or not far enough in time, or a key to it is missing.
    pub fn run(&self, query: Query, after: Option<Cursor>) -> Result<FolderRun, QueryError> {
        let deadline = self.patience.deadline();
        let folder = Folder::list(&self.dir).map_err(at(&self.dir))?;
        let extent = extent_of(&folder, query.from.unwrap_or(Timestamp::MIN));
        let parts = self.parts(&folder)?;
        let last_writer = parts.last().map(|part| part.writer);
        let matcher = Matcher::new(query);
        let mut run = FolderRun {
            matcher,
            parts,
            after: after.map(|cursor| cursor.after),
            until: after.and_then(|cursor| cursor.until),
            pending: Vec::new(),
            heap: BinaryHeap::new(),
            open: None,
            room: Vec::new(),
            opened: None,
            lost: None,
            extent,
            patience: self.patience.clone(),
        };
        let mut kept = 0;
        let mut end = last_writer.map(|writer| Until { writer, ..Until::default() });
        for number in 0..run.parts.len() {
            if deadline.as_ref().is_some_and(Deadline::is_over) {
                return Err(QueryError::Unfinished { read: number, all: run.parts.len() });
            }
            let Some((digest, hits)) = self.look_at(&mut run, number)? else { continue };
            run.note_lost(number, digest.lost);
            if let Some(end) = end.as_mut().filter(|end| run.is_of(number, end.writer)) {
                end.seq = end.seq.max(digest.last_seq);
            }
            let Some((first, _)) = digest.span.filter(|_| digest.may_hold(run.matcher.query())) else { continue };
            let hits = hits.filter(|hits| kept + hits.len() <= HITS_KEPT_MAX);
            kept += hits.as_ref().map_or(0, Vec::len);
            run.pending.push(Pending { first, number, hits });
        }
        run.until = run.until.or(end);
        run.leave_out_what_came_later()?;
        // The next one is taken from the end.
        run.pending.sort_by_key(|pending| Reverse((pending.first, pending.number)));
        Ok(run)
    }

    /// The segments that have a header, in the order of writers, each with the frames that are its own.
    fn parts(&self, folder: &Folder) -> Result<Vec<Part>, QueryError> {
        let last = folder.writers.last().map(|files| files.writer);
        let mut parts = Vec::new();
        for files in &folder.writers {
            // To pass over records that cannot be opened would look like there were none.
            let key = files.header.as_ref().map(|header| self.keys.open(header)).transpose()?.flatten();
            let mut begun = Vec::new();
            for segment in &files.segments {
                match read_header(&segment.path) {
                    Ok(Ok(header)) => begun.push((segment, header.first_frame)),
                    // A spare, or damage: `verify` tells which.
                    Ok(Err(_)) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(at(&segment.path)(error)),
                }
            }
            for (nth, (segment, _)) in begun.iter().enumerate() {
                let next = begun.get(nth + 1).map(|(_, first_frame)| *first_frame);
                let is_fixed = next.is_some() || last != Some(files.writer);
                parts.push(Part::new(segment, next.unwrap_or(u64::MAX), is_fixed, key.clone()));
            }
        }
        Ok(parts)
    }

    /// What is known of a part from afar; else it is read, and what belongs to the query is found on the way.
    fn look_at(&self, run: &mut FolderRun, number: usize) -> Result<Option<Seen>, QueryError> {
        let Some(part) = run.parts.get(number) else { return Ok(None) };
        let identity = match Identity::of(&part.path) {
            Ok(identity) => identity,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&part.path)(error)),
        };
        if let Some(digest) = self.known().digests.get(&part.path).filter(|(of, _)| *of == identity) {
            return Ok(Some((Arc::clone(&digest.1), None)));
        }
        let wanted = Wanted::Digest { with_words: self.is_lasting && part.is_fixed };
        let read = part.read(number, &run.matcher, wanted, &mut run.room);
        let Swept { hits, digest: Some(digest) } = (match read {
            Ok(swept) => swept,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&part.path)(error)),
        }) else {
            return Ok(None);
        };
        let digest = if self.is_lasting && part.is_fixed {
            self.known().remember(&part.path, identity, digest)
        } else {
            Arc::new(digest)
        };
        Ok(Some((digest, Some(hits))))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn remember(&mut self, path: &Path, identity: Identity, digest: Digest) -> Arc<Digest> {
        let digest = if self.words_bytes + digest.bytes() > WORDS_BYTES_MAX { digest.without_words() } else { digest };
        self.words_bytes += digest.bytes();
        let digest = Arc::new(digest);
        if let Some((_, before)) = self.digests.insert(path.to_owned(), (identity, Arc::clone(&digest))) {
            self.words_bytes = self.words_bytes.saturating_sub(before.bytes());
        }
        digest
    }
}

impl Identity {
    fn of(path: &Path) -> std::io::Result<Self> {
        let stat = std::fs::metadata(path)?;
        Ok(Self { inode: stat.ino(), len: stat.len(), changed: (stat.mtime(), stat.mtime_nsec()) })
    }
}

/// What one look at a part brought: its digest, and its records of the query if it had to be read.
type Seen = (Arc<Digest>, Option<Vec<Hit>>);

struct Deadline {
    clock: Arc<dyn Clock>,
    at: Duration,
}

impl Deadline {
    fn is_over(&self) -> bool {
        self.clock.elapsed() >= self.at
    }
}

impl Patience {
    fn deadline(&self) -> Option<Deadline> {
        match self {
            Self::Endless => None,
            Self::Until { clock, each } => Some(Deadline { clock: Arc::clone(clock), at: clock.elapsed() + *each }),
        }
    }
}

/// A part whose records were not taken yet.
#[derive(Debug)]
struct Pending {
    first: Timestamp,
    number: usize,
    hits: Option<Vec<Hit>>,
}

/// One run through a folder: it gives what was there when it began.
#[derive(Debug)]
pub struct FolderRun {
    matcher: Matcher,
    parts: Vec<Part>,
    after: Option<Place>,
    until: Option<Until>,
    /// The part with the earliest record last.
    pending: Vec<Pending>,
    heap: BinaryHeap<Reverse<Hit>>,
    open: Option<(usize, File)>,
    room: Vec<u8>,
    /// The last frame that had to be opened: its part, where it begins, its bytes in the clear.
    opened: Option<(usize, u64, Vec<u8>)>,
    lost: Option<(Uuid, u64)>,
    extent: FolderExtent,
    patience: Patience,
}

impl FolderRun {
    fn is_of(&self, number: usize, writer: Uuid) -> bool {
        self.parts.get(number).is_some_and(|part| part.writer == writer)
    }

    fn note_lost(&mut self, number: usize, lost: Option<u64>) {
        let writer = self.parts.get(number).map(|part| part.writer);
        self.lost = self.lost.or(writer.zip(lost));
    }

    /// The first record that should be there and cannot be read, as `WRITER/SEQ`: the trail is damaged.
    pub fn lost(&self) -> Option<String> {
        self.lost.map(|(writer, seq)| format!("{writer}/{seq}"))
    }

    /// Parts of writers that began after the run's end are no part of it.
    fn leave_out_what_came_later(&mut self) -> Result<(), QueryError> {
        let Some(until) = self.until else { return Ok(()) };
        if until.writer.is_nil() {
            // Nothing was here when the first page was asked for.
            self.pending.clear();
            return Ok(());
        }
        let last = self.parts.iter().rposition(|part| part.writer == until.writer);
        let last = last.ok_or_else(|| QueryError::CursorGone(until.writer.to_string()))?;
        self.pending.retain(|pending| pending.number <= last);
        Ok(())
    }

    /// Up to where this run goes.
    pub fn until(&self) -> Option<Until> {
        self.until
    }

    /// How many segments were not looked into yet, of those that can hold something.
    pub fn segments_left(&self) -> usize {
        self.pending.len()
    }

    /// The next record. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// A file cannot be read or is gone.
    pub fn next_found(&mut self) -> Result<Option<Found>, QueryError> {
        loop {
            let is_next = match (self.heap.peek(), self.pending.last()) {
                (None, None) => return Ok(None),
                (Some(_), None) => true,
                // A record of the same instant in there may come before.
                (Some(Reverse(hit)), Some(pending)) => hit.at < pending.first,
                (None, Some(_)) => false,
            };
            if !is_next {
                self.take_in_the_next_part()?;
            } else if let Some(Reverse(hit)) = self.heap.pop() {
                return self.fetch(&hit).map(Some);
            }
        }
    }

    fn take_in_the_next_part(&mut self) -> Result<(), QueryError> {
        let Some(Pending { number, hits, .. }) = self.pending.pop() else { return Ok(()) };
        let Some(part) = self.parts.get(number) else { return Ok(()) };
        let hits = match hits {
            Some(hits) => hits,
            None => match part.read(number, &self.matcher, Wanted::Hits, &mut self.room) {
                Ok(swept) => swept.hits,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(QueryError::Gone { writer: part.writer.to_string(), seq: 0 });
                }
                Err(error) => return Err(at(&part.path)(error)),
            },
        };
        let (after, until) = (self.after, self.until);
        let is_wanted = |hit: &Hit| {
            after.is_none_or(|after| (hit.at, hit.writer, hit.seq) > (after.at, after.writer, after.seq))
                && until.is_none_or(|until| hit.writer != until.writer || hit.seq <= until.seq)
        };
        self.heap.extend(hits.into_iter().filter(is_wanted).map(Reverse));
        if self.heap.len() > HITS_MAX {
            return Err(QueryError::TooMany(HITS_MAX));
        }
        Ok(())
    }

    fn fetch(&mut self, hit: &Hit) -> Result<Found, QueryError> {
        let gone = || QueryError::Gone { writer: hit.writer.to_string(), seq: hit.seq };
        let part = self.parts.get(hit.part).ok_or_else(gone)?;
        let file = match self.open.take() {
            Some((number, file)) if number == hit.part => file,
            Some(_) | None => File::open(&part.path).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => gone(),
                _ => at(&part.path)(error),
            })?,
        };
        let (behind, len) = (u64::from(hit.behind), index(u64::from(hit.len)));
        let line = if part.key.is_none() {
            let mut line = vec![0; len];
            file.read_exact_at(&mut line, hit.frame_at + behind).map_err(at(&part.path))?;
            line
        } else {
            let is_at_hand = self.opened.as_ref().is_some_and(|of| (of.0, of.1) == (hit.part, hit.frame_at));
            if !is_at_hand {
                let opened = part.opened(&file, hit.frame_at).map_err(at(&part.path))?.ok_or_else(gone)?;
                self.opened = Some((hit.part, hit.frame_at, opened));
            }
            let opened = self.opened.as_ref().map_or(&[][..], |(.., opened)| opened);
            opened.get(index(behind)..index(behind).saturating_add(len)).ok_or_else(gone)?.to_vec()
        };
        self.open = Some((hit.part, file));
        // The place was found before: bytes that changed since are no record.
        if stamp::of(&line).is_none_or(|stamp| stamp.seq != hit.seq) {
            return Err(gone());
        }
        Ok(Found { at: hit.at, writer: hit.writer.to_string().into(), seq: hit.seq, line })
    }

    fn next_founds(&mut self, most: usize) -> Result<Vec<Found>, QueryError> {
        let deadline = self.patience.deadline();
        let mut found = Vec::new();
        while found.len() < most {
            let Some(next) = self.next_found()? else { break };
            found.push(next);
            if deadline.as_ref().is_some_and(Deadline::is_over) {
                break;
            }
        }
        Ok(found)
    }
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> QueryError {
    let path = path.to_owned();
    move |source| QueryError::Io { path, source }
}

/// Work on the disk, off the threads that answer.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, QueryError> + Send + 'static,
) -> Result<T, QueryError> {
    tokio::task::spawn_blocking(work).await.map_err(|source| QueryError::Source(Box::new(source)))?
}

impl RecordSource for FolderRecords {
    fn begin(&self, query: Query, after: Option<Cursor>) -> Reading<'_, Box<dyn RecordRun>> {
        let source = self.clone();
        Box::pin(async move {
            let run = off_the_runtime(move || source.run(query, after)).await?;
            let (until, lost, extent) = (run.until, run.lost(), run.extent.clone());
            Ok(Box::new(OffRuntime { run: Some(run), until, lost, extent }) as Box<dyn RecordRun>)
        })
    }
}

/// A run whose work is done on blocking threads.
struct OffRuntime {
    run: Option<FolderRun>,
    until: Option<Until>,
    lost: Option<String>,
    extent: FolderExtent,
}

impl RecordRun for OffRuntime {
    fn next(&mut self, most: usize) -> Reading<'_, Vec<Found>> {
        Box::pin(async move {
            // After an error there is nothing more.
            let Some(mut run) = self.run.take() else { return Ok(Vec::new()) };
            let (run, found) = off_the_runtime(move || {
                let found = run.next_founds(most)?;
                Ok((run, found))
            })
            .await?;
            self.run = Some(run);
            Ok(found)
        })
    }

    fn until(&self) -> Option<Until> {
        self.until
    }

    fn lost(&self) -> Option<String> {
        self.lost.clone()
    }

    /// As of its begin: a segment that is taken away later is an error where it is read.
    fn missing(&mut self) -> Reading<'_, Option<Missing>> {
        let missing = self.extent.missing();
        Box::pin(async move { Ok(missing) })
    }

    fn extent(&self) -> FolderExtent {
        self.extent.clone()
    }
}
