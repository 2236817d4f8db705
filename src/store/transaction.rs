//! One transaction, and the statements that rooms above bring to it.

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use sqlx::{
    Decode, Executor as _, Postgres, Row as _, SqlSafeStr, SqlStr, Sqlite, ValueRef as _,
    postgres::{PgRow, PgValueFormat},
    query::Query,
    sqlite::SqliteRow,
};

use super::{
    error::{Cause, StoreError},
    pool::Dialect,
    value::{At, POSTGRES_EPOCH_US, Value},
};

/// One statement in both dialects. Parameters are `$1`, `$2`, … in either.
#[derive(Clone, Copy, Debug)]
pub struct Sql {
    pub sqlite: &'static str,
    pub postgres: &'static str,
}

impl Sql {
    /// The same text for both.
    pub const fn both(text: &'static str) -> Self {
        Self { sqlite: text, postgres: text }
    }
}

/// A transaction of the store. Dropped without [`commit`](Self::commit), it never was.
#[derive(Debug)]
pub struct Transaction {
    pub(super) inner: Inner,
    pub(super) address: String,
    /// Writes that go with the next statement.
    pending: Vec<(Sql, Vec<Value<'static>>)>,
}

#[derive(Debug)]
pub(super) enum Inner {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Transaction {
    pub(super) fn new(inner: Inner, address: String) -> Self {
        Self { inner, address, pending: Vec::new() }
    }

    pub const fn dialect(&self) -> Dialect {
        match self.inner {
            Inner::Sqlite(_) => Dialect::Sqlite,
            Inner::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Writes, and asks nothing of it but that it stands. In SQLite it goes with the next statement, or with the commit: each
    /// message to the thread that SQLite runs on costs two changes of threads, several times what such a statement takes.
    ///
    /// # Errors
    ///
    /// [`StoreError`], here or where it goes; the transaction is then of no more use.
    pub async fn write(&mut self, sql: Sql, values: &[Value<'_>]) -> Result<(), StoreError> {
        match &self.inner {
            Inner::Sqlite(_) => self.pending.push((sql, values.iter().map(Value::owned).collect())),
            Inner::Postgres(_) => drop(self.run(sql, values).await?),
        }
        Ok(())
    }

    /// Runs a statement and returns how many rows it changed.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; the transaction is then of no more use.
    pub async fn run(&mut self, sql: Sql, values: &[Value<'_>]) -> Result<u64, StoreError> {
        let done = match &mut self.inner {
            Inner::Sqlite(transaction) if self.pending.is_empty() => {
                bound_sqlite(sql.sqlite, values).execute(&mut **transaction).await.map(|done| done.rows_affected())
            }
            Inner::Sqlite(transaction) => {
                let (text, all) = script(std::mem::take(&mut self.pending), sql, values);
                let steps = transaction.fetch_many(bound_sqlite(text, &all));
                // Of the last statement: the others were written, not run.
                steps.try_fold(0, async |last, step| Ok(step.left().map_or(last, |done| done.rows_affected()))).await
            }
            Inner::Postgres(transaction) => {
                bound_postgres(sql, values).execute(&mut **transaction).await.map(|done| done.rows_affected())
            }
        };
        done.map_err(|error| StoreError::of(&self.address, &error))
    }

    /// The rows that a query returns. The query bounds their number.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; the transaction is then of no more use.
    pub async fn rows(&mut self, sql: Sql, values: &[Value<'_>]) -> Result<Vec<StoredRow>, StoreError> {
        let rows = match &mut self.inner {
            Inner::Sqlite(transaction) => {
                let rows = if self.pending.is_empty() {
                    bound_sqlite(sql.sqlite, values).fetch_all(&mut **transaction).await
                } else {
                    let (text, all) = script(std::mem::take(&mut self.pending), sql, values);
                    bound_sqlite(text, &all).fetch_all(&mut **transaction).await
                };
                rows.map(|rows| rows.into_iter().map(StoredRow::Sqlite).collect())
            }
            Inner::Postgres(transaction) => bound_postgres(sql, values)
                .fetch_all(&mut **transaction)
                .await
                .map(|rows| rows.into_iter().map(StoredRow::Postgres).collect()),
        };
        rows.map_err(|error| StoreError::of(&self.address, &error))
    }

    /// The rows of several queries, in SQLite by one message.
    ///
    /// # Errors
    ///
    /// As [`rows`](Self::rows).
    pub async fn all(&mut self, queries: &[(Sql, &[Value<'_>])]) -> Result<Vec<Vec<StoredRow>>, StoreError> {
        let mut all = Vec::with_capacity(queries.len());
        let (Inner::Sqlite(transaction), Some(((last, values), before))) = (&mut self.inner, queries.split_last())
        else {
            for (sql, values) in queries {
                all.push(self.rows(*sql, values).await?);
            }
            return Ok(all);
        };
        let mut before_them = self.pending.len();
        let mut steps = std::mem::take(&mut self.pending);
        steps.extend(before.iter().map(|(sql, values)| (*sql, values.iter().map(Value::owned).collect())));
        let (text, bound) = script(steps, *last, values);
        let mut steps = transaction.fetch_many(bound_sqlite(text, &bound));
        let mut rows = Vec::new();
        while let Some(step) = steps.try_next().await.map_err(|error| StoreError::of(&self.address, &error))? {
            match step.right() {
                Some(row) => rows.push(StoredRow::Sqlite(row)),
                // A statement is over: what was written before has no rows.
                None if before_them > 0 => before_them -= 1,
                None => all.push(std::mem::take(&mut rows)),
            }
        }
        if all.len() == queries.len() {
            Ok(all)
        } else {
            // Rows that are not told apart are none: nothing is decided on them.
            Err(StoreError::Away { address: self.address.clone(), cause: Cause::Protocol })
        }
    }

    /// The first row that a query returns.
    ///
    /// # Errors
    ///
    /// As [`rows`](Self::rows).
    pub async fn row(&mut self, sql: Sql, values: &[Value<'_>]) -> Result<Option<StoredRow>, StoreError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// Makes all of it stand.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; an [`Away`](StoreError::Away) leaves open whether it stands.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        if let Some((sql, values)) = self.pending.pop() {
            self.run(sql, &values).await?;
        }
        let done = match self.inner {
            Inner::Sqlite(transaction) => transaction.commit().await,
            Inner::Postgres(transaction) => transaction.commit().await,
        };
        done.map_err(|error| StoreError::of(&self.address, &error))
    }
}

/// `pending` and behind them `sql`, as one text with one row of parameters.
#[expect(clippy::disallowed_types, reason = "constants of this program, one after the other")]
fn script(pending: Vec<(Sql, Vec<Value<'static>>)>, sql: Sql, values: &[Value<'_>]) -> (SqlStr, Vec<Value<'static>>) {
    use sqlx::AssertSqlSafe;
    let (mut text, mut all) = (String::new(), Vec::new());
    for (sql, values) in pending {
        renumber(sql.sqlite, all.len(), &mut text);
        text.push_str(";\n");
        all.extend(values);
    }
    renumber(sql.sqlite, all.len(), &mut text);
    all.extend(values.iter().map(Value::owned));
    (AssertSqlSafe(text).into_sql_str(), all)
}

/// Appends `sql` with its parameters counted from `before` on. No statement here has a `$` for anything else.
fn renumber(sql: &str, before: usize, into: &mut String) {
    let mut parts = sql.split('$');
    into.extend(parts.next());
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at_checked(digits).unwrap_or((part, ""));
        match number.parse::<usize>() {
            Ok(number) => into.push_str(&format!("${}{rest}", number + before)),
            Err(_no_parameter) => into.extend(["$", part]),
        }
    }
}

pub(super) fn bound_sqlite<'q>(
    sql: impl SqlSafeStr,
    values: &[Value<'_>],
) -> Query<'q, Sqlite, <Sqlite as sqlx::Database>::Arguments> {
    values.iter().fold(sqlx::query(sql), |query, value| match value {
        Value::Text(text) => query.bind(text.as_deref().map(str::to_owned)),
        Value::Int(number) => query.bind(*number),
        Value::Flag(flag) => query.bind(*flag),
        Value::At(at) => query.bind(at.map(At)),
        Value::Bytes(bytes) => query.bind(bytes.as_deref().map(<[u8]>::to_vec)),
    })
}

fn bound_postgres<'q>(sql: Sql, values: &[Value<'_>]) -> Query<'q, Postgres, <Postgres as sqlx::Database>::Arguments> {
    values.iter().fold(sqlx::query(sql.postgres), |query, value| match value {
        Value::Text(text) => query.bind(text.as_deref()),
        Value::Int(number) => query.bind(*number),
        Value::Flag(flag) => query.bind(*flag),
        Value::At(at) => query.bind(at.map(At)),
        Value::Bytes(bytes) => query.bind(bytes.as_deref()),
    })
}

/// One row of the store, by the names of its columns.
#[derive(Debug)]
pub enum StoredRow {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl StoredRow {
    /// A text; `None` is null.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unreadable`] when no such column holds a text.
    pub fn text(&self, column: &str) -> Result<Option<String>, StoreError> {
        self.read(column, "text")
    }

    /// A text that must be there.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unreadable`] when no such column holds a text.
    pub fn some_text(&self, column: &str) -> Result<String, StoreError> {
        self.text(column)?.ok_or_else(|| unreadable(column, "text"))
    }

    /// A whole number of any width; `None` is null.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unreadable`] when no such column holds a number.
    pub fn int(&self, column: &str) -> Result<Option<i64>, StoreError> {
        match self {
            Self::Sqlite(_) => self.read(column, "number"),
            Self::Postgres(row) => {
                let wide = row.try_get::<Option<i64>, _>(column);
                let number = wide.or_else(|_narrower| Ok(row.try_get::<Option<i32>, _>(column)?.map(i64::from)));
                number.map_err(|_error: sqlx::Error| unreadable(column, "number"))
            }
        }
    }

    /// A boolean; `None` is null.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unreadable`] when no such column holds one.
    pub fn flag(&self, column: &str) -> Result<Option<bool>, StoreError> {
        self.read(column, "boolean")
    }

    /// Bytes; `None` is null.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unreadable`] when no such column holds any.
    pub fn bytes(&self, column: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(column, "bytes")
    }

    /// An instant; `None` is null.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unreadable`] when no such column holds an instant.
    pub fn at(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        let wrong = || unreadable(column, "instant");
        match self {
            Self::Sqlite(row) => {
                // The value's own type counts: a column of `timestamptz` holds text.
                let value = row.try_get_raw(column).map_err(|_error| wrong())?;
                if value.is_null() {
                    return Ok(None);
                }
                let text = <String as Decode<Sqlite>>::decode(value).map_err(|_error| wrong())?;
                text.parse().map(Some).map_err(|_error| wrong())
            }
            Self::Postgres(row) => {
                let value = row.try_get_raw(column).map_err(|_error| wrong())?;
                if value.is_null() {
                    return Ok(None);
                }
                let bytes = value.as_bytes().map_err(|_error| wrong())?;
                let bytes = (value.format() == PgValueFormat::Binary).then_some(bytes).ok_or_else(wrong)?;
                let micros = <[u8; 8]>::try_from(bytes).map(i64::from_be_bytes).map_err(|_error| wrong())?;
                let since_1970 = micros.checked_add(POSTGRES_EPOCH_US).ok_or_else(wrong)?;
                Timestamp::from_microsecond(since_1970).map(Some).map_err(|_error| wrong())
            }
        }
    }

    fn read<T>(&self, column: &str, wanted: &'static str) -> Result<Option<T>, StoreError>
    where
        T: for<'r> Decode<'r, Sqlite> + for<'r> Decode<'r, Postgres> + sqlx::Type<Sqlite> + sqlx::Type<Postgres>,
    {
        let value = match self {
            // Tables of SQLite declare types that it does not have, as `boolean`.
            Self::Sqlite(row) => row.try_get_unchecked::<Option<T>, _>(column),
            Self::Postgres(row) => row.try_get::<Option<T>, _>(column),
        };
        value.map_err(|_error| unreadable(column, wanted))
    }
}

fn unreadable(column: &str, wanted: &'static str) -> StoreError {
    StoreError::Unreadable { column: column.to_owned(), wanted }
}
