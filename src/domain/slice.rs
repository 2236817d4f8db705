//! The entities of one request: rows as they were read, not yet judged by the clock.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
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

/// What was made of entities, of whichever type.
pub type Thing = Arc<dyn Any + Send + Sync>;

/// Holds what is made of entities, in bounded memory: whoever read the entities gives one to them.
pub trait Memory: Send + Sync {
    fn recall(&self, key: MemoryKey) -> Option<Thing>;

    /// Memory `made`, which takes about `bytes` of memory, for as long as there is room.
    fn keep(&self, key: MemoryKey, made: Thing, bytes: usize);
}

/// Of which entities something was made, and what it is, by a hash: another thing may go by the same word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryKey {
    /// Told to [`Entities::remember`]; no two maps share a number.
    pub of: u64,
    pub word: u64,
}

/// Good as long as no window among the entities opens or closes.
struct Memo {
    from: Timestamp,
    until: Timestamp,
    of: u64,
    memory: Arc<dyn Memory>,
}

impl Entities {
    /// Remembers from now on, as number `of`, what is made of these entities at an instant in `[from, until)`.
    pub fn remember(&mut self, of: u64, from: Timestamp, until: Timestamp, memory: Arc<dyn Memory>) {
        self.memo = Some(Arc::new(Memo { from, until, of, memory }));
    }

    /// Whether nothing among them opens or closes between the instant they were remembered at and `now`.
    pub fn are_good_at(&self, now: Timestamp) -> bool {
        self.memo_at(now).is_some()
    }

    /// What goes by `word` and was made of these entities for `now`. Ask it whether it is what is looked for.
    pub fn made<T: Any + Send + Sync>(&self, now: Timestamp, word: u64) -> Option<Arc<T>> {
        let memo = self.memo_at(now)?;
        memo.memory.recall(MemoryKey { of: memo.of, word })?.downcast().ok()
    }

    /// Remembers `made`, which was made of these entities as of `now` and takes about `bytes` of memory.
    pub fn keep<T: Any + Send + Sync>(&self, now: Timestamp, word: u64, made: &Arc<T>, bytes: usize) {
        let Some(memo) = self.memo_at(now) else { return };
        let made: Thing = Arc::<T>::clone(made);
        memo.memory.keep(MemoryKey { of: memo.of, word }, made, bytes);
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
