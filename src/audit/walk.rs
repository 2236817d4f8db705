//! Reading a segment frame by frame. Recovery, verification and readers all step through here.

use super::{
    bytes,
    frame::{self, Damage, Frame, Kind},
    header::{HEADER_BYTES, Header},
    merkle::{Frontier, Hash},
    note::Checkpoint,
};

/// Where a chain of frames stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// The last frame.
    pub(super) frame: u64,
    /// The last record.
    pub(super) seq: u64,
    pub(super) chain: Hash,
}

/// Why a walk cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Damage(#[from] Damage),
    #[error("frame {0} stands where another belongs")]
    FrameNumber(u64),
    #[error("a frame claims record {0} where another belongs")]
    Sequence(u64),
    #[error("the chain is broken")]
    Chain,
}

impl Position {
    /// The position before the first frame of a segment.
    pub(super) fn before(header: &Header, encoded: &[u8]) -> Self {
        Self {
            frame: header.first_frame.saturating_sub(1),
            seq: header.first_seq.saturating_sub(1),
            chain: header.chain_before(encoded),
        }
    }

    /// The frame at `offset`, if it is whole and continues this position; the position moves past it.
    pub(super) fn step<'a>(&mut self, segment: &'a [u8], offset: usize) -> Result<Frame<'a>, StepError> {
        let frame = frame::decode(segment.get(offset..).unwrap_or_default())?;
        if frame.head.frame != self.frame.saturating_add(1) {
            return Err(StepError::FrameNumber(frame.head.frame));
        }
        if frame.head.first_seq != self.seq.saturating_add(1) {
            return Err(StepError::Sequence(frame.head.first_seq));
        }
        if frame.chain_after(&self.chain) != frame.chain {
            return Err(StepError::Chain);
        }
        *self = Self { frame: frame.head.frame, seq: frame.last_seq(), chain: frame.chain };
        Ok(frame)
    }
}

impl Position {
    /// The same for a frame that [`step`](Self::step) found good from this position before: without the hashing.
    pub(super) fn pass<'a>(&mut self, segment: &'a [u8], offset: usize) -> Result<Frame<'a>, StepError> {
        let frame = frame::decode(segment.get(offset..).unwrap_or_default())?;
        *self = Self { frame: frame.head.frame, seq: frame.last_seq(), chain: frame.chain };
        Ok(frame)
    }
}

/// How far a segment is good.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    pub(super) end: Position,
    /// Where the last good frame ends.
    pub(super) end_offset: usize,
    /// The last good frame is the writer's final seal.
    pub(super) is_final: bool,
    /// The highest frame that any whole frame of the segment, also beyond the damage, says is on disk.
    pub(super) synced: u64,
    /// The tree after the last good frame, unless the header cannot be right about the one before it.
    pub(super) tree: Option<Frontier>,
    /// Records that the writer's last checkpoint in the segment covers.
    pub(super) signed: u64,
    /// A checkpoint in the segment, or the one asked about, has another root than the records.
    pub(super) contradicted: bool,
}

impl Walk {
    /// Walks a segment; `kept` is a checkpoint of its writer that was kept elsewhere.
    pub(super) fn of(header: &Header, segment: &[u8], kept: Option<&Checkpoint>) -> Self {
        let mut walk = Self {
            end: Position::before(header, segment),
            end_offset: HEADER_BYTES,
            is_final: false,
            synced: header.first_frame.saturating_sub(1),
            tree: header.tree_before(),
            signed: 0,
            contradicted: false,
        };
        while let Ok(frame) = walk.end.step(segment, walk.end_offset) {
            walk.end_offset += frame.len;
            walk.is_final = frame.is_final();
            walk.synced = walk.synced.max(frame.head.synced);
            for leaf in frame.leaves.as_chunks::<32>().0 {
                let Some(tree) = &mut walk.tree else { break };
                tree.push(Hash(*leaf));
                walk.contradicted |= kept.is_some_and(|kept| kept.size == tree.size() && kept.root != tree.root());
            }
            if frame.head.kind == Kind::Checkpoint {
                walk.note_checkpoint(header, frame.body);
            }
        }
        for (_, frame) in frames_beyond(segment, walk.end_offset, walk.end.frame) {
            walk.synced = walk.synced.max(frame.head.synced);
        }
        walk
    }

    fn note_checkpoint(&mut self, header: &Header, note: &[u8]) {
        let own = Checkpoint::parse(note).ok().filter(|checkpoint| checkpoint.writer == header.writer);
        if let (Some(own), Some(tree)) = (own, &self.tree) {
            self.signed = self.signed.max(own.size);
            self.contradicted |= own.size != tree.size() || own.root != tree.root();
        }
    }

    /// The bytes after the last good frame, up to the last one that is not zero.
    pub(super) fn tail<'a>(&self, segment: &'a [u8]) -> &'a [u8] {
        let rest = segment.get(self.end_offset..).unwrap_or_default();
        rest.get(..bytes::len_without_zeros(rest)).unwrap_or(rest)
    }
}

/// Whole frames of a higher number than `after`, wherever they stand behind `offset`.
pub(super) fn frames_beyond(segment: &[u8], offset: usize, after: u64) -> impl Iterator<Item = (usize, Frame<'_>)> {
    let rest = segment.get(offset..).unwrap_or_default();
    let used = bytes::len_without_zeros(rest);
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < used {
            let here = rest.get(at..).unwrap_or_default();
            if here.starts_with(&frame::MAGIC)
                && let Ok(frame) = frame::decode(here)
                && frame.head.frame > after
            {
                let found = (offset + at, frame);
                at += frame.len;
                return Some(found);
            }
            at += 8;
        }
        None
    })
}
