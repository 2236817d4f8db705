//! Soft limits: many grants in a short time are told of. They never stop one, since one of them may save a life.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};

const A_DAY: SignedDuration = SignedDuration::from_hours(24);
const A_WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How far back grants are looked at.
pub const HISTORY_SPAN: SignedDuration = SignedDuration::from_hours(30 * 24);

const IN_A_DAY: usize = 3;
const OF_A_CLIENT_IN_A_WEEK: usize = 2;
const TIMES_THE_PEERS: usize = 3;

/// A soft limit that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alert {
    /// One person took three in a day.
    ManyInADay,
    /// One person took two for one client in a week.
    SameClientInAWeek,
    /// One person took more than three times as many in a month as the peers do.
    MoreThanPeers,
}

impl Alert {
    pub const ALL: [Self; 3] = [Self::ManyInADay, Self::SameClientInAWeek, Self::MoreThanPeers];

    /// The word in records and in the label of the metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ManyInADay => "many_in_a_day",
            Self::SameClientInAWeek => "same_client_in_a_week",
            Self::MoreThanPeers => "more_than_peers",
        }
    }
}

/// A grant of the tenant in the last month: whose, for whom, since when. The new one is among them.
#[derive(Clone, Debug)]
pub struct History {
    pub user: Arc<str>,
    pub client: Arc<str>,
    pub requested_at: Timestamp,
}

/// The soft limits that `user` meets with a grant for `client`.
pub fn alerts(history: &[History], user: &str, client: &str, now: Timestamp) -> Vec<Alert> {
    let within = |span: SignedDuration| {
        let since = now.saturating_sub(span).unwrap_or(Timestamp::MIN);
        history.iter().filter(move |grant| grant.requested_at > since && grant.requested_at <= now)
    };
    let own = |grant: &&History| *grant.user == *user;
    let mut met = Vec::new();
    if within(A_DAY).filter(own).count() >= IN_A_DAY {
        met.push(Alert::ManyInADay);
    }
    if within(A_WEEK).filter(own).filter(|grant| *grant.client == *client).count() >= OF_A_CLIENT_IN_A_WEEK {
        met.push(Alert::SameClientInAWeek);
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for grant in within(HISTORY_SPAN) {
        *counts.entry(&grant.user).or_default() += 1;
    }
    let mine = counts.remove(user).unwrap_or_default();
    // Peers are those who took any: without one there is nothing to compare with.
    if let Some(double) = doubled_median(counts.into_values().collect())
        && mine.saturating_mul(2) > TIMES_THE_PEERS.saturating_mul(double)
    {
        met.push(Alert::MoreThanPeers);
    }
    met
}

/// Twice the median, so that it is a whole number.
fn doubled_median(mut counts: Vec<usize>) -> Option<usize> {
    counts.sort_unstable();
    let (upper, lower) = (counts.len() / 2, counts.len().checked_sub(1)? / 2);
    Some(counts.get(lower)?.saturating_add(*counts.get(upper)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-03-10T15:00:00Z";

    fn taken(user: &str, client: &str, hours_ago: i64) -> History {
        let now: Timestamp = NOW.parse().unwrap();
        let requested_at = now - SignedDuration::from_hours(hours_ago);
        History { user: user.into(), client: client.into(), requested_at }
    }

    fn met(history: &[History]) -> Vec<Alert> {
        alerts(history, "ana", "C4", NOW.parse().unwrap())
    }

    #[test]
    fn the_third_in_a_day_is_told_of_and_a_day_ends_after_24_hours() {
        let two = [taken("ana", "C4", 0), taken("ana", "C3", 23)];
        assert_eq!(met(&two), []);
        assert_eq!(met(&[&two[..], &[taken("ana", "C2", 24)]].concat()), []);
        assert_eq!(met(&[&two[..], &[taken("ben", "C2", 1)]].concat()), []);
        assert_eq!(met(&[&two[..], &[taken("ana", "C2", 1)]].concat()), [Alert::ManyInADay]);
    }

    #[test]
    fn the_second_for_one_client_in_a_week_is_told_of() {
        assert_eq!(met(&[taken("ana", "C4", 0), taken("ana", "C4", 167)]), [Alert::SameClientInAWeek]);
        assert_eq!(met(&[taken("ana", "C4", 0), taken("ana", "C4", 168)]), []);
        assert_eq!(met(&[taken("ana", "C4", 0), taken("ben", "C4", 1)]), []);
    }

    #[test]
    fn more_than_three_times_the_median_of_the_peers_is_told_of() {
        let spread = |count: i64| (0..count).map(|day| taken("ana", &format!("X{day}"), 48 + day * 24));
        let peers = [taken("ben", "C1", 100), taken("zoe", "Z1", 100), taken("zoe", "Z2", 100)];
        // The median of 1 and 2 is 1.5: four and a half is the limit.
        let history = |count| spread(count).chain(peers.clone()).collect::<Vec<_>>();
        assert_eq!(met(&history(4)), []);
        assert_eq!(met(&history(5)), [Alert::MoreThanPeers]);
        assert_eq!(met(&spread(9).collect::<Vec<_>>()), [], "nobody to compare with");
    }
}
