//! The trail's second home: frames of many writers, each held once, in their order.
//!
//! Whether a frame follows is checked where it is stored, in the transaction that stores it: by the function
//! `audit_append` in PostgreSQL, which is all that the shipping role may call, and by [`sqlite`] in a file.

mod find;
mod gaps;
#[cfg(test)]
mod plans;
mod postgres;
mod prune;
#[cfg(test)]
mod prune_tests;
mod read;
mod sqlite;
#[cfg(test)]
mod tests;

pub use find::{Arrived, FOUND_AT_ONCE, FoundRow, KnownBefore, RecordFilter, RowPlace, TrailFinder};
pub use gaps::{HeldWriters, TornWriter};
pub use prune::{Gone, PruneStoreError, TrailPruner};
pub use read::{HeldFrame, HeldNote, HeldWriter, INDEX_COLUMNS, TrailReader};

use super::{
    error::StoreError,
    migration::Part,
    pool::{Dialect, Store, StoreOptions},
};
use crate::domain::{Held, ShippedFrame, ShippedHeader, Timestamp};

/// Why frames are not held.
#[derive(Debug, thiserror::Error)]
pub enum TrailError {
    /// A frame does not follow the last one that is held.
    #[error("{0}")]
    Gap(String),
    /// A frame contradicts what is held.
    #[error("{0}")]
    Fork(String),
    /// These are no frames, or their index is not theirs.
    #[error("the frames are not taken: {0}")]
    Malformed(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The store of shipped trails, for appending.
#[derive(Debug)]
pub struct TrailStore {
    store: Store,
}

impl TrailStore {
    /// Reads the address; connects later. Call it inside a runtime: the connections live there.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn open(url: &str, options: StoreOptions) -> Result<Self, StoreError> {
        Ok(Self { store: Store::open(url, StoreOptions { connections: 1, ..options })? })
    }

    /// Where it is, without user, password and parameters.
    pub fn address(&self) -> &str {
        self.store.address()
    }

    /// Makes the tables in a file of the sidecar's own. In PostgreSQL that is `chaperone db install`'s, with a role
    /// that owns them.
    ///
    /// # Errors
    ///
    /// As [`Store::install`].
    pub async fn prepare(&self, now: Timestamp) -> Result<(), StoreError> {
        if self.store.dialect() == Dialect::Sqlite {
            self.store.install(&[Part::Trail], now).await?;
        }
        Ok(())
    }

    /// Up to where it holds a writer; `None`: it knows none of that name.
    ///
    /// # Errors
    ///
    /// [`TrailError::Store`].
    pub async fn held(&self, writer: &str) -> Result<Option<Held>, TrailError> {
        match self.store.dialect() {
            Dialect::Sqlite => sqlite::held(&self.store, writer).await,
            Dialect::Postgres => postgres::append(&self.store, writer, None, &[]).await,
        }
    }

    /// Appends frames of one writer, all of them or none. Those that are held already are passed over. The header is
    /// needed for a writer that is not known yet.
    ///
    /// # Errors
    ///
    /// [`TrailError`]: nothing was appended, save that after [`StoreError::Away`] nobody knows.
    pub async fn append(
        &self,
        writer: &str,
        header: Option<&ShippedHeader>,
        frames: &[ShippedFrame],
    ) -> Result<Held, TrailError> {
        let held = match self.store.dialect() {
            Dialect::Sqlite => sqlite::append(&self.store, writer, header, frames).await?,
            Dialect::Postgres => postgres::append(&self.store, writer, header, frames).await?,
        };
        held.ok_or_else(|| TrailError::Gap("the store does not know this writer's beginning".to_owned()))
    }

    /// Ends the connection in order.
    pub async fn close(&self) {
        self.store.close().await;
    }
}

/// The address of the trail beside a store: the same database in PostgreSQL, a file of its own beside a SQLite one.
/// Within the store's file, each commit of the shipper would make all that is kept of its facts look changed.
pub fn trail_url(store_url: &str) -> String {
    let Some(place) = store_url.strip_prefix("sqlite:") else { return store_url.to_owned() };
    let (path, parameters) = place.split_once('?').map_or((place, None), |(path, rest)| (path, Some(rest)));
    let stem = path.strip_suffix(".db").unwrap_or(path);
    let parameters = parameters.map(|rest| format!("?{rest}")).unwrap_or_default();
    format!("sqlite:{stem}.trail.db{parameters}")
}
