//! The simulated database: facts with all the values they ever had, and the log of commits that gave them these.

use std::{sync::Arc, time::Duration};

use crate::{
    domain::{Cell, Row, mapping::Source},
    entities::{
        fresh::{Changed, ChangedFact},
        keep::Slot,
        load::FactKey,
    },
};

/// The second id is hostile: joined to its kind by a dot it reads like a relation of the first.
pub(super) const CLIENTS: [&str; 2] = ["C1", "bars.C1"];

/// What is known about a client. An allow needs the client's own row, somebody in its team, and no bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Own,
    Team,
    Bars,
}

pub(super) const PARTS: [Part; 3] = [Part::Own, Part::Team, Part::Bars];

impl Part {
    pub(super) const fn slot(self) -> Slot {
        match self {
            Self::Own => Slot::OfEntity(0),
            Self::Team => Slot::OfEntity(1),
            Self::Bars => Slot::Alone,
        }
    }

    const fn relation(self) -> Option<&'static str> {
        match self {
            Self::Own => None,
            Self::Team => Some("team"),
            Self::Bars => Some("bars"),
        }
    }

    /// Whether an allow may rest on these rows.
    pub(super) fn permits(self, rows: &[Row]) -> bool {
        match self {
            Self::Own | Self::Team => !rows.is_empty(),
            Self::Bars => rows.is_empty(),
        }
    }
}

/// A value that a fact had, from its commit until the next one's.
#[derive(Debug)]
struct Value {
    /// Commits in the log once this one was in it.
    position: usize,
    at: Duration,
    rows: Arc<[Row]>,
}

#[derive(Debug)]
pub(super) struct Fact {
    pub(super) key: FactKey,
    pub(super) part: Part,
    values: Vec<Value>,
}

/// Writes of one transaction, by fact: whether it shall permit afterwards.
pub(super) type Writes = Vec<(usize, bool)>;

#[derive(Debug)]
pub(super) struct Log {
    pub(super) facts: Vec<Fact>,
    commits: Vec<Writes>,
}

impl Log {
    pub(super) fn new() -> Self {
        let parts = CLIENTS.into_iter().flat_map(|client| PARTS.map(|part| (client, part)));
        let fact = |(client, part): (&str, Part)| {
            let relation = part.relation().map(Arc::from);
            let key = FactKey { source: Source::App, kind: "Client".into(), relation, id: client.into() };
            let rows = rows(&key, part, true, 0);
            Fact { key, part, values: vec![Value { position: 0, at: Duration::ZERO, rows }] }
        };
        Self { facts: parts.map(fact).collect(), commits: Vec::new() }
    }

    pub(super) const fn position(&self) -> usize {
        self.commits.len()
    }

    pub(super) fn commit(&mut self, writes: Writes, at: Duration) {
        let position = self.commits.len() + 1;
        for (number, permits) in &writes {
            let fact = &mut self.facts[*number];
            let rows = rows(&fact.key, fact.part, *permits, position);
            fact.values.push(Value { position, at, rows });
        }
        self.commits.push(writes);
    }

    pub(super) fn permits(&self, number: usize) -> bool {
        let fact = &self.facts[number];
        fact.part.permits(&fact.values.last().unwrap().rows)
    }

    fn fact(&self, key: &FactKey) -> &Fact {
        self.facts.iter().find(|fact| fact.key == *key).unwrap()
    }

    /// What a statement sees whose snapshot is taken now.
    pub(super) fn rows(&self, key: &FactKey) -> Arc<[Row]> {
        Arc::clone(&self.fact(key).values.last().unwrap().rows)
    }

    /// What a poll tells that is sent from `cursor` and sees all of now.
    pub(super) fn changes_since(&self, cursor: usize, is_coarse: bool) -> Changed {
        let mut changed = Vec::new();
        for (number, _) in self.commits[cursor..].iter().flatten() {
            let key = &self.facts[*number].key;
            changed.push(ChangedFact {
                kind: (*key.kind).into(),
                relation: key.relation.as_deref().map(Into::into),
                id: (!is_coarse).then(|| (*key.id).into()),
            });
        }
        Changed::These(changed)
    }

    /// Whether these were the fact's rows at `since` or at any instant after it.
    pub(super) fn held_since(&self, key: &FactKey, rows: &[Row], since: Duration) -> bool {
        self.values(key, rows).any(|replaced| replaced.is_none_or(|by| by.at >= since))
    }

    /// Whether these were the fact's rows after the first `position` commits, or later.
    pub(super) fn held_from(&self, key: &FactKey, rows: &[Row], position: usize) -> bool {
        self.values(key, rows).any(|replaced| replaced.is_none_or(|by| by.position > position))
    }

    /// Each time that the fact had these rows: by what it was replaced.
    fn values<'a>(&'a self, key: &FactKey, rows: &'a [Row]) -> impl Iterator<Item = Option<&'a Value>> {
        let values = &self.fact(key).values;
        let had = values.iter().enumerate().filter(|(_, value)| *value.rows == *rows);
        had.map(|(number, _)| values.get(number + 1))
    }
}

/// Rows tell which fact they are of and which commit wrote them, so that no old value passes for a newer one.
fn rows(key: &FactKey, part: Part, permits: bool, position: usize) -> Arc<[Row]> {
    if permits == (part == Part::Bars) {
        return Arc::new([]);
    }
    let word = format!("{part:?} of {}", key.id);
    let cells = [Cell::Text(word.into()), Cell::Int(i64::try_from(position).unwrap())];
    Arc::new([Row { id: Arc::clone(&key.id), cells: cells.into() }])
}
