//! The state of one source: what its feed has told, and until when its silence may be believed.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::Duration,
};

use tokio::sync::Notify;

use super::bug::{Bug, is_seeded};

/// Stamps of a source. Facts that share one are forgotten together: a load more, never a stale answer.
const STAMPS: usize = 32_768;

const NEVER: u64 = u64::MAX;

/// Names a fact in the feed's words: a query of the mapping, and the key bound to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::entities) struct FactName<'a> {
    pub(in crate::entities) kind: &'a str,
    /// `None`: the entity's own row.
    pub(in crate::entities) relation: Option<&'a str>,
    pub(in crate::entities) id: &'a str,
}

/// What one poll of a feed told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::entities) enum Changed {
    /// Anything may have changed.
    Everything,
    These(Vec<ChangedFact>),
}

/// One fact that changed, or all facts of one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::entities) struct ChangedFact {
    pub(in crate::entities) kind: Box<str>,
    pub(in crate::entities) relation: Option<Box<str>>,
    /// `None`: whatever the key.
    pub(in crate::entities) id: Option<Box<str>>,
}

/// Taken before a fact is read: the tick it is valid by, and the instant it counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::entities) struct Mark {
    pub(in crate::entities) tick: u64,
    /// On the clock's elapsed time.
    pub(in crate::entities) from: Duration,
}

/// Which facts of one source are valid.
///
/// All its memory operations are sequentially consistent: the proof needs the order in which they are written here, and
/// a decision makes a few dozen.
#[derive(Debug)]
pub(in crate::entities) struct Validity {
    tick: AtomicU64,
    /// The tick at which everything known before became invalid.
    epoch: AtomicU64,
    stamps: Box<[AtomicU64]>,
    /// Start of the last finished poll, in nanoseconds of the clock's elapsed time.
    lease: AtomicU64,
    /// Digest of the mapping whose facts the feed was seen to tell of.
    vouched: AtomicU64,
    renewed: Notify,
}

impl Validity {
    pub(in crate::entities) fn new() -> Self {
        Self::with_stamps(STAMPS)
    }

    pub(in crate::entities) fn with_stamps(stamps: usize) -> Self {
        Self {
            tick: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            // Zeros that the system gives take no memory until one is set.
            stamps: bytemuck::zeroed_slice_box(stamps.max(1)),
            lease: AtomicU64::new(NEVER),
            vouched: AtomicU64::new(0),
            renewed: Notify::new(),
        }
    }

    /// Where a fact stands that is about to be read. Before the statement that takes the snapshot, always.
    pub(in crate::entities) fn mark(&self, elapsed: Duration) -> Mark {
        Mark { tick: self.tick.load(SeqCst), from: elapsed }
    }

    /// Whether a fact that was read at `tick` is still what the feed knows.
    pub(in crate::entities) fn is_valid(&self, fact: FactName<'_>, tick: u64) -> bool {
        let is_unstamped = is_seeded(Bug::NoStampCheck)
            || (self.stamp_of(fact.kind, fact.relation, Some(fact.id)) <= tick
                && self.stamp_of(fact.kind, fact.relation, None) <= tick);
        let is_of_this_epoch = is_seeded(Bug::NoEpochCheck) || self.epoch.load(SeqCst) <= tick;
        is_unstamped && is_of_this_epoch
    }

    /// Start of the last finished poll; `None`: the feed knows nothing. Read it before any stamp.
    pub(in crate::entities) fn lease(&self) -> Option<Duration> {
        match self.lease.load(SeqCst) {
            NEVER => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// The lease, if the feed tells of what this mapping reads: another one may read tables that nobody watches.
    pub(in crate::entities) fn lease_for(&self, mapping: u64) -> Option<Duration> {
        self.lease().filter(|_| self.vouched.load(SeqCst) == mapping)
    }

    /// From now on the feed tells of this mapping. Everything read before becomes invalid: what changed unwatched since
    /// then was told to nobody.
    pub(in crate::entities) fn vouch_for(&self, mapping: u64) {
        self.drop_lease();
        // First forgotten, then vouched for: whoever still holds an older lease finds nothing that was read unwatched.
        self.forget();
        self.vouched.store(mapping, SeqCst);
    }

    /// Everything read so far is invalid at once.
    pub(in crate::entities) fn forget(&self) {
        let tick = self.next_tick();
        if is_seeded(Bug::MarkOutsideLook) {
            // Other threads look in between: here they are given the time to.
            std::thread::sleep(Duration::from_millis(2));
        }
        self.epoch.fetch_max(tick, SeqCst);
    }

    /// Takes in what a poll told. The lease is renewed after this, not before.
    pub(in crate::entities) fn apply(&self, changed: &Changed) {
        match changed {
            Changed::Everything => self.forget(),
            Changed::These(facts) if facts.is_empty() => {}
            Changed::These(facts) => {
                let tick = if is_seeded(Bug::StampsWithoutTick) { self.tick.load(SeqCst) } else { self.next_tick() };
                for fact in facts {
                    self.slot(&fact.kind, fact.relation.as_deref(), fact.id.as_deref()).fetch_max(tick, SeqCst);
                }
            }
        }
    }

    /// A poll that was sent at `started` has told everything it knew.
    pub(in crate::entities) fn renew(&self, started: Duration) {
        // INVARIANT(lease): a duration of some 500 years does not fit; it then counts as never.
        self.lease.store(u64::try_from(started.as_nanos()).unwrap_or(NEVER), SeqCst);
        self.renewed.notify_waiters();
    }

    /// The feed's silence means nothing from now on.
    pub(in crate::entities) fn drop_lease(&self) {
        self.lease.store(NEVER, SeqCst);
    }

    /// Whether anything read at `tick` was made invalid as a whole since.
    pub(in crate::entities) fn has_moved_since(&self, tick: u64) -> bool {
        self.epoch.load(SeqCst) > tick
    }

    /// How often anything changed here: a position, where the database has no word for one.
    pub(in crate::entities) fn position(&self) -> u64 {
        self.tick.load(SeqCst)
    }

    /// Waits for a poll that was sent no earlier than `since`.
    pub(in crate::entities) async fn renewed_since(&self, since: Duration) {
        loop {
            let renewed = self.renewed.notified();
            tokio::pin!(renewed);
            renewed.as_mut().enable();
            if self.lease().is_some_and(|lease| lease >= since) {
                return;
            }
            renewed.await;
            if is_seeded(Bug::BarrierTakesPollUnderWay) {
                return;
            }
        }
    }

    fn next_tick(&self) -> u64 {
        self.tick.fetch_add(1, SeqCst) + 1
    }

    fn stamp_of(&self, kind: &str, relation: Option<&str>, id: Option<&str>) -> u64 {
        self.slot(kind, relation, id).load(SeqCst)
    }

    /// The stamp of a fact. Kind, relation and id are hashed as separate parts: no id can be made to look like another.
    fn slot(&self, kind: &str, relation: Option<&str>, id: Option<&str>) -> &AtomicU64 {
        let mut hasher = DefaultHasher::new();
        (kind, relation, id).hash(&mut hasher);
        let stamps = u64::try_from(self.stamps.len()).unwrap_or(u64::MAX);
        let position = usize::try_from(hasher.finish() % stamps).unwrap_or_default();
        // INVARIANT(stamps): there is at least one stamp, and the position is below their number.
        self.stamps.get(position).unwrap_or(&self.epoch)
    }
}
