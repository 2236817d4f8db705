//! What the threads of a trail share: where the trail stands, and what is not on disk yet.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{oneshot, watch};

use super::{
    decisions::DecisionIndex,
    lock::FolderLock,
    merkle::{Frontier, Hash},
    notices,
    queue::{Answer, Queue, Refusal},
    segment::{Origin, Segment},
    ship::Shipping,
    signing::Signing,
};
use crate::{clock::Clock, domain::Tier};

/// Where the trail ends: after the last frame composed, written or not.
#[derive(Clone, Debug)]
pub(super) struct Tip {
    pub(super) frame: u64,
    pub(super) seq: u64,
    pub(super) chain: Hash,
    pub(super) tree: Frontier,
}

impl Tip {
    /// Before a writer's first frame.
    pub(super) fn at_birth(chain: Hash) -> Self {
        Self { frame: 0, seq: 0, chain, tree: Frontier::default() }
    }
}

/// A caller waiting for its frame.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) seq: u64,
    /// What its receipt will say.
    pub(super) tier: Tier,
    pub(super) answer: oneshot::Sender<Answer>,
    /// Of a decision: its id and who asked for it.
    pub(super) decision: Option<(String, String)>,
}

impl Waiter {
    pub(super) fn tell(self, answer: Result<(), Refusal>) {
        // A caller that went away needs no answer: its record stands all the same.
        let _caller_left = self.answer.send(answer.map(|()| (self.seq, self.tier))).is_err();
    }
}

/// A frame that is not known to be on disk. Its bytes stay here until it is, so that another segment can take them.
#[derive(Debug)]
pub(super) struct Unsynced {
    pub(super) before: Tip,
    pub(super) frame: u64,
    pub(super) last_seq: u64,
    pub(super) bytes: Arc<Vec<u8>>,
    pub(super) process: Vec<Waiter>,
    pub(super) disk: Vec<Waiter>,
}

/// The segment that is ready to be the next.
#[derive(Debug)]
pub(super) enum Spare {
    /// Being made, or to be made.
    Wanted,
    Ready(Segment),
    /// No room for one; tried again at this elapsed time.
    Full(Duration),
    Broken(String, Duration),
}

/// How the trail is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Running,
    /// Sealed and left.
    Closed,
    Fatal(String),
}

/// A pair of threads at work, writer and syncer. When one fails or hangs, another shift takes over.
#[derive(Debug)]
pub(super) struct Shift {
    pub(super) number: u64,
    /// When the call that the writer and the syncer are in began, in ms of elapsed time plus one; 0 between calls.
    pub(super) writer_call: AtomicU64,
    pub(super) syncer_call: AtomicU64,
}

impl Shift {
    pub(super) fn new(number: u64) -> Arc<Self> {
        Arc::new(Self { number, writer_call: AtomicU64::new(0), syncer_call: AtomicU64::new(0) })
    }
}

/// Everything that moves.
#[derive(Debug)]
pub(super) struct State {
    pub(super) life: Life,
    pub(super) shift: Arc<Shift>,
    /// Why the shift cannot go on.
    pub(super) poison: Option<String>,
    /// The shift still copies what the one before could not bring to disk.
    pub(super) taking_over: bool,
    pub(super) tip: Tip,
    pub(super) segment: Segment,
    /// Where the next frame goes.
    pub(super) offset: u64,
    pub(super) spare: Spare,
    pub(super) next_number: u32,
    pub(super) unsynced: VecDeque<Unsynced>,
    pub(super) unsynced_bytes: u64,
    pub(super) written: u64,
    pub(super) synced: u64,
    pub(super) synced_seq: u64,
    /// When the oldest frame that waits for a sync was written.
    pub(super) waiting_since: Option<Duration>,
    /// The writer asks for a sync now: it rotates or closes.
    pub(super) sync_now: bool,
    pub(super) last_is_mark: bool,
    /// The final seal is composed: nothing may follow it.
    pub(super) is_sealed: bool,
    pub(super) signing: Signing,
    /// No checkpoint is on its way out, and none will be.
    pub(super) publisher_left: bool,
    pub(super) shipping: Shipping,
    /// There is no room on disk, and every answer waits for the store instead.
    pub(super) is_adrift: bool,
    /// A disk that failed twice is not tried again before this.
    pub(super) disk_again: Duration,
}

impl State {
    /// The state of a writer whose first segment has its header.
    pub(super) fn at_birth(segment: Segment, chain: Hash, signing: Signing) -> Self {
        Self {
            life: Life::Running,
            shift: Shift::new(1),
            poison: None,
            taking_over: false,
            tip: Tip::at_birth(chain),
            next_number: segment.number + 1,
            segment,
            offset: super::bytes::len64(super::header::HEADER_BYTES),
            spare: Spare::Wanted,
            unsynced: VecDeque::new(),
            unsynced_bytes: 0,
            written: 0,
            synced: 0,
            synced_seq: 0,
            waiting_since: None,
            sync_now: false,
            last_is_mark: true,
            is_sealed: false,
            signing,
            publisher_left: true,
            shipping: Shipping::default(),
            is_adrift: false,
            disk_again: Duration::ZERO,
        }
    }

    pub(super) fn is_current(&self, shift: &Shift) -> bool {
        self.shift.number == shift.number && self.life == Life::Running
    }

    /// Notes that all frames up to `frame` are on disk and returns who waited for that.
    pub(super) fn advance_synced(&mut self, frame: u64) -> Vec<Waiter> {
        let mut released = Vec::new();
        while self.unsynced.front().is_some_and(|unsynced| unsynced.frame <= frame) {
            let Some(done) = self.unsynced.pop_front() else { break };
            self.unsynced_bytes = self.unsynced_bytes.saturating_sub(super::bytes::len64(done.bytes.len()));
            self.synced = done.frame;
            self.synced_seq = done.last_seq;
            released.extend(done.process);
            released.extend(done.disk);
        }
        self.signing.synced(self.synced);
        self.shipping.synced(self.synced);
        released
    }

    /// Callers whose frames are in memory alone wait for the store; returns those whose frames it holds already.
    pub(super) fn hand_waiters_to_the_store(&mut self) -> Vec<Waiter> {
        let mut held = Vec::new();
        for unsynced in &mut self.unsynced {
            let waiters = unsynced.process.drain(..).chain(unsynced.disk.drain(..));
            let waiters = waiters.map(|waiter| Waiter { tier: Tier::Remote, ..waiter }).collect();
            held.extend(self.shipping.wait_instead(unsynced.frame, waiters));
        }
        held
    }

    /// All that wait, for a frame that will not come to disk now.
    pub(super) fn take_waiters(&mut self) -> Vec<Waiter> {
        self.unsynced
            .iter_mut()
            .flat_map(|unsynced| unsynced.process.drain(..).chain(unsynced.disk.drain(..)))
            .chain(self.shipping.take_waiters())
            .collect()
    }
}

/// What a trail and its threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) origin: Origin,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) queue: Queue,
    pub(super) state: Mutex<State>,
    /// Rung at every change of the state that another thread may wait for.
    pub(super) bell: Condvar,
    pub(super) life: watch::Sender<Life>,
    /// How many records are not held by the store, once the shipper left.
    pub(super) unshipped: watch::Sender<Option<u64>>,
    pub(super) decisions: Mutex<DecisionIndex>,
    /// Let go of at the seal; kept after a fatal end, since a thread may still hang in a write.
    pub(super) lock: Mutex<Option<FolderLock>>,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, State>, at_most: Duration) -> MutexGuard<'a, State> {
        self.bell.wait_timeout(state, at_most).unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn dir(&self) -> &Path {
        &self.origin.config.dir
    }

    /// Runs one call to the storage under the watch of the guard.
    pub(super) fn watched<T>(&self, call: &AtomicU64, work: impl FnOnce() -> T) -> T {
        call.store(self.elapsed_ms() + 1, Ordering::Release);
        let done = work();
        call.store(0, Ordering::Release);
        done
    }

    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    /// Says that the shift's segment can no longer be trusted. The guard does the rest.
    pub(super) fn poison(&self, shift: &Shift, why: String) {
        let mut state = self.state();
        if state.is_current(shift) && state.poison.is_none() {
            tracing::error!(why, "the segment of the trail can no longer be trusted");
            state.poison = Some(why);
        }
        drop(state);
        self.bell.notify_all();
    }

    /// Refuses callers whose records are in a frame already: the records stand, or will, and their answers do not leave. Of
    /// each decision among them the trail says so, where it can take another record: it waits for none of its own.
    pub(super) fn withhold(&self, waiters: Vec<Waiter>, refusal: Refusal) {
        let mut left_out = 0_usize;
        for waiter in &waiters {
            let Some((id, caller)) = &waiter.decision else { continue };
            let record = notices::withheld(self.clock.now(), (id, caller), waiter.seq, refusal.as_str());
            let is_queued = notices::pending(&record).is_ok_and(|pending| self.queue.push_own(pending));
            left_out += usize::from(!is_queued);
        }
        if left_out > 0 {
            tracing::error!(decisions = left_out, "the trail cannot take the records of answers that were withheld");
        }
        for waiter in waiters {
            waiter.tell(Err(refusal));
        }
    }

    /// Ends the trail: every waiter and every later caller hears it.
    pub(super) fn fail(&self, why: &str) {
        let mut state = self.state();
        if state.life != Life::Running {
            return;
        }
        tracing::error!(why, "the trail stopped for good");
        state.life = Life::Fatal(why.to_owned());
        state.signing.end();
        let waiters = state.take_waiters();
        drop(state);
        self.bell.notify_all();
        self.queue.fail();
        for waiter in waiters {
            waiter.tell(Err(Refusal::Fatal));
        }
        self.life.send_replace(Life::Fatal(why.to_owned()));
    }
}
