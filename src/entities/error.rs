//! What can go wrong between a question and its facts. No message here holds an id or a value.

use std::{fmt, io, sync::Arc};

use crate::domain::mapping::{CellKind, Source};

/// Why no pool could be made. The database itself may still be away: that is seen by [`super::Facts::check`].
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the url of source `{}` starts with `{scheme}`: write sqlite:// or postgres://", .database.as_str())]
    Scheme { database: Source, scheme: String },
    #[error("the url of source `{}` cannot be read", .database.as_str())]
    Url {
        database: Source,
        #[source]
        cause: sqlx::Error,
    },
    #[error("the system gives no thread to read source `{}` with", .database.as_str())]
    Thread {
        database: Source,
        #[source]
        cause: std::io::Error,
    },
}

/// Why there is no slice. Each means a deny by `data_unavailable`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    #[error("cannot read {place} from source `{}`", .database.as_str())]
    Unavailable {
        database: Source,
        place: Place,
        #[source]
        cause: Cause,
    },
    #[error("source `{}` is not configured, but {place} comes from it", .database.as_str())]
    NotConfigured { database: Source, place: Place },
    #[error("reading the facts took longer than {limit_ms} ms")]
    Late { limit_ms: u128 },
    #[error("attribute `{attribute}` of `{kind}` names an entity that does not exist")]
    Dangling { kind: Arc<str>, attribute: Arc<str> },
    #[error("the facts of one question are more than {rows_max} rows")]
    TooLarge { rows_max: usize },
    #[error("{place} returned more than one row for one id")]
    Ambiguous { place: Place },
    #[error("column `{column}` of {place} holds {found} where {} belongs", describe(*.wanted))]
    Decode { place: Place, column: Arc<str>, wanted: CellKind, found: String },
    #[error("column `{column}` is not returned by {place}")]
    MissingColumn { place: Place, column: Arc<str> },
    #[error("`{kind}` is no entity type of the mapping")]
    Unmapped { kind: Arc<str> },
    #[error("the slice plan names {what} `{name}` of `{kind}`, which the mapping does not have")]
    Plan { kind: Arc<str>, what: &'static str, name: Arc<str> },
    #[error("`{name}` is not a type name")]
    TypeName { name: Arc<str> },
}

/// A query of the mapping, for people: the entity's own or one of its relations.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub kind: Arc<str>,
    pub relation: Option<Arc<str>>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.relation {
            None => write!(f, "entity `{}`", self.kind),
            Some(relation) => write!(f, "relation `{relation}` of `{}`", self.kind),
        }
    }
}

/// What a database or the way to it did, without its words: they may repeat a bound value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    #[error("no answer in time")]
    Timeout,
    #[error("no connection could be had in time")]
    NoConnection,
    #[error("the connection failed: {0}")]
    Io(io::ErrorKind),
    #[error("the database refused with SQLSTATE {0}")]
    Sqlstate(String),
    #[error("SQLite refused with code {0}")]
    Sqlite(String),
    #[error("no secure connection could be made")]
    Tls,
    #[error("the server's words were not understood")]
    Protocol,
}

impl Cause {
    pub(super) fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(error) => Self::Io(error.kind()),
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => Self::NoConnection,
            sqlx::Error::Database(error) => {
                let code = error.code().unwrap_or_default().into_owned();
                if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
                    Self::Sqlite(code)
                } else {
                    Self::Sqlstate(code)
                }
            }
            sqlx::Error::Tls(_) => Self::Tls,
            _ => Self::Protocol,
        }
    }

    /// The connection is of no more use, but another one may be.
    pub(super) fn is_connection_lost(&self) -> bool {
        match self {
            Self::Io(_) | Self::Protocol => true,
            // 57P: the server stops; 08: the connection broke; 0A000 and 26000: a table changed its shape, or a
            // pooler swapped the session, under a prepared statement.
            Self::Sqlstate(code) => {
                code.starts_with("57P") || code.starts_with("08") || code == "0A000" || code == "26000"
            }
            Self::Timeout | Self::NoConnection | Self::Tls | Self::Sqlite(_) => false,
        }
    }

    /// The bound key cannot be an id of the column's type (not a uuid, not a number, a zero byte), so no row has it.
    pub(super) fn is_impossible_key(&self) -> bool {
        matches!(self, Self::Sqlstate(code) if matches!(code.as_str(), "22P02" | "22003" | "22021"))
    }
}

/// The kind of a cell, in the words of the mapping.
pub(super) const fn describe(kind: CellKind) -> &'static str {
    match kind {
        CellKind::Bool => "a boolean",
        CellKind::Int => "an integer",
        CellKind::Text => "text",
        CellKind::Instant => "an instant",
        CellKind::List => "a list of words",
    }
}
