//! The mapping against the databases as they are: every query prepared, every column found, all problems at once.

use std::{fmt, sync::Arc, time::Duration};

use sqlx::{
    Column as _, ConnectOptions, Connection, Executor, PgConnection, SqliteConnection, Statement, Type, TypeInfo,
    postgres::PgTypeInfo,
};
use tokio::time::timeout;

use super::{
    decode::postgres_fits,
    error::{Cause, Place, describe},
    pool::{Database, Pool},
    read,
};
use crate::domain::mapping::{CellKind, Column, Mapping, Query, Source};

/// One thing that is wrong between a mapping and its databases. No id and no value of a row is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The database is away: nothing about its queries is known.
    Unreachable { database: Source, address: String, cause: Cause },
    /// A standby may lag behind a revocation.
    InRecovery { database: Source, address: String },
    /// The mapping reads from a source that has no url.
    NotConfigured { database: Source, place: Place },
    /// The database does not accept the query; `words` are the database's own.
    Query { database: Source, place: Place, words: String },
    /// The query does not use `$1`, so it would return rows about everybody; or it uses more than that.
    Parameters { database: Source, place: Place, used: usize },
    /// The query returns no such column.
    MissingColumn { database: Source, place: Place, column: Arc<str>, returned: Vec<String> },
    /// The query returns the column more than once.
    DoubleColumn { database: Source, place: Place, column: Arc<str> },
    /// The column is of a type that cannot be read as the mapping says.
    WrongType { database: Source, place: Place, column: Arc<str>, wanted: CellKind, found: String },
}

impl Problem {
    /// The database could not be asked: it may come back by itself. Every other problem needs a change.
    pub const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// The source it was found in.
    pub const fn source(&self) -> Source {
        match self {
            Self::Unreachable { database, .. }
            | Self::InRecovery { database, .. }
            | Self::NotConfigured { database, .. }
            | Self::Query { database, .. }
            | Self::Parameters { database, .. }
            | Self::MissingColumn { database, .. }
            | Self::DoubleColumn { database, .. }
            | Self::WrongType { database, .. } => *database,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { database, address, cause } => {
                write!(
                    f,
                    "source `{}` ({address}) cannot be reached: {cause}; what it feeds is denied until it answers: start it, or mend `sources.{}`",
                    database.as_str(),
                    database.as_str()
                )
            }
            Self::InRecovery { database, address } => {
                write!(
                    f,
                    "source `{}` ({address}) is a standby in recovery: give the url of the primary",
                    database.as_str()
                )
            }
            Self::NotConfigured { database, place } => {
                write!(
                    f,
                    "{place} comes from source `{0}`, which is not configured: set `sources.{0}`",
                    database.as_str()
                )
            }
            Self::Query { database, place, words } => {
                write!(f, "the query of {place} is not accepted by source `{}`: {words}", database.as_str())
            }
            Self::Parameters { database, place, used } => {
                write!(
                    f,
                    "the query of {place} on source `{}` has {used} parameters: it must use `$1` and no other",
                    database.as_str()
                )
            }
            Self::MissingColumn { database, place, column, returned } => write!(
                f,
                "column `{column}` is not returned by the query of {place} on source `{}`; it returns {}",
                database.as_str(),
                returned.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            ),
            Self::DoubleColumn { database, place, column } => {
                write!(
                    f,
                    "column `{column}` is returned more than once by the query of {place} on source `{}`: name each once",
                    database.as_str()
                )
            }
            Self::WrongType { database, place, column, wanted, found } => write!(
                f,
                "column `{column}` of {place} on source `{}` must hold {} and is of type {found}: cast it in the query",
                database.as_str(),
                describe(*wanted)
            ),
        }
    }
}

/// One query of the mapping with the columns that are used of it.
struct Checked<'m> {
    database: Source,
    place: Place,
    query: &'m Query,
    columns: &'m [Column],
}

pub(super) async fn check<'p>(mapping: &Mapping, pool: impl Fn(Source) -> Option<&'p Pool>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for source in [Source::App, Source::Store] {
        let queries: Vec<Checked<'_>> = queries(mapping).filter(|query| query.database == source).collect();
        match pool(source) {
            None => problems.extend(
                queries.into_iter().map(|query| Problem::NotConfigured { database: source, place: query.place }),
            ),
            Some(pool) => check_source(source, pool, &queries, &mut problems).await,
        }
    }
    problems
}

/// Only whether each configured source answers, and is a primary.
pub(super) async fn reach<'p>(pool: impl Fn(Source) -> Option<&'p Pool>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for source in [Source::App, Source::Store] {
        if let Some(pool) = pool(source) {
            check_source(source, pool, &[], &mut problems).await;
        }
    }
    problems
}

fn queries(mapping: &Mapping) -> impl Iterator<Item = Checked<'_>> {
    mapping.entities.iter().flat_map(|(kind, entity)| {
        let own = entity.query.iter().map(move |query| Checked {
            database: entity.source,
            place: Place { kind: kind.clone(), relation: None },
            query,
            columns: &entity.columns,
        });
        let relations = entity.relations.iter().map(move |(name, relation)| Checked {
            database: relation.source,
            place: Place { kind: kind.clone(), relation: Some(name.clone()) },
            query: &relation.query,
            columns: &relation.columns,
        });
        own.chain(relations)
    })
}

async fn check_source(database: Source, pool: &Pool, queries: &[Checked<'_>], problems: &mut Vec<Problem>) {
    let unreachable = |cause| Problem::Unreachable { database, address: pool.address.clone(), cause };
    let limit = pool.options.statement_timeout;
    match &pool.database {
        Database::Sqlite(file) => {
            let connected = async {
                let pool = file.pool().map_err(|error| Cause::Io(error.kind()))?;
                let mut connection = pool.acquire().await.map_err(|error| Cause::of(&error))?;
                // Opening a file reads nothing of it; this does.
                sqlx::query("SELECT count(*) FROM sqlite_schema")
                    .execute(&mut *connection)
                    .await
                    .map_err(|error| Cause::of(&error))?;
                Ok(connection)
            };
            match connected.await {
                Err(cause) => problems.push(unreachable(cause)),
                Ok(mut connection) => {
                    for query in queries {
                        check_sqlite(&mut connection, limit, query, problems).await;
                    }
                }
            }
        }
        Database::Postgres { connect, .. } => {
            // A connection of its own, so that the server's answer is seen and not the pool's.
            let connected = async {
                let mut connection = connect.connect().await.map_err(|error| Cause::of(&error))?;
                let in_recovery: bool = sqlx::query_scalar("SELECT pg_is_in_recovery()")
                    .fetch_one(&mut connection)
                    .await
                    .map_err(|error| Cause::of(&error))?;
                Ok((connection, in_recovery))
            };
            match timeout(limit, connected).await.unwrap_or(Err(Cause::Timeout)) {
                Err(cause) => problems.push(unreachable(cause)),
                Ok((_, true)) => problems.push(Problem::InRecovery { database, address: pool.address.clone() }),
                Ok((mut connection, false)) => {
                    for query in queries {
                        check_postgres(&mut connection, limit, query, problems).await;
                    }
                    if let Err(error) = connection.close().await {
                        tracing::debug!(cause = %Cause::of(&error), "a connection did not end well");
                    }
                }
            }
        }
    }
}

async fn check_sqlite(
    connection: &mut SqliteConnection,
    limit: Duration,
    query: &Checked<'_>,
    problems: &mut Vec<Problem>,
) {
    let statement = match timeout(limit, connection.prepare(read::sqlite_statement(query.query))).await {
        Ok(Ok(statement)) => statement,
        Ok(Err(error)) => return problems.push(query.refused(&error)),
        Err(_elapsed) => return problems.push(query.unanswered()),
    };
    query.compare_parameters(statement.parameters().map(|used| used.right_or_else(<[_]>::len)), problems);
    let returned: Vec<(String, String)> = statement
        .columns()
        .iter()
        .map(|column| (column.name().to_owned(), column.type_info().name().to_owned()))
        .collect();
    query.compare(&returned, problems, |column, position| {
        let found = returned.get(position).map_or("NULL", |(_, found)| found.as_str());
        sqlite_fits(column.kind, found).then_some(()).ok_or_else(|| found.to_owned())
    });
}

/// SQLite's declared types bind nobody: only one that contradicts is a problem. "NULL" is one that sqlx does not know.
fn sqlite_fits(kind: CellKind, declared: &str) -> bool {
    match kind {
        CellKind::Bool => matches!(declared, "BOOLEAN" | "INTEGER" | "TEXT" | "NULL"),
        CellKind::Int => matches!(declared, "INTEGER" | "NULL"),
        CellKind::Text | CellKind::List => matches!(declared, "TEXT" | "NULL"),
        CellKind::Instant => matches!(declared, "TEXT" | "DATE" | "DATETIME" | "NULL"),
    }
}

async fn check_postgres(
    connection: &mut PgConnection,
    limit: Duration,
    query: &Checked<'_>,
    problems: &mut Vec<Problem>,
) {
    let key: PgTypeInfo = <String as Type<sqlx::Postgres>>::type_info();
    let statement =
        match timeout(limit, connection.prepare_with(read::postgres_statement(query.query, 1), &[key])).await {
            Ok(Ok(statement)) => statement,
            Ok(Err(error)) => return problems.push(query.refused(&error)),
            Err(_elapsed) => return problems.push(query.unanswered()),
        };
    // A statement that was given a parameter type has that parameter, used or not: only one without tells. Its text
    // differs, or the statement above would be returned again.
    if let Ok(Ok(untyped)) = timeout(limit, connection.prepare(read::postgres_statement(query.query, 2))).await {
        query.compare_parameters(untyped.parameters().map(|used| used.right_or_else(<[_]>::len)), problems);
    }
    let returned: Vec<(String, String)> = statement
        .columns()
        .iter()
        .map(|column| (column.name().to_owned(), column.type_info().name().to_owned()))
        .collect();
    query.compare(&returned, problems, |column, position| match statement.columns().get(position) {
        Some(found) if !postgres_fits(column.kind, found.type_info()) => Err(found.type_info().name().to_owned()),
        Some(_) | None => Ok(()),
    });
}

impl Checked<'_> {
    /// The database's own words: nothing is bound while a statement is prepared, so they repeat no value.
    fn refused(&self, error: &sqlx::Error) -> Problem {
        let words = match error {
            sqlx::Error::Database(error) => error.message().to_owned(),
            other => Cause::of(other).to_string(),
        };
        Problem::Query { database: self.database, place: self.place.clone(), words }
    }

    fn unanswered(&self) -> Problem {
        Problem::Query { database: self.database, place: self.place.clone(), words: Cause::Timeout.to_string() }
    }

    fn compare_parameters(&self, used: Option<usize>, problems: &mut Vec<Problem>) {
        if let Some(used) = used.filter(|used| *used != 1) {
            problems.push(Problem::Parameters { database: self.database, place: self.place.clone(), used });
        }
    }

    fn compare(
        &self,
        returned: &[(String, String)],
        problems: &mut Vec<Problem>,
        fits: impl Fn(&Column, usize) -> Result<(), String>,
    ) {
        let (database, place) = (self.database, &self.place);
        for column in self.columns {
            // SQLite calls the second column of a name `name:1`.
            let double = format!("{}:1", column.name);
            let positions: Vec<usize> = returned
                .iter()
                .enumerate()
                .filter(|(_, (name, _))| **name == *column.name || *name == double)
                .map(|(position, _)| position)
                .collect();
            match positions.as_slice() {
                [] => problems.push(Problem::MissingColumn {
                    database,
                    place: place.clone(),
                    column: column.name.clone(),
                    returned: returned.iter().map(|(name, _)| name.clone()).collect(),
                }),
                [position] => {
                    if let Err(found) = fits(column, *position) {
                        problems.push(Problem::WrongType {
                            database,
                            place: place.clone(),
                            column: column.name.clone(),
                            wanted: column.kind,
                            found,
                        });
                    }
                }
                _ => {
                    problems.push(Problem::DoubleColumn { database, place: place.clone(), column: column.name.clone() })
                }
            }
        }
    }
}
