//! Which segments may go: those of which every record is over its time and under no hold.

use std::{
    borrow::Cow,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::IgnoredAny};
use uuid::Uuid;

use super::{
    Hold, Retention, Stub, StubEnd,
    hold::{About, HoldsError, Subject, holds},
};
use crate::{
    audit::{
        bytes::len64,
        cipher::{self, DataKey},
        folder::{Folder, SegmentFile, WriterFiles, read_header, swept},
        frame::{self, Frame, Kind},
        header::{HEADER_BYTES, Header, Predecessor},
        keyring::SealedError,
        merkle::Frontier,
        read::ReadError,
        verify::{Verdict, VerifyError, VerifyOptions, verify},
        walk::{self, Position, Walk},
    },
    domain::{RecordKind, Timestamp},
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
    /// The store does not hold all of it yet.
    Unshipped,
}

/// Why nobody can say what may go.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error("the trail is damaged ({writer}/{seq}: {detail}): nothing of it is pruned")]
    Damaged { writer: String, seq: u64, detail: String },
    #[error(
        "the beginning of this trail is not in the folder any more (writer {writer} up to record {seq}): segments were \
         shipped and taken away, and pruning needs the whole folder"
    )]
    Elsewhere { writer: String, seq: u64 },
    #[error(transparent)]
    Holds(#[from] HoldsError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Sealed(#[from] SealedError),
}

/// What may go of a folder at an instant. Reads all of it, and holds it against the keys and checkpoints of `options`.
///
/// # Errors
///
/// The folder cannot be read, is not whole, or does not verify: what is damaged may be evidence, and is left as it is.
pub fn plan(dir: &Path, retention: &Retention, options: &VerifyOptions, now: Timestamp) -> Result<Plan, PlanError> {
    let keys = &options.encryption;
    if let Some(damaged) = damage(dir, options)? {
        // What was swept looks like what was stolen: it is told apart only in that all the rest is whole.
        let swept = swept(dir).map_err(ReadError::at(dir))?.into_iter().next();
        let is_rest_whole = || damage(dir, &VerifyOptions { allow_pruned: true, ..options.clone() });
        return Err(match swept {
            Some((writer, seq)) if is_rest_whole()?.is_none() => PlanError::Elsewhere { writer, seq },
            Some(_) | None => damaged,
        });
    }
    let holds = holds(dir, keys.clone())?;
    let folder = Folder::list(dir).map_err(ReadError::at(dir))?;
    let mut plan = Plan::default();
    for files in &folder.writers {
        if plan.writers.len() == WRITERS_MAX {
            break;
        }
        let key = files.header.as_ref().map(|header| keys.open(header)).transpose()?.flatten();
        let judge = Judge { retention, holds: &holds, now, key: key.as_deref(), is_rebuilt: options.is_rebuilt };
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

fn damage(dir: &Path, options: &VerifyOptions) -> Result<Option<PlanError>, VerifyError> {
    let report = verify(dir, options)?;
    let bad = report.first_bad().filter(|_| report.verdict == Verdict::Damaged);
    Ok(bad.map(|bad| PlanError::Damaged { writer: bad.writer.clone(), seq: bad.seq, detail: bad.detail.clone() }))
}

/// What decides over a record.
struct Judge<'a> {
    retention: &'a Retention,
    holds: &'a [Hold],
    now: Timestamp,
    key: Option<&'a DataKey>,
    /// The segments are those of a store that was rebuilt: their numbers are not the ones that others know.
    is_rebuilt: bool,
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
    resource_tenant: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    client: Option<Cow<'a, str>>,
    #[serde(default)]
    decision_id: Option<IgnoredAny>,
    #[serde(default)]
    detail: Detail,
}

#[derive(Default, Deserialize)]
struct Detail {
    #[serde(default)]
    hold: Option<String>,
    #[serde(default)]
    change: Option<IgnoredAny>,
    #[serde(default)]
    withheld_seq: Option<IgnoredAny>,
}

impl Line<'_> {
    /// What holds and years go by.
    fn subject(&self) -> Subject<'_> {
        let is_own = self.kind == RecordKind::System.as_str();
        let speaks = self.decision_id.is_some() || self.detail.change.is_some() || self.detail.withheld_seq.is_some();
        Subject {
            about: match (is_own, speaks) {
                (false, _) => About::Itself,
                (true, false) => About::Trail,
                (true, true) => About::Another,
            },
            tenant: self.tenant.as_deref(),
            resource_tenant: self.resource_tenant.as_deref(),
            client: self.client.as_deref(),
            at: self.at,
        }
    }
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
            let subject = line.subject();
            // A note that speaks of another record stays as long as that one may, whoever's it is.
            let tenant = subject.tenant.filter(|_| subject.about != About::Another);
            if !self.retention.is_over(line.at, tenant, subject.resource_tenant, self.now) {
                return Err(Kept::Time);
            }
            let keeps = |hold: &&Hold| line.detail.hold.as_ref() == Some(&hold.id) || hold.scope.keeps(&subject);
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

/// Where a segment ended: its number, the last frame, the tree, and how the writer ended if it did.
type End = (u32, Position, Frontier, Option<StubEnd>);

/// Where a segment ended, if somebody vouches for it.
fn end_of(
    segment: &SegmentFile,
    next: Option<&SegmentFile>,
    successor: Option<&Predecessor>,
    stored: &[u8],
    is_rebuilt: bool,
) -> io::Result<Option<End>> {
    if let Some(next) = next {
        let Ok(Ok(header)) = read_header(&next.path) else { return Ok(None) };
        let end = header.chain.zip(header.tree_before()).map(|(chain, tree)| {
            let (frame, seq) = (header.first_frame.saturating_sub(1), header.first_seq.saturating_sub(1));
            (segment.number, Position { frame, seq, chain }, tree, None)
        });
        return Ok(end);
    }
    let Ok(header) = Header::decode(stored) else { return Ok(None) };
    let walk = Walk::of(&header, stored, None);
    let (number, clean) = match successor {
        Some(said) => {
            let is_last = is_rebuilt || said.segment == segment.number;
            if !is_last || (said.frame, said.chain) != (walk.end.frame, walk.end.chain) {
                return Ok(None);
            }
            (said.segment, said.clean)
        }
        // In a store: its folder went with its machine, and its own seal vouches for the end.
        None if is_rebuilt && walk.is_final => (segment.number, true),
        None => return Ok(None),
    };
    Ok(walk.tree.map(|tree| (number, walk.end, tree, Some(StubEnd { clean }))))
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
        let next = files.segments.get(nth + 1);
        let ended = end_of(segment, next, successor, &stored, judge.is_rebuilt).map_err(at)?;
        let Some((number, end, tree, whole)) = ended else {
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
            segment: number,
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
