//! Taking away what the sink holds: sealed segments, once a checkpoint over them is held too and they were kept here long
//! enough. A signed head elsewhere is the only thing that can contradict a store which lost or changed records, so
//! without a key nothing is taken away.

use std::{collections::BTreeMap, io, time::Duration};

use uuid::Uuid;

use crate::{
    audit::{
        folder::{Folder, WriterFiles, read_header},
        state::Shared,
    },
    domain::{Held, Timestamp},
};

const EVERY: Duration = Duration::from_secs(30);

/// What the sink is known to hold, by writer.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    held: BTreeMap<Uuid, Held>,
    due: Duration,
}

/// A segment that nothing is written to any more.
struct Sealed {
    last_frame: u64,
    last_seq: u64,
    /// When the next one began.
    at: Timestamp,
}

impl Sweep {
    pub(super) fn noted(&mut self, writer: Uuid, held: &Held) {
        self.held.insert(writer, held.clone());
    }

    /// Looks at the folder now and then.
    pub(super) fn run(&mut self, shared: &Shared) -> io::Result<()> {
        let now = shared.clock.elapsed();
        let Some(keep) = shared.origin.config.keep_local.filter(|_| now >= self.due) else { return Ok(()) };
        self.due = now + EVERY;
        let writers = Folder::list(shared.dir())?.writers;
        let mut taken_away = 0_u32;
        for (place, files) in writers.iter().enumerate() {
            let is_own = files.writer == shared.origin.writer;
            let successor = writers.iter().skip(place + 1).find(|other| follows(other, files.writer));
            for (nth, segment) in files.segments.iter().enumerate() {
                let sealed = match files.segments.get(nth + 1) {
                    Some(next) => sealed_by_next(&next.path)?,
                    None if is_own => None,
                    None => successor.and_then(|successor| sealed_by_successor(successor, files.writer)),
                };
                // The oldest goes first: what is left is always the end of a writer.
                let Some(sealed) = sealed.filter(|sealed| self.may_go(files.writer, sealed, shared, keep)) else {
                    break;
                };
                tracing::info!(segment = %segment.path.display(), seq = sealed.last_seq, "the store holds a segment, it is taken away");
                shared.origin.storage.unlink(&segment.path)?;
                taken_away += 1;
            }
        }
        if taken_away > 0 { shared.origin.storage.sync_dir(shared.dir()) } else { Ok(()) }
    }

    fn may_go(&self, writer: Uuid, sealed: &Sealed, shared: &Shared, keep: Duration) -> bool {
        let Some(held) = self.held.get(&writer) else { return false };
        let age = shared.clock.now().duration_since(sealed.at);
        held.frame >= sealed.last_frame
            && held.seq >= sealed.last_seq
            && held.noted >= sealed.last_seq
            && Duration::try_from(age).is_ok_and(|age| age >= keep)
    }
}

fn follows(files: &WriterFiles, writer: Uuid) -> bool {
    files.header.as_ref().and_then(|header| header.prev.as_ref()).is_some_and(|prev| prev.writer == writer)
}

fn sealed_by_next(next: &std::path::Path) -> io::Result<Option<Sealed>> {
    let header = match read_header(next) {
        Ok(header) => header,
        // A spare that its writer just took away.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(header.ok().map(|header| Sealed {
        last_frame: header.first_frame.saturating_sub(1),
        last_seq: header.first_seq.saturating_sub(1),
        at: header.created,
    }))
}

fn sealed_by_successor(successor: &WriterFiles, writer: Uuid) -> Option<Sealed> {
    let header = successor.header.as_ref()?;
    let prev = header.prev.as_ref().filter(|prev| prev.writer == writer)?;
    Some(Sealed { last_frame: prev.frame, last_seq: prev.seq, at: header.created })
}
