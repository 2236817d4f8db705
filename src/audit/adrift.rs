//! A writer without room on disk: the store serves, if there is one that answers; else nobody is answered.

use std::sync::Arc;

use super::{
    config::ADRIFT_BYTES_MAX,
    queue::Taken,
    state::Spare,
    takeover,
    writer::{Halt, ROOM_POLL, Writer, cost},
};

impl Writer {
    /// There is no room for another segment: from here on all that comes is in memory alone, until there is.
    pub(super) fn go_without_room(&mut self) -> Result<(), Halt> {
        if !self.shared.state().shipping.is_on {
            return self.wait_for_room();
        }
        self.wait_until_synced()?;
        self.shared.state().taking_over = true;
        takeover::finish_what_was_begun(self)
    }

    /// Serves callers by the store alone: until the disk may be tried again, the store is away too, or memory is full.
    pub(super) fn serve_adrift(&mut self) -> Result<(), Halt> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        self.stand(&state)?;
        if !std::mem::replace(&mut state.is_adrift, true) {
            tracing::error!(dir = %shared.dir().display(), "the trail has no room on disk, every answer waits for the store");
        }
        let held = state.hand_waiters_to_the_store();
        drop(state);
        shared.bell.notify_all();
        for waiter in held {
            waiter.tell(Ok(()));
        }
        let budget = shared.origin.config.frame_bytes_max() - 128;
        let served = loop {
            let state = shared.state();
            if let Err(halt) = self.stand(&state) {
                break Err(halt);
            }
            let may_try = matches!(state.spare, Spare::Ready(_)) && shared.clock.elapsed() >= state.disk_again;
            if may_try || !state.shipping.stands() || state.unsynced_bytes > ADRIFT_BYTES_MAX {
                break Ok(());
            }
            drop(state);
            match shared.queue.take(self.shift.number, Some(ROOM_POLL), budget, cost) {
                Taken::Batch(batch) => {
                    if let Err(halt) = self.append_here(batch) {
                        break Err(halt);
                    }
                }
                Taken::Idle => {}
                Taken::Closed => break self.end_adrift(),
                Taken::Superseded => break Err(Halt::Superseded),
            }
        };
        shared.state().is_adrift = false;
        served
    }

    /// Nothing more will come: what is in memory alone should at least be in the store.
    fn end_adrift(&self) -> Result<(), Halt> {
        let mut state = self.shared.state();
        while state.shipping.stands() && !state.shipping.holds(self.tip.frame) {
            self.stand(&state)?;
            state = self.shared.wait(state, ROOM_POLL);
        }
        let may_try = matches!(state.spare, Spare::Ready(_));
        drop(state);
        if !may_try {
            takeover::end_without_room(&self.shared);
        }
        Ok(())
    }

    /// There is no room: refuse all callers until the syncer has found some, then say in the trail how many.
    fn wait_for_room(&self) -> Result<(), Halt> {
        let shared = &self.shared;
        tracing::error!(dir = %shared.dir().display(), "the trail has no room, answers are refused");
        loop {
            shared.queue.set_full(shared.clock.now());
            let state = shared.state();
            self.stand(&state)?;
            if matches!(state.spare, Spare::Ready(_)) {
                break;
            }
            if shared.queue.is_closed() {
                // The segment at hand has kept room for its seal; there is none for anything else.
                drop(state);
                shared.queue.discard();
                return Ok(());
            }
            drop(shared.wait(state, ROOM_POLL));
        }
        shared.readmit();
        Ok(())
    }
}
