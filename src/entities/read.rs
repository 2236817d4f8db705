//! One query of the mapping, run with its key, as typed rows. The only place where the mapping's SQL meets a database.

use std::sync::Arc;

use futures_util::TryStreamExt;
use sqlx::{Column as _, Either, Executor as _, PgConnection, Row as _, SqlStr, SqliteConnection, sqlite::SqliteRow};

use super::{
    decode::{postgres_cell, sqlite_cell},
    error::{Cause, FactsError, Place},
    load::Want,
};
use crate::domain::{
    Cell, Row,
    mapping::{Column, Query},
};

/// Why one query gave no rows.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The database or the way to it failed: trying again may help.
    Database(Cause),
    /// The rows do not fit: they will not fit the next time either.
    Rows(FactsError),
}

/// SQL of the mapping, narrowed by Chaperone: as a subquery it can be nothing but one SELECT, and it stops after
/// `rows_max` rows.
///
/// The mapping is part of the validated bundle, written by those who write the policies. Nothing a caller says ever
/// becomes part of this text: the key is bound.
#[expect(clippy::disallowed_types, reason = "the one audited place where SQL of the mapping becomes a statement")]
fn statement(select: &str, sql: &str, rows_max: usize) -> SqlStr {
    use sqlx::{AssertSqlSafe, SqlSafeStr};
    let sql = sql.trim().trim_end_matches(';');
    // The line break ends a comment that the query may end with.
    AssertSqlSafe(format!("SELECT {select} FROM (\n{sql}\n) AS facts LIMIT {rows_max}")).into_sql_str()
}

/// The statement that [`postgres`] runs.
pub(super) fn postgres_statement(query: &Query, rows_max: usize) -> SqlStr {
    statement("*", &query.postgres, rows_max)
}

/// A query of the mapping as [`postgres_statement`] runs it, for one row.
pub(super) fn postgres_text(sql: &str) -> SqlStr {
    statement("*", sql, 1)
}

/// The same, prepared under a name of Chaperone's, so that its plan can be asked for.
#[expect(clippy::disallowed_types, reason = "the text is the audited statement, behind words of Chaperone's own")]
pub(super) fn postgres_prepared(name: &str, sql: &str) -> SqlStr {
    use sqlx::{AssertSqlSafe, SqlSafeStr};
    AssertSqlSafe(format!("PREPARE {name} (text) AS {}", postgres_text(sql).as_str())).into_sql_str()
}

/// The query of SQLite with all its columns under their own names.
pub(super) fn sqlite_statement(query: &Query) -> SqlStr {
    statement("*", &query.sqlite, 1)
}

/// A statement of [`sqlite`]: the mapping's columns stand first, in its order.
///
/// sqlx keeps the column names of a prepared statement while SQLite silently prepares it again after a change of the
/// tables, so a position taken from a `*` could point at another column. A qualified name cannot be taken for a string.
fn sqlite_columns_first(query: &Query, columns: &[Column], rows_max: usize) -> SqlStr {
    let mut select: String =
        columns.iter().map(|column| format!("facts.\"{}\", ", column.name.replace('"', "\"\""))).collect();
    select.push_str("facts.*");
    statement(&select, &query.sqlite, rows_max)
}

/// The statements of `wants`, to be run by one message to the thread that SQLite runs on: each message costs two changes
/// of threads, several times what such a statement takes.
#[expect(clippy::disallowed_types, reason = "audited statements, one after the other")]
fn sqlite_texts(wants: &[Want<'_>]) -> SqlStr {
    use sqlx::{AssertSqlSafe, SqlSafeStr};
    let texts = wants.iter().map(|want| sqlite_columns_first(want.query, want.columns, want.rows_max + 1));
    let texts: Vec<String> = texts.map(|text| text.as_str().to_owned()).collect();
    AssertSqlSafe(texts.join(";\n")).into_sql_str()
}

/// Reads the rows of each of `wants`, all of one key, from SQLite. An error is that of the want that it stands with.
pub(super) async fn sqlite<'w, 'm>(
    connection: &mut SqliteConnection,
    wants: &'w [Want<'m>],
) -> Result<Vec<Vec<Row>>, (&'w Want<'m>, ReadError)> {
    let mut read: Vec<Vec<Row>> = Vec::with_capacity(wants.len());
    let Some(first) = wants.first() else { return Ok(read) };
    // The key for each statement, in case that one has a parameter without a number.
    let query = wants.iter().fold(sqlx::query(sqlite_texts(wants)), |query, _| query.bind(first.key.id.to_string()));
    let mut stream = connection.fetch_many(query);
    let mut rows = Vec::new();
    loop {
        let want = wants.get(read.len());
        let failed = |error| (want.unwrap_or(first), error);
        let step = stream.try_next().await.map_err(|error| failed(ReadError::Database(Cause::of(&error))))?;
        match (step, want) {
            (Some(Either::Right(row)), Some(want)) => {
                rows.push(sqlite_row(want, &row, rows.len()).map_err(failed)?);
            }
            // A statement is over: what comes now is of the next one.
            (Some(Either::Left(_)), Some(_)) => read.push(std::mem::take(&mut rows)),
            (None, None) => return Ok(read),
            // INVARIANT(texts): there are as many statements as wants. Facts that are not told apart are none.
            (None, Some(_)) | (Some(_), None) => return Err(failed(ReadError::Database(Cause::Protocol))),
        }
    }
}

fn sqlite_row(want: &Want<'_>, row: &SqliteRow, before: usize) -> Result<Row, ReadError> {
    let mut cells = Vec::with_capacity(want.columns.len());
    for (position, column) in want.columns.iter().enumerate() {
        let value = row.try_get_raw(position).map_err(|_index| missing(want, &column.name))?;
        cells.push(sqlite_cell(column.kind, value).map_err(|found| mismatch(want, column, found))?);
    }
    let rest = row.columns().iter().skip(want.columns.len());
    let id = match rest.into_iter().find(|column| column.name() == "id") {
        None => None,
        Some(column) => row.try_get_raw(column.ordinal()).ok().and_then(sqlite_id),
    };
    checked(want, id, cells, before)
}

fn sqlite_id(value: sqlx::sqlite::SqliteValueRef<'_>) -> Option<Arc<str>> {
    use sqlx::{Decode, Sqlite, TypeInfo, ValueRef};
    match value.type_info().name() {
        "TEXT" => <String as Decode<Sqlite>>::decode(value).ok().map(Into::into),
        "INTEGER" => <i64 as Decode<Sqlite>>::decode(value).ok().map(|id| id.to_string().into()),
        _ => None,
    }
}

/// Reads the rows of `want` from PostgreSQL.
pub(super) async fn postgres(connection: &mut PgConnection, want: &Want<'_>) -> Result<Vec<Row>, ReadError> {
    let sql = postgres_statement(want.query, want.rows_max + 1);
    let mut stream = sqlx::query(sql).bind(want.key.id.to_string()).fetch(connection);
    let mut rows: Vec<Row> = Vec::new();
    let mut positions: Option<(Vec<usize>, Option<usize>)> = None;
    while let Some(row) = stream.try_next().await.map_err(|error| ReadError::Database(Cause::of(&error)))? {
        let (columns, id) = match &positions {
            Some(found) => found,
            None => positions.insert(by_name(want, row.columns())?),
        };
        let mut cells = Vec::with_capacity(columns.len());
        for (position, column) in columns.iter().zip(want.columns) {
            let value = row.try_get_raw(*position).map_err(|_index| missing(want, &column.name))?;
            cells.push(postgres_cell(column.kind, &value).map_err(|found| mismatch(want, column, found))?);
        }
        let id = id.and_then(|position| row.try_get_raw(position).ok()).and_then(|value| postgres_id(&value));
        rows.push(checked(want, id, cells, rows.len())?);
    }
    Ok(rows)
}

fn postgres_id(value: &sqlx::postgres::PgValueRef<'_>) -> Option<Arc<str>> {
    use crate::domain::mapping::CellKind;
    if let Ok(Cell::Text(id)) = postgres_cell(CellKind::Text, value) {
        return Some(id);
    }
    match postgres_cell(CellKind::Int, value) {
        Ok(Cell::Int(id)) => Some(id.to_string().into()),
        Ok(_) | Err(_) => None,
    }
}

/// Positions of the mapping's columns, and of `id` if there is one, in what the query returns.
fn by_name(want: &Want<'_>, returned: &[sqlx::postgres::PgColumn]) -> Result<(Vec<usize>, Option<usize>), ReadError> {
    let position = |name: &str| returned.iter().position(|column| column.name() == name);
    let columns = want
        .columns
        .iter()
        .map(|column| position(&column.name).ok_or_else(|| missing(want, &column.name)))
        .collect::<Result<_, _>>()?;
    Ok((columns, position("id")))
}

/// The row, unless it is one too many.
fn checked(want: &Want<'_>, id: Option<Arc<str>>, cells: Vec<Cell>, before: usize) -> Result<Row, ReadError> {
    if before >= want.rows_max {
        return Err(ReadError::Rows(match want.key.relation {
            None => FactsError::Ambiguous { place: want.place() },
            Some(_) => FactsError::TooLarge { rows_max: want.rows_max },
        }));
    }
    // An own row says which entity it is: taken for granted, a database that compares loosely would answer for another.
    let id = match (id, &want.key.relation) {
        (Some(id), _) => id,
        (None, Some(_)) => want.key.id.clone(),
        (None, None) => return Err(missing(want, &"id".into())),
    };
    Ok(Row { id, cells: cells.into() })
}

fn missing(want: &Want<'_>, column: &Arc<str>) -> ReadError {
    ReadError::Rows(FactsError::MissingColumn { place: want.place(), column: column.clone() })
}

fn mismatch(want: &Want<'_>, column: &Column, found: String) -> ReadError {
    ReadError::Rows(FactsError::Decode { place: want.place(), column: column.name.clone(), wanted: column.kind, found })
}

impl Want<'_> {
    pub(super) fn place(&self) -> Place {
        Place { kind: self.key.kind.clone(), relation: self.key.relation.clone() }
    }
}
