//! What is remembered of a segment that no longer changes: between which instants its records lie, and which words they
//! have. It lives in memory alone: a file beside the segments could hide records from whoever believed it.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use super::{Query, matcher::Lean};
use crate::domain::Timestamp;

/// Bits for each different word: two in a hundred questions look into a segment in vain.
const BITS_A_WORD: usize = 8;
const PROBES: u64 = 5;

/// A segment from afar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    /// The first and the last instant of its records; `None` without any.
    pub(super) span: Option<(Timestamp, Timestamp)>,
    pub(super) last_seq: u64,
    /// The first record that should be there and cannot be read.
    pub(super) lost: Option<u64>,
    words: Option<Words>,
}

/// A Bloom filter: what it does not know is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Words {
    bits: Vec<u64>,
}

/// Collects what a digest says.
#[derive(Debug, Default)]
pub(super) struct Survey {
    span: Option<(Timestamp, Timestamp)>,
    last_seq: u64,
    lost: Option<u64>,
    words: Option<HashSet<u64>>,
}

impl Survey {
    /// `with_words` makes a digest that can say that a segment holds nothing of a query; it costs a look at each line.
    pub(super) fn new(with_words: bool) -> Self {
        Self { words: with_words.then(HashSet::new), ..Self::default() }
    }

    pub(super) fn stamp(&mut self, seq: u64, at: Timestamp) {
        self.last_seq = self.last_seq.max(seq);
        self.span = Some(self.span.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
    }

    pub(super) fn lost(&mut self, seq: u64) {
        self.lost = self.lost.or(Some(seq));
    }

    pub(super) fn wants_words(&self) -> bool {
        self.words.is_some()
    }

    pub(super) fn words(&mut self, lean: &Lean<'_>) {
        let Some(words) = &mut self.words else { return };
        let mut add = |tag, word: Option<&str>| words.extend(word.map(|word| hash(tag, word)));
        add(Tag::Principal, lean.principal.as_ref().map(|named| &*named.id));
        add(Tag::Client, lean.client.as_deref());
        add(Tag::Resource, lean.resource.as_ref().map(|named| &*named.id));
        add(Tag::Action, lean.action.as_deref());
        add(Tag::Decision, lean.decision.map(crate::domain::Decision::as_str));
        add(Tag::Reason, lean.reason.as_deref());
        add(Tag::Grant, lean.grant.as_deref());
        add(Tag::Tenant, lean.tenant.as_deref());
        add(Tag::Tenant, lean.resource_tenant.as_deref());
        add(Tag::DecisionId, lean.decision_id.as_deref());
        add(Tag::Kind, Some(lean.kind.as_str()));
    }

    pub(super) fn done(self) -> Digest {
        let words = self.words.map(|words| Words::of(&words));
        Digest { span: self.span, last_seq: self.last_seq, lost: self.lost, words }
    }
}

#[derive(Clone, Copy, Hash)]
enum Tag {
    Principal,
    Client,
    Resource,
    Action,
    Decision,
    Reason,
    Grant,
    Tenant,
    DecisionId,
    Kind,
}

fn hash(tag: Tag, word: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    tag.hash(&mut hasher);
    word.hash(&mut hasher);
    hasher.finish()
}

impl Words {
    fn of(words: &HashSet<u64>) -> Self {
        let bits = (words.len() * BITS_A_WORD).div_ceil(64).max(1);
        let mut filter = Self { bits: vec![0; bits] };
        for word in words {
            for bit in filter.places(*word) {
                if let Some(cell) = filter.bits.get_mut(bit / 64) {
                    *cell |= 1 << (bit % 64);
                }
            }
        }
        filter
    }

    fn places(&self, word: u64) -> impl Iterator<Item = usize> + use<> {
        let all = super::super::bytes::len64(self.bits.len() * 64);
        let step = (word >> 32) | 1;
        (0..PROBES).map(move |nth| super::super::bytes::index(word.wrapping_add(step.wrapping_mul(nth)) % all))
    }

    fn may_hold(&self, word: u64) -> bool {
        self.places(word).all(|bit| self.bits.get(bit / 64).is_some_and(|cell| cell & (1 << (bit % 64)) != 0))
    }
}

impl Digest {
    /// Whether a record of the query can be in the segment.
    pub(super) fn may_hold(&self, query: &Query) -> bool {
        let Some((first, last)) = self.span else { return false };
        let is_in_time = query.from.is_none_or(|from| last >= from) && query.to.is_none_or(|to| first < to);
        is_in_time && self.words.as_ref().is_none_or(|words| asked(query).all(|word| words.may_hold(word)))
    }

    /// What it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.words.as_ref().map_or(0, |words| words.bits.len() * 8)
    }

    /// The same, without its words.
    pub(super) fn without_words(self) -> Self {
        Self { words: None, ..self }
    }
}

fn asked(query: &Query) -> impl Iterator<Item = u64> {
    [
        (Tag::Principal, query.principal.as_ref().map(|named| named.id.as_str())),
        (Tag::Client, query.client.as_deref()),
        (Tag::Resource, query.resource.as_ref().map(|named| named.id.as_str())),
        (Tag::Action, query.action.as_deref()),
        (Tag::Decision, query.decision.map(crate::domain::Decision::as_str)),
        (Tag::Reason, query.reason.as_deref()),
        (Tag::Grant, query.grant.as_deref()),
        (Tag::Tenant, query.tenant.as_deref()),
        (Tag::DecisionId, query.decision_id.as_deref()),
        (Tag::Kind, query.kind.map(crate::domain::RecordKind::as_str)),
    ]
    .into_iter()
    .filter_map(|(tag, word)| word.map(|word| hash(tag, word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_knows_every_word_that_was_put_in_and_few_others() {
        let words: HashSet<u64> = (0..5_000).map(|n| hash(Tag::Client, &format!("C{n}"))).collect();
        let filter = Words::of(&words);
        assert!(words.iter().all(|word| filter.may_hold(*word)));
        let strangers = (5_000..15_000).filter(|n| filter.may_hold(hash(Tag::Client, &format!("C{n}")))).count();
        assert!(strangers < 500, "{strangers} of 10000");
        assert!(!filter.may_hold(hash(Tag::Tenant, "C1")) || !filter.may_hold(hash(Tag::Tenant, "C2")));
    }
}
