//! What the trail knows of disclosures: which allows ask for one, what was reported of them, and what is missing.

use std::collections::{BTreeMap, BTreeSet};

use super::query::{Found, Query, QueryError, RecordSource};
use crate::domain::{Decision, Record, RecordKind, Timestamp};

/// The obligation of an allow whose access is a disclosure.
const OBLIGATION: &str = "record_disclosure";

/// An allow that asks for an outcome, and what was reported, in the order of the trail.
#[derive(Clone, Debug, PartialEq)]
pub struct Disclosed {
    pub decision: Record,
    /// `WRITER/SEQ` of each report, and the report.
    pub outcomes: Vec<(String, Record)>,
}

/// The disclosures of a trail.
#[derive(Clone, Debug, Default)]
pub struct DisclosedInTrail {
    pub disclosed: Vec<Disclosed>,
    /// The policies that the latest of all decisions asked about was made by.
    pub policies_revision: Option<String>,
    /// The first record that should be there and cannot be read.
    pub lost: Option<String>,
}

impl Disclosed {
    /// Whether nobody reported an outcome, of success or of failure.
    pub fn is_missing(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// The reports that something left the house.
    pub fn reports(&self) -> impl Iterator<Item = &(String, Record)> {
        let says = |record: &Record, key: &str| record.detail.get(key).and_then(|value| value.as_str()).is_some();
        self.outcomes.iter().filter(move |(_, record)| {
            let has_happened = record.detail.get("outcome").and_then(|kind| kind.as_str()) == Some("success");
            has_happened && says(record, "recipient") && says(record, "description")
        })
    }
}

/// Reads the allows of `query` that ask for a disclosure's report, with their outcomes, up to `until`.
///
/// An allow that was withheld never left: it is none of them.
///
/// # Errors
///
/// The source cannot be read.
pub async fn disclosed(
    source: &dyn RecordSource,
    query: Query,
    until: Timestamp,
) -> Result<DisclosedInTrail, QueryError> {
    let of = |kind| Query { kind: Some(kind), ..Query::default() };
    let mut lost = None;
    let mut withheld: BTreeSet<(String, u64)> = BTreeSet::new();
    each(source, of(RecordKind::System), &mut lost, |found, record| {
        let seq = record.detail.get("withheld_seq").and_then(|seq| seq.as_u64());
        withheld.extend(seq.map(|seq| (found.writer.to_string(), seq)));
    })
    .await?;
    let mut outcomes: BTreeMap<String, Vec<(String, Record)>> = BTreeMap::new();
    each(source, of(RecordKind::Outcome), &mut lost, |found, record| {
        let Some(id) = record.decision_id.clone().filter(|_| record.at <= until) else { return };
        outcomes.entry(id).or_default().push((format!("{}/{}", found.writer, found.seq), record));
    })
    .await?;
    let mut found_here = DisclosedInTrail::default();
    each(source, Query { kind: Some(RecordKind::Decision), ..query }, &mut lost, |found, record| {
        if record.at > until {
            return;
        }
        if let Some(revisions) = &record.revisions {
            found_here.policies_revision = Some(revisions.policies.clone());
        }
        let is_one = record.decision == Some(Decision::Allow)
            && record.obligations.iter().any(|obligation| &**obligation == OBLIGATION)
            && !withheld.contains(&(found.writer.to_string(), found.seq));
        if is_one {
            let outcomes = record.decision_id.as_ref().and_then(|id| outcomes.get(id)).cloned().unwrap_or_default();
            found_here.disclosed.push(Disclosed { decision: record, outcomes });
        }
    })
    .await?;
    Ok(DisclosedInTrail { lost, ..found_here })
}

/// Records that are taken from a source at a time.
const AT_ONCE: usize = 500;

async fn each(
    source: &dyn RecordSource,
    query: Query,
    lost: &mut Option<String>,
    mut take: impl FnMut(&Found, Record),
) -> Result<(), QueryError> {
    let mut run = source.begin(query, None).await?;
    loop {
        let some = run.next(AT_ONCE).await?;
        if some.is_empty() {
            break;
        }
        for found in some {
            if let Some(record) = found.record() {
                take(&found, record);
            }
        }
    }
    *lost = lost.take().or(run.lost());
    Ok(())
}
