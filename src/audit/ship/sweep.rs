//! Taking away what the sink holds: sealed segments, once a checkpoint over them is held too and they were kept here long
//! enough. A signed head elsewhere is the only thing that can contradict a store which lost or changed records, so
//! without a key nothing is taken away. What the store calls a checkpoint is believed when this key signed it, and not
//! before: others write to the store as well.

use std::{collections::BTreeMap, io, time::Duration};

use uuid::Uuid;

use crate::{
    audit::{
        folder::{Folder, WriterFiles, read_header},
        note::{Checkpoint, Signed, VerifierKey},
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
        let Some(key) = shared.state().signing.key.as_ref().map(|key| key.verifier()) else { return false };
        let age = shared.clock.now().duration_since(sealed.at);
        held.frame >= sealed.last_frame
            && held.seq >= sealed.last_seq
            && signed_size(writer, &held.notes, &key) >= sealed.last_seq
            && Duration::try_from(age).is_ok_and(|age| age >= keep)
    }
}

/// Over how many records of `writer` the largest of `notes` goes that the key signed; 0: none of them.
fn signed_size(writer: Uuid, notes: &[String], key: &VerifierKey) -> u64 {
    let signed = notes.iter().filter_map(|note| {
        let note = Checkpoint::parse(note.as_bytes()).ok()?;
        (note.writer == writer && note.judged_by(std::slice::from_ref(key)) == Signed::Valid).then_some(note.size)
    });
    signed.max().unwrap_or(0)
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

#[cfg(test)]
mod tests {
    use super::{
        super::super::{key::SigningKey, merkle::Hash},
        *,
    };

    #[test]
    fn only_what_this_key_signed_about_this_writer_counts() {
        let (key, other) = (SigningKey::generate("a/b").unwrap(), SigningKey::generate("a/b").unwrap());
        let (writer, stranger) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let signed = |key: &SigningKey, writer, size| key.sign(writer, size, &Hash([3; 32]));
        let size = |notes: &[String]| signed_size(writer, notes, &key.verifier());
        let own = signed(&key, writer, 7);
        let forged = own.replace("\n7\n", "\n700\n");
        let strange = [signed(&other, writer, 900), signed(&key, stranger, 800), forged, "no note".to_owned()];
        assert_eq!(size(&strange), 0);
        assert_eq!(size(&[&strange[..], &[own, signed(&key, writer, 5)]].concat()), 7, "beside others it still counts");
    }
}
