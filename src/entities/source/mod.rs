//! One source of facts as one question sees it: a snapshot of a file, or a database with a change feed.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use super::{
    error::{Cause, FactsError, Place},
    fed::{Departure, Fact, Fed, Trust, Visit},
    feed::{FeedState, Watching},
    fresh::{Bug, Mark, Pin, Validity, is_seeded},
    hot::HotFact,
    keep::{Ageing, Keep, Lane, Room},
    load::{FactKey, Snapshot, Want, depart},
    loader::Loader,
    pool::{Database, Pool},
    primary::Primary,
    probe::Probe,
};
use crate::{clock::Clock, domain::mapping::Source};

/// A database, what is kept of it, and what says whether that may be believed.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) source: Source,
    pub(super) pool: Pool,
    pub(super) validity: Arc<Validity>,
    pub(super) feed: Arc<FeedState>,
    pub(super) way: Way,
}

#[derive(Debug)]
pub(super) enum Way {
    Sqlite { probe: Probe, keep: Arc<Keep>, clock: Arc<dyn Clock> },
    Postgres { fed: Fed, watching: Arc<Watching> },
}

/// Loads of one PostgreSQL database.
#[derive(Debug)]
struct Pooled {
    connections: sqlx::PgPool,
    primary: Arc<Primary>,
    limit: Duration,
    loader: Arc<Loader>,
}

impl Departure for Pooled {
    fn depart(&self, lane: Lane) {
        // A load outlives whoever asked for it: others may wait for it, and what it finds is kept.
        self.loader.run(depart(self.connections.clone(), Arc::clone(&self.primary), self.limit, lane));
    }
}

/// What one slice reads of one source.
pub(super) struct Look<'o> {
    origin: &'o Origin,
    mapping: u64,
    trust: Trust,
    deadline: Duration,
    seeing: Seeing<'o>,
    pub(super) tally: Tally,
}

/// What a slice took from a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) kept: usize,
    pub(super) loaded: usize,
    pub(super) spent: Duration,
}

enum Seeing<'o> {
    Nothing,
    /// The mark of after the look and before the snapshot.
    File {
        mark: Mark,
        snapshot: Option<Snapshot>,
    },
    Feed(Visit<'o>),
}

/// Why a look gave nothing.
pub(super) enum LookError {
    Facts(FactsError),
    /// The file changed between kept facts and read ones: they would be of two instants.
    Moved,
}

impl From<FactsError> for LookError {
    fn from(error: FactsError) -> Self {
        Self::Facts(error)
    }
}

/// A connection of each source may be held by one slice at once. With as many slices as the smaller pool has
/// connections, none can wait for a connection that another one holds while waiting for its own.
pub(super) struct Permit<'s> {
    slices: &'s Semaphore,
    cell: OnceCell<SemaphorePermit<'s>>,
}

impl<'s> Permit<'s> {
    pub(super) fn of(slices: &'s Semaphore) -> Self {
        Self { slices, cell: OnceCell::new() }
    }

    async fn hold(&self) {
        // INVARIANT(slices): the semaphore is never closed, so a permit always comes; it is held until `self` goes.
        let _held = self.cell.get_or_try_init(|| self.slices.acquire()).await;
    }
}

impl Origin {
    pub(super) fn new(
        source: Source,
        pool: Pool,
        keep: &Arc<Keep>,
        clock: &Arc<dyn Clock>,
        staleness: Duration,
    ) -> Self {
        let validity = Arc::new(Validity::new());
        let way = match &pool.database {
            Database::Sqlite(_) => Way::Sqlite {
                probe: Probe::new(Arc::clone(&validity), Arc::clone(clock)),
                keep: Arc::clone(keep),
                clock: Arc::clone(clock),
            },
            Database::Postgres { pool: connections, loader, primary, .. } => {
                let room = Room {
                    flights: Arc::default(),
                    validity: Arc::clone(&validity),
                    keep: Arc::clone(keep),
                    clock: Arc::clone(clock),
                };
                let departure = Arc::new(Pooled {
                    connections: connections.clone(),
                    primary: Arc::clone(primary),
                    // The server's own timeout is the first to fire; a server that stopped answering fires none.
                    limit: pool.options.statement_timeout * 3 / 2,
                    loader: Arc::clone(loader),
                });
                Way::Postgres {
                    fed: Fed { room, departure, staleness },
                    watching: Arc::new(Watching::new(0, Vec::new())),
                }
            }
        };
        Self { source, pool, validity, feed: Arc::default(), way }
    }

    /// Where the facts of this source stand, as a word for answers and records.
    pub(super) fn position(&self) -> Arc<str> {
        match &self.way {
            Way::Sqlite { .. } => self.validity.position().to_string().into(),
            Way::Postgres { .. } => self.feed.seen().position.unwrap_or_else(|| "direct".into()),
        }
    }
}

impl<'o> Look<'o> {
    pub(super) fn new(origin: &'o Origin, mapping: u64, trust: Trust, deadline: Duration) -> Self {
        Self { origin, mapping, trust, deadline, seeing: Seeing::Nothing, tally: Tally::default() }
    }

    /// All of `wants`.
    pub(super) async fn facts(
        &mut self,
        wants: Vec<Want<'_>>,
        permit: &Permit<'_>,
        staleness: Duration,
    ) -> Result<Vec<Fact>, LookError> {
        if wants.is_empty() {
            return Ok(Vec::new());
        }
        let (clock, started) = (self.clock(), self.clock().elapsed());
        let facts = match &self.origin.way {
            Way::Postgres { fed, .. } => {
                if matches!(self.seeing, Seeing::Nothing) {
                    self.seeing = Seeing::Feed(fed.visit(self.mapping, self.trust));
                }
                match &self.seeing {
                    Seeing::Feed(visit) => visit.facts(wants, self.deadline).await.map_err(LookError::Facts),
                    Seeing::Nothing | Seeing::File { .. } => Ok(Vec::new()),
                }
            }
            Way::Sqlite { probe, keep, .. } => {
                let limit = self.origin.pool.options.statement_timeout.min(self.deadline.saturating_sub(started));
                let place = wants.first().map(Want::place);
                let looking = self.file(probe, keep, wants, permit, staleness);
                tokio::time::timeout(limit, looking).await.unwrap_or_else(|_elapsed| {
                    Err(place.map_or(LookError::Moved, |place| {
                        FactsError::Unavailable { database: self.origin.source, place, cause: Cause::Timeout }.into()
                    }))
                })
            }
        }?;
        self.tally.kept += facts.iter().filter(|fact| fact.is_kept).count();
        self.tally.loaded += facts.iter().filter(|fact| !fact.is_kept).count();
        self.tally.spent += clock.elapsed().saturating_sub(started);
        Ok(facts)
    }

    /// What `facts` of an earlier slice rest on now, with the instant they are known to be of; `None` if one of them has to
    /// be read again.
    pub(super) async fn still(
        &mut self,
        facts: &[HotFact],
        staleness: Duration,
    ) -> Result<Option<(Duration, Vec<Pin>)>, LookError> {
        let Some(first) = facts.first() else { return Ok(Some((self.clock().elapsed(), Vec::new()))) };
        let found = match (&self.origin.way, &self.origin.pool.database) {
            (Way::Postgres { fed, .. }, _) => {
                let visit = fed.visit(self.mapping, self.trust);
                let still = visit.still(facts);
                self.seeing = Seeing::Feed(visit);
                still
            }
            (Way::Sqlite { probe, .. }, Database::Sqlite(file)) => {
                let limit = self.origin.pool.options.statement_timeout;
                let looked = tokio::time::timeout(limit, probe.look(file)).await.unwrap_or(Err(Cause::Timeout));
                let place = Place { kind: first.key.kind.clone(), relation: first.key.relation.clone() };
                let database = self.origin.source;
                let mark = looked.map_err(|cause| FactsError::Unavailable { database, place, cause })?;
                self.seeing = Seeing::File { mark, snapshot: None };
                let validity = &self.origin.validity;
                let is_valid = |fact: &HotFact| validity.is_valid(fact.key.name(), fact.mark.tick);
                // Whoever saw a commit since this look forgot these facts too.
                let are_valid = facts.iter().all(is_valid) && !validity.has_moved_since(mark.tick);
                let until = mark.from + staleness;
                let pin = |fact: &HotFact| Pin { key: fact.key.clone(), tick: None, until };
                are_valid.then(|| (mark.from, facts.iter().map(pin).collect()))
            }
            (Way::Sqlite { .. }, Database::Postgres { .. }) => None,
        };
        if found.is_some() {
            self.tally.kept += facts.len();
        }
        Ok(found)
    }

    /// All facts of one slice are of one instant: kept ones count as of the look, and those that are read are read after it,
    /// with nothing committed until the look behind them. Where nothing kept is used, one transaction is that instant.
    async fn file(
        &mut self,
        probe: &Probe,
        keep: &Arc<Keep>,
        wants: Vec<Want<'_>>,
        permit: &Permit<'_>,
        staleness: Duration,
    ) -> Result<Vec<Fact>, LookError> {
        let Database::Sqlite(file) = &self.origin.pool.database else { return Ok(Vec::new()) };
        let unavailable = |place, cause| FactsError::Unavailable { database: self.origin.source, place, cause };
        let clock = Arc::clone(self.clock());
        if let (Seeing::Nothing, Some(first)) = (&self.seeing, wants.first()) {
            let mark = match self.trust {
                Trust::Feed => {
                    let mark = probe.look(file).await.map_err(|cause| unavailable(first.place(), cause))?;
                    if is_seeded(Bug::MarkOutsideLook) {
                        // Another look begins in between; here it is given the time to.
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        self.origin.validity.mark(clock.elapsed())
                    } else {
                        mark
                    }
                }
                Trust::LoadsAlone => self.origin.validity.mark(clock.elapsed()),
            };
            self.seeing = Seeing::File { mark, snapshot: None };
        }
        let Seeing::File { mark, snapshot } = &mut self.seeing else { return Ok(Vec::new()) };
        let mark = *mark;
        let validity = &self.origin.validity;
        let until = mark.from + staleness;
        let fact = |key: FactKey, rows, read: Mark, is_kept| Fact {
            pin: Pin { key, tick: None, until },
            rows,
            mark: read,
            from: mark.from,
            is_kept,
        };
        let (mut facts, mut missing) = (Vec::with_capacity(wants.len()), Vec::new());
        for want in wants {
            let kept = match self.trust {
                Trust::Feed => keep.find(self.mapping, &want.key, &want.slot, validity, clock.elapsed(), Ageing::Never),
                Trust::LoadsAlone => None,
            };
            match kept {
                Some(kept) => facts.push(fact(want.key, kept.rows, kept.mark, true)),
                None => missing.push(want),
            }
        }
        if let Some(place) = missing.first().map(Want::place) {
            let open = match snapshot {
                Some(open) => open,
                None => {
                    permit.hold().await;
                    let is_watched = self.trust == Trust::Feed;
                    let open = Snapshot::begin(file, Arc::clone(&clock), self.deadline, is_watched).await;
                    snapshot.insert(open.map_err(|cause| unavailable(place.clone(), cause))?)
                }
            };
            let read = open.read(missing).await?;
            if self.trust == Trust::Feed && !is_seeded(Bug::FileLookedAtOnce) {
                probe.look(file).await.map_err(|cause| unavailable(place, cause))?;
            }
            let read: Vec<_> = read.into_iter().map(|(want, rows)| (want.key, want.slot, rows)).collect();
            keep.put_all(self.mapping, &read, mark);
            facts.extend(read.into_iter().map(|(key, _, rows)| fact(key, rows, mark, false)));
        }
        // Whoever saw a commit since, it may lie between two facts of this slice.
        if self.trust == Trust::Feed && validity.has_moved_since(mark.tick) {
            return Err(LookError::Moved);
        }
        Ok(facts)
    }

    /// Leaves the snapshot of a complete slice.
    pub(super) async fn end(&mut self) {
        if let Seeing::File { snapshot, .. } = &mut self.seeing
            && let Some(snapshot) = snapshot.take()
        {
            snapshot.end().await;
        }
    }

    pub(super) const fn is_used(&self) -> bool {
        !matches!(self.seeing, Seeing::Nothing)
    }

    pub(super) const fn source(&self) -> Source {
        self.origin.source
    }

    pub(super) fn position(&self) -> Arc<str> {
        self.origin.position()
    }

    fn clock(&self) -> &'o Arc<dyn Clock> {
        match &self.origin.way {
            Way::Sqlite { clock, .. } => clock,
            Way::Postgres { fed, .. } => &fed.room.clock,
        }
    }
}

#[cfg(test)]
mod tests;
