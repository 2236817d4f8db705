//! Facts kept between questions, in bounded memory. Decisions are never kept.
//!
//! What stands here is no promise: whether a kept fact may be believed is asked of [`Validity`] at each use, so storing
//! needs no lock and no order. One entry holds every fact about one entity that goes by the entity's own id, of whichever
//! source: an entry for each would cost more than the facts themselves.

mod flight;
mod packed;

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use moka::sync::Cache;

pub(super) use flight::{Boarded, Lane, Room};

use super::{
    fresh::{Bug, FactName, Mark, Validity, is_seeded},
    load::FactKey,
};
use crate::domain::Row;
use packed::{Reader, Writer};

/// A kept fact is read again after this, whatever the feed says: what a feed cannot see (a table exchanged under it)
/// ends here.
pub(super) const AGE_MAX: Duration = Duration::from_secs(60);
/// Spread over this, so that facts read together are not read again together.
const AGE_JITTER_MS: u64 = 10_000;
/// Ids that do not exist are known for less long, and in less room: anybody can make them up.
const ABSENT_AGE_MAX: Duration = Duration::from_secs(5);
const ABSENT_SHARE: u64 = 10;
/// What one entry costs beside its bytes: its key, and the cache's own book-keeping.
const ENTRY_BYTES: usize = 360;

/// Where a fact stands among the facts of its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// A fact about an entity that goes by the entity's id: its own row is 0, its relations follow in the mapping's order.
    OfEntity(u16),
    /// A relation that goes by another cell stands alone.
    Alone,
}

/// Whether facts of a source grow old by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ageing {
    /// The feed may miss something: [`AGE_MAX`] is the bound then.
    Ages,
    /// Every commit is seen by each decision.
    Never,
}

/// All kept facts of both sources.
#[derive(Debug)]
pub(super) struct Keep {
    entries: Cache<Key, Arc<[u8]>>,
    absent: Cache<Key, (u64, u64)>,
    /// Instants are kept as milliseconds since this one, on the clock's elapsed time.
    since: Duration,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// A fact as it was kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) rows: Arc<[Row]>,
    pub(super) mark: Mark,
}

/// What a probe or a metric may know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepStats {
    pub entries: u64,
    pub bytes: u64,
    pub hits: u64,
    pub misses: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    mapping: u64,
    kind: Arc<str>,
    alone: Option<Arc<str>>,
    id: Box<str>,
}

/// The same, borrowed: hashes as [`Key`] does, field by field.
#[derive(Clone, Copy)]
struct KeyRef<'a> {
    mapping: u64,
    key: &'a FactKey,
    alone: Option<&'a str>,
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.mapping, &*self.key.kind, self.alone, &*self.key.id).hash(state);
    }
}

impl moka::Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.mapping == key.mapping
            && *self.key.kind == *key.kind
            && self.alone == key.alone.as_deref()
            && *self.key.id == *key.id
    }
}

impl<'a> KeyRef<'a> {
    fn new(mapping: u64, key: &'a FactKey, slot: &Slot) -> Self {
        let alone = if *slot == Slot::Alone { key.relation.as_deref() } else { None };
        Self { mapping, key, alone }
    }

    fn owned(&self) -> Key {
        Key {
            mapping: self.mapping,
            kind: Arc::clone(&self.key.kind),
            alone: self.alone.and(self.key.relation.clone()),
            id: (*self.key.id).into(),
        }
    }
}

impl Keep {
    pub(super) fn new(bytes_max: u64, now: Duration) -> Self {
        let absent_max = bytes_max / ABSENT_SHARE;
        let entries = Cache::builder()
            .max_capacity(bytes_max - absent_max)
            .weigher(|key: &Key, bytes: &Arc<[u8]>| weight(ENTRY_BYTES + key.id.len() + bytes.len()))
            .build();
        let absent = Cache::builder()
            .max_capacity(absent_max)
            .weigher(|key: &Key, _: &(u64, u64)| weight(ENTRY_BYTES + key.id.len()))
            .time_to_live(ABSENT_AGE_MAX)
            .build();
        Self { entries, absent, since: now, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// The fact, if it is kept, valid, and not too old to be believed at `now`.
    pub(super) fn find(
        &self,
        mapping: u64,
        key: &FactKey,
        slot: &Slot,
        validity: &Validity,
        now: Duration,
        ageing: Ageing,
    ) -> Option<Kept> {
        let found = self.look(mapping, key, slot, validity, now, ageing);
        if found.is_some() { &self.hits } else { &self.misses }.fetch_add(1, Relaxed);
        found
    }

    fn look(
        &self,
        mapping: u64,
        key: &FactKey,
        slot: &Slot,
        validity: &Validity,
        now: Duration,
        ageing: Ageing,
    ) -> Option<Kept> {
        let joined = joined(key, slot);
        let by = KeyRef::new(mapping, joined.as_ref().unwrap_or(key), slot);
        let name = key.name();
        let is_usable = |tick, from_ms: u64, age_max: Duration| {
            let age = now.saturating_sub(self.since).saturating_sub(Duration::from_millis(from_ms));
            validity.is_valid(name, tick) && (ageing == Ageing::Never || age <= age_max)
        };
        if let Some(bytes) = self.entries.get(&by)
            && let Some(part) = Parts(Reader::new(&bytes)).find(|part| part.slot == slot.number())
            && is_usable(part.tick, part.from_ms, AGE_MAX + jitter(part.from_ms))
        {
            return Some(Kept {
                rows: Reader::new(part.rows).rows(&key.id)?,
                mark: self.mark(part.tick, part.from_ms),
            });
        }
        if key.relation.is_some() {
            return None;
        }
        let (tick, from_ms) = self.absent.get(&by)?;
        is_usable(tick, from_ms, ABSENT_AGE_MAX).then(|| Kept { rows: Arc::new([]), mark: self.mark(tick, from_ms) })
    }

    /// Keeps a fact that was read at `mark`. An own row without rows is a fact too: there is no such entity.
    pub(super) fn put(&self, mapping: u64, key: &FactKey, slot: &Slot, rows: &[Row], mark: Mark) {
        let joined = joined(key, slot);
        let by = KeyRef::new(mapping, joined.as_ref().unwrap_or(key), slot);
        let from_ms = self.since_ms(mark.from);
        if key.relation.is_none() && rows.is_empty() {
            return self.absent.insert(by.owned(), (mark.tick, from_ms));
        }
        let parts = [(slot.number(), packed(rows, &key.id))];
        self.add(by.owned(), &parts, mark.tick, from_ms);
    }

    /// Keeps facts that were read at the same `mark`: an entry that gets several is written once.
    pub(super) fn put_all(&self, mapping: u64, facts: &[(FactKey, Slot, Arc<[Row]>)], mark: Mark) {
        let from_ms = self.since_ms(mark.from);
        let mut entries: HashMap<Key, Vec<PackedFact>> = HashMap::new();
        for (key, slot, rows) in facts {
            if key.relation.is_none() && rows.is_empty() {
                self.put(mapping, key, slot, rows, mark);
            } else {
                let joined = joined(key, slot);
                let by = KeyRef::new(mapping, joined.as_ref().unwrap_or(key), slot);
                entries.entry(by.owned()).or_default().push((slot.number(), packed(rows, &key.id)));
            }
        }
        for (key, parts) in entries {
            self.add(key, &parts, mark.tick, from_ms);
        }
    }

    fn add(&self, key: Key, parts: &[PackedFact], tick: u64, from_ms: u64) {
        self.entries.entry(key).and_upsert_with(|before| {
            let mut writer = Writer::default();
            for (slot, rows) in parts {
                Part { slot: *slot, tick, from_ms, rows }.write(&mut writer);
            }
            if let Some(before) = before.as_ref() {
                Parts(Reader::new(before.value()))
                    .filter(|other| parts.iter().all(|(slot, _)| *slot != other.slot))
                    .for_each(|other| other.write(&mut writer));
            }
            writer.into_bytes().into()
        });
    }

    fn mark(&self, tick: u64, from_ms: u64) -> Mark {
        Mark { tick, from: self.since + Duration::from_millis(from_ms) }
    }

    fn since_ms(&self, at: Duration) -> u64 {
        u64::try_from(at.saturating_sub(self.since).as_millis()).unwrap_or(u64::MAX)
    }

    /// Facts of a whole slice that was used again count like single ones that were found.
    pub(super) fn found_again(&self, facts: usize) {
        self.hits.fetch_add(u64::try_from(facts).unwrap_or(u64::MAX), Relaxed);
    }

    pub(super) fn stats(&self) -> KeepStats {
        KeepStats {
            entries: self.entries.entry_count() + self.absent.entry_count(),
            bytes: self.entries.weighted_size() + self.absent.weighted_size(),
            hits: self.hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
        }
    }
}

/// The mistake of a key that is one string: a separator in an id makes it another fact's.
fn joined(key: &FactKey, slot: &Slot) -> Option<FactKey> {
    is_seeded(Bug::JoinedKey).then(|| {
        let relation = key.relation.as_deref().filter(|_| *slot == Slot::Alone);
        let parts: Vec<&str> = [Some(&*key.kind), relation, Some(&*key.id)].into_iter().flatten().collect();
        FactKey { source: key.source, kind: "".into(), relation: None, id: parts.join(".").into() }
    })
}

fn packed(rows: &[Row], key: &str) -> Box<[u8]> {
    let mut writer = Writer::default();
    writer.rows(rows, key);
    writer.into_bytes()
}

fn weight(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn jitter(from_ms: u64) -> Duration {
    // Any spread will do: facts of one second are read at different milliseconds.
    Duration::from_millis(from_ms.wrapping_mul(2_654_435_761) % AGE_JITTER_MS)
}

impl Slot {
    fn number(&self) -> u64 {
        match self {
            Self::OfEntity(number) => (*number).into(),
            Self::Alone => 0,
        }
    }
}

impl FactKey {
    pub(super) fn name(&self) -> FactName<'_> {
        FactName { kind: &self.kind, relation: self.relation.as_deref(), id: &self.id }
    }
}

/// The slot of a fact, and its rows in few bytes.
type PackedFact = (u64, Box<[u8]>);

/// One fact within an entry.
struct Part<'a> {
    slot: u64,
    tick: u64,
    from_ms: u64,
    rows: &'a [u8],
}

impl Part<'_> {
    fn write(&self, writer: &mut Writer) {
        writer.number(self.slot);
        writer.number(self.tick);
        writer.number(self.from_ms);
        // INVARIANT(packed): a length in memory fits 64 bits.
        writer.number(u64::try_from(self.rows.len()).unwrap_or(u64::MAX));
        writer.bytes(self.rows);
    }
}

struct Parts<'a>(Reader<'a>);

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        if self.0.is_at_end() {
            return None;
        }
        let (slot, tick, from_ms) = (self.0.number()?, self.0.number()?, self.0.number()?);
        let length = self.0.length()?;
        Some(Part { slot, tick, from_ms, rows: self.0.bytes(length)? })
    }
}

#[cfg(test)]
mod tests;
