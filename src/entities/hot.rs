//! Slices that were asked for before, whole: for as long as every fact in them counts, none is put together again. What the
//! engine makes of one is held here too, in memory of its own: it takes several times what the facts take.
//!
//! No more is believed here than of single facts. A slice is used again only if each of its facts would be found among
//! the kept ones now, by the same marks, and only until the next window in it opens or closes. Decisions are never kept.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use cedar_policy::EntityUid;
use jiff::Timestamp;
use moka::{policy::EvictionPolicy, sync::Cache};

use super::{facts::Asking, fed::Fact, fresh::Mark, load::FactKey};
use crate::domain::{
    Cell, Entities, Loaded, Memory, MemoryKey, Row, Skew, Slice, SlicePlan, Thing,
    mapping::{Mapping, Source},
    projection::View,
};

/// A larger slice is put together each time: it would crowd out many small ones.
const ROWS_MAX: usize = 256;
/// What one entity and one row of a slice take, measured with tables as wide as the demo's.
const ENTITY_BYTES: usize = 2_560;
const ROW_BYTES: usize = 768;
/// Beside its letters, which are counted.
const ROW_WORD_BYTES: usize = 32;
/// What is made of slices takes this share of the room of both.
const MADE_QUARTERS: u64 = 3;
/// What one held thing costs beside its bytes.
const HELD_BYTES: usize = 360;
/// What is made of a slice that is asked for no more is of no use to anybody.
const MADE_IDLE_MAX: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(super) struct Hot {
    slices: Cache<HotKey, Arc<HotSlice>>,
    made: Arc<MadeOf>,
    numbers: AtomicU64,
}

/// What was made of slices.
#[derive(Debug)]
struct MadeOf(Cache<MemoryKey, Held>);

#[derive(Clone)]
struct Held {
    made: Thing,
    bytes: usize,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Memory for MadeOf {
    fn recall(&self, key: MemoryKey) -> Option<Thing> {
        self.0.get(&key).map(|held| held.made)
    }

    fn keep(&self, key: MemoryKey, made: Thing, bytes: usize) {
        self.0.insert(key, Held { made, bytes });
        // What is over the limit would stay until some tens of these large things are waiting.
        self.0.run_pending_tasks();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct HotKey {
    mapping: u64,
    /// Address of the plan, which the slice keeps alive.
    plan: usize,
    principal: EntityUid,
    resource: EntityUid,
    said_tenant: Option<Box<str>>,
}

/// A slice with the marks of its facts.
#[derive(Debug)]
pub(super) struct HotSlice {
    plan: Arc<SlicePlan>,
    pub(super) entities: Entities,
    app: Vec<HotFact>,
    store: Vec<HotFact>,
}

/// A fact of a slice that is used again.
#[derive(Clone, Debug)]
pub(super) struct HotFact {
    pub(super) key: FactKey,
    pub(super) mark: Mark,
}

impl HotSlice {
    pub(super) fn of(&self, source: Source) -> &[HotFact] {
        match source {
            Source::App => &self.app,
            Source::Store => &self.store,
        }
    }
}

impl HotFact {
    pub(super) fn of(fact: &Fact) -> Self {
        Self { key: fact.key().clone(), mark: fact.mark }
    }

    /// How long ago it was read.
    pub(super) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.mark.from)
    }
}

impl Hot {
    pub(super) fn new(bytes_max: u64) -> Self {
        let made_max = bytes_max / 4 * MADE_QUARTERS;
        let slices = Cache::builder()
            .max_capacity(bytes_max - made_max)
            .weigher(|key: &HotKey, slice: &Arc<HotSlice>| {
                weight(slice.bytes() + key.said_tenant.as_deref().map_or(0, str::len))
            })
            .build();
        let made = Cache::builder()
            .max_capacity(made_max)
            .weigher(|_: &MemoryKey, held: &Held| weight(held.bytes + HELD_BYTES))
            // The numbers of slices that went never come again: what was asked for often, and long ago, must not stay.
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(MADE_IDLE_MAX)
            .build();
        Self { slices, made: Arc::new(MadeOf(made)), numbers: AtomicU64::new(0) }
    }

    /// The slice of an earlier question, if this one asks for the same at an instant that the slice is good for.
    /// `skew` is how far the databases' clocks may be from ours: what any of them may show counts as the instant.
    pub(super) fn find(
        &self,
        mapping: &Mapping,
        plan: &Arc<SlicePlan>,
        asking: &Asking,
        skew: Skew,
    ) -> Option<Arc<HotSlice>> {
        if !asking.asserted.is_empty() {
            return None;
        }
        let slice = self.slices.get(&key(mapping, plan, asking))?;
        let (earliest, latest) = skew.around(asking.now);
        let is_good = slice.entities.are_good_at(earliest) && slice.entities.are_good_at(latest);
        (Arc::ptr_eq(&slice.plan, plan) && is_good).then_some(slice)
    }

    /// Keeps a complete slice, and says in it where to hold what is made of it.
    pub(super) fn put(
        &self,
        mapping: &Mapping,
        plan: &Arc<SlicePlan>,
        asking: &Asking,
        slice: &mut Slice,
        facts: &[HotFact],
    ) {
        let rows: usize = slice.entities.values().map(rows).sum();
        // What is absent is known for a moment only, and made-up ids must not crowd out real ones.
        let is_whole = slice.entities.values().all(|loaded| matches!(loaded, Loaded::Present(_)));
        if !asking.asserted.is_empty() || !is_whole || rows > ROWS_MAX {
            return;
        }
        let view = View::new(mapping, slice, asking.now, asking.said_tenant.as_deref());
        let (earliest, latest) = slice.skew.around(asking.now);
        let until = view.boundaries(earliest, Timestamp::MAX).first().copied().unwrap_or(Timestamp::MAX);
        if until <= latest {
            return;
        }
        let memory: Arc<dyn Memory> = Arc::<MadeOf>::clone(&self.made);
        slice.entities.remember(self.numbers.fetch_add(1, Relaxed), earliest, until, memory);
        let of = |source| facts.iter().filter(|fact| fact.key.source == source).cloned().collect();
        let kept = HotSlice {
            plan: Arc::clone(plan),
            entities: slice.entities.clone(),
            app: of(Source::App),
            store: of(Source::Store),
        };
        self.slices.insert(key(mapping, plan, asking), Arc::new(kept));
        self.slices.run_pending_tasks();
    }
}

impl HotSlice {
    fn bytes(&self) -> usize {
        let (mut rows, mut letters) = (0, 0);
        for (uid, loaded) in &*self.entities {
            letters += AsRef::<str>::as_ref(uid.id()).len();
            let Loaded::Present(entity) = loaded else { continue };
            let of_relations = entity.relations.values().flat_map(|rows| &**rows);
            rows += self::rows(loaded);
            letters += of_relations.chain([&entity.row]).map(letters_of).sum::<usize>();
        }
        self.entities.len() * ENTITY_BYTES + rows * ROW_BYTES + letters
    }
}

fn letters_of(row: &Row) -> usize {
    let of_cell = |cell: &Cell| match cell {
        Cell::Text(text) => text.len(),
        Cell::List(words) => words.iter().map(|word| word.len() + ROW_WORD_BYTES).sum(),
        Cell::Null | Cell::Bool(_) | Cell::Int(_) | Cell::Instant(_) => 0,
    };
    row.id.len() + row.cells.iter().map(of_cell).sum::<usize>()
}

fn weight(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn rows(loaded: &Loaded) -> usize {
    match loaded {
        Loaded::Present(entity) => entity.relations.values().map(|rows| rows.len()).sum(),
        Loaded::Absent => 0,
    }
}

fn key(mapping: &Mapping, plan: &Arc<SlicePlan>, asking: &Asking) -> HotKey {
    HotKey {
        mapping: mapping.digest,
        plan: Arc::as_ptr(plan).addr(),
        principal: asking.principal.clone(),
        resource: asking.resource.clone(),
        said_tenant: asking.said_tenant.as_deref().map(Into::into),
    }
}
