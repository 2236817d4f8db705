//! A source as the commands see it: who reads there, what its queries read, and what goes wrong on the way.

use std::{str::FromStr, time::Duration};

use sqlx::{PgConnection, postgres::PgConnectOptions};
use tokio::time::timeout;

use super::{
    Watched, connect,
    derive::{Derived, derive},
    explain,
    found::Session,
};
use crate::{
    domain::mapping::{Mapping, Source},
    entities::{Place, error::Cause},
};

/// The oldest server that has what the feed is built on.
const VERSION_LEAST: i32 = 130_000;

/// A PostgreSQL source of the configuration.
#[derive(Clone)]
pub struct FeedDatabase {
    pub source: Source,
    /// How the sidecar reads: what must be watched, and by whom the feed is read, depend on this role.
    pub url: String,
    /// How to get there as a role that owns the tables; `None`: the reading role does.
    pub owner_url: Option<String>,
}

/// What a command is to do, and to which sources.
pub struct FeedTask<'a> {
    pub mapping: &'a Mapping,
    /// Every PostgreSQL source there is: two of them may share one database, and then its triggers.
    pub databases: &'a [FeedDatabase],
    /// The sources that are meant.
    pub meant: &'a [Source],
    /// The longest that one answer is waited for.
    pub limit: Duration,
}

/// Why a command could not do it. No message holds a password or a row's value.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("the url of source `{}` cannot be read", .database.as_str())]
    Url {
        database: Source,
        #[source]
        cause: sqlx::Error,
    },
    #[error("source `{}` cannot be asked", .database.as_str())]
    Away {
        database: Source,
        #[source]
        cause: Cause,
    },
    #[error("source `{}` is a standby in recovery: give the url of the primary", .database.as_str())]
    Standby { database: Source },
    #[error("source `{}` runs version {version}: 13 or later is needed", .database.as_str())]
    TooOld { database: Source, version: i32 },
    #[error("role {role} has no schema in its search path on source `{}`", .database.as_str())]
    NoSchema { database: Source, role: String },
    #[error("source `{}` does not accept `{statement}`: {words}", .database.as_str())]
    Refused { database: Source, statement: String, words: String },
    #[error("something on source `{}` cannot be mended by itself: {}", .database.as_str(), problems.join("; "))]
    Unmended { database: Source, problems: Vec<String> },
}

/// A source with what was derived for it.
pub(super) struct Known<'t> {
    pub(super) database: &'t FeedDatabase,
    pub(super) connection: PgConnection,
    pub(super) session: Session,
    pub(super) schema: String,
    pub(super) derived: Derived,
    pub(super) untold: Vec<(Place, String)>,
}

impl<'t> Known<'t> {
    /// Connects as the sidecar does, and derives what its queries read.
    pub(super) async fn of(database: &'t FeedDatabase, task: &FeedTask<'_>) -> Result<Self, InstallError> {
        let options = options(database, &database.url)?;
        let source = database.source;
        let away = |cause| InstallError::Away { database: source, cause };
        let (mut connection, session) =
            connect::open(&connect::session(options, task.limit), task.limit).await.map_err(away)?;
        if session.in_recovery {
            return Err(InstallError::Standby { database: source });
        }
        if session.version < VERSION_LEAST {
            return Err(InstallError::TooOld { database: source, version: session.version / 10_000 });
        }
        let Some(schema) = session.schema.clone() else {
            return Err(InstallError::NoSchema { database: source, role: session.role });
        };
        let watched = Watched::of(task.mapping, source);
        let derived = async {
            let prepared = explain::prepare(&mut connection, &watched).await?;
            derive(&mut connection, &watched, &prepared).await
        };
        // Many statements, each of which has the limit.
        let derived = timeout(task.limit * 10, derived).await.unwrap_or(Err(Cause::Timeout)).map_err(away)?;
        let untold =
            derived.untold.iter().filter_map(|(number, why)| Some((watched.get(*number)?.place(), why.clone())));
        let untold = untold.collect();
        Ok(Self { database, connection, session, schema, derived, untold })
    }
}

/// Reads a url.
pub(super) fn options(database: &FeedDatabase, url: &str) -> Result<PgConnectOptions, InstallError> {
    PgConnectOptions::from_str(url).map_err(|cause| InstallError::Url { database: database.source, cause })
}

impl Derived {
    /// Adds what another source reads of the same database.
    pub(super) fn merge(&mut self, other: &Self) {
        for (table, reached) in &other.tables {
            let ours = self.tables.entry(table.clone()).or_default();
            ours.partitions.clone_from(&reached.partitions);
            ours.facts.extend(reached.facts.iter().cloned());
        }
    }

    /// `public.users: User by id, User.roles`, a table each.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |(table, reached): (&super::sql::Table, &super::derive::Reached)| {
            let facts = reached.facts.iter().map(|reach| match &reach.column {
                Some(column) => format!("{} by {column}", reach.fact),
                None => format!("{} whatever the key", reach.fact),
            });
            let partitions = match reached.partitions.len() {
                0 => String::new(),
                1 => " (1 partition)".to_owned(),
                number => format!(" ({number} partitions)"),
            };
            format!("{table}{partitions}: {}", facts.collect::<Vec<_>>().join(", "))
        };
        self.tables.iter().map(line).collect()
    }
}
