//! Who asked for a decision: the recent ones in memory, older ones found in the folder.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use serde::Deserialize;
use uuid::Uuid;

/// How many decisions are kept in memory.
const RECENT_MAX: usize = 16_384;

/// A recorded decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionEntry {
    pub writer: String,
    pub seq: u64,
    /// The caller that asked, as its record names it; empty if it names none.
    pub caller: String,
}

#[derive(Debug, Default)]
pub(super) struct DecisionIndex {
    entries: HashMap<Arc<str>, (Uuid, u64, String)>,
    order: VecDeque<Arc<str>>,
}

impl DecisionIndex {
    pub(super) fn insert(&mut self, writer: Uuid, id: String, caller: String, seq: u64) {
        let id: Arc<str> = id.into();
        if self.entries.insert(Arc::clone(&id), (writer, seq, caller)).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > RECENT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }

    pub(super) fn find(&self, id: &str) -> Option<DecisionEntry> {
        let (writer, seq, caller) = self.entries.get(id)?;
        Some(DecisionEntry { writer: writer.to_string(), seq: *seq, caller: caller.clone() })
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
