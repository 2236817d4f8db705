//! Wanted facts in, their rows out: on SQLite in one snapshot, on PostgreSQL in a few lanes that others may join.

mod postgres;
mod sqlite;

use std::sync::Arc;

#[cfg(test)]
pub(super) use postgres::unanswered;
pub(super) use postgres::{depart, lanes};
pub(super) use sqlite::Snapshot;

use super::{
    error::{Cause, FactsError},
    keep::Slot,
};
use crate::domain::{
    Row,
    mapping::{Column, Query, Source},
};

/// Names one fact: an entity's own row, or the rows of one of its relations.
///
/// A struct of typed parts, never a joined string: no id can be made to look like another fact's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FactKey {
    pub source: Source,
    pub kind: Arc<str>,
    /// `None`: the entity's own row.
    pub relation: Option<Arc<str>>,
    /// What is bound to `$1`: the entity's id, or the cell that the relation goes by.
    pub id: Arc<str>,
}

/// A fact that a slice needs, and how to read it.
#[derive(Clone, Debug)]
pub(super) struct Want<'m> {
    pub(super) key: FactKey,
    pub(super) query: &'m Query,
    pub(super) columns: &'m [Column],
    pub(super) rows_max: usize,
    pub(super) slot: Slot,
}

/// The same on its own, for a load that outlives the question that asked for it.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) key: FactKey,
    pub(super) query: Query,
    pub(super) columns: Vec<Column>,
    pub(super) rows_max: usize,
    pub(super) slot: Slot,
}

impl Want<'_> {
    pub(super) fn owned(&self) -> Wanted {
        Wanted {
            key: self.key.clone(),
            query: self.query.clone(),
            columns: self.columns.to_vec(),
            rows_max: self.rows_max,
            slot: self.slot.clone(),
        }
    }
}

impl Wanted {
    pub(super) fn borrowed(&self) -> Want<'_> {
        Want {
            key: self.key.clone(),
            query: &self.query,
            columns: &self.columns,
            rows_max: self.rows_max,
            slot: self.slot.clone(),
        }
    }
}

fn unavailable(want: &Want<'_>, cause: Cause) -> FactsError {
    FactsError::Unavailable { database: want.key.source, place: want.place(), cause }
}

/// An id is compared letter by letter. A database that compares otherwise (case-insensitive text, a uuid in capitals)
/// finds a row for an id that no restriction and no assignment is written for: to policies that id does not exist.
fn exact(key: &FactKey, mut rows: Vec<Row>) -> Arc<[Row]> {
    if key.relation.is_none() {
        rows.retain(|row| row.id == key.id);
    }
    rows.into()
}
