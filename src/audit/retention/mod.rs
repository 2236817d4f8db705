//! How long records stay, and how they go: after their tenant's years and never before six (45 CFR 164.316(b)(2)(i)),
//! unless a legal hold keeps them.
//!
//! Only whole segments go, the oldest of a writer first, and a [`Stub`] stays in their place: where the chain and the tree
//! stood, signed if the trail is. Holds and prunings are records of the trail itself; there is no other list of them that
//! somebody could take away.

mod finish;
mod hold;
mod plan;
mod prune;
mod store;
pub(super) mod stub;

use std::collections::BTreeMap;

use jiff::{Span, civil::Date, tz::TimeZone};

pub(super) use finish::{Finished, Witness, finish};
pub use hold::{Hold, HoldError, HoldScope, HoldTurn, HoldsError, hold_record, holds, holds_of};
pub use plan::{Kept, Plan, PlanError, WriterPlan, plan};
pub use prune::{PruneError, Pruned, prune};
pub use store::{StoreStub, begin_in_store, end_in_store, in_store};
pub(super) use stub::{Stub, StubEnd, StubFile};

use crate::domain::Timestamp;

/// HIPAA keeps documentation six years.
pub const RETENTION_YEARS_MIN: u16 = 6;

/// How many years records are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    years: u16,
    tenants: BTreeMap<String, u16>,
}

impl Retention {
    /// `years` for all tenants but those that have their own. No number below six counts.
    pub fn new(years: u16, tenants: BTreeMap<String, u16>) -> Self {
        let at_least = |years: u16| years.max(RETENTION_YEARS_MIN);
        let tenants = tenants.into_iter().map(|(tenant, years)| (tenant, at_least(years))).collect();
        Self { years: at_least(years), tenants }
    }

    /// A record of no tenant may concern any of them: it stays as long as the longest says.
    fn years_of(&self, tenant: Option<&str>) -> u16 {
        match tenant {
            Some(tenant) => self.tenants.get(tenant).copied().unwrap_or(self.years),
            None => self.tenants.values().copied().fold(self.years, u16::max),
        }
    }

    /// Whether the time of a record is over, for whose people it is and for whom its resource is.
    pub fn is_over(&self, at: Timestamp, tenant: Option<&str>, resource_tenant: Option<&str>, now: Timestamp) -> bool {
        let others = resource_tenant.map_or(0, |tenant| self.years_of(Some(tenant)));
        let years = self.years_of(tenant).max(others);
        kept_until(at, years).is_some_and(|until| now.to_zoned(TimeZone::UTC).date() > until)
    }
}

/// The last day, in UTC, on which a record is kept: so many years later to the day. A 29 February that is not there is the
/// day after. `None` is beyond every calendar.
fn kept_until(at: Timestamp, years: u16) -> Option<Date> {
    let day = at.to_zoned(TimeZone::UTC).date();
    let last = day.checked_add(Span::new().try_years(i64::from(years)).ok()?).ok()?;
    if last.day() == day.day() { Some(last) } else { last.tomorrow().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_record_is_kept_six_years_to_the_day_and_that_day_too() {
        let retention = Retention::new(6, BTreeMap::new());
        let made = at("2020-03-10T15:00:00Z");
        assert!(!retention.is_over(made, None, None, at("2026-03-10T14:59:59Z")));
        assert!(!retention.is_over(made, None, None, at("2026-03-10T23:59:59.999Z")));
        assert!(retention.is_over(made, None, None, at("2026-03-11T00:00:00Z")));
        let leap = at("2020-02-29T00:00:00Z");
        assert!(!retention.is_over(leap, None, None, at("2026-03-01T12:00:00Z")));
        assert!(retention.is_over(leap, None, None, at("2026-03-02T00:00:00Z")));
    }

    #[test]
    fn a_tenant_keeps_its_own_years_nobody_less_than_six_and_nobodys_records_the_longest() {
        let tenants = BTreeMap::from([("T1".to_owned(), 10), ("T2".to_owned(), 1)]);
        let retention = Retention::new(0, tenants);
        let made = at("2010-01-01T00:00:00Z");
        for (tenant, years) in [(Some("T1"), 10), (Some("T2"), 6), (Some("T3"), 6), (None, 10)] {
            let last_day = format!("{}-01-01T23:59:59Z", 2010 + years);
            let next_day = format!("{}-01-02T00:00:00Z", 2010 + years);
            assert!(!retention.is_over(made, tenant, None, at(&last_day)), "{tenant:?}");
            assert!(retention.is_over(made, tenant, None, at(&next_day)), "{tenant:?}");
        }
        // Of two tenants the one with more years counts, whichever it is.
        for (tenant, resource_tenant) in [("T1", "T2"), ("T2", "T1")] {
            let is_over = |day| retention.is_over(made, Some(tenant), Some(resource_tenant), at(day));
            assert!(!is_over("2020-01-01T00:00:00Z") && is_over("2020-01-02T00:00:00Z"), "{tenant}");
        }
        assert!(!retention.is_over(Timestamp::MAX, None, None, Timestamp::MAX));
    }
}
