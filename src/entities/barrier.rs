//! A revocation committed before the call can allow nothing here once it returns.

use std::time::Duration;

use super::{
    facts::Facts,
    fresh::{Bug, InFlight, is_seeded},
    source::{Origin, Way},
};
use crate::domain::mapping::Source;

/// How a source got past a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// Each decision looks at the file itself.
    EachDecision,
    /// The feed was polled since the call.
    Polled,
    /// Nothing kept is used here: there is no feed that vouches for it.
    NothingKept,
}

impl Passed {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EachDecision => "each_decision",
            Self::Polled => "polled",
            Self::NothingKept => "nothing_kept",
        }
    }
}

/// Why it cannot be said that a revocation is in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BarrierError {
    #[error("the change feed of source `{}` brought nothing within {waited_ms} ms: the database may be away", .database.as_str())]
    Feed { database: Source, waited_ms: u128 },
    #[error("decisions that began before the call did not end within {waited_ms} ms")]
    Decisions { waited_ms: u128 },
}

impl Facts {
    /// Waits until every source's feed was polled after this call, then for every decision that had begun by then.
    ///
    /// # Errors
    ///
    /// [`BarrierError`] after S and a second: nothing can be said.
    pub async fn barrier(&self) -> Result<Vec<(Source, Passed)>, BarrierError> {
        let called = self.clock().elapsed();
        let limit = self.staleness() + Duration::from_secs(1);
        let mut passed = Vec::new();
        for origin in [Source::App, Source::Store].into_iter().filter_map(|source| self.origin(source)) {
            let left = (called + limit).saturating_sub(self.clock().elapsed());
            let error = || BarrierError::Feed { database: origin.source, waited_ms: limit.as_millis() };
            let how = tokio::time::timeout(left, pass(origin, called)).await.map_err(|_elapsed| error())?;
            passed.push((origin.source, how));
        }
        let left = (called + limit).saturating_sub(self.clock().elapsed());
        let error = |_elapsed| BarrierError::Decisions { waited_ms: limit.as_millis() };
        tokio::time::timeout(left, grace(self.in_flight())).await.map_err(error)?;
        Ok(passed)
    }
}

/// For decisions that had begun before the feed told of the revocation.
pub(super) async fn grace(in_flight: &InFlight) {
    if !is_seeded(Bug::BarrierWithoutGrace) {
        in_flight.drained().await;
    }
}

async fn pass(origin: &Origin, called: Duration) -> Passed {
    match &origin.way {
        Way::Sqlite { .. } => Passed::EachDecision,
        // Without a lease nothing kept is used. Should one come meanwhile, everything read before this is invalid.
        Way::Postgres { .. } if origin.validity.lease().is_none() => {
            origin.validity.forget();
            Passed::NothingKept
        }
        Way::Postgres { watching, .. } => {
            watching.poke();
            origin.validity.renewed_since(called).await;
            Passed::Polled
        }
    }
}
