//! What the database's catalogs say of the things that plans name.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{PgConnection, Row as _};

use super::{expression::Used, sql::Table};
use crate::entities::error::Cause;

/// A table that rows are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Class {
    /// `r` a table, `p` a partitioned one, `m` a materialized view, `f` a foreign table, …
    pub(super) kind: String,
    pub(super) is_temporary: bool,
    /// The topmost table that it is a partition of; itself if it is none.
    pub(super) root: Table,
    /// Oid of the root, to ask for its partitions.
    root_oid: i64,
}

/// The tables of these names.
pub(super) async fn classes(
    connection: &mut PgConnection,
    tables: &BTreeSet<Table>,
) -> Result<BTreeMap<Table, Class>, Cause> {
    let (schemas, names): (Vec<&str>, Vec<&str>) = columns_of(tables);
    let rows = sqlx::query(
        "SELECT n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence = 't', rn.nspname::text, r.relname::text, r.oid::int8
         FROM unnest($1::text[], $2::text[]) AS w(schema, name)
         JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
         JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
         JOIN pg_catalog.pg_class r ON r.oid = COALESCE(pg_catalog.pg_partition_root(c.oid)::oid, c.oid)
         JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace",
    )
    .bind(schemas)
    .bind(names)
    .fetch_all(connection)
    .await
    .map_err(|error| Cause::of(&error))?;
    rows.iter()
        .map(|row| {
            let class = Class {
                kind: row.try_get(2)?,
                is_temporary: row.try_get(3)?,
                root: Table::new(row.try_get::<String, _>(4)?, row.try_get::<String, _>(5)?),
                root_oid: row.try_get(6)?,
            };
            Ok((Table::new(row.try_get::<String, _>(0)?, row.try_get::<String, _>(1)?), class))
        })
        .collect::<Result<_, sqlx::Error>>()
        .map_err(|error| Cause::of(&error))
}

/// A partition, at whatever depth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) table: Table,
    pub(super) kind: String,
}

/// The partitions of each of these roots.
pub(super) async fn partitions<'c>(
    connection: &mut PgConnection,
    classes: impl Iterator<Item = &'c Class>,
) -> Result<BTreeMap<Table, Vec<Partition>>, Cause> {
    let roots: BTreeMap<i64, &Table> = classes
        .filter(|class| class.kind == "p" || class.kind == "r")
        .map(|class| (class.root_oid, &class.root))
        .collect();
    let rows = sqlx::query(
        "SELECT w.root, n.nspname::text, c.relname::text, c.relkind::text
         FROM unnest($1::int8[]) AS w(root)
         CROSS JOIN LATERAL pg_catalog.pg_partition_tree(w.root::oid::regclass) AS t
         JOIN pg_catalog.pg_class c ON c.oid = t.relid
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE c.oid <> w.root::oid ORDER BY 2, 3",
    )
    .bind(roots.keys().copied().collect::<Vec<_>>())
    .fetch_all(connection)
    .await
    .map_err(|error| Cause::of(&error))?;
    let mut found: BTreeMap<Table, Vec<Partition>> = BTreeMap::new();
    for row in rows {
        let read = || -> Result<_, sqlx::Error> {
            let table = Table::new(row.try_get::<String, _>(1)?, row.try_get::<String, _>(2)?);
            Ok((row.try_get::<i64, _>(0)?, Partition { table, kind: row.try_get(3)? }))
        };
        let (root, partition) = read().map_err(|error| Cause::of(&error))?;
        if let Some(root) = roots.get(&root) {
            found.entry((*root).clone()).or_default().push(partition);
        }
    }
    Ok(found)
}

/// What a column holds, as far as the text of its values is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// Text that is equal only letter by letter.
    Text,
    Uuid,
    Integer,
    /// Values with one text each, that are not compared as text.
    Words,
    Other,
}

/// What these columns hold.
pub(super) async fn columns(
    connection: &mut PgConnection,
    wanted: &BTreeSet<(Table, String)>,
) -> Result<BTreeMap<(Table, String), Holds>, Cause> {
    let (schemas, names) = columns_of(wanted.iter().map(|(table, _)| table));
    let columns: Vec<&str> = wanted.iter().map(|(_, column)| column.as_str()).collect();
    // A domain is what it is made of; one over another domain is nothing that is understood.
    let rows = sqlx::query(
        "SELECT w.schema, w.name, w.col, b.typname::text, b.typtype::text, COALESCE(o.collisdeterministic, true)
         FROM unnest($1::text[], $2::text[], $3::text[]) AS w(schema, name, col)
         JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
         JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
         JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = w.col AND NOT a.attisdropped
         JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
         JOIN pg_catalog.pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
         JOIN pg_catalog.pg_namespace bn ON bn.oid = b.typnamespace AND (bn.nspname = 'pg_catalog' OR b.typtype = 'e')
         LEFT JOIN pg_catalog.pg_collation o ON o.oid = a.attcollation",
    )
    .bind(schemas)
    .bind(names)
    .bind(columns)
    .fetch_all(connection)
    .await
    .map_err(|error| Cause::of(&error))?;
    rows.iter()
        .map(|row| {
            let (name, kind): (String, String) = (row.try_get(3)?, row.try_get(4)?);
            let is_deterministic: bool = row.try_get(5)?;
            let holds = match name.as_str() {
                _ if kind == "e" => Holds::Words,
                "text" | "varchar" | "bpchar" | "name" if is_deterministic => Holds::Text,
                "uuid" => Holds::Uuid,
                "int2" | "int4" | "int8" => Holds::Integer,
                _ => Holds::Other,
            };
            Ok(((Table::new(row.try_get::<String, _>(0)?, row.try_get::<String, _>(1)?), row.try_get(2)?), holds))
        })
        .collect::<Result<_, sqlx::Error>>()
        .map_err(|error| Cause::of(&error))
}

/// Built-in functions that answer by a setting of the session alone (its time zone, its locale), which never changes in
/// a session of Chaperone's.
const STEADY: [&str; 22] = [
    "array_to_string",
    "concat",
    "concat_ws",
    "date_part",
    "date_trunc",
    "extract",
    "format",
    "json_agg",
    "json_build_array",
    "json_build_object",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_object_agg",
    "string_agg",
    "timezone",
    "to_char",
    "to_date",
    "to_json",
    "to_jsonb",
    "to_timestamp",
];

/// First oid of what is not PostgreSQL's own.
const FIRST_OF_USERS: i64 = 16_384;

/// Which of the functions, operators and casts in `used` could read tables, or answer otherwise from one moment to the
/// next. Those of PostgreSQL itself and of C code are believed when they say that they do not.
pub(super) async fn doubtful(connection: &mut PgConnection, used: &Used) -> Result<BTreeSet<String>, Cause> {
    let rows = sqlx::query_scalar(
        "WITH code AS (
           SELECT p.oid, p.proname::text AS name,
                  CASE WHEN p.oid::int8 < $5 THEN p.provolatile = 'i' OR (p.provolatile = 's' AND p.proname = ANY ($4::text[]))
                       ELSE p.provolatile = 'i' AND p.prokind = 'f' AND l.lanname IN ('internal', 'c') END AS is_steady
           FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang)
         SELECT 'function `' || w.name || '`' FROM unnest($1::text[]) AS w(name)
           WHERE NOT COALESCE((SELECT bool_and(c.is_steady) FROM code c WHERE c.name = w.name), false)
         UNION SELECT 'operator `' || o.oprname || '`' FROM pg_catalog.pg_operator o JOIN code c ON c.oid = o.oprcode
           WHERE o.oprname = ANY ($2::text[]) AND o.oid::int8 >= $5 AND NOT c.is_steady
         UNION SELECT 'cast to `' || t.typname || '`' FROM pg_catalog.pg_cast k
           JOIN code c ON c.oid = k.castfunc JOIN pg_catalog.pg_type t ON t.oid = k.casttarget
           WHERE k.oid::int8 >= $5 AND NOT c.is_steady AND (k.castcontext = 'i' OR t.typname = ANY ($3::text[]))",
    )
    .bind(used.functions.iter().map(String::as_str).collect::<Vec<_>>())
    .bind(used.operators.iter().map(String::as_str).collect::<Vec<_>>())
    .bind(used.types.iter().map(String::as_str).collect::<Vec<_>>())
    .bind(STEADY.as_slice())
    .bind(FIRST_OF_USERS)
    .fetch_all(connection)
    .await
    .map_err(|error| Cause::of(&error))?;
    Ok(rows.into_iter().collect())
}

fn columns_of<'t>(tables: impl IntoIterator<Item = &'t Table>) -> (Vec<&'t str>, Vec<&'t str>) {
    tables.into_iter().map(|table| (table.schema.as_str(), table.name.as_str())).unzip()
}
