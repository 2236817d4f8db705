//! The syncer thread: brings to disk what the writer wrote, and keeps one segment ready ahead of need.

use std::{
    sync::{Arc, MutexGuard},
    time::Duration,
};

use super::{
    segment::Segment,
    state::{Shared, Shift, Spare, State},
    storage,
};

/// How soon a full or broken disk is asked again for a segment.
const SPARE_AGAIN: Duration = Duration::from_millis(500);
const IDLE_POLL: Duration = Duration::from_secs(1);

enum Job {
    Sync { upto: u64, began: Duration },
    MakeSpare { number: u32 },
}

/// The thread's life.
pub(super) fn run(shared: &Arc<Shared>, shift: &Arc<Shift>) {
    while let Some((job, segment)) = next_job(shared, shift) {
        match job {
            Job::Sync { upto, began } => {
                let result = shared.watched(&shift.syncer_call, || segment.file.sync());
                if let Err(error) = result {
                    shared.poison(shift, format!("a sync failed: {error}"));
                    return;
                }
                publish(shared, shift, upto, began);
            }
            Job::MakeSpare { number } => make_spare(shared, shift, number),
        }
    }
}

fn next_job(shared: &Shared, shift: &Shift) -> Option<(Job, Segment)> {
    let mut state = shared.state();
    loop {
        if !state.is_current(shift) || state.poison.is_some() {
            return None;
        }
        let now = shared.clock.elapsed();
        let due = state.waiting_since.map(|since| since + shared.origin.config.sync_after);
        if state.written > state.synced && !state.taking_over {
            let waited_for =
                state.unsynced.iter().any(|unsynced| unsynced.frame <= state.written && !unsynced.disk.is_empty());
            if waited_for || state.sync_now || due.is_some_and(|due| due <= now) {
                state.sync_now = false;
                return Some((Job::Sync { upto: state.written, began: now }, state.segment.clone()));
            }
        }
        let spare_due = match &state.spare {
            Spare::Ready(_) => None,
            Spare::Wanted => Some(now),
            Spare::Full(again) | Spare::Broken(_, again) => Some(*again),
        };
        let spare_due = spare_due.map(|at| at.max(state.disk_again));
        if spare_due.is_some_and(|at| at <= now) {
            let number = state.next_number;
            return Some((Job::MakeSpare { number }, state.segment.clone()));
        }
        state = rest(shared, state, [due, spare_due].into_iter().flatten().min().map(|at| at.saturating_sub(now)));
    }
}

fn rest<'a>(shared: &'a Shared, state: MutexGuard<'a, State>, due_in: Option<Duration>) -> MutexGuard<'a, State> {
    // A sync that is due but has to wait for a takeover must not turn this into a spin.
    let at_most = due_in.map_or(IDLE_POLL, |due_in| due_in.clamp(Duration::from_millis(1), IDLE_POLL));
    shared.wait(state, at_most)
}

/// Tells the writer and every caller whose frame is on disk now.
fn publish(shared: &Shared, shift: &Shift, upto: u64, began: Duration) {
    let mut state = shared.state();
    if !state.is_current(shift) || state.poison.is_some() {
        return;
    }
    let released = state.advance_synced(upto);
    // What was written since waits no longer than since this sync began.
    state.waiting_since = (state.written > state.synced).then_some(began);
    drop(state);
    shared.bell.notify_all();
    for waiter in released {
        waiter.tell(Ok(()));
    }
}

fn make_spare(shared: &Shared, shift: &Shift, number: u32) {
    let made = shared.watched(&shift.syncer_call, || shared.origin.create(number));
    let mut state = shared.state();
    if !state.is_current(shift) {
        drop(state);
        if let Ok(segment) = made
            && let Err(error) = shared.origin.storage.unlink(&segment.path)
        {
            tracing::warn!(%error, "an unused segment stays behind");
        }
        return;
    }
    let again = shared.clock.elapsed() + SPARE_AGAIN;
    state.spare = match made {
        Ok(segment) => {
            state.next_number = number + 1;
            Spare::Ready(segment)
        }
        Err(error) if storage::is_full(&error) => Spare::Full(again),
        Err(error) => {
            // The name may be taken by a spare that a hanging thread made after all.
            state.next_number = number + 1;
            Spare::Broken(error.to_string(), again)
        }
    };
    drop(state);
    shared.bell.notify_all();
}
