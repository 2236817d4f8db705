//! Loads under way: each fact is read once however many wait for it, and goes on when all of them have gone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use tokio::sync::Notify;

use super::Keep;
use crate::{
    clock::Clock,
    domain::Row,
    entities::{
        error::{Cause, FactsError},
        fresh::{Bug, Mark, Validity, is_seeded},
        load::{FactKey, Wanted},
    },
};

/// The loads of one source.
#[derive(Debug, Default)]
pub(in crate::entities) struct Flights(Mutex<HashMap<(u64, FactKey), Arc<Flight>>>);

/// A fact as it was read, with where it stood just before.
#[derive(Clone, Debug)]
pub(in crate::entities) struct Found {
    pub(in crate::entities) rows: Arc<[Row]>,
    pub(in crate::entities) mark: Mark,
}

/// One load.
#[derive(Debug, Default)]
pub(in crate::entities) struct Flight {
    landed: OnceLock<Result<Found, FactsError>>,
    notify: Notify,
}

/// A place in a load: whoever comes first flies, the others wait.
#[derive(Debug)]
pub(in crate::entities) enum Boarded {
    /// The load is this caller's to start.
    Pilot(Arc<Flight>),
    Passenger(Arc<Flight>),
}

impl Flights {
    pub(in crate::entities) fn board(&self, mapping: u64, key: &FactKey) -> Boarded {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&(mapping, key.clone())) {
            return Boarded::Passenger(Arc::clone(flight));
        }
        let flight = Arc::new(Flight::default());
        flights.insert((mapping, key.clone()), Arc::clone(&flight));
        Boarded::Pilot(flight)
    }

    fn land(&self, mapping: u64, key: &FactKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(mapping, key.clone()));
    }
}

impl Flight {
    /// Waits for the load, whoever flies it.
    pub(in crate::entities) async fn landed(&self) -> Result<Found, FactsError> {
        loop {
            let notified = self.notify.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Some(landed) = self.landed.get() {
                return landed.clone();
            }
            notified.await;
        }
    }
}

/// Loads that one connection makes one after the other.
///
/// However it ends, everybody who waits gets an answer: a lane that is dropped lands the rest as failed.
#[derive(Debug)]
pub(in crate::entities) struct Lane {
    mapping: u64,
    /// In reverse order: the next one is the last.
    wanted: Vec<(Wanted, Arc<Flight>)>,
    mark: Option<Mark>,
    room: Room,
}

/// What the loads of one source share.
#[derive(Clone, Debug)]
pub(in crate::entities) struct Room {
    pub(in crate::entities) flights: Arc<Flights>,
    pub(in crate::entities) validity: Arc<Validity>,
    pub(in crate::entities) keep: Arc<Keep>,
    pub(in crate::entities) clock: Arc<dyn Clock>,
}

impl Lane {
    pub(in crate::entities) fn new(mapping: u64, mut wanted: Vec<(Wanted, Arc<Flight>)>, room: Room) -> Self {
        wanted.reverse();
        Self { mapping, wanted, mark: None, room }
    }

    /// What to read now. Takes its mark: call it before the statement is sent, and no earlier.
    pub(in crate::entities) fn next(&mut self) -> Option<&Wanted> {
        self.mark = Some(self.room.validity.mark(self.room.clock.elapsed()));
        self.wanted.last().map(|(wanted, _)| wanted)
    }

    /// What came of it: kept, and told to everybody who waits.
    pub(in crate::entities) fn done(&mut self, rows: Result<Arc<[Row]>, FactsError>) {
        let (Some((wanted, flight)), Some(mark)) = (self.wanted.pop(), self.mark.take()) else { return };
        let mark = if is_seeded(Bug::TickAfterSnapshot) { self.room.validity.mark(mark.from) } else { mark };
        if let Ok(rows) = &rows {
            self.room.keep.put(self.mapping, &wanted.key, &wanted.slot, rows, mark);
        }
        self.land(&wanted.key, &flight, rows.map(|rows| Found { rows, mark }));
    }

    /// Lands all that is left.
    pub(in crate::entities) fn fail(&mut self, error: &FactsError) {
        for (wanted, flight) in std::mem::take(&mut self.wanted) {
            self.land(&wanted.key, &flight, Err(error.clone()));
        }
    }

    /// An error that names what would be read now; `None` where nothing is left.
    pub(in crate::entities) fn error(&self, cause: Cause) -> Option<FactsError> {
        let (wanted, _) = self.wanted.last()?;
        Some(FactsError::Unavailable { database: wanted.key.source, place: wanted.borrowed().place(), cause })
    }

    fn land(&self, key: &FactKey, flight: &Flight, landed: Result<Found, FactsError>) {
        // First off the list, so that whoever comes now starts anew; then the answer to those who wait.
        self.room.flights.land(self.mapping, key);
        // INVARIANT(flight): a flight is popped from its lane before it lands, so it lands once.
        drop(flight.landed.set(landed));
        flight.notify.notify_waiters();
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(error) = self.error(Cause::NoConnection) {
            self.fail(&error);
        }
    }
}
