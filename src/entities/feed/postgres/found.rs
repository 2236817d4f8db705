//! What of the feed stands in a database.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::{
    logged::{ROW_FUNCTION_PREFIX, ROW_TRIGGER, TRIM_FUNCTION, TRUNCATE_FUNCTION, TRUNCATE_TRIGGER},
    sql::{Table, statement},
};
use crate::entities::{error::Cause, primary::Server};

/// Where a session stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) role: String,
    /// The schema of the feed's tables; without them, the one where this session would make them.
    pub(super) schema: Option<String>,
    pub(super) in_recovery: bool,
    pub(super) server: Server,
    /// The database, told apart from every other one.
    pub(super) database: String,
    /// As `150004`.
    pub(super) version: i32,
    /// Whether the role may ask for the identifier of the system.
    pub(super) may_identify: bool,
    pub(super) server_time: Option<Timestamp>,
}

impl Session {
    pub(super) async fn of(connection: &mut PgConnection) -> Result<Self, Cause> {
        let (server, in_recovery) = Server::of(&mut *connection).await?;
        let row = sqlx::query(
            "SELECT current_user::text, COALESCE((SELECT n.nspname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                      WHERE c.oid = pg_catalog.to_regclass('chaperone_change')), current_schema()::text),
                    (SELECT d.oid::text || ' ' || pg_catalog.pg_postmaster_start_time()::text FROM pg_catalog.pg_database d WHERE d.datname = current_database()),
                    pg_catalog.current_setting('server_version_num')::int4,
                    pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE'),
                    (extract(epoch FROM clock_timestamp()) * 1000000)::int8",
        )
        .fetch_one(connection)
        .await
        .map_err(|error| Cause::of(&error))?;
        let read = || -> Result<Self, sqlx::Error> {
            Ok(Self {
                role: row.try_get(0)?,
                schema: row.try_get(1)?,
                in_recovery,
                server: server.clone(),
                database: row.try_get(2)?,
                version: row.try_get(3)?,
                may_identify: row.try_get(4)?,
                server_time: Timestamp::from_microsecond(row.try_get(5)?).ok(),
            })
        };
        read().map_err(|error| Cause::of(&error))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Columns of the table, as `name type`, in their order; empty: it is not there.
    pub(super) change: Vec<String>,
    pub(super) feed: Vec<String>,
    pub(super) has_index: bool,
    pub(super) has_feed_row: bool,
    /// Rows of transactions that have not begun: the table is from a dump of another server.
    pub(super) has_future: bool,
    pub(super) may_use_schema: bool,
    pub(super) may_read_change: bool,
    pub(super) may_read_feed: bool,
    pub(super) may_trim: bool,
    pub(super) functions: BTreeMap<String, Function>,
    pub(super) triggers: BTreeMap<(Table, String), Trigger>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) source: String,
    /// SECURITY DEFINER, in plpgsql, with an empty search path and nothing else set.
    pub(super) is_ours: bool,
    pub(super) is_public: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trigger {
    pub(super) function: Table,
    /// PostgreSQL's bits of what it fires for, when it has neither a condition nor a list of columns.
    pub(super) fires: Option<i16>,
    /// It came with the trigger of the table above and goes with it.
    pub(super) is_inherited: bool,
    /// `A` always, `O` but for replication, `R` for replication alone, `D` never.
    pub(super) enabled: String,
}

/// Reads what stands in `schema`, and what `reader` may do with it.
pub(super) async fn read(connection: &mut PgConnection, schema: &str, reader: &str) -> Result<Found, Cause> {
    let mut found = Found::default();
    tables(connection, schema, reader, &mut found).await?;
    found.functions = functions(connection, schema, reader, &mut found.may_trim).await?;
    found.triggers = triggers(connection).await?;
    Ok(found)
}

async fn tables(connection: &mut PgConnection, schema: &str, reader: &str, found: &mut Found) -> Result<(), Cause> {
    found.may_use_schema = sqlx::query_scalar("SELECT pg_catalog.has_schema_privilege($1, $2, 'USAGE')")
        .bind(reader)
        .bind(schema)
        .fetch_one(&mut *connection)
        .await
        .map_err(|error| Cause::of(&error))?;
    let rows = sqlx::query(
        "SELECT c.relname::text,
                ARRAY (SELECT a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute a
                       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
                EXISTS (SELECT 1 FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
                        WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL AND a.attname = 'xid'),
                pg_catalog.has_table_privilege($2, c.oid, 'SELECT'),
                pg_catalog.has_table_privilege(c.oid, 'SELECT')
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relname IN ('chaperone_change', 'chaperone_feed') AND c.relkind = 'r'",
    )
    .bind(schema)
    .bind(reader)
    .fetch_all(&mut *connection)
    .await
    .map_err(|error| Cause::of(&error))?;
    for row in rows {
        let read = || -> Result<_, sqlx::Error> {
            let (name, columns): (String, Vec<String>) = (row.try_get(0)?, row.try_get(1)?);
            let flags: (bool, bool, bool) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
            Ok((name, columns, flags))
        };
        let (name, columns, (has_index, reader_may, we_may)) = read().map_err(|error| Cause::of(&error))?;
        let table = Table::new(schema, name).quoted();
        let asked = if columns.is_empty() || !we_may {
            None
        } else if table.ends_with("_change\"") {
            // In the order of the index, so that this is quick however long the table is.
            Some(format!(
                "SELECT COALESCE((SELECT c.xid >= pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) FROM {table} c ORDER BY c.xid DESC LIMIT 1), false)"
            ))
        } else {
            Some(format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE one)"))
        };
        let answer = match asked {
            // A table of another shape has no such column: its shape is told as what is wrong.
            Some(sql) => match sqlx::query_scalar(statement(sql)).fetch_one(&mut *connection).await {
                Ok(answer) => answer,
                Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code.starts_with("42")) => false,
                Err(error) => return Err(Cause::of(&error)),
            },
            None => false,
        };
        if table.ends_with("_change\"") {
            (found.change, found.has_index, found.may_read_change, found.has_future) =
                (columns, has_index, reader_may, answer);
        } else {
            (found.feed, found.may_read_feed, found.has_feed_row) = (columns, reader_may, answer);
        }
    }
    Ok(())
}

async fn functions(
    connection: &mut PgConnection,
    schema: &str,
    reader: &str,
    may_trim: &mut bool,
) -> Result<BTreeMap<String, Function>, Cause> {
    let rows = sqlx::query(
        "SELECT p.proname::text, p.prosrc, p.prosecdef AND l.lanname = 'plpgsql' AND p.proconfig = ARRAY ['search_path=\"\"'],
                pg_catalog.has_function_privilege($4, p.oid, 'EXECUTE'),
                p.proacl IS NULL OR EXISTS (SELECT 1 FROM pg_catalog.aclexplode(p.proacl) x WHERE x.grantee = 0)
         FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace JOIN pg_catalog.pg_language l ON l.oid = p.prolang
         WHERE n.nspname = $1 AND (p.proname = ANY ($2::text[]) OR left(p.proname::text, length($3)) = $3) AND p.pronargs = 0",
    )
    .bind(schema)
    .bind([TRUNCATE_FUNCTION, TRIM_FUNCTION].as_slice())
    .bind(ROW_FUNCTION_PREFIX)
    .bind(reader)
    .fetch_all(connection)
    .await
    .map_err(|error| Cause::of(&error))?;
    let read = |row: &PgRow| -> Result<_, sqlx::Error> {
        let function = Function {
            source: row.try_get(1)?,
            is_ours: row.try_get::<Option<bool>, _>(2)?.unwrap_or(false),
            is_public: row.try_get(4)?,
        };
        Ok((row.try_get::<String, _>(0)?, function, row.try_get::<bool, _>(3)?))
    };
    let mut functions = BTreeMap::new();
    for row in rows {
        let (name, function, may_execute) = read(&row).map_err(|error| Cause::of(&error))?;
        if name == TRIM_FUNCTION {
            *may_trim = may_execute;
        }
        functions.insert(name, function);
    }
    Ok(functions)
}

async fn triggers(connection: &mut PgConnection) -> Result<BTreeMap<(Table, String), Trigger>, Cause> {
    let rows = sqlx::query(
        "SELECT n.nspname::text, c.relname::text, t.tgname::text, pn.nspname::text, p.proname::text,
                CASE WHEN t.tgqual IS NULL AND t.tgattr::text = '' AND t.tgconstraint = 0 THEN t.tgtype END, t.tgenabled::text, t.tgparentid <> 0
         FROM pg_catalog.pg_trigger t
         JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace
         WHERE t.tgname = ANY ($1::text[])",
    )
    .bind([ROW_TRIGGER, TRUNCATE_TRIGGER].as_slice())
    .fetch_all(connection)
    .await
    .map_err(|error| Cause::of(&error))?;
    let read = |row: &PgRow| -> Result<_, sqlx::Error> {
        let text = |position: usize| row.try_get::<String, _>(position);
        let trigger = Trigger {
            function: Table::new(text(3)?, text(4)?),
            fires: row.try_get(5)?,
            is_inherited: row.try_get(7)?,
            enabled: text(6)?,
        };
        Ok(((Table::new(text(0)?, text(1)?), text(2)?), trigger))
    };
    rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(|error| Cause::of(&error))
}
