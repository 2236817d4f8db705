//! What keeps a change and its record together through a crash.
//!
//! A row in `change_intents` is committed before a change is begun, and goes with the change's own commit. So one that is
//! left names a change that did not happen, and if the trail tells of it, that record is taken back: by the process
//! itself where it lives on, by the next one in the same folder where it died, and by any other one where the folder was
//! lost as well.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, PoisonError},
};

use jiff::{SignedDuration, Timestamp};

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
/// A crash leaves as many as were under way: they are looked at some at a time.
const LEFT: Sql =
    Sql::both("SELECT id, writer, at < $2 AS is_old FROM change_intents WHERE id > $1 ORDER BY id LIMIT 200");
/// No change takes nearly as long, and no folder that will come back is away for longer: who began it is gone for good.
const LOST_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// A change that was begun and not finished.
#[derive(Debug)]
struct Left {
    id: String,
    writer: String,
    /// For so long that nobody is at it any more.
    is_old: bool,
}

/// Whose the ends of changes are.
#[derive(Debug, Default)]
struct Sorted {
    /// Begun in this folder, by writers of before.
    ours: BTreeSet<String>,
    /// Of those, the ones that the trail tells of.
    told: BTreeSet<String>,
    /// Begun long ago in a folder that is not this one.
    lost: BTreeSet<String>,
}

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
        let values = [Value::from(&*id), Value::from(&writer), Value::from(self.rooms.clock.now())];
        store.run(BEGIN, &values).await?;
        Ok(id)
    }

    /// Nothing was recorded and nothing was changed.
    pub(super) async fn forget(&self, store: &Store, id: &str) {
        if let Err(error) = store.run(DONE, &[Value::from(id)]).await {
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

    /// Ends what earlier processes began in this folder and did not finish. Those of other sidecars are theirs for a day;
    /// then nobody else will end them, and nobody can look whether a trail that is lost, or elsewhere, tells of them: it is
    /// said of all of them. Returns how many records were taken back.
    ///
    /// # Errors
    ///
    /// [`AdminError`] when the store or the trail cannot be read: the rest waits for the next time.
    pub async fn recover(&self, folder: &Path) -> Result<usize, AdminError> {
        let store = self.store()?;
        let lost_before = self.rooms.clock.now() - LOST_AFTER;
        let mut taken_back = 0;
        let mut after = String::new();
        loop {
            let left = left(store, &after, lost_before).await?;
            let Some(last) = left.last() else { return Ok(taken_back) };
            after.clone_from(&last.id);
            let sorted = self.sorted(folder, left).await?;
            for id in &sorted.ours {
                self.end(store, id, sorted.told.contains(id)).await?;
            }
            taken_back += sorted.told.len();
            for id in &sorted.lost {
                if self.end(store, id, true).await? == Settled::NotMade {
                    taken_back += 1;
                }
            }
        }
    }

    async fn sorted(&self, folder: &Path, left: Vec<Left>) -> Result<Sorted, AdminError> {
        let (folder, running) = (folder.to_owned(), self.rooms.trail.status().writer);
        let keys = self.rooms.trail.encryption_keys();
        let looking = tokio::task::spawn_blocking(move || {
            let writers = changes::writers(&folder)?;
            let mut sorted = Sorted::default();
            for left in left.into_iter().filter(|left| left.writer != running) {
                if writers.contains(&left.writer) {
                    sorted.ours.insert(left.id);
                } else if left.is_old {
                    sorted.lost.insert(left.id);
                }
            }
            if !sorted.ours.is_empty() {
                sorted.told = changes::told_of(&folder, keys, &sorted.ours)?;
            }
            Ok::<_, crate::audit::ReadError>(sorted)
        });
        let sorted = looking.await.map_err(|error| AdminError::Trail(Box::new(error)))?;
        sorted.map_err(|error| AdminError::Trail(Box::new(error)))
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

async fn left(store: &Store, after: &str, lost_before: Timestamp) -> Result<Vec<Left>, AdminError> {
    let mut transaction = store.read().await?;
    let rows = transaction.rows(LEFT, &[Value::from(after), Value::from(lost_before)]).await?;
    transaction.commit().await?;
    let mut left = Vec::with_capacity(rows.len());
    for row in rows {
        let is_old = row.flag("is_old")?.unwrap_or_default();
        left.push(Left { id: row.some_text("id")?, writer: row.some_text("writer")?, is_old });
    }
    Ok(left)
}
