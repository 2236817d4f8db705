//! The store's index as a source of records: the store room's rows, the audit room's order and judgement, joined.

#[cfg(test)]
mod tests;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::{
    audit::{
        FolderExtent, Gap, HeldThere, Missing, Torn,
        query::{
            BothRecords, Cursor, Found, Named, Place, Query, QueryError, Reading, RecordRun, RecordSource, Sieve, Until,
        },
    },
    config::{AuditShip, Config},
    domain::Timestamp,
    store::{
        Arrived, FOUND_AT_ONCE, FoundRow, KnownBefore, RecordFilter, RowPlace, StoreError, TornWriter, TrailFinder,
    },
};

/// Records that a database takes to be of one instant, and that are put in order at once.
const ONE_INSTANT_MAX: usize = 200_000;

/// Where shipped records can be read, if that is known: the shipping role may append alone. Encrypted ones are found in their
/// folder alone.
pub fn reading_address(config: &Config) -> Option<String> {
    if config.audit.encryption_key_file.is_some() { None } else { shipped_address(config) }
}

/// Where the shipped frames can be read, be their records encrypted or not.
pub fn shipped_address(config: &Config) -> Option<String> {
    if config.audit.ship == AuditShip::Off {
        return None;
    }
    let typed = config.audit.read_url.as_ref().map(|url| url.expose().to_owned());
    typed.or_else(|| super::shipping::address(config).filter(|url| url.starts_with("sqlite:")))
}

/// The records of a store.
#[derive(Clone, Debug)]
pub struct StoreRecords {
    finder: Arc<TrailFinder>,
}

impl StoreRecords {
    /// Reads the address; connects later. Call it inside a runtime. A look at the database may take `each`.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the address cannot be meant.
    pub fn open(url: &str, each: Duration) -> Result<Self, StoreError> {
        Ok(Self { finder: Arc::new(TrailFinder::open(url, each)?) })
    }

    /// These, and those of `folder`, each record once.
    pub fn and(self, folder: Arc<dyn RecordSource>) -> BothRecords {
        BothRecords::new(folder, Arc::new(self))
    }
}

impl RecordSource for StoreRecords {
    fn begin(&self, query: Query, after: Option<Cursor>) -> Reading<'_, Box<dyn RecordRun>> {
        Box::pin(async move {
            let until = after.and_then(|cursor| cursor.until);
            let arrived = match until {
                Some(until) => Arrived { upto: until.arrived },
                None => self.finder.arrived().await.map_err(unread)?,
            };
            let known = until
                .filter(|until| !until.writer.is_nil())
                .map(|until| KnownBefore { writer: until.writer.to_string(), seq: until.seq });
            let after = after.map(|cursor| cursor.after);
            Ok(Box::new(StoreRun {
                source: self.clone(),
                since: query.from.unwrap_or(Timestamp::MIN),
                filter: filter(&query),
                sieve: Sieve::new(query),
                from: after.map_or_else(RowPlace::first, |after| RowPlace::before(after.at)),
                after,
                arrived,
                known: known.unwrap_or_default(),
                instant: None,
                of_instant: Vec::new(),
                ready: VecDeque::new(),
                is_over: false,
            }) as Box<dyn RecordRun>)
        })
    }

    fn gap(&self, here: FolderExtent, since: Timestamp) -> Reading<'_, Option<Gap>> {
        Box::pin(async move {
            let held = self.finder.held_of(&here.elsewhere).await.map_err(unread)?;
            let torn = |torn: TornWriter| Torn { header: torn.header, prev: torn.prev, seq: torn.seq, held: torn.held };
            let there =
                HeldThere { held: held.held, torn: held.torn.into_iter().map(torn).collect(), stubs: held.stubs };
            Ok(Gap::between(&here, &there, since))
        })
    }
}

fn filter(query: &Query) -> RecordFilter {
    let id = |named: &Option<Named>| named.as_ref().map(|named| named.id.clone());
    let kind = |named: &Option<Named>| named.as_ref().and_then(|named| named.kind.clone());
    RecordFilter {
        decision_id: query.decision_id.clone(),
        grant: query.grant.clone(),
        client: query.client.clone(),
        principal: id(&query.principal),
        tenant: query.tenant.clone(),
        principal_type: kind(&query.principal),
        resource_type: kind(&query.resource),
        resource_id: id(&query.resource),
        action: query.action.clone(),
        decision: query.decision.map(|decision| decision.as_str().to_owned()),
        reason: query.reason.clone(),
        kind: query.kind.map(|kind| kind.as_str().to_owned()),
        from: query.from,
        to: query.to,
    }
}

struct StoreRun {
    source: StoreRecords,
    since: Timestamp,
    filter: RecordFilter,
    sieve: Sieve,
    /// Behind which row the next ones are.
    from: RowPlace,
    /// The last record of the page before.
    after: Option<Place>,
    arrived: Arrived,
    known: KnownBefore,
    /// Of which instant, as the database has it, records wait for the last of it.
    instant: Option<Timestamp>,
    of_instant: Vec<Found>,
    ready: VecDeque<Found>,
    is_over: bool,
}

impl StoreRun {
    async fn more(&mut self) -> Result<(), QueryError> {
        let finder = &self.source.finder;
        let rows = finder.find(&self.filter, &self.from, self.arrived, &self.known).await.map_err(unread)?;
        // The price of a look grows with the months that there are: none is made to hear that there is nothing more.
        self.is_over = rows.len() < FOUND_AT_ONCE;
        if let Some(last) = rows.last() {
            self.from = RowPlace { at: last.at, writer: last.writer.clone(), seq: last.seq };
        }
        rows.into_iter().try_for_each(|row| self.take(row))?;
        if self.is_over {
            self.release();
        }
        Ok(())
    }

    /// A database rounds instants: only among all of one is their order known.
    fn take(&mut self, row: FoundRow) -> Result<(), QueryError> {
        if self.instant != Some(row.at) {
            self.release();
            self.instant = Some(row.at);
        }
        let found = self.sieve.take(&row.writer, row.seq, row.line.into_bytes());
        let is_behind = |found: &Found| self.after.is_none_or(|after| found.place() > after);
        self.of_instant.extend(found.filter(is_behind));
        if self.of_instant.len() > ONE_INSTANT_MAX {
            return Err(QueryError::TooMany(ONE_INSTANT_MAX));
        }
        Ok(())
    }

    fn release(&mut self) {
        self.of_instant.sort_by_key(Found::place);
        self.ready.extend(self.of_instant.drain(..));
    }
}

impl RecordRun for StoreRun {
    fn next(&mut self, most: usize) -> Reading<'_, Vec<Found>> {
        Box::pin(async move {
            while self.ready.len() < most && !self.is_over {
                self.more().await?;
            }
            let count = most.min(self.ready.len());
            Ok(self.ready.drain(..count).collect())
        })
    }

    fn until(&self) -> Option<Until> {
        Some(Until { arrived: self.arrived.upto, ..Until::default() })
    }

    /// That the store lacks nothing is what `audit verify --store` proves; a reader of its index cannot.
    fn lost(&self) -> Option<String> {
        None
    }

    /// What it can tell: what was pruned, and writers that others name and that are not there.
    fn missing(&mut self) -> Reading<'_, Option<Missing>> {
        Box::pin(async move {
            let gap = self.source.gap(FolderExtent::default(), self.since).await?;
            Ok(gap.map(|gap| gap.missing()))
        })
    }
}

fn unread(error: StoreError) -> QueryError {
    QueryError::Source(Box::new(error))
}
