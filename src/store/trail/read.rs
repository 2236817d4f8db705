//! Reading shipped trails back: for verification and queries, with a role that may SELECT.

use std::collections::BTreeMap;

use super::super::{
    error::StoreError,
    pool::{Store, StoreOptions},
    transaction::{Sql, StoredRow, Transaction},
    value::Value,
};

/// So many frames are read at a time: each has up to half a MiB.
const FRAMES_AT_ONCE: i64 = 64;

const HAS_STUBS: Sql = Sql {
    sqlite: "SELECT count(*) > 0 AS has FROM sqlite_master WHERE type = 'table' AND name = 'audit_pruned'",
    postgres: "SELECT to_regclass('audit_pruned') IS NOT NULL AS has",
};

/// One writer, as it is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldWriter {
    pub writer: String,
    pub header: Vec<u8>,
    /// Whom it followed in its folder, and its last record, as it was found.
    pub prev: Option<(String, u64)>,
    /// Its last frame and record.
    pub frame: u64,
    pub seq: u64,
    pub chain: Vec<u8>,
    pub alarm: Option<String>,
}

/// One frame, as it is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldFrame {
    pub frame: u64,
    pub bytes: Vec<u8>,
}

/// One checkpoint, as it is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldNote {
    pub size: u64,
    pub note: String,
}

/// All of it at one instant.
#[derive(Debug)]
pub struct TrailReader {
    transaction: Transaction,
}

impl TrailReader {
    /// Begins to read what stands now.
    ///
    /// # Errors
    ///
    /// As [`Store::read`].
    pub async fn begin(url: &str) -> Result<Self, StoreError> {
        // A whole trail is read within one transaction; it may take its time.
        let options =
            StoreOptions { connections: 1, statement_timeout: std::time::Duration::from_secs(600), create: false };
        Ok(Self { transaction: Store::open(url, options)?.read().await? })
    }

    /// Whether it is a SQLite file of which nothing was made yet: a shipper makes the file, and then its tables.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn is_bare(url: &str) -> Result<bool, StoreError> {
        let options = StoreOptions { create: false, ..StoreOptions::default() };
        Store::open(url, options)?.is_bare().await
    }

    /// All writers, by name.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn writers(&mut self) -> Result<Vec<HeldWriter>, StoreError> {
        let sql = Sql::both(
            "SELECT writer, header, prev_writer, prev_seq, frame, seq, chain, alarm FROM audit_writer ORDER BY writer",
        );
        let rows = self.transaction.rows(sql, &[]).await?;
        let writer = |row: &StoredRow| {
            Ok(HeldWriter {
                writer: row.some_text("writer")?,
                header: row.bytes("header")?.unwrap_or_default(),
                prev: row.text("prev_writer")?.zip(Some(count(row, "prev_seq")?)),
                frame: count(row, "frame")?,
                seq: count(row, "seq")?,
                chain: row.bytes("chain")?.unwrap_or_default(),
                alarm: row.text("alarm")?,
            })
        };
        rows.iter().map(writer).collect()
    }

    /// Writers that the index names and that are not held: some, at most.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn unknown_writers(&mut self) -> Result<Vec<String>, StoreError> {
        let sql = Sql::both(
            "SELECT DISTINCT record.writer FROM audit_record AS record \
             WHERE NOT EXISTS (SELECT 1 FROM audit_writer AS held WHERE held.writer = record.writer) LIMIT 10",
        );
        self.transaction.rows(sql, &[]).await?.iter().map(|row| row.some_text("writer")).collect()
    }

    /// Some frames of a writer behind `after`, by number; none: there are no more.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn frames(&mut self, writer: &str, after: u64) -> Result<Vec<HeldFrame>, StoreError> {
        let sql =
            Sql::both("SELECT frame, bytes FROM audit_frame WHERE writer = $1 AND frame > $2 ORDER BY frame LIMIT $3");
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let rows = self.transaction.rows(sql, &[writer.into(), after.into(), FRAMES_AT_ONCE.into()]).await?;
        let frame = |row: &StoredRow| {
            Ok(HeldFrame { frame: count(row, "frame")?, bytes: row.bytes("bytes")?.unwrap_or_default() })
        };
        rows.iter().map(frame).collect()
    }

    /// The checkpoints of a writer, by size.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn notes(&mut self, writer: &str) -> Result<Vec<HeldNote>, StoreError> {
        let sql = Sql::both("SELECT size, note FROM audit_checkpoint WHERE writer = $1 ORDER BY size");
        let rows = self.transaction.rows(sql, &[writer.into()]).await?;
        let note = |row: &StoredRow| Ok(HeldNote { size: count(row, "size")?, note: row.some_text("note")? });
        rows.iter().map(note).collect()
    }

    /// What stays of records that were pruned here, of each writer the last stub; none in a store that was made before
    /// there was pruning.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn stubs(&mut self) -> Result<BTreeMap<String, String>, StoreError> {
        let is_there = self.transaction.row(HAS_STUBS, &[]).await?;
        if !is_there.map_or(Ok(None), |row| row.flag("has"))?.unwrap_or(false) {
            return Ok(BTreeMap::new());
        }
        let sql = Sql::both("SELECT writer, stub FROM audit_pruned ORDER BY writer, frame");
        let rows = self.transaction.rows(sql, &[]).await?;
        rows.iter().map(|row| Ok((row.some_text("writer")?, row.some_text("stub")?))).collect()
    }

    /// The index over the records `from ..= to` of a writer, in their order: each row as text, by the names of
    /// [`IndexRow`](crate::domain::IndexRow), nulls left out; the instant as the database keeps it.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn index(
        &mut self,
        writer: &str,
        from: u64,
        to: u64,
    ) -> Result<Vec<(u64, Vec<Option<String>>)>, StoreError> {
        let sql = Sql {
            sqlite: "SELECT month, seq, CAST(frame AS text) AS frame, at, decision_id, kind, tenant, principal, \
                     principal_type, action, resource_type, resource_id, client, decision, reason, grant_id, line, \
                     resource_tenant FROM audit_record WHERE writer = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq",
            postgres: "SELECT month, seq, frame::text AS frame, \
                       to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS at, \
                       decision_id, kind, tenant, principal, principal_type, action, resource_type, resource_id, client, \
                       decision, reason, grant_id, line, resource_tenant \
                       FROM audit_record WHERE writer = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq",
        };
        let number = |n: u64| Value::Int(Some(i64::try_from(n).unwrap_or(i64::MAX)));
        let rows = self.transaction.rows(sql, &[writer.into(), number(from), number(to)]).await?;
        let row = |row: &StoredRow| {
            let cells = INDEX_COLUMNS.iter().map(|column| row.text(column)).collect::<Result<_, _>>()?;
            Ok((count(row, "seq")?, cells))
        };
        rows.iter().map(row).collect()
    }
}

/// The order of the cells of [`TrailReader::index`].
pub const INDEX_COLUMNS: [&str; 17] = [
    "month",
    "frame",
    "at",
    "decision_id",
    "kind",
    "tenant",
    "principal",
    "principal_type",
    "action",
    "resource_type",
    "resource_id",
    "client",
    "decision",
    "reason",
    "grant_id",
    "line",
    "resource_tenant",
];

fn count(row: &StoredRow, column: &str) -> Result<u64, StoreError> {
    Ok(row.int(column)?.and_then(|number| u64::try_from(number).ok()).unwrap_or_default())
}
