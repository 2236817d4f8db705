//! One read transaction on a SQLite file: every fact read in it is of the same instant.

use std::{sync::Arc, time::Duration};

use sqlx::{Sqlite, Transaction};

use super::{FactKey, Want, exact, unavailable};
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

/// A read transaction that is under way.
pub(in crate::entities) struct Snapshot(Transaction<'static, Sqlite>);

impl Snapshot {
    /// Enters a read transaction, in which nothing runs on past `deadline`.
    ///
    /// A future that is dropped does not stop the thread that SQLite runs on, but this does.
    pub(in crate::entities) async fn begin(
        file: &SqliteFile,
        clock: Arc<dyn Clock>,
        deadline: Duration,
    ) -> Result<Self, Cause> {
        let pool = file.pool().map_err(|error| Cause::Io(error.kind()))?;
        let mut transaction = pool.begin().await.map_err(|error| Cause::of(&error))?;
        let mut handle = transaction.lock_handle().await.map_err(|error| Cause::of(&error))?;
        handle.set_progress_handler(INSTRUCTIONS_UNWATCHED, move || clock.elapsed() < deadline);
        drop(handle);
        Ok(Self(transaction))
    }

    /// Reads one fact after the other.
    pub(in crate::entities) async fn read(
        &mut self,
        wants: Vec<Want<'_>>,
    ) -> Result<Vec<(FactKey, Arc<[Row]>)>, FactsError> {
        let mut facts = Vec::with_capacity(wants.len());
        for want in wants {
            let rows = match read::sqlite(&mut self.0, &want).await {
                Ok(rows) => exact(&want.key, rows),
                Err(ReadError::Database(cause)) => return Err(unavailable(&want, cause)),
                Err(ReadError::Rows(error)) => return Err(error),
            };
            facts.push((want.key, rows));
        }
        Ok(facts)
    }

    /// Leaves the transaction. After an error it is dropped instead, which waits for nothing.
    pub(in crate::entities) async fn end(self) {
        // Nothing was written; a failed COMMIT loses the connection and no fact.
        if let Err(error) = self.0.commit().await {
            tracing::debug!(cause = %Cause::of(&error), "a read transaction did not end well");
        }
    }
}
