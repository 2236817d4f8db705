//! What all simulated parts share: the clock, the database, the weather between them, and the book that is kept.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    dice::Dice,
    log::{Log, Writes},
};
use crate::{clock::Clock, domain::Row, entities::load::FactKey};

/// S.
pub(super) const STALENESS: Duration = Duration::from_secs(2);

/// A clock that the scheduler moves.
#[derive(Clone, Debug, Default)]
pub(super) struct SimClock(Arc<AtomicU64>);

impl SimClock {
    pub(super) fn pass(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_nanos()).unwrap(), SeqCst);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.0.load(SeqCst))
    }
}

/// What was seen to happen, to know that a run tests anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) allowed: u64,
    /// Allows that rested on nothing but kept facts.
    pub(super) allowed_by_kept: u64,
    /// Slices that were used again whole.
    pub(super) again: u64,
    pub(super) denied: u64,
    pub(super) failed: u64,
    pub(super) withheld: u64,
    pub(super) stale: u64,
    pub(super) commits: u64,
    pub(super) polls: u64,
    pub(super) connects: u64,
    pub(super) lost: u64,
    pub(super) barriers: u64,
    pub(super) given_up: u64,
}

impl Tally {
    pub(super) const fn add(&mut self, other: &Self) {
        self.allowed += other.allowed;
        self.allowed_by_kept += other.allowed_by_kept;
        self.again += other.again;
        self.denied += other.denied;
        self.failed += other.failed;
        self.withheld += other.withheld;
        self.stale += other.stale;
        self.commits += other.commits;
        self.polls += other.polls;
        self.connects += other.connects;
        self.lost += other.lost;
        self.barriers += other.barriers;
        self.given_up += other.given_up;
    }
}

/// What the network and the database do to those who ask.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    pub(super) is_feed_down: bool,
    pub(super) are_loads_down: bool,
    /// Of a hundred answers, those that never come.
    pub(super) feed_losses: u64,
    pub(super) load_losses: u64,
    /// Nobody writes any more.
    pub(super) is_calm: bool,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) dice: Dice,
    pub(super) log: Log,
    pub(super) open: Vec<Writes>,
    pub(super) weather: Weather,
    pub(super) tally: Tally,
    /// Commits that no decision may contradict any more: a barrier that was called after them has returned.
    floor: usize,
    pub(super) wrong: Option<String>,
    trace: Option<Vec<String>>,
    is_gate_open: bool,
    is_at_gate: bool,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) clock: SimClock,
    state: Mutex<State>,
}

impl World {
    pub(super) fn new(seed: u64, is_traced: bool) -> Self {
        let mut dice = Dice::new(seed);
        let weather =
            Weather { feed_losses: dice.of(&[0, 0, 2, 8]), load_losses: dice.of(&[0, 0, 8, 25]), ..Weather::default() };
        let state = State {
            dice,
            log: Log::new(),
            open: Vec::new(),
            weather,
            tally: Tally::default(),
            floor: 0,
            wrong: None,
            trace: is_traced.then(Vec::new),
            is_gate_open: false,
            is_at_gate: false,
        };
        Self { clock: SimClock::default(), state: Mutex::new(state) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A wait for the network or for another thread. It ends when the scheduler says so.
    pub(super) const fn gate(&self) -> Gate<'_> {
        Gate { world: self }
    }

    pub(super) fn open_gate(&self, is_open: bool) {
        self.state().is_gate_open = is_open;
    }

    /// Whether whoever was just polled waits at a gate.
    pub(super) fn has_stopped_at_gate(&self) -> bool {
        let mut state = self.state();
        state.is_gate_open = false;
        std::mem::take(&mut state.is_at_gate)
    }

    pub(super) fn note(&self, what: impl FnOnce() -> String) {
        let mut state = self.state();
        state.note(&self.clock, what);
    }

    pub(super) fn trace(&self) -> Vec<String> {
        self.state().trace.clone().unwrap_or_default()
    }

    /// One fact or two: mostly such as permit, so that allows happen; each write is a change all the same.
    pub(super) fn writes(&self) -> Writes {
        let state = &mut *self.state();
        let count = state.dice.of(&[1, 1, 2]);
        let mut writes: Writes = Vec::new();
        for _ in 0..count {
            let number = state.dice.below(state.log.facts.len());
            let permits = !state.log.permits(number) || state.dice.in_hundred(75);
            if writes.iter().all(|(other, _)| *other != number) {
                writes.push((number, permits));
            }
        }
        writes
    }

    pub(super) fn commit(&self, writes: Writes) {
        let mut state = self.state();
        state.note(&self.clock, || format!("commit {writes:?}"));
        state.tally.commits += 1;
        state.log.commit(writes, self.clock.elapsed());
    }

    /// An allow is released: nothing it rests on was replaced more than S ago.
    pub(super) fn judge_released(&self, used: &[(FactKey, Arc<[Row]>)]) {
        let now = self.clock.elapsed();
        let mut state = self.state();
        state.note(&self.clock, || format!("released an allow by {}", Used(used)));
        let since = now.saturating_sub(STALENESS);
        if let Some((key, rows)) = used.iter().find(|(key, rows)| !state.log.held_since(key, rows, since)) {
            let wrong = format!(
                "stale allow at {now:?}: {} was replaced before {since:?}",
                Used(&[(key.clone(), Arc::clone(rows))])
            );
            state.wrong.get_or_insert(wrong);
        }
    }

    /// The same has left: nothing it rests on was replaced before the call of a barrier that has returned.
    pub(super) fn judge_left(&self, used: &[(FactKey, Arc<[Row]>)]) {
        let mut state = self.state();
        let floor = state.floor;
        if let Some((key, rows)) = used.iter().find(|(key, rows)| !state.log.held_from(key, rows, floor)) {
            let now = self.clock.elapsed();
            let wrong = format!(
                "allow past a barrier at {now:?}: {} was replaced within the first {floor} commits",
                Used(&[(key.clone(), Arc::clone(rows))])
            );
            state.wrong.get_or_insert(wrong);
        }
    }

    pub(super) fn barrier_returned(&self, floor: usize) {
        let mut state = self.state();
        state.note(&self.clock, || format!("barrier returned for the first {floor} commits"));
        state.floor = state.floor.max(floor);
        state.tally.barriers += 1;
    }
}

impl State {
    fn note(&mut self, clock: &SimClock, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>12?}  {}", clock.elapsed(), what()));
        }
    }

    /// Whether an answer on its way to the feed is lost.
    pub(super) const fn loses_feed(&mut self) -> bool {
        self.weather.is_feed_down || self.dice.in_hundred(self.weather.feed_losses)
    }

    pub(super) const fn loses_load(&mut self) -> bool {
        self.weather.are_loads_down || self.dice.in_hundred(self.weather.load_losses)
    }
}

/// Facts as a trace names them: by what their rows tell.
struct Used<'a>(&'a [(FactKey, Arc<[Row]>)]);

impl fmt::Display for Used<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, rows) in self.0 {
            write!(f, "[{} {}:", key.relation.as_deref().unwrap_or("own"), key.id)?;
            rows.iter().try_for_each(|row| write!(f, " {:?}", row.cells))?;
            f.write_str("]")?;
        }
        Ok(())
    }
}

pub(super) struct Gate<'w> {
    world: &'w World,
}

impl Future for Gate<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.world.state();
        if std::mem::take(&mut state.is_gate_open) {
            return Poll::Ready(());
        }
        state.is_at_gate = true;
        Poll::Pending
    }
}
