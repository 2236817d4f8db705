//! What keeps a change and its record together through a crash.
//!
//! A row in `change_intents` is committed before a change is begun, and goes with the change's own commit. So one that is
//! left names a change that did not happen, and if the trail tells of it, that record is taken back: by the process
//! itself where it lives on, by the next one in the same folder where it died.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, PoisonError},
};

use super::{Admin, error::AdminError};
use crate::{
    audit::changes,
    domain::{
        Record, RecordKind, Tier,
        mapping::Source,
        record::{CHANGE, NOT_MADE},
    },
    store::{Sql, Store, Value},
};

const BEGIN: Sql = Sql::both("INSERT INTO change_intents (id, writer, at) VALUES ($1, $2, $3)");
pub(super) const DONE: Sql = Sql::both("DELETE FROM change_intents WHERE id = $1");
/// A crash leaves as many as were under way: with a thousand at once the next look takes the rest.
const LEFT: Sql = Sql::both("SELECT id, writer FROM change_intents ORDER BY at, id LIMIT 1000");

/// What became of a change whose commit was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    Made,
    NotMade,
}

impl Admin {
    /// Says durably that a change begins.
    pub(super) async fn begin(&self, store: &Store) -> Result<Arc<str>, AdminError> {
        let id = self.new_id();
        let writer = self.rooms.trail.status().writer;
        let mut transaction = store.begin().await?;
        let values = [Value::from(&*id), Value::from(&writer), Value::from(self.rooms.clock.now())];
        transaction.run(BEGIN, &values).await?;
        transaction.commit().await?;
        Ok(id)
    }

    /// Nothing was recorded and nothing was changed.
    pub(super) async fn forget(&self, store: &Store, id: &str) {
        let forgotten = async {
            let mut transaction = store.begin().await?;
            transaction.run(DONE, &[Value::from(id)]).await?;
            transaction.commit().await
        };
        if let Err(error) = forgotten.await {
            // Left behind, it is found to tell of nothing on the next start.
            tracing::warn!(error = %crate::telemetry::Chain(&error), "a change that was not made is still noted as begun");
        }
    }

    /// Finds out whether a change stands whose commit was cut off, and takes its record back if not.
    pub(super) async fn settle(&self, store: &Store, id: &str) -> Result<Settled, AdminError> {
        self.end(store, id, true).await
    }

    /// Keeps a change in mind of which nobody knows whether it stands.
    pub(super) fn leave(&self, id: Arc<str>) {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }

    /// Finds out about the changes of this process that were left, once the store is back.
    ///
    /// # Errors
    ///
    /// [`AdminError`]: it is still away; they wait.
    pub async fn settle_left(&self) -> Result<(), AdminError> {
        let left = || self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let store = self.store()?;
        while let Some(id) = left() {
            if let Err(error) = self.settle(store, &id).await {
                self.leave(id);
                return Err(error);
            }
            self.rooms.facts.committed(Source::Store);
        }
        Ok(())
    }

    /// Ends a note that was left. Taking it away waits for whoever still holds it: a commit that is under way comes first.
    async fn end(&self, store: &Store, id: &str, is_told: bool) -> Result<Settled, AdminError> {
        let mut transaction = store.begin().await?;
        if transaction.run(DONE, &[Value::from(id)]).await? == 0 {
            return Ok(Settled::Made);
        }
        if is_told {
            self.take_back(id).await?;
        }
        transaction.commit().await?;
        Ok(Settled::NotMade)
    }

    /// Ends what earlier processes began in this folder and did not finish. Those of other sidecars are theirs. Returns how
    /// many records were taken back.
    ///
    /// # Errors
    ///
    /// [`AdminError`] when the store or the trail cannot be read: the rest waits for the next time.
    pub async fn recover(&self, folder: &Path) -> Result<usize, AdminError> {
        let store = self.store()?;
        let mut transaction = store.read().await?;
        let rows = transaction.rows(LEFT, &[]).await?;
        transaction.commit().await?;
        let mut left = BTreeMap::new();
        for row in rows {
            left.insert(row.some_text("id")?, row.some_text("writer")?);
        }
        if left.is_empty() {
            return Ok(0);
        }
        let (folder, running) = (folder.to_owned(), self.rooms.trail.status().writer);
        let keys = self.rooms.trail.encryption_keys();
        let looking = tokio::task::spawn_blocking(move || {
            let writers = changes::writers(&folder)?;
            let is_ours = |writer: &String| writers.contains(writer) && *writer != running;
            let ours: BTreeSet<String> =
                left.into_iter().filter(|(_, writer)| is_ours(writer)).map(|(id, _)| id).collect();
            let told = if ours.is_empty() { BTreeSet::new() } else { changes::told_of(&folder, keys, &ours)? };
            Ok::<_, crate::audit::ReadError>((ours, told))
        });
        let (ours, told) = looking
            .await
            .map_err(|error| AdminError::Trail(Box::new(error)))?
            .map_err(|error| AdminError::Trail(Box::new(error)))?;
        for id in &ours {
            self.end(store, id, told.contains(id)).await?;
        }
        Ok(told.len())
    }

    /// The trail says that a change it tells of was not made. Before the note of the change goes: a crash between the two
    /// says it twice, which is harmless, and never not at all.
    async fn take_back(&self, id: &str) -> Result<(), AdminError> {
        let mut record = Record::new(RecordKind::System, self.rooms.clock.now());
        record.detail.insert("event".into(), NOT_MADE.into());
        record.detail.insert(CHANGE.into(), id.into());
        self.rooms.trail.append((), record, Tier::Disk).await.map_err(AdminError::Unrecorded)?;
        tracing::warn!("a change was recorded and then not made: the trail says so");
        Ok(())
    }
}
