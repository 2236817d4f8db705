//! Past decisions, made again of what was kept: bundle, slice and question give the record, byte for byte.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value as Json;

use super::{capture::Captured, record};
use crate::{
    audit::{CapturedBlobs, query::Found},
    domain::{Reason, Record, RecordKind},
    engine::Bundle,
};

/// Bundles held at one time; each takes some tens of MiB.
const BUNDLES_MAX: usize = 4;

/// What became of one decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Derived {
    /// The same bytes.
    Same,
    /// What is recorded and what was derived, by the keys that differ.
    Differs(Vec<Difference>),
    /// No fact was read, or they were too old: there was nothing to derive it from.
    WithoutFacts,
    /// It cannot be derived, and why.
    Not(NotDerived),
}

/// One key of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub key: String,
    pub recorded: Option<String>,
    pub derived: Option<String>,
}

/// Why a decision cannot be derived again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum NotDerived {
    #[error("its record names no slice: `audit.capture` was off, or it could not be taken")]
    NotCaptured,
    #[error("its slice or question is not kept, or not any more (`audit.capture_bytes`)")]
    NotKept,
    #[error("its bundle {0} is not kept")]
    NoBundle(String),
    #[error("its bundle {0} is refused by this program")]
    BundleRefused(String),
    #[error("what is kept of it is of a form that this program does not read")]
    Unreadable,
}

/// Derives the decisions of one trail's folder.
#[derive(Debug)]
pub struct Rederiver {
    blobs: CapturedBlobs,
    bundles: PathBuf,
    loaded: HashMap<String, Result<Arc<Bundle>, NotDerived>>,
}

/// Where the bundles of a trail's folder are kept.
pub fn bundles_folder(dir: &Path) -> PathBuf {
    dir.join("captured").join("bundles")
}

impl Rederiver {
    /// Looks through what is kept in the trail's folder `dir`.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn open(dir: &Path) -> io::Result<Self> {
        Ok(Self { blobs: CapturedBlobs::open(dir)?, bundles: bundles_folder(dir), loaded: HashMap::new() })
    }

    /// Whether nothing was ever captured here.
    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    /// Makes a recorded decision again; `None`: the record is none of a decision.
    ///
    /// # Errors
    ///
    /// What is kept cannot be read.
    pub fn derive(&mut self, found: &Found) -> io::Result<Option<Derived>> {
        let Some(recorded) = found.record() else { return Ok(Some(Derived::Not(NotDerived::Unreadable))) };
        if recorded.kind != RecordKind::Decision {
            return Ok(None);
        }
        Ok(Some(match self.again(&recorded)? {
            Err(other) => other,
            Ok(again) => compared(found, &recorded, &again),
        }))
    }

    fn again(&mut self, recorded: &Record) -> io::Result<Result<Record, Derived>> {
        let no = |why| Ok(Err(Derived::Not(why)));
        let (Some(slice), Some(question)) = (&recorded.slice_sha256, &recorded.question_sha256) else {
            return Ok(Err(if had_no_facts(recorded) {
                Derived::WithoutFacts
            } else {
                Derived::Not(NotDerived::NotCaptured)
            }));
        };
        let (Some(slice), Some(question)) = (self.blobs.find(slice)?, self.blobs.find(question)?) else {
            return no(NotDerived::NotKept);
        };
        let Ok(captured) = Captured::read(&question, &slice) else { return no(NotDerived::Unreadable) };
        let revision = recorded.revisions.as_ref().map(|revisions| revisions.policies.clone()).unwrap_or_default();
        let bundle = match self.bundle(&revision) {
            Ok(bundle) => bundle,
            Err(why) => return no(why),
        };
        let Ok(Some(evaluation)) = captured.decide(&bundle, recorded) else { return no(NotDerived::Unreadable) };
        let mut again = recorded.clone();
        record::judged(&mut again, captured.request(recorded).fields, &evaluation);
        Ok(Ok(again))
    }

    fn bundle(&mut self, revision: &str) -> Result<Arc<Bundle>, NotDerived> {
        if let Some(loaded) = self.loaded.get(revision) {
            return loaded.clone();
        }
        if self.loaded.len() >= BUNDLES_MAX {
            self.loaded.clear();
        }
        let loaded = match Bundle::load_kept(&self.bundles, revision) {
            Ok(Some(bundle)) => Ok(Arc::new(bundle)),
            Ok(None) => Err(NotDerived::NoBundle(revision.to_owned())),
            Err(_problems) => Err(NotDerived::BundleRefused(revision.to_owned())),
        };
        self.loaded.insert(revision.to_owned(), loaded.clone());
        loaded
    }
}

/// Denied before facts were there, or because they had grown old.
fn had_no_facts(recorded: &Record) -> bool {
    let is_without = recorded.revisions.as_ref().is_none_or(|revisions| revisions.facts.is_empty());
    is_without || recorded.reason.as_ref() == Some(&Reason::DATA_STALE)
}

/// The stored line against the one that `again` makes.
fn compared(found: &Found, recorded: &Record, again: &Record) -> Derived {
    let line = record::line(found.seq, again);
    if line.as_deref() == Some(found.line.as_slice()) {
        return Derived::Same;
    }
    let keys = |record: &Record| serde_json::to_value(record).ok().and_then(|json| json.as_object().cloned());
    let (before, after) = (keys(recorded).unwrap_or_default(), keys(again).unwrap_or_default());
    let mut all: BTreeMap<&String, (Option<&Json>, Option<&Json>)> = BTreeMap::new();
    before.iter().for_each(|(key, value)| all.entry(key).or_default().0 = Some(value));
    after.iter().for_each(|(key, value)| all.entry(key).or_default().1 = Some(value));
    let differs = all.into_iter().filter(|(_, (before, after))| before != after);
    let said = |value: Option<&Json>| value.map(ToString::to_string);
    let mut differences: Vec<_> = differs
        .map(|(key, (before, after))| Difference { key: key.clone(), recorded: said(before), derived: said(after) })
        .collect();
    if differences.is_empty() {
        // The values are the same and the bytes are not: keys that this program does not know, or another order.
        differences.push(Difference { key: "(bytes)".to_owned(), recorded: None, derived: None });
    }
    Derived::Differs(differences)
}
