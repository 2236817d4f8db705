//! What dead writers left in the folder: adopted read-only, and shipped like the living one's.

use std::{io, path::Path};

use uuid::Uuid;

use super::{Sink, SinkError, spool::Spool};
use crate::{
    audit::folder::Folder,
    domain::{Held, ShippedHeader},
};

/// One dead writer.
#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) writer: Uuid,
    pub(super) spool: Spool,
    pub(super) header: Option<ShippedHeader>,
    /// Its last frame and record, as its successor found them; none where no successor is here.
    last: Option<(u64, u64)>,
    /// What the sink holds, once it was asked.
    pub(super) held: Option<Held>,
    /// All that can be shipped is, or its shipping stopped.
    pub(super) is_done: bool,
}

/// What one attempt came to.
#[derive(Debug)]
pub(super) enum Step {
    Shipped {
        held: Held,
        records: u64,
    },
    /// Nothing further can be shipped.
    Done,
}

impl Orphan {
    /// Ships the next frames. Refused or out of frames, it is done.
    pub(super) fn ship(&mut self, sink: &mut dyn Sink, bytes_max: u64) -> Result<Step, SinkError> {
        let step = self.step(sink, bytes_max);
        self.is_done = matches!(step, Ok(Step::Done) | Err(SinkError::Refused(_)));
        step
    }

    fn step(&mut self, sink: &mut dyn Sink, bytes_max: u64) -> Result<Step, SinkError> {
        let name = self.writer.to_string();
        if self.held.is_none() {
            let nothing = Held { frame: 0, seq: 0, notes: Vec::new(), alarm: None };
            self.held = Some(sink.held(&name)?.unwrap_or(nothing));
        }
        let (frame, seq) = self.held.as_ref().map_or((0, 0), |held| (held.frame, held.seq));
        if self.last.is_some_and(|(last, _)| frame >= last) {
            return Ok(Step::Done);
        }
        let read = self.spool.read(frame + 1, u64::MAX, bytes_max);
        let frames =
            read.map_err(|error| SinkError::Away(format!("the folder of the trail cannot be read: {error}")))?;
        if frames.is_empty() {
            return Ok(Step::Done);
        }
        let held = sink.append(&name, self.header.as_ref().filter(|_| frame == 0), &frames)?;
        self.held = Some(held.clone());
        Ok(Step::Shipped { records: held.seq.saturating_sub(seq), held })
    }

    /// Records that its successor found and that cannot be shipped.
    pub(super) fn rest(&self) -> Option<u64> {
        let held = self.held.as_ref().map_or(0, |held| held.seq);
        self.last.and_then(|(_, last)| last.checked_sub(held)).filter(|rest| *rest > 0)
    }

    /// Records that wait here.
    pub(super) fn lag(&self) -> u64 {
        let held = self.held.as_ref().map_or(0, |held| held.seq);
        if self.is_done { 0 } else { self.last.map_or(held, |(_, seq)| seq).saturating_sub(held) }
    }
}

/// The writers of a folder other than `own`, oldest first.
pub(super) fn find(dir: &Path, own: Uuid) -> io::Result<Vec<Orphan>> {
    let writers = Folder::list(dir)?.writers;
    let mut orphans = Vec::new();
    for files in writers.iter().filter(|files| files.writer != own && files.header.is_some()) {
        let successor = writers.iter().find_map(|other| {
            let prev = other.header.as_ref()?.prev.as_ref()?;
            (prev.writer == files.writer).then_some((prev.frame, prev.seq))
        });
        let spool = Spool::new(dir, files.writer);
        let header = spool.header()?;
        orphans.push(Orphan { writer: files.writer, spool, header, last: successor, held: None, is_done: false });
    }
    Ok(orphans)
}
