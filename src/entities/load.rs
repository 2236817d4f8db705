//! The loader: wanted facts in, their rows out. Between it and [`super::gather`] is the place of a fact cache.

use std::{sync::Arc, time::Duration};

use futures_util::future::{join_all, try_join};
use sqlx::{PgPool, Sqlite, Transaction};

use super::{
    error::{Cause, FactsError},
    pool::{Database, Pool, SqliteFile},
    read::{self, ReadError},
};
use crate::{
    clock::Clock,
    domain::{
        Row,
        mapping::{Column, Query, Source},
    },
};

/// Connections that one slice may use at once on PostgreSQL.
const LANES_MAX: usize = 4;

/// Instructions that SQLite runs before it looks at the clock again: well under a millisecond.
const INSTRUCTIONS_UNWATCHED: i32 = 10_000;

/// Names one fact: an entity's own row, or the rows of one of its relations.
///
/// A struct of typed parts, never a joined string: no id can be made to look like another fact's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FactKey {
    pub source: Source,
    pub kind: Arc<str>,
    /// `None`: the entity's own row.
    pub relation: Option<Arc<str>>,
    /// What is bound to `$1`: the entity's id, or the cell that the relation goes by.
    pub id: Arc<str>,
}

/// A fact that a slice needs, and how to read it.
#[derive(Clone, Debug)]
pub(super) struct Want<'m> {
    pub(super) key: FactKey,
    pub(super) query: &'m Query,
    pub(super) columns: &'m [Column],
    pub(super) rows_max: usize,
}

/// A fact as it was read; an own row that does not exist has none.
pub(super) type Fact = (FactKey, Arc<[Row]>);

/// Loads the facts of one slice. On SQLite all of them are of one snapshot.
pub(super) struct Loader<'p> {
    app: Session<'p>,
    store: Session<'p>,
    clock: &'p Arc<dyn Clock>,
    /// On the clock's elapsed time: a load that is cut off leaves its connection behind, so none may outlive the slice.
    deadline: Duration,
}

struct Session<'p> {
    source: Source,
    pool: Option<&'p Pool>,
    /// The read transaction that a SQLite source is in from its first fact on.
    snapshot: Option<Transaction<'static, Sqlite>>,
    spent: Duration,
    is_used: bool,
}

impl<'p> Loader<'p> {
    pub(super) fn new(
        app: Option<&'p Pool>,
        store: Option<&'p Pool>,
        clock: &'p Arc<dyn Clock>,
        deadline: Duration,
    ) -> Self {
        let session = |source, pool| Session { source, pool, snapshot: None, spent: Duration::ZERO, is_used: false };
        Self { app: session(Source::App, app), store: session(Source::Store, store), clock, deadline }
    }

    /// Reads all of `wants`, both sources at once.
    pub(super) async fn load(&mut self, wants: Vec<Want<'_>>) -> Result<Vec<Fact>, FactsError> {
        let (app, store): (Vec<_>, Vec<_>) = wants.into_iter().partition(|want| want.key.source == Source::App);
        let (mut facts, more) =
            try_join(self.app.load(app, self.clock, self.deadline), self.store.load(store, self.clock, self.deadline))
                .await?;
        facts.extend(more);
        Ok(facts)
    }

    /// Leaves the snapshots of a complete slice. After an error they are dropped instead, which waits for nothing.
    pub(super) async fn finish(&mut self) {
        for session in [&mut self.app, &mut self.store] {
            if let Some(snapshot) = session.snapshot.take() {
                // Nothing was written; a failed COMMIT loses the connection and no fact.
                if let Err(error) = snapshot.commit().await {
                    tracing::debug!(source = session.source.as_str(), cause = %Cause::of(&error), "a read transaction did not end well");
                }
            }
        }
    }

    /// The sources that gave facts, with the time spent on each.
    pub(super) fn spent(&self) -> impl Iterator<Item = (Source, Duration)> {
        [&self.app, &self.store]
            .into_iter()
            .filter(|session| session.is_used)
            .map(|session| (session.source, session.spent))
    }
}

impl Session<'_> {
    async fn load(
        &mut self,
        wants: Vec<Want<'_>>,
        clock: &Arc<dyn Clock>,
        deadline: Duration,
    ) -> Result<Vec<Fact>, FactsError> {
        let Some(first) = wants.first() else { return Ok(Vec::new()) };
        let Some(pool) = self.pool else {
            return Err(FactsError::NotConfigured { database: self.source, place: first.place() });
        };
        self.is_used = true;
        let started = clock.elapsed();
        let left = deadline.saturating_sub(started);
        let facts = match &pool.database {
            Database::Sqlite(file) => {
                let limit = pool.options.statement_timeout.min(left);
                let place = first.place();
                let late = |_elapsed| FactsError::Unavailable { database: self.source, place, cause: Cause::Timeout };
                let begin = || begin(file, clock.clone(), deadline);
                tokio::time::timeout(limit, sqlite(&mut self.snapshot, begin, wants)).await.map_err(late).flatten()
            }
            Database::Postgres { pool: connections, .. } => {
                // The server's own timeout is the first to fire; a server that stopped answering fires none.
                postgres(connections, (pool.options.statement_timeout * 3 / 2).min(left), wants).await
            }
        };
        self.spent += clock.elapsed().saturating_sub(started);
        facts
    }
}

fn unavailable(want: &Want<'_>, cause: Cause) -> FactsError {
    FactsError::Unavailable { database: want.key.source, place: want.place(), cause }
}

/// Enters a read transaction, in which nothing runs on past `deadline`.
///
/// A future that is dropped does not stop the thread that SQLite runs on, but this does.
async fn begin(
    file: &SqliteFile,
    clock: Arc<dyn Clock>,
    deadline: Duration,
) -> Result<Transaction<'static, Sqlite>, Cause> {
    let pool = file.pool().map_err(|error| Cause::Io(error.kind()))?;
    let mut transaction = pool.begin().await.map_err(|error| Cause::of(&error))?;
    let mut handle = transaction.lock_handle().await.map_err(|error| Cause::of(&error))?;
    handle.set_progress_handler(INSTRUCTIONS_UNWATCHED, move || clock.elapsed() < deadline);
    drop(handle);
    Ok(transaction)
}

/// One after the other on one connection, in one read transaction.
async fn sqlite<F>(
    snapshot: &mut Option<Transaction<'static, Sqlite>>,
    begin: impl FnOnce() -> F,
    wants: Vec<Want<'_>>,
) -> Result<Vec<Fact>, FactsError>
where
    F: Future<Output = Result<Transaction<'static, Sqlite>, Cause>>,
{
    let Some(first) = wants.first() else { return Ok(Vec::new()) };
    let transaction = match snapshot {
        Some(transaction) => transaction,
        None => snapshot.insert(begin().await.map_err(|cause| unavailable(first, cause))?),
    };
    let mut facts = Vec::with_capacity(wants.len());
    for want in wants {
        let rows = match read::sqlite(transaction, &want).await {
            Ok(rows) => rows,
            Err(ReadError::Database(cause)) => return Err(unavailable(&want, cause)),
            Err(ReadError::Rows(error)) => return Err(error),
        };
        facts.push(fact(want, rows));
    }
    Ok(facts)
}

/// In a few lanes, each on a connection of its own, each statement with a snapshot of its own.
async fn postgres(pool: &PgPool, limit: Duration, wants: Vec<Want<'_>>) -> Result<Vec<Fact>, FactsError> {
    let lanes_wanted = wants.len().min(LANES_MAX);
    let mut lanes: Vec<Vec<Want<'_>>> = (0..lanes_wanted).map(|_| Vec::new()).collect();
    for (lane, want) in (0..lanes_wanted).cycle().zip(wants) {
        if let Some(lane) = lanes.get_mut(lane) {
            lane.push(want);
        }
    }
    // Every lane ends by itself: one that is dropped halfway would leave its connection in the middle of an answer.
    let loaded = join_all(lanes.into_iter().map(|lane| postgres_lane(pool, limit, lane))).await;
    let mut facts = Vec::new();
    for lane in loaded {
        facts.extend(lane?);
    }
    Ok(facts)
}

async fn postgres_lane(pool: &PgPool, limit: Duration, wants: Vec<Want<'_>>) -> Result<Vec<Fact>, FactsError> {
    // After a restart of the server each connection of the pool is broken, and each is found out once.
    let mut spares = pool.options().get_max_connections() + 1;
    let mut facts = Vec::with_capacity(wants.len());
    let mut connection = None;
    for want in wants {
        let rows = loop {
            let live = match &mut connection {
                Some(live) => live,
                None => {
                    let acquired = tokio::time::timeout(limit, pool.acquire())
                        .await
                        .map_err(|_elapsed| unavailable(&want, Cause::NoConnection))?;
                    connection.insert(acquired.map_err(|error| unavailable(&want, Cause::of(&error)))?)
                }
            };
            let cause = match tokio::time::timeout(limit, read::postgres(live, &want)).await {
                Ok(Ok(rows)) => break rows,
                Ok(Err(ReadError::Rows(error))) => return Err(error),
                Ok(Err(ReadError::Database(cause))) if cause.is_impossible_key() && want.key.relation.is_none() => {
                    break Vec::new();
                }
                Ok(Err(ReadError::Database(cause))) => cause,
                Err(_elapsed) => {
                    live.close_on_drop();
                    return Err(unavailable(&want, Cause::Timeout));
                }
            };
            if !cause.is_connection_lost() || spares == 0 {
                return Err(unavailable(&want, cause));
            }
            live.close_on_drop();
            connection = None;
            spares -= 1;
        };
        facts.push(fact(want, rows));
    }
    Ok(facts)
}

/// An id is compared letter by letter. A database that compares otherwise (case-insensitive text, a uuid in capitals)
/// finds a row for an id that no restriction and no assignment is written for: to policies that id does not exist.
fn fact(want: Want<'_>, mut rows: Vec<Row>) -> Fact {
    if want.key.relation.is_none() {
        rows.retain(|row| row.id == want.key.id);
    }
    (want.key, rows.into())
}
