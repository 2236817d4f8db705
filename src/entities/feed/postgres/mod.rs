//! The change feed of PostgreSQL (13 or later).
//!
//! Triggers log the names of changed facts in a table of the same database; the feed asks what of it became visible
//! since its last look. Which tables need triggers is not declared but derived: [`derive`] reads the plans of the
//! mapping's queries. What must stand in the database and what does are compared in one place, [`whole`]: its
//! differences are what [`install`] mends, and what [`doctor`] and the feed itself tell as problems.
//!
//! `docs/feed-postgres.md` says it for operators.

mod answer;
mod catalog;
mod connect;
mod derive;
mod doctor;
mod explain;
mod expression;
mod found;
mod hint;
mod install;
mod logged;
mod poll;
mod prove;
mod source;
mod sql;
#[cfg(test)]
mod tests;
mod whole;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use tokio::sync::Notify as Wake;

pub(in crate::entities) use connect::{PostgresConnect, PostgresOptions};
pub use doctor::{Examined, doctor};
pub(in crate::entities) use hint::Listener;
pub use install::{Installed, Mode, install};
pub use logged::Notify;
pub(in crate::entities) use poll::PostgresFeed;
pub use prove::Proof;
pub use source::{FeedDatabase, FeedTask, InstallError};

use crate::domain::mapping::{Mapping, Source};

/// One query whose facts the feed tells changes of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::entities) struct Watched {
    pub(in crate::entities) kind: Arc<str>,
    /// `None`: the entity's own row.
    pub(in crate::entities) relation: Option<Arc<str>>,
    /// The mapping's text for PostgreSQL.
    pub(in crate::entities) sql: Arc<str>,
    /// Whether the key is an id of `kind`, and not another column of its row.
    pub(in crate::entities) binds_own_id: bool,
}

impl Watched {
    /// Every query of `mapping` that reads from `source`.
    pub(in crate::entities) fn of(mapping: &Mapping, source: Source) -> Vec<Self> {
        let mut watched = Vec::new();
        for (kind, entity) in &mapping.entities {
            if let Some(query) = entity.query.as_ref().filter(|_| entity.source == source) {
                let sql = query.postgres.clone();
                watched.push(Self { kind: kind.clone(), relation: None, sql, binds_own_id: true });
            }
            for (name, relation) in entity.relations.iter().filter(|(_, relation)| relation.source == source) {
                watched.push(Self {
                    kind: kind.clone(),
                    relation: Some(name.clone()),
                    sql: relation.query.postgres.clone(),
                    binds_own_id: relation.key.is_none(),
                });
            }
        }
        watched
    }

    /// The name of its facts in the change table. A Cedar type has no dot, so the first one ends it.
    fn fact_name(&self) -> String {
        match &self.relation {
            None => self.kind.to_string(),
            Some(relation) => format!("{}.{relation}", self.kind),
        }
    }

    fn place(&self) -> crate::entities::Place {
        crate::entities::Place { kind: self.kind.clone(), relation: self.relation.clone() }
    }
}

/// The queries of the live mapping, shared between the feed and whoever changes the bundle.
#[derive(Debug)]
pub(in crate::entities) struct Watching {
    /// With the digest of the mapping that they are of.
    list: Mutex<(u64, Arc<[Watched]>)>,
    version: AtomicU64,
    changed: Wake,
}

impl Watching {
    pub(in crate::entities) fn new(mapping: u64, list: Vec<Watched>) -> Self {
        Self { list: Mutex::new((mapping, list.into())), version: AtomicU64::new(0), changed: Wake::new() }
    }

    /// Another mapping is going live: the feed starts anew and inspects what it needs. Its lease ends with the poll under
    /// way. The same mapping again changes nothing.
    pub(in crate::entities) fn set(&self, mapping: u64, list: Vec<Watched>) {
        let mut held = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if held.0 != mapping || *held.1 != *list {
            *held = (mapping, list.into());
            self.version.fetch_add(1, SeqCst);
            self.changed.notify_one();
        }
    }

    fn now(&self) -> (u64, u64, Arc<[Watched]>) {
        let held = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        (self.version.load(SeqCst), held.0, held.1.clone())
    }

    /// Ends the pause before the next poll.
    pub(in crate::entities) fn poke(&self) {
        self.changed.notify_one();
    }

    fn version(&self) -> u64 {
        self.version.load(SeqCst)
    }
}
