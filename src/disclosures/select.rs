//! Which disclosures belong into an accounting: the period, the exempt, the suspended.

use jiff::{ToSpan, tz::TimeZone};

use super::{
    category::{Accounting, Category},
    entry::{Entry, Row},
};
use crate::domain::Timestamp;

/// What a tenant decided where the law leaves it open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// 42 CFR 2.25 is in force: disclosures of substance use records with consent, through an EHR, of three years.
    pub part2_consented: bool,
}

/// How an agency asked for a suspension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statement {
    Oral,
    Written,
}

/// An agency asked that the client should not learn of disclosures to it for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspension {
    pub tenant: String,
    pub client: String,
    pub agency: String,
    pub statement: Statement,
    pub received_at: Timestamp,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
}

/// The days that an oral statement suspends at most, from when it was made.
const ORAL_DAYS: i64 = 30;

impl Suspension {
    /// In force from its start up to, not including, its end.
    fn is_active(&self, now: Timestamp) -> bool {
        let most = match self.statement {
            Statement::Written => self.ends_at,
            Statement::Oral => self.ends_at.min(days_after(self.received_at, ORAL_DAYS)),
        };
        (self.starts_at..most).contains(&now)
    }

    fn covers(&self, row: &Row) -> bool {
        matches!(row.category, Category::Oversight | Category::LawEnforcement)
            && self.tenant == row.tenant
            && self.client == row.client
            && same_name(&self.agency, &row.recipient)
    }
}

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selection<'a> {
    pub(super) tenant: &'a str,
    pub(super) client: &'a str,
    pub(super) requested_at: Timestamp,
    pub(super) generated_at: Timestamp,
    pub(super) period_from: Option<Timestamp>,
    pub(super) rules: Rules,
}

impl Selection<'_> {
    /// The first instant of the period: six years to the day, or later if the client asked for less.
    pub(super) fn first(&self) -> Timestamp {
        self.first_of(6)
    }

    fn first_of(&self, years: i64) -> Timestamp {
        let first = years_before(self.requested_at, years);
        self.period_from.map_or(first, |from| from.max(first))
    }

    /// Whether a row belongs, suspensions aside. Both ends of the period belong to it.
    fn takes_row(&self, row: &Row) -> bool {
        if row.tenant != self.tenant || row.client != self.client {
            return false;
        }
        let first = match self.accounting(row) {
            Accounting::Exempt => return false,
            Accounting::SixYears => self.first(),
            Accounting::ThreeYears if !self.rules.part2_consented || !row.is_via_ehr => return false,
            Accounting::ThreeYears => self.first_of(3),
        };
        (first..=self.requested_at).contains(&row.disclosed_at)
    }

    fn accounting(&self, row: &Row) -> Accounting {
        // With consent, for treatment, payment or operations: part 2 has a rule of its own for these.
        if row.is_part2 && row.category.is_506() { Accounting::ThreeYears } else { row.category.accounting() }
    }

    /// The entries of the accounting. One of them that is suspended is left out without a trace.
    pub(super) fn of<'e>(&self, entries: &'e [Entry], suspensions: &[Suspension]) -> Vec<&'e Entry> {
        let active: Vec<_> = suspensions.iter().filter(|suspension| suspension.is_active(self.generated_at)).collect();
        let is_suspended = |entry: &Entry| {
            // No version of it may tell what the others must not.
            entry.versions().any(|row| active.iter().any(|suspension| suspension.covers(row)))
        };
        // What was accountable when it was reported stays in, as a correction: a later report takes nothing out.
        let is_taken = |entry: &Entry| entry.versions().any(|row| self.takes_row(row));
        entries.iter().filter(|entry| is_taken(entry) && !is_suspended(entry)).collect()
    }
}

pub(super) fn same_name(a: &str, b: &str) -> bool {
    let plain = |name: &str| name.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>();
    plain(a) == plain(b)
}

/// So many calendar years before, in UTC: what has no such day (29 February) begins a day earlier, in the client's favour.
pub(super) fn years_before(instant: Timestamp, years: i64) -> Timestamp {
    let zoned = instant.to_zoned(TimeZone::UTC);
    zoned.checked_sub(years.years()).map_or(Timestamp::MIN, |earlier| earlier.timestamp())
}

pub(super) fn months_before(instant: Timestamp, months: i64) -> Timestamp {
    let zoned = instant.to_zoned(TimeZone::UTC);
    zoned.checked_sub(months.months()).map_or(Timestamp::MIN, |earlier| earlier.timestamp())
}

pub(super) fn days_after(instant: Timestamp, days: i64) -> Timestamp {
    instant.checked_add((days * 24).hours()).unwrap_or(Timestamp::MAX)
}
