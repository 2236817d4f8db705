//! Which processes decide from the store, and whether a revocation is in force on all of them.
//!
//! Clocks of machines differ, so no instant of one is compared with another's. The store holds one number. A barrier over all
//! takes the next one, after the revocation was committed; a sidecar that reads it passes a barrier of its own, and only
//! then writes the number beside its id. So whoever wrote it, or a later one, allows nothing by what was revoked.
//!
//! A sidecar is noted before its doors open, and goes when nothing can be answered any more. One that ends otherwise stays
//! named for [`FORGOTTEN_AFTER`], by the database's clock. Later it is *gone*: killed, or cut off from the store. If it lives,
//! what it keeps is S old at most, so it stands in no barrier's way once its S has passed since the call. One that could not
//! be noted keeps nothing: it follows no feed until it is (`app/sidecars.rs`).

mod rows;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, path::Path, time::Duration};

use serde::Serialize;

use self::rows::Row;
use super::{Admin, error::AdminError};
use crate::{audit::changes, domain::Timestamp, store::Transaction};

/// A sidecar that was not seen for so long, by several of its beats, is killed or cut off from the store.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// How often it is looked who has confirmed.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// On top of the S of a sidecar that is gone: for clocks that do not count alike.
const GRACE: Duration = Duration::from_millis(500);

/// This process, as it is told to others.
#[derive(Clone, Debug)]
pub struct Sidecar {
    /// The writer of its trail.
    pub id: String,
    /// The command that it runs.
    pub process: &'static str,
    pub host: String,
    /// Its S.
    pub staleness: Duration,
}

/// Who has passed a barrier.
#[derive(Debug, Serialize)]
pub struct Everywhere {
    /// On every sidecar.
    pub in_force: bool,
    pub confirmed: Vec<Named>,
    pub unconfirmed: Vec<Unconfirmed>,
    /// Not seen for so long that they are killed or cut off.
    pub gone: Vec<Named>,
}

/// A sidecar by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    pub sidecar: String,
    pub process: String,
    pub host: String,
    /// By the clock of the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
}

/// One that has not said that it passed.
#[derive(Debug, Serialize)]
pub struct Unconfirmed {
    #[serde(flatten)]
    pub named: Named,
    pub why: String,
}

/// The sidecars of the store, as they stand in it.
#[derive(Debug, Serialize)]
pub struct Sidecars {
    /// The number of the last barrier over all.
    pub barrier: i64,
    /// Seen lately.
    pub seen: Vec<Standing>,
    /// Not seen for so long that they are killed or cut off.
    pub gone: Vec<Standing>,
}

/// One of them.
#[derive(Debug, Serialize)]
pub struct Standing {
    #[serde(flatten)]
    pub named: Named,
    /// How long ago that was, by the same clock.
    pub unseen_ms: u64,
    /// The policies that it had then.
    pub policies: String,
    /// The last barrier over all that it passed.
    pub passed: i64,
}

/// Why nothing can be said about all sidecars.
#[derive(Debug, thiserror::Error)]
pub enum EverywhereError {
    #[error("more than 1000 sidecars are noted in the store: look at its table `sidecars`")]
    TooMany,
    #[error("nothing can be said of all sidecars")]
    Admin(#[from] AdminError),
}

impl Admin {
    /// Notes this sidecar, and that those of the same trail before it are gone. They are not struck off: a folder can be
    /// the copy of one in which another process lives, which its next beat says.
    ///
    /// # Errors
    ///
    /// [`AdminError`]: the store cannot be written to; it is not known to others yet.
    pub async fn appear(&self, me: &Sidecar, folder: &Path) -> Result<(), AdminError> {
        let folder = folder.to_owned();
        let looking = tokio::task::spawn_blocking(move || changes::writers(&folder));
        let writers = looking.await.map_err(|error| AdminError::Trail(Box::new(error)))?;
        let writers = writers.map_err(|error| AdminError::Trail(Box::new(error)))?;
        let mut transaction = self.store()?.begin().await?;
        self.noted(&mut transaction, me).await?;
        let ids: BTreeSet<String> = rows::ids(&mut transaction).await?.into_iter().collect();
        for dead in ids.intersection(&writers).filter(|id| **id != me.id) {
            rows::age(&mut transaction, dead, &me.id).await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn noted(&self, transaction: &mut Transaction, me: &Sidecar) -> Result<(), AdminError> {
        let staleness_ms = i64::try_from(me.staleness.as_millis()).unwrap_or(i64::MAX);
        let who = (me.id.as_str(), me.process, me.host.as_str());
        Ok(rows::appear(transaction, who, &self.revision(), staleness_ms).await?)
    }

    fn revision(&self) -> String {
        self.rooms.live.current().map(|bundle| bundle.revision.to_string()).unwrap_or_default()
    }

    /// Looks whether somebody waits for this sidecar, and passes the barrier then; says that it lives where that is due, or
    /// where somebody thinks otherwise. Returns who that is: a writer that began behind this one's records, in a copy of its
    /// folder.
    ///
    /// # Errors
    ///
    /// [`AdminError`]: the store does not answer; whoever waits goes on to wait.
    pub async fn look_for_barriers(&self, me: &Sidecar, is_beat_due: bool) -> Result<Option<String>, AdminError> {
        let store = self.store()?;
        let mut reading = store.read().await?;
        let standing = rows::standing(&mut reading, &me.id).await?;
        reading.commit().await?;
        match standing.passed {
            // The store was away at the start, or is another one, restored.
            None => {
                let mut transaction = store.begin().await?;
                self.noted(&mut transaction, me).await?;
                transaction.commit().await?;
            }
            Some(passed) if passed < standing.number => self.pass(me, standing.number).await?,
            Some(_) if is_beat_due || standing.follower.is_some() => {
                let mut transaction = store.begin().await?;
                rows::beat(&mut transaction, &me.id, &self.revision(), standing.follower.as_deref()).await?;
                transaction.commit().await?;
            }
            Some(_) => {}
        }
        Ok(standing.follower)
    }

    /// Passes the barrier `number`, which was read before: what was committed until then can allow nothing here any more.
    async fn pass(&self, me: &Sidecar, number: i64) -> Result<(), AdminError> {
        let passed = self.rooms.facts.barrier().await;
        let mut transaction = self.store()?.begin().await?;
        match passed {
            Ok(_how) => rows::pass(&mut transaction, &me.id, number).await?,
            Err(error) => rows::fail(&mut transaction, &me.id, number, &error.to_string()).await?,
        }
        Ok(transaction.commit().await?)
    }

    /// Nothing is answered here any more.
    ///
    /// # Errors
    ///
    /// [`AdminError`]: the store does not answer; the sidecar stays named until it is forgotten.
    pub async fn disappear(&self, me: &Sidecar) -> Result<(), AdminError> {
        let mut transaction = self.store()?.begin().await?;
        rows::leave(&mut transaction, &me.id).await?;
        Ok(transaction.commit().await?)
    }

    /// The sidecars that are noted in the store, for whoever looks.
    ///
    /// # Errors
    ///
    /// [`EverywhereError`]: nothing can be said.
    pub async fn sidecars(&self) -> Result<Sidecars, EverywhereError> {
        let mut reading = self.store()?.read().await.map_err(AdminError::from)?;
        let barrier = rows::last(&mut reading).await.map_err(AdminError::from)?;
        let rows = rows::all(&mut reading).await.map_err(AdminError::from)?.ok_or(EverywhereError::TooMany)?;
        reading.commit().await.map_err(AdminError::from)?;
        let (gone, seen): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| unseen(row) >= FORGOTTEN_AFTER);
        let told = |rows: Vec<Row>| rows.into_iter().map(stands).collect();
        Ok(Sidecars { barrier, seen: told(seen), gone: told(gone) })
    }

    /// Waits until every sidecar has confirmed that a revocation which was committed before the call can allow nothing
    /// there, for `wait` at most; then says who has and who has not.
    ///
    /// # Errors
    ///
    /// [`EverywhereError`]: nothing can be said.
    pub async fn barrier_everywhere(&self, me: &Sidecar, wait: Duration) -> Result<Everywhere, EverywhereError> {
        let called = self.rooms.clock.elapsed();
        let store = self.store()?;
        let mut transaction = store.begin().await.map_err(AdminError::from)?;
        let number = rows::next(&mut transaction).await.map_err(AdminError::from)?;
        transaction.commit().await.map_err(AdminError::from)?;
        // The others look by themselves meanwhile.
        self.pass(me, number).await?;
        loop {
            let mut reading = store.read().await.map_err(AdminError::from)?;
            let rows = rows::all(&mut reading).await.map_err(AdminError::from)?.ok_or(EverywhereError::TooMany)?;
            reading.commit().await.map_err(AdminError::from)?;
            let waited = self.rooms.clock.elapsed().saturating_sub(called);
            let everywhere = judge(me, &rows, number, waited);
            if everywhere.in_force || waited >= wait {
                return Ok(everywhere);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// The store's clock may have been set back.
fn unseen(row: &Row) -> Duration {
    Duration::from_millis(u64::try_from(row.unseen_ms).unwrap_or(0))
}

fn named(row: &Row) -> Named {
    Named {
        sidecar: row.id.clone(),
        process: row.process.clone(),
        host: row.host.clone(),
        last_seen: Some(row.seen_at),
    }
}

fn stands(row: Row) -> Standing {
    let (named, unseen_ms) = (named(&row), u64::try_from(row.unseen_ms).unwrap_or(0));
    Standing { named, unseen_ms, policies: row.policies, passed: row.passed }
}

/// Who has passed the barrier `number`, `waited` after the call.
fn judge(me: &Sidecar, rows: &[Row], number: i64, waited: Duration) -> Everywhere {
    let mut everywhere =
        Everywhere { in_force: false, confirmed: Vec::new(), unconfirmed: Vec::new(), gone: Vec::new() };
    for row in rows {
        let unseen = unseen(row);
        let is_fresh_by_itself = waited >= Duration::from_millis(row.staleness_ms).saturating_add(GRACE);
        let named = named(row);
        if row.passed >= number {
            everywhere.confirmed.push(named);
        } else if unseen >= FORGOTTEN_AFTER && is_fresh_by_itself {
            everywhere.gone.push(named);
        } else {
            everywhere.unconfirmed.push(Unconfirmed { named, why: why(row, number, unseen) });
        }
    }
    if !rows.iter().any(|row| row.id == me.id) {
        let (sidecar, process, host) = (me.id.clone(), me.process.to_owned(), me.host.clone());
        let named = Named { sidecar, process, host, last_seen: None };
        everywhere.unconfirmed.push(Unconfirmed { named, why: "it is not noted in the store yet".to_owned() });
    }
    everywhere.in_force = everywhere.unconfirmed.is_empty();
    everywhere
}

fn why(row: &Row, number: i64, unseen: Duration) -> String {
    let seconds = unseen.as_secs();
    match &row.trouble {
        Some(trouble) if row.tried >= number => format!("its own barrier failed: {trouble}"),
        _ if unseen >= FORGOTTEN_AFTER => {
            format!("it was not seen for {seconds} s: what it keeps is not old enough yet to be of no use")
        }
        _ => format!("it has not looked since the call; it was seen {seconds} s ago"),
    }
}
