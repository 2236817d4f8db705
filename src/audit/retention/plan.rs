//! Which segments may go: those of which every record is over its time and under no hold.

use std::{
    borrow::Cow,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use uuid::Uuid;

use super::{Hold, Retention, Stub, StubEnd, holds};
use crate::{
    audit::{
        bytes::len64,
        cipher::{self, DataKey},
        folder::{Folder, SegmentFile, WriterFiles, read_header},
        frame::{self, Frame, Kind},
        header::{HEADER_BYTES, Header, Predecessor},
        keyring::{EncryptionKeys, SealedError},
        merkle::Frontier,
        read::ReadError,
        verify::{Verdict, VerifyError, VerifyOptions, verify},
        walk::{self, Position, Walk},
    },
    domain::Timestamp,
};

/// So many writers in one run: the record of it must fit into a frame.
const WRITERS_MAX: usize = 500;

/// What may go.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub writers: Vec<WriterPlan>,
    /// The first segment of each writer that stays, and why.
    pub kept: Vec<(String, u32, Kept)>,
}

/// What may go of one writer: its oldest segments.
#[derive(Clone, Debug)]
pub struct WriterPlan {
    pub writer: String,
    pub segments: usize,
    pub records: u64,
    pub bytes: u64,
    pub from: Timestamp,
    pub to: Timestamp,
    pub(super) paths: Vec<PathBuf>,
    pub(super) stub: Stub,
}

/// Why a segment stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The time of a record of it is not over.
    Time,
    /// A hold keeps a record of it, or it is the record of a hold that stands.
    Hold(String),
    /// It is not ended, or nobody vouches for its end.
    Open,
    /// A record of it cannot be read, so that nobody knows its time.
    Unread,
}

/// Why nobody can say what may go.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error("the trail is damaged ({writer}/{seq}: {detail}): nothing of it is pruned")]
    Damaged { writer: String, seq: u64, detail: String },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Sealed(#[from] SealedError),
}

/// What may go of a folder at an instant. Reads all of it.
///
/// # Errors
///
/// The folder cannot be read, or does not verify: what is damaged may be evidence, and is left as it is.
pub fn plan(dir: &Path, retention: &Retention, keys: &EncryptionKeys, now: Timestamp) -> Result<Plan, PlanError> {
    let options = VerifyOptions { encryption: keys.clone(), ..VerifyOptions::default() };
    let report = verify(dir, &options)?;
    if let Some(bad) = report.first_bad().filter(|_| report.verdict == Verdict::Damaged) {
        return Err(PlanError::Damaged { writer: bad.writer.clone(), seq: bad.seq, detail: bad.detail.clone() });
    }
    let holds = holds(dir, keys.clone())?;
    let folder = Folder::list(dir).map_err(ReadError::at(dir))?;
    let mut plan = Plan::default();
    for files in &folder.writers {
        if plan.writers.len() == WRITERS_MAX {
            break;
        }
        let key = files.header.as_ref().map(|header| keys.open(header)).transpose()?.flatten();
        let judge = Judge { retention, holds: &holds, now, key: key.as_deref() };
        let before = folder.stubs.iter().find(|stub| stub.stub.writer == files.writer).map(|stub| &stub.stub);
        // Whoever followed it may be gone itself, and still vouches by its stub.
        let here = folder.writers.iter().filter_map(|other| other.header.as_ref()?.prev.as_ref());
        let gone = folder.stubs.iter().filter_map(|file| file.stub.prev.as_ref());
        let successor = here.chain(gone).find(|prev| prev.writer == files.writer);
        let (writer, kept) = of_writer(files, before, successor, &judge)?;
        plan.writers.extend(writer);
        plan.kept.extend(kept.map(|(segment, why)| (files.writer.to_string(), segment, why)));
    }
    Ok(plan)
}

/// What decides over a record.
struct Judge<'a> {
    retention: &'a Retention,
    holds: &'a [Hold],
    now: Timestamp,
    key: Option<&'a DataKey>,
}

/// What is judged of a record.
#[derive(Deserialize)]
struct Line<'a> {
    at: Timestamp,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    tenant: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    client: Option<Cow<'a, str>>,
    #[serde(default)]
    detail: Detail,
}

#[derive(Default, Deserialize)]
struct Detail {
    #[serde(default)]
    hold: Option<String>,
}

/// A stretch of time, and how many records lie in it.
#[derive(Clone, Copy)]
struct Span {
    from: Timestamp,
    to: Timestamp,
    records: u64,
}

impl Judge<'_> {
    fn frame(&self, frame: &Frame<'_>, span: &mut Span) -> Result<(), Kept> {
        if frame.head.kind != Kind::Records {
            return Ok(());
        }
        let body = cipher::clear(frame, self.key).map_err(|_sealed| Kept::Unread)?;
        for line in cipher::lines(&body) {
            let line: Line<'_> = serde_json::from_slice(line).map_err(|_newer| Kept::Unread)?;
            let (tenant, client) = (line.tenant.as_deref(), line.client.as_deref());
            if !self.retention.is_over(line.at, tenant, self.now) {
                return Err(Kept::Time);
            }
            let keeps = |hold: &&Hold| {
                line.detail.hold.as_ref() == Some(&hold.id) || hold.scope.keeps(&line.kind, tenant, client, line.at)
            };
            if let Some(hold) = self.holds.iter().find(keeps) {
                return Err(Kept::Hold(hold.id.clone()));
            }
            *span = Span { from: span.from.min(line.at), to: span.to.max(line.at), records: span.records + 1 };
        }
        Ok(())
    }

    fn segment(&self, stored: &[u8], span: &mut Span) -> Result<(), Kept> {
        let (mut at, mut last) = (HEADER_BYTES, 0);
        while let Ok(frame) = frame::decode(stored.get(at..).unwrap_or_default()) {
            self.frame(&frame, span)?;
            (at, last) = (at + frame.len, frame.head.frame);
        }
        // Behind damage that the next segment made good stand copies: judged twice is judged.
        walk::frames_beyond(stored, at, last).try_for_each(|(_, frame)| self.frame(&frame, span))
    }
}

/// Where a segment ended, if somebody vouches for it.
fn end_of(
    segment: &SegmentFile,
    next: Option<&SegmentFile>,
    successor: Option<&Predecessor>,
    stored: &[u8],
) -> io::Result<Option<(Position, Frontier, Option<StubEnd>)>> {
    if let Some(next) = next {
        let Ok(Ok(header)) = read_header(&next.path) else { return Ok(None) };
        let end = header.chain.zip(header.tree_before()).map(|(chain, tree)| {
            let (frame, seq) = (header.first_frame.saturating_sub(1), header.first_seq.saturating_sub(1));
            (Position { frame, seq, chain }, tree, None)
        });
        return Ok(end);
    }
    let Some((said, header)) = successor.zip(Header::decode(stored).ok()) else { return Ok(None) };
    let walk = Walk::of(&header, stored, None);
    let is_it = said.segment == segment.number && said.frame == walk.end.frame && said.chain == walk.end.chain;
    let end = StubEnd { clean: said.clean };
    Ok(walk.tree.filter(|_| is_it).map(|tree| (walk.end, tree, Some(end))))
}

type WriterPlanned = (Option<WriterPlan>, Option<(u32, Kept)>);

fn of_writer(
    files: &WriterFiles,
    before: Option<&Stub>,
    successor: Option<&Predecessor>,
    judge: &Judge<'_>,
) -> Result<WriterPlanned, ReadError> {
    let mut planned: Option<WriterPlan> = None;
    for (nth, segment) in files.segments.iter().enumerate() {
        let at = |error| ReadError::at(&segment.path)(error);
        let stored = match fs::read(&segment.path) {
            Ok(stored) => stored,
            // A running writer takes its unused spare away as it leaves.
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(at(error)),
        };
        let Some((end, tree, whole)) = end_of(segment, files.segments.get(nth + 1), successor, &stored).map_err(at)?
        else {
            return Ok((planned, Some((segment.number, Kept::Open))));
        };
        let known = planned.as_ref().map(|so_far| (so_far.from, so_far.to));
        let (from, to) = known.or(before.map(|stub| (stub.from, stub.to))).unwrap_or((Timestamp::MAX, Timestamp::MIN));
        let mut span = Span { from, to, records: 0 };
        if let Err(why) = judge.segment(&stored, &mut span) {
            return Ok((planned, Some((segment.number, why))));
        }
        let plan = planned.get_or_insert_with(|| nothing_yet(files.writer, &end, before));
        plan.segments += 1;
        plan.paths.push(segment.path.clone());
        plan.records += span.records;
        plan.bytes += len64(stored.len());
        (plan.from, plan.to) = (span.from, span.to);
        plan.stub = Stub {
            segment: segment.number,
            frame: end.frame,
            seq: end.seq,
            chain: end.chain,
            root: tree.root(),
            frontier: tree.nodes().to_vec(),
            end: whole,
            prev: files.header.as_ref().and_then(|header| header.prev.clone()),
            from: span.from,
            to: span.to,
            pruned: judge.now,
            ..plan.stub.clone()
        };
    }
    Ok((planned, None))
}

fn nothing_yet(writer: Uuid, end: &Position, before: Option<&Stub>) -> WriterPlan {
    let tree = Frontier::default();
    let (from, to) = before.map_or((Timestamp::MAX, Timestamp::MIN), |stub| (stub.from, stub.to));
    let stub = Stub {
        v: Stub::VERSION,
        writer,
        segment: 0,
        frame: end.frame,
        seq: 0,
        chain: end.chain,
        frontier: Vec::new(),
        root: tree.root(),
        end: None,
        prev: None,
        from,
        to,
        pruned: to,
    };
    WriterPlan { writer: writer.to_string(), segments: 0, records: 0, bytes: 0, from, to, paths: Vec::new(), stub }
}

impl Plan {
    /// Segments that may go.
    pub fn segments(&self) -> usize {
        self.writers.iter().map(|writer| writer.segments).sum()
    }

    pub fn records(&self) -> u64 {
        self.writers.iter().map(|writer| writer.records).sum()
    }

    pub fn bytes(&self) -> u64 {
        self.writers.iter().map(|writer| writer.bytes).sum()
    }
}
