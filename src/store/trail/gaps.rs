//! What a reader of the index must know to tell that something is not there.

use std::collections::BTreeMap;

use super::{
    super::{
        error::StoreError,
        migration::Part,
        transaction::{Sql, StoredRow},
        value::Value,
    },
    TrailFinder,
};

/// A writer of which the store does not hold all that the next one found; the next one's first header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornWriter {
    pub header: Vec<u8>,
    pub prev: String,
    pub seq: u64,
    pub held: u64,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldWriters {
    /// Up to which record those are held that were asked about.
    pub held: BTreeMap<String, u64>,
    pub torn: Vec<TornWriter>,
    /// The last stub of each writer of which something was pruned.
    pub stubs: BTreeMap<String, String>,
}

const HELD: Sql = Sql::both("SELECT seq FROM audit_writer WHERE writer = $1");
const TORN: Sql = Sql::both(
    "SELECT next.header AS header, next.prev_writer AS prev_writer, next.prev_seq AS prev_seq, coalesce(prev.seq, 0) AS held \
     FROM audit_writer AS next LEFT JOIN audit_writer AS prev ON prev.writer = next.prev_writer \
     WHERE next.prev_seq > 0 AND coalesce(prev.seq, 0) < next.prev_seq ORDER BY next.writer LIMIT 1000",
);
const STUBS: Sql = Sql::both("SELECT writer, stub FROM audit_pruned ORDER BY writer, frame");

impl TrailFinder {
    /// What is held of `writers`, and what of all others is not there.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn held_of(&self, writers: &[(String, u64)]) -> Result<HeldWriters, StoreError> {
        let mut found = HeldWriters::default();
        if self.is_missing() || self.store.is_bare().await? {
            return Ok(found);
        }
        self.store.check(&[Part::Trail]).await?;
        let mut transaction = self.store.read().await?;
        for (writer, _) in writers {
            if let Some(row) = transaction.row(HELD, &[Value::from(writer)]).await? {
                found.held.insert(writer.clone(), count(&row, "seq")?);
            }
        }
        for row in transaction.rows(TORN, &[]).await? {
            found.torn.push(TornWriter {
                header: row.bytes("header")?.unwrap_or_default(),
                prev: row.some_text("prev_writer")?,
                seq: count(&row, "prev_seq")?,
                held: count(&row, "held")?,
            });
        }
        for row in transaction.rows(STUBS, &[]).await? {
            found.stubs.insert(row.some_text("writer")?, row.some_text("stub")?);
        }
        transaction.commit().await?;
        Ok(found)
    }
}

fn count(row: &StoredRow, column: &str) -> Result<u64, StoreError> {
    Ok(row.int(column)?.and_then(|number| u64::try_from(number).ok()).unwrap_or_default())
}
