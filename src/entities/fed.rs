//! Facts of a source that has a change feed: kept ones where the feed vouches for them, the others loaded, each once
//! however many ask.
//!
//! Knows no database: [`Departure`] makes the loads, so the simulator drives this very code.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    error::{Cause, FactsError},
    fresh::{Bug, Mark, Pin, is_seeded},
    hot::HotFact,
    keep::{self, Ageing, Boarded, Kept, Lane, Room},
    load::{FactKey, Want, lanes},
};
use crate::domain::Row;

/// Starts loads, and lets them run to their end whoever goes on waiting.
pub(super) trait Departure: Send + Sync + fmt::Debug {
    fn depart(&self, lane: Lane);
}

/// Whether kept facts may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// As far as the feed's lease reaches.
    Feed,
    /// Nothing is believed but what is read now.
    LoadsAlone,
}

/// One source with a feed.
#[derive(Debug)]
pub(super) struct Fed {
    pub(super) room: Room,
    pub(super) departure: Arc<dyn Departure>,
    /// S: what an allow may rest on when it leaves.
    pub(super) staleness: Duration,
}

/// One question's view of the source: its lease is read once, before any fact.
#[derive(Debug)]
pub(super) struct Visit<'f> {
    fed: &'f Fed,
    mapping: u64,
    started: Duration,
    /// `None`: nothing kept may be used.
    lease: Option<Duration>,
}

/// A fact with what it rests on.
#[derive(Debug)]
pub(super) struct Fact {
    pub(super) pin: Pin,
    pub(super) rows: Arc<[Row]>,
    /// What it was read at, by which it is kept.
    pub(super) mark: Mark,
    /// The instant that it is known to be of, at the latest.
    pub(super) from: Duration,
    pub(super) is_kept: bool,
}

impl Fed {
    pub(super) fn visit(&self, mapping: u64, trust: Trust) -> Visit<'_> {
        let started = self.room.clock.elapsed();
        let lease = match trust {
            // INVARIANT(lease): read before any stamp is; a younger one could vouch for a stamp that came after it.
            Trust::Feed => {
                self.room.validity.lease_for(mapping).filter(|lease| started.saturating_sub(*lease) <= self.staleness)
            }
            Trust::LoadsAlone => None,
        };
        Visit { fed: self, mapping, started, lease }
    }
}

impl Visit<'_> {
    /// All of `wants`, from what is kept or from the database. A load may take until `deadline`.
    pub(super) async fn facts(&self, wants: Vec<Want<'_>>, deadline: Duration) -> Result<Vec<Fact>, FactsError> {
        let mut facts = Vec::with_capacity(wants.len());
        let mut missing = Vec::new();
        for want in wants {
            match self.kept(&want) {
                Some(fact) => facts.push(fact),
                None => missing.push(want),
            }
        }
        // Twice: what somebody else read before this question began, and has changed since, is read again.
        for _ in 0..2 {
            missing = self.load(missing, deadline, &mut facts).await?;
        }
        match missing.first() {
            None => Ok(facts),
            // INVARIANT(second-load): a flight boarded after another one landed took its mark after this visit began.
            Some(want) => {
                Err(FactsError::Unavailable { database: want.key.source, place: want.place(), cause: Cause::Timeout })
            }
        }
    }

    fn kept(&self, want: &Want<'_>) -> Option<Fact> {
        let lease = self.lease?;
        let room = &self.fed.room;
        let Kept { rows, mark } =
            room.keep.find(self.mapping, &want.key, &want.slot, &room.validity, room.clock.elapsed(), Ageing::Ages)?;
        let until = lease + self.fed.staleness;
        let pin = Pin { key: want.key.clone(), tick: Some(mark.tick), until };
        Some(Fact { pin, rows, mark, from: lease, is_kept: true })
    }

    /// What facts that were used before rest on now, if every one of them would be found among the kept ones; with the
    /// instant that they are known to be of.
    pub(super) fn still(&self, facts: &[HotFact]) -> Option<(Duration, Vec<Pin>)> {
        let lease = self.lease?;
        let room = &self.fed.room;
        let now = room.clock.elapsed();
        let until = lease + self.fed.staleness;
        let pin = |fact: &HotFact| {
            let is_usable = room.validity.is_valid(fact.key.name(), fact.mark.tick) && fact.age(now) <= keep::AGE_MAX;
            is_usable.then(|| Pin { key: fact.key.clone(), tick: Some(fact.mark.tick), until })
        };
        Some((lease, facts.iter().map(pin).collect::<Option<_>>()?))
    }

    /// Reads all of `wants`; gives back those that changed meanwhile.
    async fn load<'w>(
        &self,
        wants: Vec<Want<'w>>,
        deadline: Duration,
        facts: &mut Vec<Fact>,
    ) -> Result<Vec<Want<'w>>, FactsError> {
        let room = &self.fed.room;
        let (mut mine, mut waiting) = (Vec::new(), Vec::with_capacity(wants.len()));
        for want in wants {
            let flight = match room.flights.board(self.mapping, &want.key) {
                Boarded::Passenger(flight) => flight,
                Boarded::Pilot(flight) => {
                    mine.push((want.owned(), Arc::clone(&flight)));
                    flight
                }
            };
            waiting.push((want, flight));
        }
        for lane in lanes(mine) {
            self.fed.departure.depart(Lane::new(self.mapping, lane, room.clone()));
        }
        let mut changed = Vec::new();
        for (want, flight) in waiting {
            let left = deadline.saturating_sub(room.clock.elapsed());
            let late = |_elapsed| FactsError::Late { limit_ms: self.fed.staleness.as_millis() };
            let found = tokio::time::timeout(left, flight.landed()).await.map_err(late).flatten()?;
            // Read after this question began: it needs no feed to be fresh. Read before, for somebody else: only as far as
            // nothing is known to have changed, or a barrier would return while an older load still feeds new decisions.
            if found.mark.from >= self.started || room.validity.is_valid(want.key.name(), found.mark.tick) {
                let deadline = found.mark.from + self.fed.staleness;
                let until = if is_seeded(Bug::LoadsWithoutDeadline) { Duration::MAX } else { deadline };
                let pin = Pin { key: want.key, tick: None, until };
                let mark = found.mark;
                facts.push(Fact { pin, rows: found.rows, mark, from: mark.from, is_kept: false });
            } else {
                changed.push(want);
            }
        }
        Ok(changed)
    }
}

impl Fact {
    pub(super) const fn key(&self) -> &FactKey {
        &self.pin.key
    }
}
