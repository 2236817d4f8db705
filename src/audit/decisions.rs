//! Who asked for a decision: the recent ones in memory, older ones found in the folder.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use serde::Deserialize;

/// How many decisions are kept in memory. A table of 32,768 places that is at most half full is tidied in place where
/// entries come and go; a fuller one doubles.
const RECENT_MAX: usize = 14_336;

/// A recorded decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionEntry {
    pub writer: String,
    pub seq: u64,
    /// The caller that asked, as its record names it; empty if it names none.
    pub caller: String,
}

/// What this process wrote last.
#[derive(Debug, Default)]
pub(super) struct DecisionIndex {
    entries: HashMap<Arc<str>, Recent>,
    order: VecDeque<Arc<str>>,
    /// The few that the configuration names.
    callers: HashSet<Arc<str>>,
}

/// Where a decision stands, and who asked for it.
#[derive(Clone, Debug)]
pub(super) struct Recent {
    pub seq: u64,
    pub caller: Arc<str>,
}

impl DecisionIndex {
    pub(super) fn insert(&mut self, id: String, caller: &str, seq: u64) {
        let known = self.callers.get(caller).cloned();
        let caller = known.unwrap_or_else(|| {
            let caller = Arc::from(caller);
            self.callers.insert(Arc::clone(&caller));
            caller
        });
        let id: Arc<str> = id.into();
        if let Some(known) = self.entries.get_mut(&id) {
            *known = Recent { seq, caller };
            return;
        }
        if self.order.len() >= RECENT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.entries.insert(Arc::clone(&id), Recent { seq, caller });
        self.order.push_back(id);
    }

    pub(super) fn find(&self, id: &str) -> Option<Recent> {
        self.entries.get(id).cloned()
    }
}

/// The longest that may stand in a line before its decision id.
const LINE_FRONT: usize = 160;

fn contains(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part)
}

/// The decision that a stored line records, if it records that one.
pub(super) fn in_line(writer: &str, line: &[u8], decision_id: &str) -> Option<DecisionEntry> {
    #[derive(Deserialize)]
    struct Line<'a> {
        seq: u64,
        #[serde(borrow)]
        decision_id: Option<std::borrow::Cow<'a, str>>,
        kind: crate::domain::RecordKind,
        #[serde(default)]
        caller: Option<String>,
    }
    // `v`, `seq` and `at` stand before the id: a line without it there needs no parsing.
    let front = line.get(..LINE_FRONT.saturating_add(decision_id.len())).unwrap_or(line);
    if !contains(front, decision_id.as_bytes()) {
        return None;
    }
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    let is_it = line.kind == crate::domain::RecordKind::Decision && line.decision_id.as_deref() == Some(decision_id);
    is_it.then(|| DecisionEntry { writer: writer.to_owned(), seq: line.seq, caller: line.caller.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_for_the_newest_and_an_id_that_comes_again_is_told_as_it_came_last() {
        let mut index = DecisionIndex::default();
        for n in 0..RECENT_MAX {
            index.insert(format!("D{n}"), "demo", n as u64);
        }
        index.insert("D1".to_owned(), "gate", 900_000);
        index.insert("D-new".to_owned(), "", 900_001);

        let said = |id: &str| index.find(id).map(|recent| (recent.seq, recent.caller.to_string()));
        assert_eq!(said("D0"), None, "the oldest");
        assert_eq!(said("D1"), Some((900_000, "gate".to_owned())));
        assert_eq!(said("D2"), Some((2, "demo".to_owned())));
        assert_eq!(said("D-new"), Some((900_001, String::new())));
        assert_eq!((index.entries.len(), index.order.len()), (RECENT_MAX, RECENT_MAX));
    }

    #[test]
    fn the_table_stays_as_large_however_many_come_and_go() {
        let mut index = DecisionIndex::default();
        for n in 0..RECENT_MAX * 8 {
            index.insert(format!("D{n}"), "demo", n as u64);
            assert!(index.entries.capacity() <= 2 * RECENT_MAX, "{} after {n}", index.entries.capacity());
        }
    }
}
