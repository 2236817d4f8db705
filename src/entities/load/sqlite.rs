//! Reading facts from a SQLite file: those of one key by one message to the thread that SQLite runs on.

use std::{sync::Arc, time::Duration};

use sqlx::{Sqlite, SqliteConnection, Transaction, pool::PoolConnection};

use super::{Want, exact, unavailable};
use crate::{
    clock::Clock,
    domain::Row,
    entities::{
        error::{Cause, FactsError},
        pool::SqliteFile,
        read::{self, ReadError},
    },
};

/// Instructions that SQLite runs before it looks at the clock again: well under a millisecond.
const INSTRUCTIONS_UNWATCHED: i32 = 10_000;

/// A connection that reads facts of one instant.
pub(in crate::entities) enum Snapshot {
    /// Whoever reads looks at the file before and after, and believes nothing if it was written in between.
    Watched(PoolConnection<Sqlite>),
    /// All of it in one transaction: nobody looks.
    Whole(Transaction<'static, Sqlite>),
}

impl Snapshot {
    /// Takes a connection on which nothing runs on past `deadline`.
    ///
    /// A future that is dropped does not stop the thread that SQLite runs on, but this does.
    pub(in crate::entities) async fn begin(
        file: &SqliteFile,
        clock: Arc<dyn Clock>,
        deadline: Duration,
        is_watched: bool,
    ) -> Result<Self, Cause> {
        let pool = file.pool().map_err(|error| Cause::Io(error.kind()))?;
        let mut snapshot = if is_watched {
            Self::Watched(pool.acquire().await.map_err(|error| Cause::of(&error))?)
        } else {
            Self::Whole(pool.begin().await.map_err(|error| Cause::of(&error))?)
        };
        let mut handle = snapshot.connection().lock_handle().await.map_err(|error| Cause::of(&error))?;
        handle.set_progress_handler(INSTRUCTIONS_UNWATCHED, move || clock.elapsed() < deadline);
        drop(handle);
        Ok(snapshot)
    }

    fn connection(&mut self) -> &mut SqliteConnection {
        match self {
            Self::Watched(connection) => connection,
            Self::Whole(transaction) => transaction,
        }
    }

    /// Reads facts, key by key.
    pub(in crate::entities) async fn read<'m>(
        &mut self,
        mut wants: Vec<Want<'m>>,
    ) -> Result<Vec<(Want<'m>, Arc<[Row]>)>, FactsError> {
        wants.sort_by(|one, other| one.key.id.cmp(&other.key.id));
        let mut read = Vec::with_capacity(wants.len());
        for wants in wants.chunk_by(|one, other| one.key.id == other.key.id) {
            let rows = read::sqlite(self.connection(), wants).await.map_err(|(want, error)| match error {
                ReadError::Rows(error) => error,
                ReadError::Database(cause) => unavailable(want, cause),
            })?;
            read.extend(rows);
        }
        let with_rows = |(want, rows): (Want<'m>, Vec<Row>)| {
            let rows = exact(&want.key, rows);
            (want, rows)
        };
        Ok(wants.into_iter().zip(read).map(with_rows).collect())
    }

    /// Leaves the transaction, if it is one. After an error it is dropped instead, which waits for nothing.
    pub(in crate::entities) async fn end(self) {
        // Nothing was written; a failed COMMIT loses the connection and no fact.
        if let Self::Whole(transaction) = self
            && let Err(error) = transaction.commit().await
        {
            tracing::debug!(cause = %Cause::of(&error), "a read transaction did not end well");
        }
    }
}
