//! The entities of one request: rows as they were read, not yet judged by the clock.

use std::{collections::BTreeMap, sync::Arc};

use cedar_policy::EntityUid;
use jiff::{SignedDuration, Timestamp};

use super::value::{Cell, Value};

/// One row of a fact: an entity's own row, or one row of a relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What evidence names: the `id` column, or the entity's id where a query has none.
    pub id: Arc<str>,
    /// Cells in the order of the mapping's columns.
    pub cells: Arc<[Cell]>,
}

/// One entity with the rows of the relations that its plan names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactEntity {
    pub row: Row,
    pub relations: BTreeMap<Arc<str>, Arc<[Row]>>,
}

/// What is known about an entity that a slice plan reaches. Absent is a fact; unknown is not representable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    Present(FactEntity),
    Absent,
}

/// Where the facts of a slice stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Position of the facts, as an opaque word (`app:17,store:4`).
    pub revision: String,
    /// Real elapsed time since the oldest fact of the slice was read.
    pub age_ms: u64,
}

/// By how much the clocks of the databases that rows come from may differ from ours. Neither part is negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skew {
    pub behind: SignedDuration,
    pub ahead: SignedDuration,
}

impl Skew {
    /// The earliest and the latest instant that any of the clocks may show while ours shows `now`.
    pub fn around(self, now: Timestamp) -> (Timestamp, Timestamp) {
        (
            now.saturating_sub(self.behind).unwrap_or(Timestamp::MIN),
            now.saturating_add(self.ahead).unwrap_or(Timestamp::MAX),
        )
    }

    /// What holds for the clocks of both.
    pub fn or(self, other: Self) -> Self {
        Self { behind: self.behind.max(other.behind), ahead: self.ahead.max(other.ahead) }
    }
}

/// Everything that one evaluation may know. Complete by construction: each entity the plan reaches is [`Loaded`].
#[derive(Clone, Debug)]
pub struct Slice {
    pub principal: EntityUid,
    pub resource: EntityUid,
    pub entities: BTreeMap<EntityUid, Loaded>,
    /// Attributes that the caller was allowed to assert for this request alone.
    pub asserted: BTreeMap<EntityUid, BTreeMap<Arc<str>, Value>>,
    pub freshness: Freshness,
    pub skew: Skew,
}

impl Slice {
    /// The entity, if it is present.
    pub fn present(&self, uid: &EntityUid) -> Option<&FactEntity> {
        match self.entities.get(uid) {
            Some(Loaded::Present(entity)) => Some(entity),
            Some(Loaded::Absent) | None => None,
        }
    }
}
