//! Finding records by the index over shipped frames, some at a time, in the order of instant, writer and number.
//!
//! Each question is led by the most telling word that it has, along the index that begins with it; what else was asked is
//! looked at in the rows that this brings. Nothing is sorted but the few records of one decision, and the two runs that a
//! tenant's pages are merged of.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::{
    error::StoreError,
    migration::Part,
    pool::{Dialect, Store, StoreOptions},
    transaction::{Sql, StoredRow, Transaction},
    value::Value,
};

/// So many rows are read at a time, as the questions say: fewer are the last ones.
pub const FOUND_AT_ONCE: usize = 500;

/// What the records of a question have; what is not given can be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordFilter {
    pub decision_id: Option<String>,
    pub grant: Option<String>,
    pub client: Option<String>,
    pub principal: Option<String>,
    /// That the person acted in, or whose the resource is.
    pub tenant: Option<String>,
    pub principal_type: Option<String>,
    pub resource_type: Option<String>,
    pub resource_id: Option<String>,
    pub action: Option<String>,
    pub decision: Option<String>,
    pub reason: Option<String>,
    pub kind: Option<String>,
    pub from: Option<Timestamp>,
    /// A database keeps instants more roughly than records do: whoever must be exact looks at the lines.
    pub to: Option<Timestamp>,
}

/// Up to where a reading goes: what had arrived when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    pub upto: u64,
}

/// Records of one writer that belong to a reading though they arrive later: it knew them from elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownBefore {
    pub writer: String,
    pub seq: u64,
}

/// Where some rows ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowPlace {
    pub at: Timestamp,
    pub writer: String,
    pub seq: u64,
}

/// A record of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRow {
    /// As the database keeps it: to the microsecond in PostgreSQL.
    pub at: Timestamp,
    pub writer: String,
    pub seq: u64,
    pub line: String,
}

/// The records of a store, for a role that may read the trail.
#[derive(Debug)]
pub struct TrailFinder {
    pub(super) store: Store,
}

macro_rules! rest_of_a_question {
    ($at:literal, $arrival:literal, $null:literal) => {
        concat!(
            $at,
            " >= $2 AND (",
            $at,
            ", writer, seq) > ($2, $3, $4) AND ",
            $at,
            " <= $5 \
             AND (",
            $arrival,
            " <= $6 OR (writer = $7 AND seq <= $8)) AND line IS NOT NULL \
             AND ($9",
            $null,
            " OR decision_id || '' = $9) AND ($10",
            $null,
            " OR grant_id || '' = $10) \
             AND ($11",
            $null,
            " OR client || '' = $11) AND ($12",
            $null,
            " OR principal || '' = $12) \
             AND ($13",
            $null,
            " OR tenant || '' = $13 OR resource_tenant || '' = $13) AND ($14",
            $null,
            " OR principal_type = $14) \
             AND ($15",
            $null,
            " OR resource_type = $15) AND ($16",
            $null,
            " OR resource_id = $16) \
             AND ($17",
            $null,
            " OR action = $17) AND ($18",
            $null,
            " OR decision = $18) \
             AND ($19",
            $null,
            " OR reason = $19) AND ($20",
            $null,
            " OR kind = $20) \
             ORDER BY ",
            $at,
            ", writer, seq LIMIT 500"
        )
    };
}

/// A question that is led by `$lead`; `$before` stands before it, as `EXPLAIN`.
macro_rules! question {
    ($sqlite:literal, $postgres:literal, $lead:literal) => {
        Sql {
            sqlite: concat!(
                $sqlite,
                "SELECT at, writer, seq, line FROM audit_record WHERE ",
                $lead,
                " AND ",
                rest_of_a_question!("rtrim(at, 'Z')", "rowid", " IS NULL")
            ),
            postgres: concat!(
                $postgres,
                "SELECT at, writer, seq, line FROM audit_record WHERE ",
                $lead,
                " AND ",
                rest_of_a_question!("at", "coalesce(arrival, 0)", "::text IS NULL")
            ),
        }
    };
}

/// What a tenant acted in, and what is its own: two indexes, each in order, of which the first rows of both are merged.
macro_rules! question_of_a_tenant {
    ($sqlite:literal, $postgres:literal) => {
        Sql {
            sqlite: concat!(
                $sqlite,
                "SELECT at, writer, seq, line FROM (SELECT * FROM (SELECT at, writer, seq, line FROM audit_record WHERE tenant = $1 AND ",
                rest_of_a_question!("rtrim(at, 'Z')", "rowid", " IS NULL"),
                ") UNION ALL SELECT * FROM (SELECT at, writer, seq, line FROM audit_record WHERE resource_tenant = $1 \
                 AND tenant IS NOT $1 AND ",
                rest_of_a_question!("rtrim(at, 'Z')", "rowid", " IS NULL"),
                ")) ORDER BY rtrim(at, 'Z'), writer, seq LIMIT 500"
            ),
            postgres: concat!(
                $postgres,
                "SELECT at, writer, seq, line FROM ((SELECT at, writer, seq, line FROM audit_record WHERE tenant = $1 AND ",
                rest_of_a_question!("at", "coalesce(arrival, 0)", "::text IS NULL"),
                ") UNION ALL (SELECT at, writer, seq, line FROM audit_record WHERE resource_tenant = $1 \
                 AND tenant IS DISTINCT FROM $1 AND ",
                rest_of_a_question!("at", "coalesce(arrival, 0)", "::text IS NULL"),
                ")) AS either ORDER BY at, writer, seq LIMIT 500"
            ),
        }
    };
}

macro_rules! questions {
    ($sqlite:literal, $postgres:literal) => {
        [
            question!($sqlite, $postgres, "decision_id = $1"),
            question!($sqlite, $postgres, "grant_id = $1"),
            question!($sqlite, $postgres, "client = $1"),
            question!($sqlite, $postgres, "principal = $1"),
            question_of_a_tenant!($sqlite, $postgres),
            question!($sqlite, $postgres, "$1 = ''"),
        ]
    };
}

/// One for each word that leads, the most telling first; the last is led by time alone.
const QUESTIONS: [Sql; 6] = questions!("", "");
#[cfg(test)]
pub(super) const EXPLAINED: [Sql; 6] = questions!("EXPLAIN QUERY PLAN ", "EXPLAIN ");

const ARRIVED: Sql = Sql {
    sqlite: "SELECT coalesce(max(rowid), 0) AS upto FROM audit_record",
    // What is on its way while this is asked may come later: it has its number already.
    postgres: "SELECT last_value AS upto FROM audit_arrival",
};

const ENCRYPTED: Sql =
    Sql::both("SELECT 1 AS one FROM audit_record WHERE month = '1970-01' AND kind = 'unread' AND line IS NULL LIMIT 1");

const IN_ORDER: Sql = Sql::both(
    "SELECT set_config('enable_sort', 'off', true), set_config('enable_incremental_sort', 'off', true), \
            set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true), \
            set_config('plan_cache_mode', 'force_generic_plan', true)",
);

impl TrailFinder {
    /// Reads the address; connects later. Call it inside a runtime. A question may take `each`.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn open(url: &str, each: Duration) -> Result<Self, StoreError> {
        let options = StoreOptions { connections: 2, statement_timeout: each, create: false };
        Ok(Self { store: Store::open(url, options)? })
    }

    /// Where it is, without user, password and parameters.
    pub fn address(&self) -> &str {
        self.store.address()
    }

    /// Up to where it has records now. A file that is not there has none yet: the first record that is shipped makes it.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; also when the tables are not as this program needs them, or hold records that only their key opens.
    pub async fn arrived(&self) -> Result<Arrived, StoreError> {
        if self.is_missing() || self.store.is_bare().await? {
            return Ok(Arrived { upto: 0 });
        }
        self.store.check(&[Part::Trail]).await?;
        let mut transaction = self.store.read().await?;
        let row = transaction.row(ARRIVED, &[]).await?;
        let encrypted = transaction.row(ENCRYPTED, &[]).await?;
        transaction.commit().await?;
        if encrypted.is_some() {
            return Err(StoreError::Encrypted { address: self.address().to_owned() });
        }
        Ok(Arrived { upto: row.map_or(Ok(0), |row| count(&row, "upto"))? })
    }

    /// The next rows behind `after`, in order, some at most; none: there are no more.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn find(
        &self,
        filter: &RecordFilter,
        after: &RowPlace,
        arrived: Arrived,
        known: &KnownBefore,
    ) -> Result<Vec<FoundRow>, StoreError> {
        if self.is_missing() || arrived.upto == 0 && self.store.is_bare().await? {
            return Ok(Vec::new());
        }
        let (sql, values) = self.question(&QUESTIONS, filter, after, arrived, known);
        let mut transaction = self.store.read().await?;
        self.keep_to_the_index(&mut transaction, filter).await?;
        let rows = transaction.rows(sql, &values).await?;
        transaction.commit().await?;
        rows.iter().map(found).collect()
    }

    /// A planner that guesses few rows would fetch and sort all of a client's; the index has them in order, however many.
    /// Planning over six years of months takes several times as long as reading, and no word of a question changes the plan.
    pub(super) async fn keep_to_the_index(
        &self,
        transaction: &mut Transaction,
        filter: &RecordFilter,
    ) -> Result<(), StoreError> {
        let is_ordered = filter.decision_id.is_none();
        if is_ordered && self.store.dialect() == Dialect::Postgres {
            transaction.rows(IN_ORDER, &[]).await?;
        }
        Ok(())
    }

    pub(super) fn question<'a>(
        &self,
        texts: &[Sql; 6],
        filter: &'a RecordFilter,
        after: &'a RowPlace,
        arrived: Arrived,
        known: &'a KnownBefore,
    ) -> (Sql, Vec<Value<'a>>) {
        let leads = [&filter.decision_id, &filter.grant, &filter.client, &filter.principal, &filter.tenant];
        let [.., by_time] = texts;
        let led = leads.iter().position(|word| word.is_some());
        let sql = led.and_then(|nth| texts.get(nth)).unwrap_or(by_time);
        let word = led.and_then(|nth| leads.get(nth)?.as_deref()).unwrap_or_default();
        let number = |n: u64| Value::Int(Some(i64::try_from(n).unwrap_or(i64::MAX)));
        let start = filter.from.map_or(after.at, |from| from.max(after.at));
        let (writer, seq) = if start == after.at { (after.writer.as_str(), after.seq) } else { ("", 0) };
        let mut values = vec![
            Value::from(word),
            self.instant(start),
            Value::from(writer),
            number(seq),
            self.instant(filter.to.and_then(|to| to.checked_add(ROUNDED).ok()).unwrap_or(LAST)),
            number(arrived.upto),
            Value::from(known.writer.as_str()),
            number(known.seq),
        ];
        let rest = [&filter.principal_type, &filter.resource_type, &filter.resource_id, &filter.action];
        let last = [&filter.decision, &filter.reason, &filter.kind];
        // The word that leads is asked once: a planner that sees it twice expects next to nothing.
        let others = leads.into_iter().enumerate().map(|(nth, word)| word.as_deref().filter(|_| led != Some(nth)));
        values.extend(others.map(Value::from));
        values.extend(rest.into_iter().chain(last).map(|word| Value::from(word.as_deref())));
        (*sql, values)
    }

    /// As the index has it.
    fn instant(&self, at: Timestamp) -> Value<'static> {
        match self.store.dialect() {
            Dialect::Sqlite => Value::from(at.to_string().trim_end_matches('Z').to_owned()),
            Dialect::Postgres => Value::from(at),
        }
    }

    pub(super) fn is_missing(&self) -> bool {
        self.store.path().is_some_and(|path| !path.exists())
    }

    #[cfg(test)]
    pub(super) fn store(&self) -> &Store {
        &self.store
    }
}

/// An instant may have been rounded up by so much.
const ROUNDED: SignedDuration = SignedDuration::from_micros(1);
/// No record is later, and both databases can say it.
const LAST: Timestamp = Timestamp::constant(253_370_764_800, 0);

impl RowPlace {
    /// Before every record: no trail is older than 1900, and both databases can say it.
    pub fn first() -> Self {
        Self::before(Timestamp::constant(-2_208_988_800, 0))
    }

    /// Before every record of that instant, and of those that a database takes for the same.
    pub fn before(at: Timestamp) -> Self {
        Self { at, writer: String::new(), seq: 0 }
    }
}

fn found(row: &StoredRow) -> Result<FoundRow, StoreError> {
    let at = row.at("at")?.ok_or_else(|| StoreError::Unreadable { column: "at".to_owned(), wanted: "instant" })?;
    Ok(FoundRow { at, writer: row.some_text("writer")?, seq: count(row, "seq")?, line: row.some_text("line")? })
}

fn count(row: &StoredRow, column: &str) -> Result<u64, StoreError> {
    Ok(row.int(column)?.and_then(|number| u64::try_from(number).ok()).unwrap_or_default())
}
