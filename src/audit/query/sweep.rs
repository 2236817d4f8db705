//! Reading one segment for a query: where its records of the query stand, and its digest, in one pass.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
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
}

/// Where a record of the query stands. In the order of every query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hit {
    pub(super) at: Timestamp,
    pub(super) writer: Uuid,
    pub(super) seq: u64,
    /// Which part of the run it stands in.
    pub(super) part: usize,
    pub(super) offset: u64,
    pub(super) len: usize,
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
    pub(super) fn new(segment: &SegmentFile, upto: u64, is_fixed: bool) -> Self {
        Self { writer: segment.writer, path: segment.path.clone(), upto, is_fixed }
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
            let body_at = offset + HEAD_BYTES + frame.leaves.len();
            matcher.each(frame.body, |stamp, at, len| {
                let offset = len64(body_at + at);
                hits.push(Hit { at: stamp.at, writer: self.writer, seq: stamp.seq, part: number, offset, len });
            });
            if let Some(survey) = &mut survey {
                if let Some(seq) = expected.filter(|seq| frame.head.first_seq > *seq) {
                    survey.lost(seq);
                }
                expected = Some(frame.last_seq().saturating_add(1));
                look_over(frame, survey);
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
            if frame.head.kind == Kind::Records && !frame.is_encrypted() && frame.head.frame < self.upto {
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

    fn load(&self, stored: &mut Vec<u8>) -> io::Result<()> {
        stored.clear();
        File::open(&self.path)?.read_to_end(stored).map(drop)
    }
}

fn look_over(frame: &Frame<'_>, survey: &mut Survey) {
    for line in frame.lines() {
        let Some(stamp) = stamp::of(line) else { continue };
        survey.stamp(stamp.seq, stamp.at);
        if survey.wants_words()
            && let Ok(lean) = serde_json::from_slice::<Lean<'_>>(line)
        {
            survey.words(&lean);
        }
    }
}
