//! The end of a writer: is it the one that its seal, or the next writer, vouches for?

use super::{Check, Checked};
use crate::audit::{
    bytes::len64,
    header::Predecessor,
    merkle::Hash,
    verify::{Finding, OpenEnd},
};

impl Check<'_> {
    /// Whether the writer stood where the next one found its end; what a store got before a crash may be more.
    fn has_passed(&self, said: &Predecessor) -> bool {
        let is_older = self.history.first().is_some_and(|first| said.frame < first.frame);
        is_older || self.history.iter().any(|at| at.frame == said.frame && at.chain == said.chain && at.seq == said.seq)
    }

    /// Is the end the one the writer, or the next one, vouches for?
    pub(super) fn end(&mut self, successor: Option<&Predecessor>) -> Checked<Option<OpenEnd>> {
        let pending = self.pending.take();
        let Some(at) = self.at else {
            // It died before its first header was on disk, and so before it answered anyone.
            let nothing = self.finding(1, 0, "missing", "no segment of this writer can be read".to_owned());
            let torn_bytes = self.last.as_ref().map_or(0, |last| len64(last.tail.len()));
            let open = OpenEnd { writer: nothing.writer.clone(), next_seq: 1, segment: 1, offset: 0, torn_bytes };
            return if successor.is_none() { Ok(Some(open)) } else { Err(Box::new(nothing)) };
        };
        let (number, end) = self.last.as_ref().map_or((0, 0), |last| (last.number, last.end));
        let torn = self.last.as_ref().map_or(&[][..], |last| last.tail.as_slice());
        let missing =
            |check: &Self, detail: String| Finding { offset: end, ..check.finding(number, 0, "missing", detail) };
        if self.sealed
            && let Some(pending) = pending
        {
            return Err(Box::new(pending));
        }
        if self.synced > at.frame {
            let detail =
                format!("frames up to {} had been on disk, {} is the last that is good", self.synced, at.frame);
            return Err(Box::new(pending.unwrap_or_else(|| missing(self, detail))));
        }
        let Some(said) = successor else {
            let open = OpenEnd {
                writer: self.files.writer.to_string(),
                next_seq: at.seq + 1,
                segment: number,
                offset: end,
                torn_bytes: len64(torn.len()),
            };
            return Ok((!self.sealed).then_some(open));
        };
        if self.options.is_rebuilt && said.frame <= at.frame && self.has_passed(said) {
            return Ok(None);
        }
        if said.frame > at.frame || said.segment > number {
            let detail = format!("the next writer found frame {} and segment {} here", said.frame, said.segment);
            return Err(Box::new(pending.unwrap_or_else(|| missing(self, detail))));
        }
        let same_end =
            said.frame == at.frame && said.seq == at.seq && said.chain == at.chain && said.clean == self.sealed;
        let same_tail = said.tail_bytes == len64(torn.len())
            && said.tail_sha256 == (!torn.is_empty()).then(|| Hash::of(&[torn]))
            && said.segment == number;
        if same_end && same_tail && !said.damaged {
            return Ok(None);
        }
        Err(Box::new(pending.unwrap_or_else(|| {
            let detail = "the end is not the one that the next writer found".to_owned();
            Finding { problem: "end", ..missing(self, detail) }
        })))
    }
}
