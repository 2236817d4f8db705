//! One disclosure with all its versions: a repeat adds nothing, a correction keeps what stood there before.

use std::collections::BTreeMap;

use serde::Serialize;

use super::category::Category;
use crate::domain::Timestamp;

/// Where a version comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A row of the store, by its id.
    Store(String),
    /// An outcome in the trail, as `WRITER/SEQ`.
    Trail(String),
}

/// One version of a disclosure, as it was put down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub origin: Origin,
    pub tenant: String,
    pub client: String,
    pub disclosed_at: Timestamp,
    pub recipient: String,
    pub address: Option<String>,
    pub description: String,
    pub purpose: Option<String>,
    pub legal_basis: String,
    pub category: Category,
    /// What whoever put it down thought of it; the category decides.
    pub said_accountable: Option<bool>,
    pub is_part2: bool,
    pub is_via_ehr: bool,
    pub series: Option<String>,
    pub decision_id: Option<String>,
    /// Who made it, as the decision's record names them.
    pub maker: Option<String>,
    /// The consent that the decision rested on.
    pub consent: Option<String>,
}

/// An outcome of the trail that carries a disclosure, with what its decision says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeEntry {
    /// `WRITER/SEQ` of the outcome.
    pub record: String,
    pub decision_id: String,
    /// When the disclosure was allowed.
    pub decided_at: Timestamp,
    pub tenant: String,
    pub client: String,
    pub recipient: String,
    pub address: Option<String>,
    pub description: String,
    pub basis: String,
    pub purpose: Option<String>,
    pub maker: Option<String>,
    pub consent: Option<String>,
    /// The fields that left hold substance use records.
    pub is_part2: bool,
}

impl From<OutcomeEntry> for Row {
    fn from(outcome: OutcomeEntry) -> Self {
        Self {
            category: Category::of_basis(&outcome.basis, outcome.purpose.as_deref()),
            origin: Origin::Trail(outcome.record),
            tenant: outcome.tenant,
            client: outcome.client,
            disclosed_at: outcome.decided_at,
            recipient: outcome.recipient,
            address: outcome.address,
            description: outcome.description,
            purpose: None,
            legal_basis: outcome.basis,
            said_accountable: None,
            is_part2: outcome.is_part2,
            is_via_ehr: true,
            series: None,
            decision_id: Some(outcome.decision_id),
            maker: outcome.maker,
            consent: outcome.consent,
        }
    }
}

/// A disclosure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The oldest first. There is at least one; the last one counts.
    earlier: Vec<Row>,
    current: Row,
}

impl Entry {
    pub fn current(&self) -> &Row {
        &self.current
    }

    /// What stood there before it was corrected, the oldest first.
    pub fn earlier(&self) -> &[Row] {
        &self.earlier
    }

    pub(super) fn versions(&self) -> impl Iterator<Item = &Row> {
        self.earlier.iter().chain([&self.current])
    }
}

/// Joins rows that are about one decision. `rows` are the store's; `outcomes` come in the order of the trail.
///
/// The store's row comes first: it knows its category by name. An outcome that says the same adds what only the trail
/// knows; one that says something else is a correction.
pub fn entries(rows: Vec<Row>, outcomes: Vec<OutcomeEntry>) -> Vec<Entry> {
    let mut entries: BTreeMap<(String, String, String), Entry> = BTreeMap::new();
    for row in rows.into_iter().chain(outcomes.into_iter().map(Row::from)) {
        // Disclosures without a decision stand alone, whatever they have in common.
        let own = match (&row.decision_id, &row.origin) {
            (Some(id), _) => format!("decision {id}"),
            (None, Origin::Store(id)) => format!("store {id}"),
            (None, Origin::Trail(record)) => format!("trail {record}"),
        };
        let key = (row.tenant.clone(), row.client.clone(), own);
        match entries.get_mut(&key) {
            None => {
                entries.insert(key, Entry { earlier: Vec::new(), current: row });
            }
            Some(entry) if says_the_same(&entry.current, &row) => {
                let current = &mut entry.current;
                current.maker = current.maker.take().or(row.maker);
                current.consent = current.consent.take().or(row.consent);
            }
            // Said before and corrected since: a late repeat of the first report brings nothing back.
            Some(entry) if entry.earlier.iter().any(|earlier| says_the_same(earlier, &row)) => {}
            Some(entry) => {
                let corrected = Row {
                    // Of the same disclosure: when it took place, and in which series, does not change.
                    disclosed_at: entry.current.disclosed_at,
                    series: row.series.or_else(|| entry.current.series.clone()),
                    purpose: row.purpose.or_else(|| entry.current.purpose.clone()),
                    ..row
                };
                entry.earlier.push(std::mem::replace(&mut entry.current, corrected));
            }
        }
    }
    let mut entries: Vec<Entry> = entries.into_values().collect();
    entries.sort_by(|a, b| order(&a.current).cmp(&order(&b.current)));
    entries
}

fn order(row: &Row) -> (Timestamp, &str, &Origin) {
    (row.disclosed_at, &row.recipient, &row.origin)
}

fn says_the_same(a: &Row, b: &Row) -> bool {
    let told = |row: &Row| {
        (row.recipient.clone(), row.address.clone().filter(|text| !text.is_empty()), row.description.clone())
    };
    told(a) == told(b) && (a.legal_basis == b.legal_basis || a.category == b.category)
}
