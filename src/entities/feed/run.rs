//! The loop of a feed. The order of its steps is the proof: see `docs/freshness.md`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{Connect, Feed, FeedError, Polled, bracket::Bracket};
use crate::{
    clock::Clock,
    domain::Skew,
    entities::fresh::{Bug, Validity, is_seeded},
};

/// How often a feed is asked whether it is whole.
const INSPECT_EVERY: Duration = Duration::from_secs(60);

/// A wall clock that moved by more than this against the boot clock was set.
const STEP_MAX: SignedDuration = SignedDuration::from_secs(1);

/// What a feed is at, for probes, metrics and answers.
#[derive(Debug, Default)]
pub(in crate::entities) struct FeedState(Mutex<Seen>);

#[derive(Clone, Debug, Default)]
pub(in crate::entities) struct Seen {
    /// Why there is no lease; `None` while polls succeed.
    pub(in crate::entities) trouble: Option<FeedError>,
    /// The position of the last poll.
    pub(in crate::entities) position: Option<Arc<str>>,
    /// Start of the last poll that ended well, on the clock's elapsed time.
    pub(in crate::entities) heard: Option<Duration>,
    /// By how much the database's clock is ahead, in seconds.
    pub(in crate::entities) skew_seconds: Option<f64>,
    /// Where the database's clock was found last; `None` where ours tells nothing.
    pub(in crate::entities) bracket: Option<Bracket>,
}

impl FeedState {
    pub(in crate::entities) fn seen(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How far the database's clock may be from `now`, which ours shows at `elapsed`.
    pub(in crate::entities) fn skew(&self, now: Timestamp, elapsed: Duration) -> Skew {
        let bracket = self.0.lock().unwrap_or_else(PoisonError::into_inner).bracket;
        bracket.map(|bracket| bracket.skew(now, elapsed)).unwrap_or_default()
    }

    fn polled(&self, position: String, heard: Duration) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.trouble = None;
        seen.heard = Some(heard);
        if seen.position.as_deref() != Some(&*position) {
            seen.position = Some(position.into());
        }
    }

    /// The database's clock showed this between two instants. A clock of ours that stands still or is moved by hand, the
    /// demo's, tells nothing of it.
    fn shown(&self, server: Option<Timestamp>, sent: Duration, received: Duration, clock: &dyn Clock) {
        let bracket = server.filter(|_| clock.is_wall()).and_then(|server| Bracket::of(server, sent, received));
        let seconds = bracket.map(|bracket| bracket.seconds(clock.now(), clock.elapsed()));
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.bracket, seen.skew_seconds) = (bracket, seconds);
    }

    fn failed(&self, error: FeedError) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).trouble = Some(error);
    }
}

/// Follows the feed for good: ends only by being dropped.
pub(in crate::entities) async fn run<C: Connect>(
    connect: &mut C,
    validity: &Validity,
    state: &FeedState,
    clock: &dyn Clock,
    on_lag: &(dyn Fn(Duration) + Send + Sync),
) {
    let mut attempts = 0_u32;
    loop {
        validity.drop_lease();
        let sent = clock.elapsed();
        let error = match connect.connect().await {
            Ok(mut feed) => {
                // A feed that is not whole comes to no poll, and windows are judged all the same.
                state.shown(feed.server_time(), sent, clock.elapsed(), clock);
                follow(&mut feed, validity, state, clock, on_lag, &mut attempts).await
            }
            Err(error) => error,
        };
        validity.drop_lease();
        state.failed(error);
        attempts = attempts.saturating_add(1);
        connect.pause(attempts).await;
    }
}

/// Follows one connection until it is of no more use.
async fn follow<F: Feed>(
    feed: &mut F,
    validity: &Validity,
    state: &FeedState,
    clock: &dyn Clock,
    on_lag: &(dyn Fn(Duration) + Send + Sync),
    attempts: &mut u32,
) -> FeedError {
    let mut inspected = clock.elapsed();
    let mapping = match feed.inspect().await {
        Ok(mapping) => mapping,
        Err(error) => return error,
    };
    if is_seeded(Bug::EpochBeforeCursor) {
        validity.vouch_for(mapping);
    }
    // First the position, then everything known becomes invalid: a fact that is read after this has a snapshot younger
    // than the position, so any change it does not see is told by a later poll. The other way round, one slips between.
    if let Err(error) = feed.start().await {
        return error;
    }
    if !is_seeded(Bug::EpochBeforeCursor) {
        validity.vouch_for(mapping);
    }
    let mut wall = Wall::new(clock);
    loop {
        if wall.has_stepped(clock) {
            tracing::warn!("the wall clock was set: nothing kept is believed until the next poll");
            validity.drop_lease();
        }
        if clock.elapsed().saturating_sub(inspected) >= INSPECT_EVERY {
            inspected = clock.elapsed();
            match feed.inspect().await {
                Ok(inspected) if inspected == mapping => {}
                Ok(_other) => return FeedError::Moved { what: "the mapping has changed" },
                Err(error) => return error,
            }
        }
        // The start of the poll: what was committed before it, this poll or an earlier one has told.
        let started = clock.elapsed();
        let polled = match feed.poll().await {
            Ok(polled) => polled,
            Err(error) => return error,
        };
        if is_seeded(Bug::LeaseBeforeStamps) {
            validity.renew(started);
            // Other threads look in between; on one thread they must be let.
            tokio::task::yield_now().await;
        }
        take_in(polled, started, validity, state, clock, on_lag);
        *attempts = 0;
        feed.wait().await;
    }
}

fn take_in(
    polled: Polled,
    started: Duration,
    validity: &Validity,
    state: &FeedState,
    clock: &dyn Clock,
    on_lag: &(dyn Fn(Duration) + Send + Sync),
) {
    let received = clock.elapsed();
    let lease = if is_seeded(Bug::LeaseIsEndOfPoll) { clock.elapsed() } else { started };
    validity.apply(&polled.changed);
    state.shown(polled.server_time, started, received, clock);
    state.polled(polled.position, started);
    validity.renew(lease);
    if let Some(lag) = polled.lag {
        on_lag(lag);
    }
}

/// Notices a wall clock that was set: windows are judged by it, so nothing kept is believed until the next poll.
struct Wall {
    ahead: Option<SignedDuration>,
}

impl Wall {
    fn new(clock: &dyn Clock) -> Self {
        Self { ahead: Self::ahead(clock) }
    }

    /// By how much the wall clock is ahead of the one that only counts.
    fn ahead(clock: &dyn Clock) -> Option<SignedDuration> {
        let elapsed = SignedDuration::try_from(clock.elapsed()).ok()?;
        clock.is_wall().then(|| clock.now().as_duration().saturating_sub(elapsed))
    }

    fn has_stepped(&mut self, clock: &dyn Clock) -> bool {
        let now = Self::ahead(clock);
        let step = now.zip(self.ahead).map(|(now, before)| now.saturating_sub(before).abs());
        self.ahead = now;
        step.is_some_and(|step| step > STEP_MAX)
    }
}
