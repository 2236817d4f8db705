//! Proof that the triggers fire: a row is written as it is, and what was logged is looked at before it is undone.

use sqlx::{PgConnection, Row as _};

use super::{
    derive::Derived,
    sql::{Table, quoted, statement},
};
use crate::entities::error::Cause;

/// What came of the attempt on one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    Fires,
    /// There is no row that could be written.
    NoRow,
    /// A row was written and nothing was logged.
    Silent,
    /// The database's own words.
    Refused(String),
}

/// Writes one row of each table, unchanged, and undoes it.
pub(super) async fn prove(
    writer: &mut PgConnection,
    schema: &str,
    derived: &Derived,
) -> Result<Vec<(Table, Proof)>, Cause> {
    let mut proofs = Vec::new();
    for (table, reached) in &derived.tables {
        let key = reached.facts.iter().find_map(|reach| reach.column.as_deref());
        let proof = match attempt(writer, schema, table, key).await {
            Ok(proof) => proof,
            Err(sqlx::Error::Database(error)) => Proof::Refused(error.message().to_owned()),
            Err(error) => return Err(Cause::of(&error)),
        };
        sqlx::raw_sql("ROLLBACK").execute(&mut *writer).await.map_err(|error| Cause::of(&error))?;
        proofs.push((table.clone(), proof));
    }
    Ok(proofs)
}

async fn attempt(
    writer: &mut PgConnection,
    schema: &str,
    table: &Table,
    key: Option<&str>,
) -> Result<Proof, sqlx::Error> {
    sqlx::raw_sql("BEGIN READ WRITE; SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '5s'")
        .execute(&mut *writer)
        .await?;
    let writable: Option<String> = sqlx::query_scalar(
        "SELECT a.attname::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1::text::regclass AND a.attnum > 0
           AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity <> 'a' ORDER BY a.attname = $2 DESC, a.attnum LIMIT 1",
    )
    .bind(table.quoted())
    .bind(key.unwrap_or_default())
    .fetch_optional(&mut *writer)
    .await?;
    let Some(column) = writable else { return Ok(Proof::NoRow) };
    let (table, column) = (table.quoted(), quoted(&column));
    let condition = key.map_or_else(|| "true".to_owned(), |key| format!("{} IS NOT NULL", quoted(key)));
    let written = sqlx::query(statement(format!(
        "UPDATE {table} SET {column} = {column} WHERE (tableoid, ctid) = (SELECT r.tableoid, r.ctid FROM {table} r WHERE {condition} LIMIT 1)"
    )))
    .execute(&mut *writer)
    .await?;
    if written.rows_affected() == 0 {
        return Ok(Proof::NoRow);
    }
    let change = Table::new(schema, "chaperone_change").quoted();
    let logged = statement(format!("SELECT EXISTS (SELECT 1 FROM {change} WHERE xid = pg_current_xact_id())"));
    let row = sqlx::query(logged).fetch_one(&mut *writer).await?;
    Ok(if row.try_get(0)? { Proof::Fires } else { Proof::Silent })
}
