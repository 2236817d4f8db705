//! The shipper thread. It has a connection of its own behind its sink; what it waits for holds up nobody but those who
//! asked for the tier `remote`.

use std::{io, sync::Arc, thread, time::Duration};

use super::{
    Sink, SinkError, frames,
    orphans::{self, Orphan, Step},
    spool::Spool,
    state::Contact,
    sweep::Sweep,
};
use crate::{
    audit::{
        guard::AbortOnPanic,
        queue::Refusal,
        state::{Life, Shared, State},
    },
    domain::{Held, ShippedHeader},
};

/// One call of the sink takes so much.
const BATCH_BYTES: u64 = 1024 * 1024;
/// So many frames behind, the shipper catches up and waits for no more.
const BACKLOG_FRAMES: u64 = 64;
/// An idle shipper asks whether the sink is still there: a caller that needs it should hear at once that it is not.
const PROBE_AFTER: Duration = Duration::from_secs(5);
const WAIT: Duration = Duration::from_millis(200);
/// Between calls that nobody waits for: one costs about as much for a record as for hundreds.
const PACE: Duration = Duration::from_millis(50);
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// At the end the sink gets this long to take what is left.
const DRAIN_MAX: Duration = Duration::from_secs(8);

/// Starts the thread; `open` is called on it.
pub(in crate::audit) fn start(
    shared: &Arc<Shared>,
    open: impl FnOnce() -> Box<dyn Sink> + Send + 'static,
) -> io::Result<()> {
    shared.state().shipping.has_started = true;
    let shared = Arc::clone(shared);
    thread::Builder::new().name("trail-shipper".to_owned()).spawn(move || {
        let _abort = AbortOnPanic;
        let mut shipper = Shipper::new(&shared, open());
        shipper.run();
        shipper.leave();
    })?;
    Ok(())
}

struct Shipper<'a> {
    shared: &'a Shared,
    sink: Box<dyn Sink>,
    name: String,
    spool: Spool,
    /// The sink was asked about this writer.
    is_known: bool,
    header: Option<ShippedHeader>,
    orphans: Option<Vec<Orphan>>,
    sweep: Sweep,
    /// When the sink last answered, on the clock's elapsed time.
    heard_at: Duration,
    /// When the trail was sealed.
    closed_at: Option<Duration>,
}

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    Shipped,
    Idle,
}

impl<'a> Shipper<'a> {
    fn new(shared: &'a Shared, sink: Box<dyn Sink>) -> Self {
        let writer = shared.origin.writer;
        Self {
            shared,
            sink,
            name: writer.to_string(),
            spool: Spool::new(shared.dir(), writer),
            is_known: false,
            header: None,
            orphans: None,
            sweep: Sweep::default(),
            heard_at: shared.clock.elapsed(),
            closed_at: None,
        }
    }

    fn run(&mut self) {
        let mut backoff = BACKOFF_FIRST;
        while !self.is_at_its_end() {
            match self.round() {
                Ok(Round::Shipped) => {
                    backoff = BACKOFF_FIRST;
                    self.let_gather();
                }
                Ok(Round::Idle) => {
                    backoff = BACKOFF_FIRST;
                    let state = self.shared.state();
                    drop(self.shared.wait(state, WAIT));
                }
                Err(why) => {
                    self.tell_away(why);
                    thread::sleep(backoff);
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
    }

    /// Gives frames the time to come together, unless somebody waits for the sink or many are there already.
    fn let_gather(&self) {
        if self.orphans_wait() {
            return;
        }
        let gathers = |state: &mut State| {
            let is_urgent = state.shipping.has_waiters() || state.is_adrift || state.life != Life::Running;
            let behind = state.synced.saturating_sub(state.shipping.held_frame);
            !is_urgent && behind < BACKLOG_FRAMES
        };
        drop(self.shared.bell.wait_timeout_while(self.shared.state(), PACE, gathers));
    }

    fn orphans_wait(&self) -> bool {
        self.orphans.as_ref().is_none_or(|orphans| orphans.iter().any(|orphan| !orphan.is_done))
    }

    /// Nothing is left to ship, or the time for it is over.
    fn is_at_its_end(&mut self) -> bool {
        let state = self.shared.state();
        let life = state.life.clone();
        let own_is_held = state.shipping.is_stopped || state.shipping.held_frame >= state.tip.frame;
        drop(state);
        match life {
            Life::Running => false,
            Life::Fatal(_) => true,
            Life::Closed => {
                let now = self.shared.clock.elapsed();
                let closed_at = *self.closed_at.get_or_insert(now);
                let orphans_are_held = self.orphans.as_ref().is_some_and(|all| all.iter().all(|one| one.is_done));
                (own_is_held && orphans_are_held) || now.saturating_sub(closed_at) > DRAIN_MAX
            }
        }
    }

    /// One batch of this writer's, and one of a dead one's.
    fn round(&mut self) -> Result<Round, String> {
        let own = self.ship_own()?;
        let orphan = self.ship_orphan()?;
        if own == Round::Shipped || orphan == Round::Shipped {
            return Ok(Round::Shipped);
        }
        self.sweep()?;
        if self.shared.clock.elapsed().saturating_sub(self.heard_at) > PROBE_AFTER {
            self.ask_about_own()?;
        }
        Ok(Round::Idle)
    }

    fn ask_about_own(&mut self) -> Result<(), String> {
        let held = match self.sink.held(&self.name) {
            Ok(held) => held,
            Err(SinkError::Away(why)) => return Err(why),
            Err(SinkError::Refused(why)) => {
                self.stop_own(&why);
                return Ok(());
            }
        };
        self.hear();
        self.is_known = true;
        if let Some(held) = held {
            self.take_over(&held);
        } else {
            self.shared.state().shipping.contact = Contact::Stands;
        }
        Ok(())
    }

    fn ship_own(&mut self) -> Result<Round, String> {
        if self.shared.state().shipping.is_stopped {
            return Ok(Round::Idle);
        }
        if !self.is_known {
            self.ask_about_own()?;
            self.header = self.spool.header().map_err(|error| unreadable(&error))?;
        }
        let (next, upto, batch) = {
            let state = self.shared.state();
            let is_waited_for = state.shipping.has_waiters() || state.is_adrift;
            let upto = if is_waited_for { state.tip.frame } else { state.synced };
            (state.shipping.held_frame + 1, upto, state.shipping.next(upto, BATCH_BYTES))
        };
        let batch = match batch {
            Some(batch) => batch
                .into_iter()
                .map(frames::frame)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|damage| format!("a frame in memory is damaged: {damage}"))?,
            None => self.spool.read(next, upto, BATCH_BYTES).map_err(|error| unreadable(&error))?,
        };
        if batch.is_empty() {
            return Ok(Round::Idle);
        }
        match self.sink.append(&self.name, self.header.as_ref().filter(|_| next == 1), &batch) {
            Ok(held) => {
                self.hear();
                self.take_over(&held);
                Ok(Round::Shipped)
            }
            Err(SinkError::Away(why)) => Err(why),
            Err(SinkError::Refused(why)) => {
                self.stop_own(&why);
                Ok(Round::Idle)
            }
        }
    }

    /// The sink holds this writer up to there: whoever waited for that may go.
    fn take_over(&mut self, held: &Held) {
        let mut state = self.shared.state();
        let released = state.shipping.advance(held.frame, held.seq);
        if let Some(alarm) = &held.alarm {
            state.shipping.alarm(format!("writer {}: {alarm}", self.name));
        }
        drop(state);
        self.sweep.noted(self.shared.origin.writer, held);
        self.shared.bell.notify_all();
        for waiter in released {
            waiter.tell(Ok(()));
        }
    }

    /// The folder keeps all; nobody can be promised the store any more.
    fn stop_own(&self, why: &str) {
        let alarm = format!("writer {}: its shipping stopped: {why}", self.name);
        tracing::error!(alarm, "the store contradicts the trail");
        let mut state = self.shared.state();
        state.shipping.is_stopped = true;
        state.shipping.alarm(alarm);
        let waiters = state.shipping.take_waiters();
        drop(state);
        self.shared.bell.notify_all();
        self.shared.withhold(waiters, Refusal::Away);
    }

    fn ship_orphan(&mut self) -> Result<Round, String> {
        if self.orphans.is_none() {
            let found = orphans::find(self.shared.dir(), self.shared.origin.writer);
            self.orphans = Some(found.map_err(|error| unreadable(&error))?);
        }
        let Some(orphans) = &mut self.orphans else { return Ok(Round::Idle) };
        let Some(orphan) = orphans.iter_mut().find(|orphan| !orphan.is_done) else { return Ok(Round::Idle) };
        let step = orphan.ship(self.sink.as_mut(), BATCH_BYTES);
        let writer = orphan.writer;
        let alarm = match &step {
            Ok(Step::Done) => orphan.rest().map(|records| format!("its last {records} records cannot be read")),
            Ok(Step::Shipped { held, .. }) => held.alarm.clone(),
            Err(SinkError::Refused(why)) => Some(format!("its shipping stopped: {why}")),
            Err(SinkError::Away(_)) => None,
        };
        if let Some(held) = &orphan.held {
            self.sweep.noted(writer, held);
        }
        let lag = orphans.iter().map(Orphan::lag).sum();
        let mut state = self.shared.state();
        state.shipping.orphan_lag = lag;
        if let Ok(Step::Shipped { records, .. }) = &step {
            state.shipping.shipped += records;
        }
        if let Some(alarm) = alarm {
            tracing::error!(%writer, alarm, "the store contradicts what an earlier writer left");
            state.shipping.alarm(format!("writer {writer}: {alarm}"));
        }
        drop(state);
        match step {
            Ok(Step::Shipped { .. }) => {
                self.hear();
                Ok(Round::Shipped)
            }
            Ok(Step::Done) | Err(SinkError::Refused(_)) => Ok(Round::Shipped),
            Err(SinkError::Away(why)) => Err(why),
        }
    }

    fn sweep(&mut self) -> Result<(), String> {
        let state = self.shared.state();
        let is_running = state.life == Life::Running;
        drop(state);
        if !is_running {
            return Ok(());
        }
        self.sweep.run(self.shared).map_err(|error| unreadable(&error))
    }

    fn hear(&mut self) {
        self.heard_at = self.shared.clock.elapsed();
    }

    fn tell_away(&self, why: String) {
        let mut state = self.shared.state();
        if state.shipping.contact == Contact::Stands || state.shipping.contact == Contact::Unknown {
            tracing::warn!(why, "the trail is not shipped for now; the folder keeps all");
        }
        state.shipping.contact = Contact::Away(why);
        let waiters = state.shipping.take_waiters();
        drop(state);
        self.shared.bell.notify_all();
        self.shared.withhold(waiters, Refusal::Away);
    }

    /// Says how many records stay behind.
    fn leave(&self) {
        let state = self.shared.state();
        let unshipped = state.tip.seq.saturating_sub(state.shipping.held_seq) + state.shipping.orphan_lag;
        drop(state);
        self.shared.unshipped.send_replace(Some(unshipped));
    }
}

fn unreadable(error: &io::Error) -> String {
    format!("the folder of the trail cannot be read: {error}")
}
