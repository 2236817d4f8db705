//! One writer, from its first segment to its end.

mod end;

use std::{io, sync::Arc};

use uuid::Uuid;

use super::{
    About, Finding, OpenEnd, VerifyOptions, WriterReport,
    ahead::{Ahead, Looked, look},
    claims::{BadClaim, Claim, Heads, is_signed},
    lines::{first_bad_record, first_unlike_its_leaf},
};
use crate::audit::{
    bytes::{self, len64},
    cipher::{self, CipherError, DataKey},
    folder::{SegmentFile, WriterFiles},
    frame::{self, Damage, Frame, Kind},
    header::{HEADER_BYTES, Header, HeaderError},
    keyring::SealedError,
    merkle::{Frontier, Hash},
    note::Checkpoint,
    retention::Stub,
    walk::{Position, StepError, frames_beyond},
};

/// What came of one writer.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) finding: Option<Finding>,
    pub(super) open_end: Option<OpenEnd>,
    pub(super) report: Option<WriterReport>,
    pub(super) bytes: u64,
    /// The checkpoint that it signed for the writer before it.
    pub(super) about_previous: Option<(Uuid, Claim)>,
}

/// A finding ends the check of its writer.
type Checked<T> = Result<T, Box<Finding>>;

struct Check<'a> {
    files: &'a WriterFiles,
    options: &'a VerifyOptions,
    stub: Option<&'a Stub>,
    heads: Heads<'a>,
    about_previous: Option<(Uuid, Claim)>,
    /// After the last verified frame.
    at: Option<Position>,
    tree: Frontier,
    /// Positions after each verified frame, of the writer's open segments: copies are held against them.
    history: Vec<Position>,
    /// The tree before `history`.
    history_tree: Frontier,
    history_leaves: Vec<(u64, Hash)>,
    first_seq: u64,
    frames: u64,
    encrypted_frames: u64,
    opened_frames: u64,
    /// What opens its records, or why nothing does.
    data_key: Result<Option<Arc<DataKey>>, SealedError>,
    /// The highest frame that was known to be on disk.
    synced: u64,
    sealed: bool,
    /// Damage that the next segment may make good, or that may be a torn tail.
    pending: Option<Finding>,
    last: Option<LastSegment>,
}

/// How the last segment looked.
struct LastSegment {
    number: u32,
    end: u64,
    tail: Vec<u8>,
}

/// Checks all segments of a writer, and its end by what the next writer said of it.
pub(super) fn check_writer(
    files: &WriterFiles,
    about: About<'_>,
    options: &VerifyOptions,
    ahead: Option<&Ahead>,
) -> io::Result<Outcome> {
    let mut check = Check {
        files,
        options,
        stub: about.stub,
        heads: Heads::new(about.claims, options),
        about_previous: None,
        at: None,
        tree: Frontier::default(),
        history: Vec::new(),
        history_tree: Frontier::default(),
        history_leaves: Vec::new(),
        first_seq: 1,
        frames: 0,
        encrypted_frames: 0,
        opened_frames: 0,
        data_key: files.header.as_ref().map_or(Ok(None), |header| options.encryption.open(header)),
        synced: 0,
        sealed: false,
        pending: None,
        last: None,
    };
    let mut outcome = Outcome::default();
    let mut found = Ok(());
    for segment in &files.segments {
        let key = check.data_key.as_ref().ok().and_then(Option::as_deref);
        let looked = ahead.map_or_else(|| look(&segment.path, key), |ahead| ahead.take(&segment.path, key));
        let looked = match looked {
            Ok(looked) => looked,
            // A running writer takes its unused spare away as it leaves.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        outcome.bytes += len64(looked.stored.len());
        found = check.segment(segment, &looked);
        if found.is_err() {
            break;
        }
    }
    let ended =
        found.and_then(|()| check.end(about.successor)).and_then(|open_end| check.claimed_end().map(|()| open_end));
    match ended {
        Ok(open_end) => outcome.open_end = open_end,
        Err(finding) => outcome.finding = Some(*finding),
    }
    outcome.report = Some(check.report());
    outcome.about_previous = check.about_previous;
    Ok(outcome)
}

impl Check<'_> {
    fn report(&self) -> WriterReport {
        WriterReport {
            writer: self.files.writer.to_string(),
            segments: self.files.segments.len(),
            first_seq: self.first_seq,
            last_seq: self.at.map_or(0, |at| at.seq),
            frames: self.frames,
            sealed: self.sealed,
            root: self.tree.root().to_string(),
            encrypted_frames: self.encrypted_frames,
            opened_frames: self.opened_frames,
            unopened: self.data_key.as_ref().err().map(ToString::to_string),
            checkpoints: self.heads.count,
            checkpoint_seq: self.heads.agreed,
            signed_seq: self.heads.signed,
        }
    }

    fn next_seq(&self) -> u64 {
        self.at.map_or(1, |at| at.seq + 1)
    }

    fn finding(&self, segment: u32, offset: usize, problem: &'static str, detail: String) -> Finding {
        Finding {
            writer: self.files.writer.to_string(),
            seq: self.next_seq(),
            segment,
            offset: len64(offset),
            problem,
            detail,
            frames_beyond: 0,
            last_seq_beyond: None,
        }
    }

    fn segment(&mut self, segment: &SegmentFile, looked: &Looked) -> Checked<()> {
        let stored = looked.stored.as_slice();
        let header = match Header::decode(stored) {
            Ok(header) => header,
            Err(HeaderError::Empty) if bytes::all_zero(stored) => return Ok(()),
            Err(error) => return self.bad_header(segment, stored, &error),
        };
        self.header(segment, &header, stored)?;
        self.frames(segment, &header, looked)
    }

    fn bad_header(&mut self, segment: &SegmentFile, stored: &[u8], error: &HeaderError) -> Checked<()> {
        let mut finding = self.finding(segment.number, 0, "header", format!("the header is bad: {error}"));
        let behind = stored.get(HEADER_BYTES..).unwrap_or_default();
        if bytes::all_zero(behind) && self.pending.is_none() {
            // Nothing was written behind it: torn as it was begun, if it is the last.
            let torn = stored.get(..bytes::len_without_zeros(stored)).unwrap_or(stored).to_vec();
            self.last = Some(LastSegment { number: segment.number, end: 0, tail: torn });
            self.pending = Some(finding);
            return Ok(());
        }
        note_beyond(&mut finding, stored, HEADER_BYTES.min(stored.len()), 0);
        Err(Box::new(finding))
    }

    /// Does this segment continue what is verified?
    fn header(&mut self, segment: &SegmentFile, header: &Header, stored: &[u8]) -> Checked<()> {
        let number = segment.number;
        let first = self.files.header.as_ref();
        if header.writer != self.files.writer || header.segment != number {
            let detail = format!("it is segment {} of writer {}", header.segment, header.writer);
            return Err(Box::new(self.finding(number, 0, "renamed", detail)));
        }
        if first.is_some_and(|first| first.prev != header.prev) {
            let detail = "its predecessor is not the one of the writer's other segments".to_owned();
            return Err(Box::new(self.finding(number, 0, "header", detail)));
        }
        if first.is_some_and(|first| first.key != header.key) {
            let detail = "its data key is not the one of the writer's other segments".to_owned();
            return Err(Box::new(self.finding(number, 0, "header", detail)));
        }
        if let Err(error @ SealedError::Changed { .. }) = &self.data_key {
            return Err(Box::new(self.finding(number, 0, "key", error.to_string())));
        }
        let before = Position::before(header, stored);
        let Some(tree) = header.tree_before() else {
            return Err(Box::new(self.finding(
                number,
                0,
                "header",
                "its tree does not fit its first record".to_owned(),
            )));
        };
        self.synced = self.synced.max(before.frame);
        match self.at {
            None => self.begin(number, header, before, tree.clone())?,
            Some(at) if before.frame > at.frame => {
                return Err(Box::new(self.pending.take().unwrap_or_else(|| {
                    self.finding(number, 0, "missing", format!("frames from {} on are missing before it", at.frame + 1))
                })));
            }
            Some(_) if header.chain.is_none() => {
                let detail = "it says that it is the writer's first".to_owned();
                return Err(Box::new(self.finding(number, 0, "header", detail)));
            }
            Some(_) if !self.was_at(&before, &tree) => {
                let detail = "its header does not continue the segment before it".to_owned();
                return Err(Box::new(self.finding(number, 0, "header", detail)));
            }
            // What was damaged before stands here again: that is how a failed sync is made good.
            Some(_) => self.pending = None,
        }
        // Copies can only be of frames that were not known to be on disk when this segment was begun.
        let keep = self.history.partition_point(|position| position.frame < before.frame);
        self.history.drain(..keep);
        let seq = before.seq;
        self.history_tree = tree;
        self.history_leaves.retain(|(leaf_seq, _)| *leaf_seq > seq);
        Ok(())
    }

    fn begin(&mut self, number: u32, header: &Header, before: Position, tree: Frontier) -> Checked<()> {
        let is_first = header.chain.is_none();
        let is_start = before.frame == 0 && before.seq == 0;
        if is_first != (number == 1) || (is_first && !is_start) {
            let detail = "a writer's first segment starts its chain, and no other does".to_owned();
            return Err(Box::new(self.finding(number, 0, "header", detail)));
        }
        match self.stub {
            None if is_first || self.options.allow_pruned => {}
            None => {
                let detail = "the segments before it are missing".to_owned();
                return Err(Box::new(self.finding(number, 0, "missing", detail)));
            }
            Some(stub) if number <= stub.segment => {
                let detail = format!(
                    "a stub says that segments up to {} were pruned: the next start finishes that, or says why it does not",
                    stub.segment
                );
                return Err(Box::new(self.finding(number, 0, "unfinished_pruning", detail)));
            }
            Some(stub) => {
                let prev = self.files.header.as_ref().and_then(|header| header.prev.as_ref());
                let end = Position { frame: stub.frame, seq: stub.seq, chain: stub.chain };
                if stub.end.is_some() || end != before || stub.frontier != tree.nodes() || stub.prev.as_ref() != prev {
                    let detail = "it does not go on where the stub says that the pruned segments ended".to_owned();
                    return Err(Box::new(Finding { seq: before.seq + 1, ..self.finding(number, 0, "stub", detail) }));
                }
            }
        }
        self.first_seq = before.seq + 1;
        self.at = Some(before);
        self.tree = tree;
        self.history.push(before);
        self.heads.begin(&self.tree).map_err(|bad| self.unwitnessed(number, 0, bad))
    }

    fn unwitnessed(&self, number: u32, offset: usize, bad: BadClaim) -> Box<Finding> {
        let seq = self.heads.first_doubtful(&bad, &self.tree);
        Box::new(Finding { seq, ..self.finding(number, offset, bad.problem, bad.detail) })
    }

    /// Does the end agree with the checkpoints that were kept elsewhere?
    fn claimed_end(&self) -> Checked<()> {
        let number = self.last.as_ref().map_or(1, |last| last.number);
        let offset = self.last.as_ref().map_or(0, |last| bytes::index(last.end));
        self.heads.end(&self.tree).map_err(|bad| self.unwitnessed(number, offset, bad))
    }

    /// Whether the writer stood at this position, with this tree.
    fn was_at(&self, before: &Position, tree: &Frontier) -> bool {
        if !self.history.iter().any(|position| position == before) {
            return false;
        }
        let mut rebuilt = self.history_tree.clone();
        for (_, leaf) in self.history_leaves.iter().take_while(|(seq, _)| *seq <= before.seq) {
            rebuilt.push(*leaf);
        }
        rebuilt == *tree
    }

    fn frames(&mut self, segment: &SegmentFile, header: &Header, looked: &Looked) -> Checked<()> {
        let stored = looked.stored.as_slice();
        let mut local = Position::before(header, stored);
        let mut offset = HEADER_BYTES;
        let mut is_sealed = false;
        for nth in 0.. {
            let is_good = nth < looked.good;
            let step = if is_good { local.pass(stored, offset) } else { local.step(stored, offset) };
            let frame = match step {
                Ok(frame) => frame,
                Err(error) => {
                    self.stop(segment.number, stored, offset, local, error);
                    // Nothing is ever written behind a seal, so nothing there can be a torn write.
                    return if is_sealed {
                        self.pending.take().map_or(Ok(()), |finding| Err(Box::new(finding)))
                    } else {
                        Ok(())
                    };
                }
            };
            if self.at.is_some_and(|at| frame.head.frame <= at.frame) {
                if !self.history.contains(&local) {
                    let detail = format!("frame {} differs from its copy in the segment before", local.frame);
                    return Err(Box::new(self.at_frame(segment.number, offset, &frame, "copy", detail)));
                }
            } else {
                self.frame((segment.number, offset), &frame, local, is_good)?;
            }
            offset += frame.len;
            is_sealed = frame.head.kind == Kind::Seal;
        }
        Ok(())
    }

    fn at_frame(
        &self,
        number: u32,
        offset: usize,
        frame: &Frame<'_>,
        problem: &'static str,
        detail: String,
    ) -> Finding {
        Finding { seq: frame.head.first_seq, ..self.finding(number, offset, problem, detail) }
    }

    /// A frame whose chain is good: what does it hold?
    fn frame(
        &mut self,
        (number, offset): (u32, usize),
        frame: &Frame<'_>,
        after: Position,
        is_good: bool,
    ) -> Checked<()> {
        let bad = |check: &Self, detail: &str| {
            Err(Box::new(check.at_frame(number, offset, frame, "frame", detail.to_owned())))
        };
        if self.sealed {
            return bad(self, "it stands behind the writer's final seal");
        }
        if frame.head.synced >= frame.head.frame {
            return bad(self, "it says that it was on disk before it was written");
        }
        let is_sealed_writer = self.files.header.as_ref().is_some_and(|header| header.key.is_some());
        if frame.is_encrypted() != (is_sealed_writer && frame.head.kind == Kind::Records) {
            return bad(self, "it is encrypted where it should not be, or in the clear where it should be encrypted");
        }
        if !is_good {
            self.records(number, offset, frame)?;
        }
        let bare = frame.head.count == 0;
        match frame.head.kind {
            Kind::Records if bare => return bad(self, "it holds no records"),
            Kind::SyncMark if !(bare && frame.body.is_empty()) => return bad(self, "a sync mark holds nothing"),
            Kind::Checkpoint | Kind::Seal if !bare => return bad(self, "only frames of records have leaves"),
            Kind::Seal if *frame.body != self.tree.root().0 => {
                return bad(self, "the seal's root is not that of the records");
            }
            Kind::Records | Kind::SyncMark | Kind::Checkpoint | Kind::Seal => {}
        }
        if frame.head.flags & frame::FLAG_FINAL != 0 && !frame.is_final() {
            return bad(self, "only a seal can be final");
        }
        for (leaf, seq) in frame.leaves.as_chunks::<32>().0.iter().zip(frame.head.first_seq..) {
            self.tree.push(Hash(*leaf));
            self.history_leaves.push((seq, Hash(*leaf)));
            self.heads.grown(&self.tree).map_err(|bad| self.unwitnessed(number, offset, bad))?;
        }
        if frame.head.kind == Kind::Checkpoint {
            self.checkpoint(frame).map_err(|bad| self.unwitnessed(number, offset, bad))?;
        }
        self.frames += 1;
        self.encrypted_frames += u64::from(frame.is_encrypted());
        self.opened_frames += u64::from(frame.is_encrypted() && matches!(self.data_key, Ok(Some(_))));
        self.sealed = frame.is_final();
        self.synced = self.synced.max(frame.head.synced);
        self.at = Some(after);
        self.history.push(after);
        Ok(())
    }

    /// Whether the records of a frame are those that its leaves name, as far as they can be read.
    fn records(&self, number: u32, offset: usize, frame: &Frame<'_>) -> Checked<()> {
        let key = self.data_key.as_ref().ok().and_then(Option::as_deref);
        let body = match cipher::clear(frame, key) {
            Ok(body) => body,
            Err(CipherError::NoKey) => return Ok(()),
            Err(error @ (CipherError::Changed | CipherError::Encrypt)) => {
                return Err(Box::new(self.at_frame(number, offset, frame, "cipher", error.to_string())));
            }
        };
        if let Some(seq) = first_bad_record(frame, &body) {
            let detail = "a record is not the one its leaf names".to_owned();
            return Err(Box::new(Finding { seq, ..self.finding(number, offset, "record", detail) }));
        }
        Ok(())
    }

    /// A checkpoint in the chain is of this writer, or the one that it signed for the writer before it.
    fn checkpoint(&mut self, frame: &Frame<'_>) -> Result<(), BadClaim> {
        let bad = |detail: String| BadClaim { problem: "checkpoint", detail };
        let checkpoint =
            Checkpoint::parse(frame.body).map_err(|error| bad(format!("a frame holds no checkpoint: {error}")))?;
        if checkpoint.writer == self.files.writer {
            return self.heads.own(&checkpoint, &self.tree);
        }
        let previous = self.files.header.as_ref().and_then(|header| header.prev.as_ref());
        if previous.is_none_or(|prev| prev.writer != checkpoint.writer || prev.seq != checkpoint.size) {
            return Err(bad(format!("a frame holds a checkpoint of {}", checkpoint.writer)));
        }
        let signed = is_signed(&checkpoint, self.options)?;
        let place = format!("frame {} of {}", frame.head.frame, self.files.writer);
        self.about_previous =
            Some((checkpoint.writer, Claim { size: checkpoint.size, root: checkpoint.root, place, signed }));
        Ok(())
    }

    /// No further frame continues the segment: its end, or damage.
    fn stop(&mut self, number: u32, stored: &[u8], offset: usize, local: Position, error: StepError) {
        let rest = stored.get(offset..).unwrap_or_default();
        let tail = rest.get(..bytes::len_without_zeros(rest)).unwrap_or(rest);
        self.last = Some(LastSegment { number, end: len64(offset), tail: tail.to_vec() });
        if tail.is_empty() {
            return;
        }
        let (problem, detail) = match error {
            StepError::Damage(Damage::End) => ("bytes_after_end", "something stands behind the last frame".to_owned()),
            StepError::Damage(_) => ("frame", error.to_string()),
            StepError::FrameNumber(_) | StepError::Sequence(_) => ("order", error.to_string()),
            StepError::Chain => ("chain", error.to_string()),
        };
        let mut finding = self.finding(number, offset, problem, detail);
        finding.seq = local.seq.saturating_add(1);
        if error == StepError::Damage(Damage::BodyChecksum)
            && let Ok(parts) = frame::parts(rest)
            && parts.head.frame == local.frame.saturating_add(1)
            && parts.head.first_seq == finding.seq
            && let Some(nth) = first_unlike_its_leaf(parts.body, parts.leaves)
        {
            finding.seq = finding.seq.saturating_add(nth);
        }
        for (_, frame) in frames_beyond(stored, offset, local.frame) {
            self.synced = self.synced.max(frame.head.synced);
        }
        note_beyond(&mut finding, stored, offset, local.frame);
        self.pending = Some(finding);
    }
}

fn note_beyond(finding: &mut Finding, stored: &[u8], offset: usize, after: u64) {
    for (_, frame) in frames_beyond(stored, offset, after) {
        finding.frames_beyond += 1;
        finding.last_seq_beyond = finding.last_seq_beyond.max(Some(frame.last_seq()));
    }
}
