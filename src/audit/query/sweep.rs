//! Reading one segment for a query: where its records of the query stand, and its digest, in one pass.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::Arc,
};

use uuid::Uuid;

use super::{
    Matcher,
    digest::{Digest, Survey},
    matcher::Lean,
    stamp,
};
use crate::{
    audit::{
        bytes::len64,
        cipher::{self, DataKey},
        folder::SegmentFile,
        frame::{self, Frame, HEAD_BYTES, Kind},
        header::{HEADER_BYTES, Header},
        walk,
    },
    domain::Timestamp,
};

/// A segment, and which of its frames are its own: those that the next one repeats are read there.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) writer: Uuid,
    pub(super) path: PathBuf,
    /// Only frames below are read here.
    pub(super) upto: u64,
    /// Nobody writes to it any more.
    pub(super) is_fixed: bool,
    /// What opens its records, if they are encrypted.
    pub(super) key: Option<Arc<DataKey>>,
}

/// Where a record of the query stands. In the order of every query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hit {
    pub(super) at: Timestamp,
    pub(super) writer: Uuid,
    pub(super) seq: u64,
    /// Which part of the run it stands in.
    pub(super) part: usize,
    /// Where its frame begins.
    pub(super) frame_at: u64,
    /// How far behind that it stands.
    pub(super) behind: u32,
    pub(super) len: u32,
}

/// What one pass over a segment is to bring.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    Hits,
    /// With its digest; with the words of its records or not.
    Digest {
        with_words: bool,
    },
}

/// What it brought.
#[derive(Debug)]
pub(super) struct Swept {
    pub(super) hits: Vec<Hit>,
    pub(super) digest: Option<Digest>,
}

impl Part {
    pub(super) fn new(segment: &SegmentFile, upto: u64, is_fixed: bool, key: Option<Arc<DataKey>>) -> Self {
        Self { writer: segment.writer, path: segment.path.clone(), upto, is_fixed, key }
    }

    /// One pass. `number` is the part's own among those of the run; `stored` is room to read into.
    pub(super) fn read(
        &self,
        number: usize,
        matcher: &Matcher,
        wanted: Wanted,
        stored: &mut Vec<u8>,
    ) -> io::Result<Swept> {
        let mut hits = Vec::new();
        let mut survey = match wanted {
            Wanted::Hits => None,
            Wanted::Digest { with_words } => Some(Survey::new(with_words)),
        };
        let mut expected = None;
        self.frames(stored, |frame, offset| {
            // One that does not open was changed: the gap is told like that of any other damage.
            let Ok(body) = cipher::clear(frame, self.key.as_deref()) else { return };
            matcher.each(&body, |stamp, at, len| {
                // A body's length is a number of 32 bits.
                let behind = u32::try_from(HEAD_BYTES + frame.leaves.len() + at);
                let (Ok(behind), Ok(len)) = (behind, u32::try_from(len)) else { return };
                let (at, seq, frame_at) = (stamp.at, stamp.seq, len64(offset));
                hits.push(Hit { at, writer: self.writer, seq, part: number, frame_at, behind, len });
            });
            if let Some(survey) = &mut survey {
                if let Some(seq) = expected.filter(|seq| frame.head.first_seq > *seq) {
                    survey.lost(seq);
                }
                expected = Some(frame.last_seq().saturating_add(1));
                look_over(&body, survey);
            }
        })?;
        Ok(Swept { hits, digest: survey.map(Survey::done) })
    }

    /// Calls `visit` for each whole frame of records that is this segment's own, with its offset.
    fn frames(&self, stored: &mut Vec<u8>, mut visit: impl FnMut(&Frame<'_>, usize)) -> io::Result<()> {
        self.load(stored)?;
        if Header::decode(stored).is_err() {
            return Ok(());
        }
        let (mut at, mut last) = (HEADER_BYTES, 0);
        let mut take = |frame: &Frame<'_>, at: usize, last: &mut u64| {
            if frame.head.kind == Kind::Records && frame.head.frame < self.upto {
                visit(frame, at);
            }
            *last = frame.head.frame.max(*last);
        };
        loop {
            while let Ok(frame) = frame::decode(stored.get(at..).unwrap_or_default()) {
                take(&frame, at, &mut last);
                at += frame.len;
            }
            // A frame behind a damaged one: or a running writer was met between the two, and a second look tells.
            if walk::frames_beyond(stored, at, last).next().is_none() {
                return Ok(());
            }
            let before = std::mem::take(stored);
            self.load(stored)?;
            if *stored == before {
                break;
            }
        }
        for (found_at, frame) in walk::frames_beyond(stored, at, last) {
            take(&frame, found_at, &mut last);
        }
        Ok(())
    }

    /// The encrypted frame at `at` with its body in the clear, as far as its lines go.
    pub(super) fn opened(&self, file: &File, at: u64) -> io::Result<Option<Vec<u8>>> {
        let mut head = [0; HEAD_BYTES];
        file.read_exact_at(&mut head, at)?;
        let Ok((_, len)) = frame::len_behind(&head) else { return Ok(None) };
        let mut stored = vec![0; len];
        file.read_exact_at(&mut stored, at)?;
        let Ok(frame) = frame::decode(&stored) else { return Ok(None) };
        let Ok(body) = cipher::clear(&frame, self.key.as_deref()) else { return Ok(None) };
        let body_at = HEAD_BYTES + frame.leaves.len();
        let mut opened = vec![0; body_at];
        opened.extend_from_slice(&body);
        Ok(Some(opened))
    }

    fn load(&self, stored: &mut Vec<u8>) -> io::Result<()> {
        stored.clear();
        File::open(&self.path)?.read_to_end(stored).map(drop)
    }
}

fn look_over(body: &[u8], survey: &mut Survey) {
    for line in cipher::lines(body) {
        let Some(stamp) = stamp::of(line) else { continue };
        survey.stamp(stamp.seq, stamp.at);
        if survey.wants_words()
            && let Ok(lean) = serde_json::from_slice::<Lean<'_>>(line)
        {
            survey.words(&lean);
        }
    }
}
