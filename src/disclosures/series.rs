//! Several disclosures to one recipient for one purpose, told as one: the first, how many or how often, the last.

use serde::Serialize;

use super::{
    entry::{Entry, Row},
    select::same_name,
};
use crate::domain::Timestamp;

/// A line of the accounting: one disclosure, or several that are one series.
#[derive(Clone, Debug)]
pub(super) struct Group<'a> {
    /// By date; the first is told in full.
    pub(super) entries: Vec<&'a Entry>,
}

/// What a series adds to its first disclosure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Series {
    pub count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency: Option<&'static str>,
    pub last_at: Timestamp,
}

impl Group<'_> {
    pub(super) fn series(&self) -> Option<Series> {
        let dates: Vec<Timestamp> = self.entries.iter().map(|entry| entry.current().disclosed_at).collect();
        let last_at = *dates.last().filter(|_| dates.len() > 1)?;
        Some(Series { count: dates.len(), frequency: frequency(&dates), last_at })
    }
}

/// Groups entries that are sorted by date. A corrected one stays alone: both of its versions are to be seen.
pub(super) fn grouped<'a>(entries: &[&'a Entry]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for entry in entries {
        let is_alone = !entry.current().category.may_be_a_series() || !entry.earlier().is_empty();
        let same = groups.iter_mut().find(|group| {
            !is_alone && group.entries.iter().all(|other| other.earlier().is_empty() && is_one_series(other, entry))
        });
        match same {
            Some(group) => group.entries.push(entry),
            None => groups.push(Group { entries: vec![entry] }),
        }
    }
    groups
}

fn is_one_series(a: &Entry, b: &Entry) -> bool {
    let (a, b) = (a.current(), b.current());
    let purpose = |row: &Row| row.purpose.clone().unwrap_or_else(|| row.legal_basis.clone());
    same_name(&a.recipient, &b.recipient)
        && a.category == b.category
        && purpose(a) == purpose(b)
        && a.address == b.address
        && (a.series.is_none() || b.series.is_none() || a.series == b.series)
}

/// A word for steps that are about the same; at least two steps, one is no rhythm.
fn frequency(dates: &[Timestamp]) -> Option<&'static str> {
    let days: Vec<i64> = dates
        .windows(2)
        .filter_map(|pair| match pair {
            [a, b] => Some((b.as_second() - a.as_second() + 43_200).div_euclid(86_400)),
            _ => None,
        })
        .collect();
    let all = |range: std::ops::RangeInclusive<i64>| days.len() > 1 && days.iter().all(|days| range.contains(days));
    [(1..=1, "daily"), (7..=7, "weekly"), (28..=31, "monthly"), (89..=92, "quarterly"), (365..=366, "yearly")]
        .into_iter()
        .find_map(|(range, word)| all(range).then_some(word))
}
