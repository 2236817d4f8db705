//! After a failed write or sync: a new segment gets every frame that is not known to be on disk, from memory, byte
//! for byte. A sync is never tried again and never read back: after a failed one the kernel may have dropped the
//! pages and would call the next a success.

use std::{sync::Arc, time::Duration};

use super::{
    bytes::len64,
    header::HEADER_BYTES,
    queue::Refusal,
    segment::{BeginError, Segment},
    state::{Shared, Shift, Spare, State},
    storage,
    writer::{Halt, Writer},
};

const SPARE_POLL: Duration = Duration::from_millis(100);

/// Takes the spare segment, waiting for the syncer to make one.
pub(super) fn take_spare(shared: &Shared, shift: &Shift) -> Result<Segment, Halt> {
    let mut state = shared.state();
    loop {
        if !state.is_current(shift) {
            return Err(Halt::Superseded);
        }
        if state.poison.is_some() {
            return Err(Halt::Poisoned);
        }
        match std::mem::replace(&mut state.spare, Spare::Wanted) {
            Spare::Ready(segment) => {
                drop(state);
                shared.bell.notify_all();
                return Ok(segment);
            }
            Spare::Wanted => {}
            Spare::Full(again) => {
                state.spare = Spare::Full(again);
                return Err(Halt::Full);
            }
            Spare::Broken(why, again) => {
                state.spare = Spare::Broken(why.clone(), again);
                drop(state);
                shared.poison(shift, format!("no further segment can be made: {why}"));
                return Err(Halt::Poisoned);
            }
        }
        shared.bell.notify_all();
        state = shared.wait(state, SPARE_POLL);
    }
}

/// The first act of a shift, and what a writer without room does: nothing in a sound trail, else the rescue of what is
/// in memory alone. While that finds no room the store serves, or callers are refused.
pub(super) fn finish_what_was_begun(writer: &mut Writer) -> Result<(), Halt> {
    let (shared, shift) = (Arc::clone(&writer.shared), Arc::clone(&writer.shift));
    let mut refused = false;
    loop {
        let state = shared.state();
        if !state.is_current(&shift) {
            return Err(Halt::Superseded);
        }
        if !state.taking_over {
            break;
        }
        let is_waiting = shared.clock.elapsed() < state.disk_again;
        drop(state);
        let copied = if is_waiting { Err(Halt::Full) } else { copy_into_a_new_segment(&shared, &shift) };
        match copied {
            Ok(()) => {}
            Err(Halt::Full) if shared.state().shipping.stands() => {
                if std::mem::take(&mut refused) {
                    shared.readmit();
                }
                writer.serve_adrift()?;
            }
            Err(Halt::Full) => {
                refused = true;
                if refuse_for_now(&shared) == Rest::Nothing {
                    return Ok(());
                }
            }
            Err(halt) => return Err(halt),
        }
    }
    if refused {
        shared.readmit();
    }
    Ok(())
}

/// What is in memory alone.
#[derive(PartialEq, Eq)]
pub(super) enum Rest {
    /// The segment at hand has all, and kept room for its seal.
    Nothing,
    Frames,
}

/// Full while frames are only in memory: their callers hear that they are refused, the frames stay for later.
fn refuse_for_now(shared: &Shared) -> Rest {
    if shared.queue.is_closed() {
        return end_without_room(shared);
    }
    shared.queue.set_full(shared.clock.now());
    let mut state = shared.state();
    let waiters = state.take_waiters();
    drop(shared.wait(state, SPARE_POLL));
    shared.withhold(waiters, Refusal::Full);
    Rest::Frames
}

/// The trail is closed and there is no room: what the segment at hand has can be sealed, what is in memory cannot.
pub(super) fn end_without_room(shared: &Shared) -> Rest {
    let mut state = shared.state();
    if state.unsynced.is_empty() {
        state.taking_over = false;
        drop(state);
        shared.queue.discard();
        return Rest::Nothing;
    }
    let is_held = state.shipping.holds(state.tip.frame);
    drop(state);
    shared.fail(if is_held {
        "there was no room on disk: the last records are in the store alone"
    } else {
        "there is no room for the frames that could not be brought to disk"
    });
    Rest::Frames
}

/// Copies as many frames as one segment takes, syncs them, and lets their callers go.
fn copy_into_a_new_segment(shared: &Shared, shift: &Shift) -> Result<(), Halt> {
    let spare = take_spare(shared, shift)?;
    let (before, frames, last) = {
        let state = shared.state();
        let mut room = spare.size - len64(HEADER_BYTES) - shared.origin.config.end_bytes();
        let frames: Vec<_> = state
            .unsynced
            .iter()
            .take_while(|unsynced| {
                let len = len64(unsynced.bytes.len());
                let fits = len <= room;
                room = room.saturating_sub(len);
                fits
            })
            .map(|unsynced| (unsynced.frame, Arc::clone(&unsynced.bytes)))
            .collect();
        let before = state.unsynced.front().map_or_else(|| state.tip.clone(), |first| first.before.clone());
        let last = frames.len() == state.unsynced.len();
        (before, frames, last)
    };
    let copied = shared.watched(&shift.writer_call, || -> Result<u64, BeginError> {
        shared.origin.begin(&spare, &before)?;
        let mut offset = len64(HEADER_BYTES);
        for (_, bytes) in &frames {
            storage::write_all(spare.file.as_ref(), bytes, offset)?;
            offset += len64(bytes.len());
        }
        // This shift's syncer does not know the file yet, so no failed sync of it can be lost on another thread.
        spare.file.sync()?;
        Ok(offset)
    });
    let offset = match copied {
        Ok(offset) => offset,
        Err(error) => {
            shared.poison(shift, format!("the new segment failed as well: {error}"));
            return Err(Halt::Poisoned);
        }
    };
    let mut state = shared.state();
    if !state.is_current(shift) {
        return Err(Halt::Superseded);
    }
    let synced = frames.last().map_or(state.synced, |(frame, _)| *frame);
    install(&mut state, spare, offset, synced, last);
    let released = state.advance_synced(synced);
    drop(state);
    shared.bell.notify_all();
    for waiter in released {
        waiter.tell(Ok(()));
    }
    Ok(())
}

fn install(state: &mut State, segment: Segment, offset: u64, synced: u64, last: bool) {
    tracing::info!(segment = segment.number, "the trail goes on in a new segment");
    state.segment = segment;
    state.offset = offset;
    state.written = state.written.max(synced);
    state.waiting_since = None;
    state.taking_over = !last;
}
