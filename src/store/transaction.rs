//! One transaction, and the statements that rooms above bring to it.

use jiff::Timestamp;
use sqlx::{
    Decode, Postgres, Row as _, Sqlite, ValueRef as _,
    postgres::{PgRow, PgValueFormat},
    query::Query,
    sqlite::SqliteRow,
};

use super::{
    error::StoreError,
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
}

#[derive(Debug)]
pub(super) enum Inner {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Transaction {
    /// Runs a statement and returns how many rows it changed.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; the transaction is then of no more use.
    pub async fn run(&mut self, sql: Sql, values: &[Value<'_>]) -> Result<u64, StoreError> {
        let done = match &mut self.inner {
            Inner::Sqlite(transaction) => {
                bound_sqlite(sql, values).execute(&mut **transaction).await.map(|done| done.rows_affected())
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
            Inner::Sqlite(transaction) => bound_sqlite(sql, values)
                .fetch_all(&mut **transaction)
                .await
                .map(|rows| rows.into_iter().map(StoredRow::Sqlite).collect()),
            Inner::Postgres(transaction) => bound_postgres(sql, values)
                .fetch_all(&mut **transaction)
                .await
                .map(|rows| rows.into_iter().map(StoredRow::Postgres).collect()),
        };
        rows.map_err(|error| StoreError::of(&self.address, &error))
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
    pub async fn commit(self) -> Result<(), StoreError> {
        let done = match self.inner {
            Inner::Sqlite(transaction) => transaction.commit().await,
            Inner::Postgres(transaction) => transaction.commit().await,
        };
        done.map_err(|error| StoreError::of(&self.address, &error))
    }
}

fn bound_sqlite<'q>(sql: Sql, values: &[Value<'_>]) -> Query<'q, Sqlite, <Sqlite as sqlx::Database>::Arguments> {
    values.iter().fold(sqlx::query(sql.sqlite), |query, value| match value {
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
