//! Where the database's clock stands, as far as one poll can tell.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::Skew;

/// The database says microseconds; what it says may be rounded either way.
const ROUNDED: SignedDuration = SignedDuration::from_micros(2);

/// The database's clock less the one that only counts: between these two.
///
/// Against the counting clock and not against ours, so that a wall clock that is set here moves no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::entities) struct Bracket {
    low: SignedDuration,
    high: SignedDuration,
}

impl Bracket {
    /// The database showed `server` at some instant between `sent` and `received`, on the clock's elapsed time.
    pub(super) fn of(server: Timestamp, sent: Duration, received: Duration) -> Option<Self> {
        let server = server.as_duration();
        Some(Self {
            low: server.checked_sub(signed(received)?)?.checked_sub(ROUNDED)?,
            high: server.checked_sub(signed(sent)?)?.checked_add(ROUNDED)?,
        })
    }

    /// By how many seconds the database's clock is ahead of ours, most likely.
    pub(super) fn seconds(self, now: Timestamp, elapsed: Duration) -> f64 {
        let middle = (self.low.as_secs_f64() + self.high.as_secs_f64()) / 2.0;
        middle - (now.as_duration().as_secs_f64() - elapsed.as_secs_f64())
    }

    /// How far the database's clock may be from `now`, which ours shows at `elapsed`.
    pub(in crate::entities) fn skew(self, now: Timestamp, elapsed: Duration) -> Skew {
        // INVARIANT(bracket): elapsed time fits for some 300 billion years.
        let elapsed = signed(elapsed).unwrap_or(SignedDuration::MAX);
        let ours = now.as_duration().saturating_sub(elapsed);
        Skew {
            behind: ours.saturating_sub(self.low).max(SignedDuration::ZERO),
            ahead: self.high.saturating_sub(ours).max(SignedDuration::ZERO),
        }
    }
}

fn signed(duration: Duration) -> Option<SignedDuration> {
    SignedDuration::try_from(duration).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: i64 = 1_773_154_800;

    proptest! {
        /// Whatever the clocks show and however long the poll took: at every later instant the database's clock is within.
        #[test]
        fn what_the_database_shows_later_is_within(
            sent in 0..1_000_000_000_u64,
            took in 0..500_000_000_u64,
            read in 0.0..=1.0_f64,
            theirs in -20_000_000_000..20_000_000_000_i64,
            ours in -20_000_000_000..20_000_000_000_i64,
            later in 0..60_000_000_000_u64,
        ) {
            let show = |offset: i64, elapsed: Duration| {
                Timestamp::from_second(START).unwrap() + SignedDuration::from_nanos(offset) + SignedDuration::try_from(elapsed).unwrap()
            };
            let sent = Duration::from_nanos(sent);
            let received = sent + Duration::from_nanos(took);
            let at = sent + Duration::from_nanos(took).mul_f64(read);
            let server = Timestamp::from_microsecond(show(theirs, at).as_microsecond()).unwrap();
            let bracket = Bracket::of(server, sent, received).unwrap();
            // Ours is set in between: only what it shows now counts.
            let elapsed = received + Duration::from_nanos(later);
            let now = show(ours, elapsed);
            let (earliest, latest) = bracket.skew(now, elapsed).around(now);
            let theirs = show(theirs, elapsed);
            prop_assert!(earliest <= theirs && theirs <= latest, "{earliest} {theirs} {latest}");
            prop_assert!(earliest <= now && now <= latest);
            let told = bracket.seconds(now, elapsed) - theirs.duration_since(now).as_secs_f64();
            prop_assert!(told.abs() <= 0.251, "half a poll at most: {told}");
            let width = latest.duration_since(earliest);
            let apart = theirs.duration_since(now).abs() + SignedDuration::try_from(received - sent).unwrap();
            prop_assert!(width <= apart + ROUNDED * 4, "no wider than it must be: {width} for {apart}");
        }
    }
}
