//! Letting go what a signed stub stands for: the stub and the going of its rows are one transaction, so that a range is
//! there whole or gone whole, wherever it is cut off.
//!
//! In PostgreSQL the function `audit_prune` does it, which a role for pruning may execute and the shipping one may not; its
//! checks are triggers, which bind the owner as well. A SQLite file has the same checks here, and some of them in triggers.

use std::{collections::BTreeSet, time::Duration};

use jiff::{Span, Timestamp, tz::TimeZone};
use serde_json::Value as Json;
use sqlx::Row as _;

use super::super::{
    error::StoreError,
    migration::Part,
    pool::{Store, StoreOptions},
    transaction::{Sql, StoredRow, Transaction},
    value::Value,
};
use crate::domain::PrunedRange;

/// A range can be millions of rows.
const PRUNE_MAX: Duration = Duration::from_secs(600);
/// No tenant keeps less.
const YEARS_MIN: i64 = 6;

const PRUNE: &str = "SELECT gone_frames, gone_records FROM audit_prune($1, $2, $3, $4, $5, $6)";

const MAY: Sql = Sql {
    sqlite: "SELECT 1 = 1 AS may",
    postgres: "SELECT has_function_privilege('audit_prune(text, bigint, bigint, text, text, bigint)', 'EXECUTE') AS may",
};
const LAST: Sql = Sql::both(
    "SELECT last.first_seq AS first_seq, last.count AS count, last.bytes AS bytes, held.frame AS held \
     FROM audit_frame AS last JOIN audit_writer AS held ON held.writer = last.writer \
     WHERE last.writer = $1 AND last.frame = $2",
);
const FOLLOWED: Sql = Sql::both("SELECT 1 AS found FROM audit_writer WHERE prev_writer = $1 AND prev_seq = $2");
const BEGUN: Sql = Sql::both("SELECT line FROM audit_record WHERE writer = $1 AND seq = $2");
const HOLDS: Sql = Sql::both("SELECT writer, seq FROM audit_record WHERE action = 'audit:hold'");
const DONE: Sql = Sql::both("SELECT 1 AS found FROM audit_pruned WHERE writer = $1 AND frame = $2 AND stub = $3");
const KEEP: Sql = Sql::both(
    "INSERT INTO audit_pruned (writer, frame, seq, stub, begun_writer, begun_seq) VALUES ($1, $2, $3, $4, $5, $6)",
);
const FRAMES: Sql = Sql::both("DELETE FROM audit_frame WHERE writer = $1 AND frame <= $2");
const RECORDS: Sql = Sql::both("DELETE FROM audit_record WHERE writer = $1 AND seq <= $2");

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    pub frames: u64,
    pub records: u64,
}

/// Why nothing went.
#[derive(Debug, thiserror::Error)]
pub enum PruneStoreError {
    /// The stub is not of what is held, or not of this time.
    #[error("the store lets nothing go: {0}")]
    Refused(String),
    #[error("a legal hold was placed or lifted since this pruning was planned")]
    Held,
    /// The role may not, or the function is not there.
    #[error("this role may not prune the trail at {address}, or migration 0200_prune is missing there")]
    NotAllowed { address: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The store of shipped trails, for pruning.
#[derive(Debug)]
pub struct TrailPruner {
    store: Store,
}

impl TrailPruner {
    /// Reads the address; connects later. Call it inside a runtime.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let options = StoreOptions { connections: 1, statement_timeout: PRUNE_MAX, create: false };
        Ok(Self { store: Store::open(url, options)? })
    }

    /// Whether the tables are as this program needs them and the role may prune, before anything is recorded.
    ///
    /// # Errors
    ///
    /// [`PruneStoreError`].
    pub async fn check(&self) -> Result<(), PruneStoreError> {
        self.store.check(&[Part::Trail]).await?;
        let mut transaction = self.store.read().await?;
        let may = transaction.row(MAY, &[]).await?;
        transaction.commit().await?;
        if may.map_or(Ok(None), |row| row.flag("may"))?.unwrap_or(false) {
            return Ok(());
        }
        Err(PruneStoreError::NotAllowed { address: self.store.address().to_owned() })
    }

    /// The records by which legal holds were placed and lifted, as far as the store has them, save those of `own` writers: who
    /// planned without one of them plans again.
    ///
    /// # Errors
    ///
    /// [`PruneStoreError::Store`].
    pub async fn turns_of_holds(&self, own: &BTreeSet<String>) -> Result<BTreeSet<(String, i64)>, PruneStoreError> {
        let mut transaction = self.store.read().await?;
        let rows = transaction.rows(HOLDS, &[]).await?;
        transaction.commit().await?;
        let turn = |row: &StoredRow| Ok((row.some_text("writer")?, row.int("seq")?.unwrap_or_default()));
        let turns: Result<BTreeSet<_>, StoreError> = rows.iter().map(turn).collect();
        Ok(turns?.into_iter().filter(|(writer, _)| !own.contains(writer)).collect())
    }

    /// Keeps the stub of a range and lets its rows go, or neither. The same again changes nothing.
    ///
    /// # Errors
    ///
    /// [`PruneStoreError`]: nothing went, save that after [`StoreError::Away`] nobody knows.
    pub async fn prune(&self, range: &PrunedRange, now: Timestamp) -> Result<Gone, PruneStoreError> {
        if self.store.postgres().is_some() { self.in_postgres(range).await } else { self.in_sqlite(range, now).await }
    }

    async fn in_postgres(&self, range: &PrunedRange) -> Result<Gone, PruneStoreError> {
        let address = || self.store.address().to_owned();
        let Some(pool) = self.store.postgres() else { return Err(PruneStoreError::NotAllowed { address: address() }) };
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let query = sqlx::query(PRUNE)
            .bind(&range.writer)
            .bind(number(range.frame))
            .bind(number(range.seq))
            .bind(&range.stub)
            .bind(&range.begun.0)
            .bind(number(range.begun.1));
        let failed = |error: sqlx::Error| match error.as_database_error() {
            None => StoreError::of(self.store.address(), &error).into(),
            Some(said) => match said.code().as_deref() {
                // The function's own words hold numbers alone.
                Some("CH001" | "CH002" | "CH003" | "CH005" | "CH006" | "CH007") => {
                    PruneStoreError::Refused(said.message().to_owned())
                }
                Some("42883" | "42501" | "42P01") => PruneStoreError::NotAllowed { address: address() },
                _ => StoreError::of(self.store.address(), &error).into(),
            },
        };
        let row = query.fetch_one(pool).await.map_err(failed)?;
        let count = |nth: usize| row.try_get::<i64, _>(nth).map(|n| u64::try_from(n).unwrap_or(0)).map_err(failed);
        Ok(Gone { frames: count(0)?, records: count(1)? })
    }

    async fn in_sqlite(&self, range: &PrunedRange, now: Timestamp) -> Result<Gone, PruneStoreError> {
        let mut transaction = self.store.begin().await?;
        let (writer, frame, seq) = (Value::from(&range.writer), number(range.frame), number(range.seq));
        let done = transaction.row(DONE, &[writer.clone(), frame.clone(), Value::from(&range.stub)]).await?;
        if done.is_some() {
            return Ok(Gone::default());
        }
        may_go(&mut transaction, range, now).await?;
        let begun = number(range.begun.1);
        let keep = [writer.clone(), frame.clone(), seq.clone(), Value::from(&range.stub)];
        transaction.run(KEEP, &[&keep[..], &[Value::from(&range.begun.0), begun]].concat()).await?;
        let frames = transaction.run(FRAMES, &[writer.clone(), frame]).await?;
        let records = transaction.run(RECORDS, &[writer, seq]).await?;
        transaction.commit().await?;
        Ok(Gone { frames, records })
    }

    /// Ends the connection in order.
    pub async fn close(&self) {
        self.store.close().await;
    }

    #[cfg(test)]
    pub(super) fn store(&self) -> &Store {
        &self.store
    }
}

/// What `audit_may_prune` asks, in the same order.
async fn may_go(transaction: &mut Transaction, range: &PrunedRange, now: Timestamp) -> Result<(), PruneStoreError> {
    let refused = |why: &str| Err(PruneStoreError::Refused(why.to_owned()));
    let count = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
    let place = [Value::from(&range.writer), number(range.frame)];
    let Some(last) = transaction.row(LAST, &place).await? else {
        return refused("gap: the stub does not end with a frame that is held");
    };
    let bytes = last.bytes("bytes")?.unwrap_or_default();
    let end = count(last.int("first_seq")?) + count(last.int("count")?);
    if end != range.seq.saturating_add(1) || chain_of(&bytes) != Some(range.chain) {
        return refused("fork: the stub does not end where its frame does");
    }
    let held = count(last.int("held")?);
    let is_followed = transaction.row(FOLLOWED, &[Value::from(&range.writer), number(range.seq)]).await?.is_some();
    // The next writer found it ended there, or it sealed its trail itself.
    let is_ended = is_followed || matches!(bytes.get(4..6), Some([4, flags]) if flags & 2 != 0);
    let is_vouched_for = if range.is_all { held == range.frame && is_ended } else { held > range.frame };
    if !is_vouched_for {
        return refused("gap: nothing vouches for the end of the stub");
    }
    let begun = transaction.row(BEGUN, &[Value::from(&range.begun.0), number(range.begun.1)]).await?;
    // Of an encrypted trail the index says only that the record is there.
    let goes_too = range.begun.0 == range.writer && range.begun.1 <= range.seq;
    let is_begun = match begun.filter(|_| !goes_too) {
        None => false,
        Some(begun) => begun.text("line")?.is_none_or(|line| names(&line, range)),
    };
    if !is_begun {
        return refused("no record that is held says that this pruning was begun");
    }
    let six_years = Span::new().years(YEARS_MIN);
    let before = now.to_zoned(TimeZone::UTC).checked_sub(six_years).map(|day| day.timestamp());
    if !before.is_ok_and(|before| range.to <= before) {
        return refused("a record of it is younger than six years");
    }
    Ok(())
}

/// Whether a record says that the pruning of a range was begun.
fn names(line: &str, range: &PrunedRange) -> bool {
    let Ok(record) = serde_json::from_str::<Json>(line) else { return false };
    let is = |place: &str, word: &str| record.pointer(place).and_then(Json::as_str) == Some(word);
    let writers = record.pointer("/detail/writers").and_then(Json::as_array);
    let is_it = |said: &Json| {
        said.pointer("/writer").and_then(Json::as_str) == Some(&range.writer)
            && said.pointer("/seq").and_then(Json::as_u64) == Some(range.seq)
    };
    is("/kind", "admin")
        && is("/action", "audit:prune")
        && is("/detail/event", "store_prune_begun")
        && writers.is_some_and(|writers| writers.iter().any(is_it))
}

/// The chain after a frame, as it stands in its foot.
fn chain_of(frame: &[u8]) -> Option<[u8; 32]> {
    let small = |at: usize, len: usize| {
        let bytes = frame.get(at..at.checked_add(len)?)?;
        Some(bytes.iter().rev().fold(0_usize, |number, byte| number * 256 + usize::from(*byte)))
    };
    let foot = 40 + 32 * small(6, 2)? + small(8, 4)? + 4;
    frame.get(foot..foot + 32)?.try_into().ok()
}

fn number(number: u64) -> Value<'static> {
    Value::Int(Some(i64::try_from(number).unwrap_or(i64::MAX)))
}
