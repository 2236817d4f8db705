//! The entities of one request: rows as they were read, not yet judged by the clock.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

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

/// The entities of a slice. Cheap to clone; changing a clone leaves the others as they were.
#[derive(Clone, Default)]
pub struct Entities {
    map: Arc<BTreeMap<EntityUid, Loaded>>,
    /// INVARIANT(memo): about exactly this map; whoever may change the map drops it first.
    memo: Option<Arc<Memo>>,
}

/// What was made of entities before, as long as no window among them opens or closes.
struct Memo {
    from: Timestamp,
    until: Timestamp,
    made: Mutex<Vec<Arc<dyn Any + Send + Sync>>>,
}

/// So many things are remembered about one slice; one more takes the place of the oldest.
const MADE_MAX: usize = 4;

impl Entities {
    /// Remembers from now on what is made of these entities at an instant in `[from, until)`.
    pub fn remember(&mut self, from: Timestamp, until: Timestamp) {
        self.memo = Some(Arc::new(Memo { from, until, made: Mutex::default() }));
    }

    /// Whether nothing among them opens or closes between the instant they were remembered at and `now`.
    pub fn are_good_at(&self, now: Timestamp) -> bool {
        self.memo_at(now).is_some()
    }

    /// The first thing of type `T` remembered for `now` that `is_it`.
    pub fn made<T: Any + Send + Sync>(&self, now: Timestamp, is_it: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        let made = self.memo_at(now)?.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.iter().filter_map(|made| Arc::clone(made).downcast::<T>().ok()).find(|made| is_it(made))
    }

    /// Remembers `made`, which was made of these entities as of `now`.
    pub fn keep<T: Any + Send + Sync>(&self, now: Timestamp, made: &Arc<T>) {
        let Some(memo) = self.memo_at(now) else { return };
        let mut list = memo.made.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() >= MADE_MAX {
            drop(list.remove(0));
        }
        let made: Arc<dyn Any + Send + Sync> = Arc::<T>::clone(made);
        list.push(made);
    }

    fn memo_at(&self, now: Timestamp) -> Option<&Memo> {
        self.memo.as_deref().filter(|memo| memo.from <= now && now < memo.until)
    }
}

impl From<BTreeMap<EntityUid, Loaded>> for Entities {
    fn from(map: BTreeMap<EntityUid, Loaded>) -> Self {
        Self { map: Arc::new(map), memo: None }
    }
}

impl<const N: usize> From<[(EntityUid, Loaded); N]> for Entities {
    fn from(list: [(EntityUid, Loaded); N]) -> Self {
        BTreeMap::from(list).into()
    }
}

impl Deref for Entities {
    type Target = BTreeMap<EntityUid, Loaded>;

    fn deref(&self) -> &Self::Target {
        &self.map
    }
}

impl DerefMut for Entities {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.memo = None;
        Arc::make_mut(&mut self.map)
    }
}

impl PartialEq for Entities {
    fn eq(&self, other: &Self) -> bool {
        self.map == other.map
    }
}

impl fmt::Debug for Entities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.map.fmt(f)
    }
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
    pub entities: Entities,
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
