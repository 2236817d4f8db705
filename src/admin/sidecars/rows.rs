//! The rows of sidecars and the number of barriers. Each instant is the database's, which writes and compares it.

use crate::{
    domain::Timestamp,
    store::{Sql, StoreError, StoredRow, Transaction, Value},
};

/// More than anybody runs on one store.
const SIDECARS_MAX: usize = 1_000;

const NEXT: Sql = Sql::both("UPDATE sidecar_barrier SET number = number + 1 WHERE only_row = 1 RETURNING number");
const NUMBER: Sql = Sql::both("SELECT number FROM sidecar_barrier");
const STANDING: Sql = Sql::both(
    "SELECT number, (SELECT passed FROM sidecars WHERE id = $1) AS passed, \
     (SELECT trouble FROM sidecars WHERE id = $1 AND tried < 0) AS follower FROM sidecar_barrier",
);
const APPEAR: Sql = Sql {
    sqlite: "INSERT INTO sidecars (id, process, host, policies, staleness_ms, started_at, seen_at) VALUES ($1, $2, $3, $4, $5, \
             strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) ON CONFLICT (id) DO NOTHING",
    postgres: "INSERT INTO sidecars (id, process, host, policies, staleness_ms, started_at, seen_at) VALUES ($1, $2, $3, $4, $5, \
               clock_timestamp(), clock_timestamp()) ON CONFLICT (id) DO NOTHING",
};
/// Forgets the follower that was read, and no other one that came since.
const BEAT: Sql = Sql {
    sqlite: "UPDATE sidecars SET seen_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), policies = $2, \
             tried = CASE WHEN tried < 0 AND trouble = $3 THEN 0 ELSE tried END, \
             trouble = CASE WHEN tried < 0 AND trouble = $3 THEN NULL ELSE trouble END WHERE id = $1",
    postgres: "UPDATE sidecars SET seen_at = clock_timestamp(), policies = $2, \
               tried = CASE WHEN tried < 0 AND trouble = $3 THEN 0 ELSE tried END, \
               trouble = CASE WHEN tried < 0 AND trouble = $3 THEN NULL ELSE trouble END WHERE id = $1",
};
/// A follower that nobody has read stays.
const PASS: Sql = Sql {
    sqlite: "UPDATE sidecars SET seen_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), passed = $2, \
             trouble = CASE WHEN tried < 0 THEN trouble END WHERE id = $1",
    postgres: "UPDATE sidecars SET seen_at = clock_timestamp(), passed = $2, \
               trouble = CASE WHEN tried < 0 THEN trouble END WHERE id = $1",
};
const FAIL: Sql = Sql {
    sqlite: "UPDATE sidecars SET seen_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), \
             tried = CASE WHEN tried < 0 THEN tried ELSE $2 END, trouble = CASE WHEN tried < 0 THEN trouble ELSE $3 END \
             WHERE id = $1",
    postgres: "UPDATE sidecars SET seen_at = clock_timestamp(), \
               tried = CASE WHEN tried < 0 THEN tried ELSE $2 END, trouble = CASE WHEN tried < 0 THEN trouble ELSE $3 END \
               WHERE id = $1",
};
/// As if it had not been seen for longer than one that lives is; what was seen before that stays as old as it is. No barrier
/// has a number below 0: that is how it finds, if it lives, that its `trouble` is who began behind it.
const AGE: Sql = Sql {
    sqlite: "UPDATE sidecars SET tried = -1, trouble = $2, seen_at = CASE \
             WHEN julianday(seen_at) > julianday('now', '-61 seconds') THEN strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-61 seconds') \
             ELSE seen_at END WHERE id = $1",
    postgres: "UPDATE sidecars SET tried = -1, trouble = $2, \
               seen_at = least(seen_at, clock_timestamp() - interval '61 seconds') WHERE id = $1",
};
const LEAVE: Sql = Sql::both("DELETE FROM sidecars WHERE id = $1");
/// What nobody has seen for a day stops nobody any more.
const SWEEP: Sql = Sql {
    sqlite: "DELETE FROM sidecars WHERE julianday(seen_at) < julianday('now') - 1",
    postgres: "DELETE FROM sidecars WHERE seen_at < clock_timestamp() - interval '1 day'",
};
const IDS: Sql = Sql::both("SELECT id FROM sidecars ORDER BY id LIMIT 1001");
const ALL: Sql = Sql {
    sqlite: "SELECT id, process, host, policies, staleness_ms, passed, tried, trouble, seen_at, \
             CAST((julianday('now') - julianday(seen_at)) * 86400000 AS integer) AS unseen_ms \
             FROM sidecars ORDER BY started_at, id LIMIT 1001",
    postgres: "SELECT id, process, host, policies, staleness_ms, passed, tried, trouble, seen_at, \
               CAST(extract(epoch FROM clock_timestamp() - seen_at) * 1000 AS bigint) AS unseen_ms \
               FROM sidecars ORDER BY started_at, id LIMIT 1001",
};

/// A sidecar as it stands in the store.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) process: String,
    pub(super) host: String,
    pub(super) policies: String,
    pub(super) staleness_ms: u64,
    pub(super) passed: i64,
    pub(super) tried: i64,
    pub(super) trouble: Option<String>,
    pub(super) seen_at: Timestamp,
    pub(super) unseen_ms: i64,
}

/// The number of the last barrier, and the last one that this sidecar passed; `None`: it is not noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) number: i64,
    pub(super) passed: Option<i64>,
    /// Who called it gone since its last beat.
    pub(super) follower: Option<String>,
}

/// Takes the number of a new barrier.
pub(super) async fn next(transaction: &mut Transaction) -> Result<i64, StoreError> {
    transaction.row(NEXT, &[]).await?.as_ref().map_or_else(|| Err(no_number()), number)
}

pub(super) async fn standing(transaction: &mut Transaction, id: &str) -> Result<Standing, StoreError> {
    let row = transaction.row(STANDING, &[Value::from(id)]).await?.ok_or_else(no_number)?;
    Ok(Standing { number: number(&row)?, passed: row.int("passed")?, follower: row.text("follower")? })
}

/// The number of the last barrier.
pub(super) async fn last(transaction: &mut Transaction) -> Result<i64, StoreError> {
    transaction.row(NUMBER, &[]).await?.as_ref().map_or_else(|| Err(no_number()), number)
}

fn number(row: &StoredRow) -> Result<i64, StoreError> {
    row.int("number")?.ok_or_else(no_number)
}

fn no_number() -> StoreError {
    StoreError::Unreadable { column: "sidecar_barrier.number".to_owned(), wanted: "number" }
}

/// Notes a sidecar, with no barrier passed yet.
pub(super) async fn appear(
    transaction: &mut Transaction,
    (id, process, host): (&str, &str, &str),
    policies: &str,
    staleness_ms: i64,
) -> Result<(), StoreError> {
    let values = [id.into(), process.into(), host.into(), policies.into(), staleness_ms.into()];
    transaction.run(APPEAR, &values).await.map(drop)
}

/// Says that it lives, and that it knows of `follower`.
pub(super) async fn beat(
    transaction: &mut Transaction,
    id: &str,
    policies: &str,
    follower: Option<&str>,
) -> Result<(), StoreError> {
    // No writer has an empty name.
    transaction.run(BEAT, &[id.into(), policies.into(), follower.unwrap_or_default().into()]).await?;
    transaction.run(SWEEP, &[]).await.map(drop)
}

pub(super) async fn pass(transaction: &mut Transaction, id: &str, number: i64) -> Result<(), StoreError> {
    transaction.run(PASS, &[id.into(), number.into()]).await.map(drop)
}

pub(super) async fn fail(transaction: &mut Transaction, id: &str, number: i64, why: &str) -> Result<(), StoreError> {
    transaction.run(FAIL, &[id.into(), number.into(), why.into()]).await.map(drop)
}

pub(super) async fn age(transaction: &mut Transaction, id: &str, follower: &str) -> Result<(), StoreError> {
    transaction.run(AGE, &[id.into(), follower.into()]).await.map(drop)
}

pub(super) async fn leave(transaction: &mut Transaction, id: &str) -> Result<(), StoreError> {
    transaction.run(LEAVE, &[id.into()]).await.map(drop)
}

pub(super) async fn ids(transaction: &mut Transaction) -> Result<Vec<String>, StoreError> {
    transaction.rows(IDS, &[]).await?.iter().map(|row| row.some_text("id")).collect()
}

/// All of them; `None`: more than can be told.
pub(super) async fn all(transaction: &mut Transaction) -> Result<Option<Vec<Row>>, StoreError> {
    let rows = transaction.rows(ALL, &[]).await?;
    if rows.len() > SIDECARS_MAX {
        return Ok(None);
    }
    rows.iter().map(read).collect::<Result<_, _>>().map(Some)
}

fn read(row: &StoredRow) -> Result<Row, StoreError> {
    let number = |column: &str| {
        row.int(column)?.ok_or_else(|| StoreError::Unreadable { column: column.to_owned(), wanted: "number" })
    };
    let missing = || StoreError::Unreadable { column: "seen_at".to_owned(), wanted: "instant" };
    Ok(Row {
        id: row.some_text("id")?,
        process: row.some_text("process")?,
        host: row.some_text("host")?,
        policies: row.some_text("policies")?,
        staleness_ms: u64::try_from(number("staleness_ms")?).unwrap_or(u64::MAX),
        passed: number("passed")?,
        tried: number("tried")?,
        trouble: row.text("trouble")?,
        seen_at: row.at("seen_at")?.ok_or_else(missing)?,
        unseen_ms: number("unseen_ms")?,
    })
}
