//! The writer thread: takes what is queued, makes one frame of it, appends it, and never waits for the disk but to
//! end a segment.

use std::{sync::Arc, time::Duration};

use super::{
    bytes::len64,
    cipher::TAG_BYTES,
    frame::{self, FLAG_ENCRYPTED, FLAG_FINAL, Head, Kind},
    header::HEADER_BYTES,
    merkle::{self, Hash},
    notices,
    queue::{Pending, Taken},
    signing,
    state::{Life, Shared, Shift, Spare, State, Tip, Unsynced, Waiter},
    storage, takeover,
};
use crate::domain::{Tier, record::RECORD_VERSION};

/// How often an idle writer looks whether all is synced and a mark is due.
const MARK_POLL: Duration = Duration::from_millis(20);
/// How often a writer without room looks for some, and for the end of the trail.
pub(super) const ROOM_POLL: Duration = Duration::from_millis(100);
/// `v`, `seq` and the newline around a record.
const LINE_EXTRA: usize = 40;
/// A checkpoint is no later than this; it must not turn an idle writer into a busy one.
const CHECKPOINT_POLL: Duration = Duration::from_millis(5);

/// Why the writer stops what it does.
#[derive(Debug)]
pub(super) enum Halt {
    /// Another shift is at work, or the trail ended: nothing more to do here.
    Superseded,
    /// The segment is poisoned, and the guard knows.
    Poisoned,
    /// There is no room for another segment.
    Full,
}

/// The writer of one shift.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) shift: Arc<Shift>,
    pub(super) tip: Tip,
    marked: bool,
    /// There is a key for checkpoints.
    signs: bool,
}

/// What a frame is to hold.
pub(super) struct Content<'a> {
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) leaves: &'a [Hash],
    pub(super) body: &'a [u8],
    pub(super) batch: Vec<Pending>,
    /// On a checkpoint.
    pub(super) head: Option<signing::Head>,
}

impl<'a> Content<'a> {
    /// A frame without records.
    pub(super) const fn bare(kind: Kind, flags: u8, body: &'a [u8]) -> Self {
        Self { kind, flags, leaves: &[], body, batch: Vec::new(), head: None }
    }
}

/// The thread's life.
pub(super) fn run(shared: Arc<Shared>, shift: Arc<Shift>) {
    let (tip, marked, signs) = {
        let state = shared.state();
        (state.tip.clone(), state.last_is_mark, state.signing.key.is_some())
    };
    let mut writer = Writer { shared, shift, tip, marked, signs };
    if takeover::finish_what_was_begun(&mut writer).is_err() {
        return;
    }
    if signs && writer.sign_for_the_dead().is_err() {
        return;
    }
    loop {
        match writer.turn() {
            Ok(true) => {}
            Ok(false) | Err(Halt::Superseded | Halt::Poisoned) => return,
            Err(Halt::Full) => {
                if writer.go_without_room().is_err() {
                    return;
                }
            }
        }
    }
}

/// What a record costs in its frame.
pub(super) fn cost(pending: &Pending) -> u64 {
    len64(pending.rest.len() + LINE_EXTRA + 32)
}

impl Writer {
    /// One batch, one mark, or the end. False when the trail is closed.
    fn turn(&mut self) -> Result<bool, Halt> {
        let shared = Arc::clone(&self.shared);
        self.wait_for_the_syncer()?;
        let mut wait = (!self.marked).then_some(MARK_POLL);
        if self.signs {
            self.checkpoint_if_due()?;
            let due_in = self.checkpoint_due_in().map(|due_in| due_in.max(CHECKPOINT_POLL));
            wait = [wait, due_in].into_iter().flatten().min();
        }
        // Head and foot of the frame come out of the budget too.
        let budget = shared.origin.config.frame_bytes_max() - 128;
        match shared.queue.take(self.shift.number, wait, budget, cost) {
            Taken::Batch(batch) => self.append(batch).map(|()| true),
            Taken::Idle => self.mark_if_idle().map(|()| true),
            Taken::Closed => self.close().map(|()| false),
            Taken::Superseded => Err(Halt::Superseded),
        }
    }

    /// Frames stay in memory until synced: past a bound the disk sets the pace.
    fn wait_for_the_syncer(&self) -> Result<(), Halt> {
        let mut state = self.shared.state();
        while state.unsynced_bytes > super::config::UNSYNCED_BYTES_MAX {
            self.stand(&state)?;
            state.sync_now = true;
            self.shared.bell.notify_all();
            state = self.shared.wait(state, ROOM_POLL);
        }
        Ok(())
    }

    pub(super) fn stand(&self, state: &State) -> Result<(), Halt> {
        if !state.is_current(&self.shift) {
            Err(Halt::Superseded)
        } else if state.poison.is_some() {
            Err(Halt::Poisoned)
        } else {
            Ok(())
        }
    }

    fn append(&mut self, batch: Vec<Pending>) -> Result<(), Halt> {
        let body_len: usize = batch.iter().map(|pending| pending.rest.len() + LINE_EXTRA).sum();
        if let Err(halt) = self.make_room(len64(frame::encoded_len(batch.len(), body_len + TAG_BYTES))) {
            // Nothing of the batch was written. Another shift, or the way out of a full disk, finds it in the queue.
            self.shared.queue.push_front(batch);
            return Err(halt);
        }
        self.append_here(batch)
    }

    pub(super) fn append_here(&mut self, batch: Vec<Pending>) -> Result<(), Halt> {
        let (leaves, body) = self.lines(&batch);
        let decisions = batch.iter().zip(self.tip.seq + 1..).filter_map(|(pending, seq)| {
            pending.decision.as_ref().map(|(id, caller)| (id.clone(), caller.clone(), seq))
        });
        self.shared.remember(decisions.collect());
        let (leaves, body) = (leaves.as_slice(), body.as_slice());
        self.commit(Content { leaves, batch, ..Content::bare(Kind::Records, 0, body) })
    }

    fn lines(&self, batch: &[Pending]) -> (Vec<Hash>, Vec<u8>) {
        let mut leaves = Vec::with_capacity(batch.len());
        let mut body = Vec::with_capacity(batch.iter().map(|pending| pending.rest.len() + LINE_EXTRA).sum());
        for (pending, seq) in batch.iter().zip(self.tip.seq + 1..) {
            let start = body.len();
            body.extend_from_slice(format!("{{\"v\":{RECORD_VERSION},\"seq\":{seq},").as_bytes());
            body.extend_from_slice(&pending.rest);
            leaves.push(merkle::leaf(body.get(start..).unwrap_or_default()));
            body.push(b'\n');
        }
        (leaves, body)
    }

    /// Appends one frame and answers those for whom the kernel having it is enough.
    pub(super) fn commit(&mut self, content: Content<'_>) -> Result<(), Halt> {
        let Content { kind, flags, leaves, body, batch, head: checkpoint } = content;
        let synced = self.shared.state().synced;
        let data_key = self.shared.origin.data_key.as_ref().filter(|_| kind == Kind::Records);
        let stored_len = body.len() + data_key.map_or(0, |_| TAG_BYTES);
        let head = Head {
            kind,
            flags: flags | data_key.map_or(0, |_| FLAG_ENCRYPTED),
            // INVARIANT(frame-size): a batch is cut at `FRAME_BYTES_MAX` and at 65,535 records.
            count: u16::try_from(leaves.len()).unwrap_or(u16::MAX),
            body_len: u32::try_from(stored_len).unwrap_or(u32::MAX),
            frame: self.tip.frame + 1,
            first_seq: self.tip.seq + 1,
            synced,
        };
        let encrypted = data_key.map(|(key, _)| key.encrypt(head.frame, &head.encode(), body)).transpose();
        let encrypted = match encrypted {
            Ok(encrypted) => encrypted,
            Err(error) => {
                self.shared.queue.push_front(batch);
                self.shared.poison(&self.shift, error.to_string());
                return Err(Halt::Poisoned);
            }
        };
        let (encoded, chain) = frame::encode(&head, leaves, encrypted.as_deref().unwrap_or(body), &self.tip.chain);
        let encoded = Arc::new(encoded);
        let mut after = Tip { frame: head.frame, chain, seq: self.tip.seq + len64(leaves.len()), ..self.tip.clone() };
        leaves.iter().for_each(|leaf| after.tree.push(*leaf));

        let mut state = self.shared.state();
        if let Err(halt) = self.stand(&state) {
            drop(state);
            self.shared.queue.push_front(batch);
            return Err(halt);
        }
        let is_adrift = state.is_adrift;
        let Waiters { process, disk, remote } = waiters(batch, head.first_seq, is_adrift);
        let (file, offset) = (Arc::clone(&state.segment.file), state.offset);
        let before = std::mem::replace(&mut self.tip, after);
        state.tip = self.tip.clone();
        state.offset += len64(encoded.len());
        state.unsynced_bytes += len64(encoded.len());
        state.last_is_mark = kind == Kind::SyncMark;
        state.is_sealed = flags & FLAG_FINAL != 0;
        self.marked = state.last_is_mark;
        if let Some(checkpoint) = checkpoint {
            self.note_signed(&mut state, checkpoint);
        }
        state.unsynced.push_back(Unsynced {
            before,
            frame: head.frame,
            last_seq: self.tip.seq,
            bytes: Arc::clone(&encoded),
            process,
            disk,
        });
        state.shipping.composed(head.frame, &encoded, remote);
        drop(state);
        if is_adrift {
            // Only the store can have it; the next segment gets it from memory.
            self.shared.bell.notify_all();
            return Ok(());
        }

        let result =
            self.shared.watched(&self.shift.writer_call, || storage::write_all(file.as_ref(), &encoded, offset));
        self.written(head.frame, result)
    }

    fn written(&self, frame: u64, result: std::io::Result<()>) -> Result<(), Halt> {
        if let Err(error) = result {
            self.shared.poison(&self.shift, format!("a write failed: {error}"));
            return Err(Halt::Poisoned);
        }
        let mut state = self.shared.state();
        if !state.is_current(&self.shift) {
            // The frame was already copied from memory, and its waiters answered, by the shift that took over.
            return Err(Halt::Superseded);
        }
        state.written = frame;
        let is_first = state.waiting_since.is_none();
        if is_first {
            state.waiting_since = Some(self.shared.clock.elapsed());
        }
        let (released, is_waited_for) = match state.unsynced.back_mut() {
            Some(unsynced) if unsynced.frame == frame => {
                (std::mem::take(&mut unsynced.process), !unsynced.disk.is_empty())
            }
            Some(_) | None => (Vec::new(), true),
        };
        let must_ring = is_first || is_waited_for || state.shipping.has_waiters();
        drop(state);
        for waiter in released {
            waiter.tell(Ok(()));
        }
        // A frame that nobody waits for goes to disk when its time has come, which the syncer knows by now.
        if must_ring {
            self.shared.bell.notify_all();
        }
        Ok(())
    }

    fn mark_if_idle(&mut self) -> Result<(), Halt> {
        let state = self.shared.state();
        self.stand(&state)?;
        let idle = state.synced == self.tip.frame;
        drop(state);
        if !idle || self.marked {
            return Ok(());
        }
        self.make_room(len64(frame::encoded_len(0, 0)))?;
        self.commit(Content::bare(Kind::SyncMark, 0, &[]))
    }

    /// Makes sure that a frame of `len` bytes, and the segment's end behind it, fit into the segment at hand.
    pub(super) fn make_room(&mut self, len: u64) -> Result<(), Halt> {
        let state = self.shared.state();
        self.stand(&state)?;
        if state.offset + len + self.shared.origin.config.end_bytes() <= state.segment.size {
            return Ok(());
        }
        drop(state);
        self.rotate()
    }

    /// Seals the segment, waits until it is on disk, and goes on in the spare.
    fn rotate(&mut self) -> Result<(), Halt> {
        let shared = Arc::clone(&self.shared);
        // First the room, then the seal: without room the segment stays open and can still be ended cleanly.
        let spare = takeover::take_spare(&shared, &self.shift)?;
        self.checkpoint()?;
        self.seal(0)?;
        let begun = shared.watched(&self.shift.writer_call, || shared.origin.begin(&spare, &self.tip));
        if let Err(error) = begun {
            shared.poison(&self.shift, format!("a segment could not be begun: {error}"));
            return Err(Halt::Poisoned);
        }
        let mut state = shared.state();
        self.stand(&state)?;
        state.segment = spare;
        state.offset = len64(HEADER_BYTES);
        Ok(())
    }

    fn seal(&mut self, flags: u8) -> Result<(), Halt> {
        let root = self.tip.tree.root();
        self.commit(Content::bare(Kind::Seal, flags, &root.0))?;
        self.wait_until_synced()
    }

    pub(super) fn wait_until_synced(&self) -> Result<(), Halt> {
        let mut state = self.shared.state();
        while state.synced < self.tip.frame {
            self.stand(&state)?;
            state.sync_now = true;
            self.shared.bell.notify_all();
            state = self.shared.wait(state, ROOM_POLL);
        }
        self.stand(&state)
    }

    /// All that was queued is written: bring it to disk, say so in a seal, and leave.
    fn close(&mut self) -> Result<(), Halt> {
        self.wait_until_synced()?;
        // A seal whose sync had failed was copied by the takeover: one is enough.
        if !self.shared.state().is_sealed {
            self.checkpoint()?;
            self.seal(FLAG_FINAL)?;
        }
        self.wait_until_published();
        let mut state = self.shared.state();
        self.stand(&state)?;
        state.life = Life::Closed;
        let spare = std::mem::replace(&mut state.spare, Spare::Wanted);
        let (segment, end) = (state.segment.clone(), state.offset);
        drop(state);
        self.shared.bell.notify_all();
        if let Err(error) = segment.file.punch(end, segment.size) {
            tracing::warn!(%error, "the unused room of a segment was not given back");
        }
        if let Spare::Ready(spare) = spare
            && let Err(error) = self.shared.origin.storage.unlink(&spare.path)
        {
            tracing::warn!(%error, "an unused segment stays behind");
        }
        self.shared.unlock();
        self.shared.life.send_replace(Life::Closed);
        Ok(())
    }
}

/// The callers of one frame, by what they wait for.
#[derive(Default)]
struct Waiters {
    process: Vec<Waiter>,
    disk: Vec<Waiter>,
    remote: Vec<Waiter>,
}

/// Without room on disk all wait for the store, and their receipts say so.
fn waiters(batch: Vec<Pending>, first_seq: u64, is_adrift: bool) -> Waiters {
    let mut waiters = Waiters::default();
    for (pending, seq) in batch.into_iter().zip(first_seq..) {
        let Some(answer) = pending.answer else { continue };
        let tier = if is_adrift { Tier::Remote } else { pending.tier };
        let waiting = match tier {
            Tier::Process => &mut waiters.process,
            Tier::Disk => &mut waiters.disk,
            Tier::Remote => &mut waiters.remote,
        };
        waiting.push(Waiter { seq, tier, answer, decision: pending.decision });
    }
    waiters
}

impl Shared {
    /// Lets callers in again; the first record they find before theirs says how many were refused.
    pub(super) fn readmit(&self) {
        let Some(refused) = self.queue.set_room() else { return };
        tracing::info!(refused = refused.count, "the trail has room again");
        match notices::pending(&notices::refused(self.clock.now(), refused)) {
            Ok(pending) => self.queue.push_front(vec![pending]),
            Err(error) => tracing::error!(%error, "the refusals could not be recorded"),
        }
    }

    pub(super) fn unlock(&self) {
        drop(self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
    }

    fn remember(&self, decisions: Vec<(String, String, u64)>) {
        if decisions.is_empty() {
            return;
        }
        let mut index = self.decisions.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (id, caller, seq) in decisions {
            index.insert(id, &caller, seq);
        }
    }
}
