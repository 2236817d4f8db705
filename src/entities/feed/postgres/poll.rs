//! The feed's connection: what became visible since the last look, by the difference of two snapshots.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use sqlx::{PgConnection, Row as _, SqlStr, postgres::PgRow};
use tokio::time::timeout;

use super::{
    answer::{Position, ROWS_MAX, seen, told},
    connect::Shared,
    derive::derive,
    explain::{self, Unexplained},
    found::{self, Session},
    logged::{TRIM_FUNCTION, TRIM_ROWS_MAX},
    sql::{Table, statement},
    whole::{Wanted, differences},
};
use crate::entities::{
    error::Cause,
    feed::{Feed, FeedError, Polled},
    fresh::{Bug, Changed, ChangedFact, is_seeded},
};

/// Polls follow each other no closer than this, whatever the hints.
const POLL_APART: Duration = Duration::from_millis(5);
const TRIM_EVERY: Duration = Duration::from_secs(600);

/// One connection to the primary, from which changes are told.
pub(in crate::entities) struct PostgresFeed {
    connection: PgConnection,
    session: Session,
    shared: Shared,
    was_whole: Arc<AtomicBool>,
    inspected: Option<Inspected>,
    position: Option<Position>,
    polled: Duration,
    trimmed: Duration,
    /// What went wrong while nobody waited for an answer.
    broken: Option<Cause>,
}

/// The queries that this connection knows.
struct Inspected {
    version: u64,
    /// Digest of the mapping that they are of.
    mapping: u64,
    prepared: Vec<Result<(), Unexplained>>,
    /// Facts whose changes no trigger tells: each poll says that they may have changed.
    untold: Vec<ChangedFact>,
}

impl PostgresFeed {
    pub(super) fn new(connection: PgConnection, session: Session, shared: Shared, was_whole: Arc<AtomicBool>) -> Self {
        let now = shared.clock.elapsed();
        Self {
            connection,
            session,
            shared,
            was_whole,
            inspected: None,
            position: None,
            polled: now,
            trimmed: now,
            broken: None,
        }
    }

    fn schema(&self) -> Result<&str, FeedError> {
        self.session.schema.as_deref().ok_or_else(|| FeedError::NotWhole {
            problems: vec![format!("role {} has no schema in its search path", self.session.role)],
        })
    }

    /// What is not as it must be, in sentences.
    async fn problems(&mut self) -> Result<Vec<String>, FeedError> {
        let (version, mapping, watched) = self.shared.watching.now();
        let schema = self.schema()?.to_owned();
        let limit = self.shared.limit;
        let prepared = match self.inspected.take() {
            Some(known) if known.version == version => known.prepared,
            // The names are taken on this connection.
            Some(_) => return Err(FeedError::Moved { what: "the mapping has changed" }),
            None => within(limit * 4, explain::prepare(&mut self.connection, &watched)).await?,
        };
        let derived = within(limit * 4, derive(&mut self.connection, &watched, &prepared)).await?;
        let found = within(limit, found::read(&mut self.connection, &schema, &self.session.role)).await?;
        let untold = derived.untold.iter().filter_map(|(number, _)| watched.get(*number)).map(|watched| ChangedFact {
            kind: (*watched.kind).into(),
            relation: watched.relation.as_deref().map(Box::from),
            id: None,
        });
        let untold = untold.collect();
        self.inspected = Some(Inspected { version, mapping, prepared, untold });
        let wrong = differences(&found, &derived, &schema, &self.session.role, Wanted::Enough);
        Ok(wrong.into_iter().filter_map(|difference| difference.problem).collect())
    }

    /// Sends the statement that looks: one statement, so one snapshot.
    async fn look(&mut self, sql: SqlStr, cursor: Option<&str>) -> Result<Vec<PgRow>, FeedError> {
        let mut query = sqlx::query(sql);
        if let Some(cursor) = cursor {
            query = query.bind(cursor);
        }
        match timeout(self.shared.limit, query.fetch_all(&mut self.connection)).await {
            Ok(Ok(rows)) => Ok(rows),
            // 42P01: a table of the feed is gone.
            Ok(Err(sqlx::Error::Database(error))) if error.code().is_some_and(|code| code == "42P01") => {
                Err(FeedError::Moved { what: "the feed's tables are gone" })
            }
            Ok(Err(error)) => Err(FeedError::Away(Cause::of(&error))),
            Err(_elapsed) => Err(FeedError::Away(Cause::Timeout)),
        }
    }

    fn looking(&self, since: Option<&Position>) -> Result<SqlStr, FeedError> {
        let schema = self.schema()?;
        let (change, feed) =
            (Table::new(schema, "chaperone_change").quoted(), Table::new(schema, "chaperone_feed").quoted());
        // A role may be refused this; the server's start then tells servers apart alone.
        let system = if self.session.may_identify { "(pg_control_system()).system_identifier::text" } else { "''" };
        let base = format!(
            "s.snap::text, {system} || ' ' || pg_postmaster_start_time()::text, f.epoch::text, f.trimmed_below::text, pg_is_in_recovery(),
             (extract(epoch FROM clock_timestamp()) * 1000000)::int8"
        );
        let Some(since) = since else {
            return Ok(statement(format!(
                "SELECT {base} FROM (SELECT pg_current_snapshot() AS snap) s CROSS JOIN {feed} f"
            )));
        };
        let unseen = if is_seeded(Bug::IdAboveCursor) {
            format!("c.id > {} AND $1::text IS NOT NULL", since.high)
        } else {
            let settled =
                if is_seeded(Bug::XidBelowXmin) { " AND c.xid < pg_snapshot_xmin(pg_current_snapshot())" } else { "" };
            format!(
                "c.xid >= pg_snapshot_xmin($1::text::pg_snapshot) AND NOT pg_visible_in_snapshot(c.xid, $1::text::pg_snapshot){settled}"
            )
        };
        let most = ROWS_MAX + 1;
        Ok(statement(format!(
            "SELECT {base}, f.trimmed_below > pg_snapshot_xmin($1::text::pg_snapshot), c.id, c.kind, c.key,
                    extract(epoch FROM clock_timestamp() - c.at)::float8
             FROM (SELECT pg_current_snapshot() AS snap) s CROSS JOIN {feed} f LEFT JOIN {change} c ON {unseen} LIMIT {most}"
        )))
    }

    /// Calls the trim function now and then. Its failure costs a longer table and nothing else.
    async fn trim(&mut self) {
        let now = self.shared.clock.elapsed();
        let Ok(schema) = self.schema() else { return };
        if now.saturating_sub(self.trimmed) < TRIM_EVERY {
            return;
        }
        let function = Table::new(schema, TRIM_FUNCTION).quoted();
        let call = statement(format!("BEGIN READ WRITE; SELECT {function}(); COMMIT"));
        match timeout(self.shared.limit, sqlx::raw_sql(call).fetch_all(&mut self.connection)).await {
            Ok(Ok(rows)) => {
                // As much as one call deletes: there is more of it.
                let deleted = rows.first().and_then(|row| row.try_get::<i64, _>(0).ok());
                let is_done = deleted.is_none_or(|deleted| deleted < TRIM_ROWS_MAX);
                if is_done {
                    self.trimmed = now;
                }
            }
            Ok(Err(error)) => {
                self.trimmed = now;
                tracing::warn!(cause = %Cause::of(&error), "old rows of the change table could not be deleted");
                // The transaction may be open still.
                self.broken = Some(Cause::of(&error));
            }
            Err(_elapsed) => {
                self.trimmed = now;
                self.broken = Some(Cause::Timeout);
            }
        }
    }
}

impl Feed for PostgresFeed {
    fn server_time(&self) -> Option<jiff::Timestamp> {
        self.session.server_time
    }

    async fn inspect(&mut self) -> Result<u64, FeedError> {
        let problems = self.problems().await.and_then(|problems| {
            if problems.is_empty() {
                Ok(self.inspected.as_ref().map_or(0, |inspected| inspected.mapping))
            } else {
                Err(FeedError::NotWhole { problems: advised(problems) })
            }
        });
        self.was_whole.store(!matches!(problems, Err(FeedError::NotWhole { .. })), SeqCst);
        problems
    }

    async fn start(&mut self) -> Result<(), FeedError> {
        let sql = self.looking(None)?;
        let rows = self.look(sql, None).await?;
        let seen = seen(&rows)?;
        let mut position = seen.position;
        if is_seeded(Bug::IdAboveCursor) {
            let sql =
                format!("SELECT COALESCE(max(id), 0) FROM {}", Table::new(self.schema()?, "chaperone_change").quoted());
            let highest = sqlx::query_scalar(statement(sql)).fetch_one(&mut self.connection).await;
            position.high = highest.map_err(|error| FeedError::Away(Cause::of(&error)))?;
        }
        self.position = Some(position);
        Ok(())
    }

    async fn poll(&mut self) -> Result<Polled, FeedError> {
        if let Some(cause) = self.broken.take() {
            return Err(FeedError::Away(cause));
        }
        let Some(before) = self.position.clone() else {
            return Err(FeedError::Moved { what: "the feed has no position" });
        };
        self.polled = self.shared.clock.elapsed();
        let sql = self.looking(Some(&before))?;
        let rows = self.look(sql, Some(&before.cursor)).await?;
        let mut seen = seen(&rows)?;
        before.precedes(&seen.position, &rows)?;
        let inspected = self.inspected.as_ref().filter(|inspected| inspected.version == self.shared.watching.version());
        let Some(inspected) = inspected else {
            return Err(FeedError::Moved { what: "the mapping has changed" });
        };
        let (mut changed, lag, high) = told(&rows)?;
        if let Changed::These(facts) = &mut changed {
            facts.extend(inspected.untold.iter().cloned());
        }
        seen.position.high = high.max(before.high);
        let position = seen.position.cursor.clone();
        self.position = Some(seen.position);
        Ok(Polled { changed, lag, position, server_time: seen.server_time })
    }

    async fn wait(&mut self) {
        self.trim().await;
        let interval = async {
            if is_seeded(Bug::HintWithoutPoll) {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(self.shared.poll).await;
        };
        tokio::select! {
            () = interval => {}
            () = self.shared.hint.notified() => {}
            () = self.shared.watching.changed.notified() => {}
        }
        let since = self.shared.clock.elapsed().saturating_sub(self.polled);
        tokio::time::sleep(POLL_APART.saturating_sub(since)).await;
    }
}

/// Each problem with what to do about it.
pub(super) fn advised(problems: Vec<String>) -> Vec<String> {
    problems.into_iter().map(|problem| format!("{problem}: run `chaperone db install`")).collect()
}

/// The answer, unless it takes too long.
async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T, Cause>>) -> Result<T, FeedError> {
    timeout(limit, answer).await.unwrap_or(Err(Cause::Timeout)).map_err(FeedError::Away)
}
