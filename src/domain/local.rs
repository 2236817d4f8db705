//! Local dates: a payer's date counts to its end where the organization is, and rows hold instants.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// The instant at which `last` is over in `zone`: the end of a window whose last day it is. Where a clock skips midnight,
/// the first instant of the next day.
pub fn next_midnight(last: Date, zone: &TimeZone) -> Option<Timestamp> {
    Some(last.tomorrow().ok()?.to_zoned(zone.clone()).ok()?.timestamp())
}

/// The time zone of that name, as `America/New_York`.
pub fn zone_named(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_over_at_the_next_local_midnight_on_both_sides_of_daylight_saving() {
        let ends = |zone: &str, date: &str| {
            next_midnight(date.parse().unwrap(), &zone_named(zone).unwrap()).unwrap().to_string()
        };
        for (zone, date, end) in [
            ("America/New_York", "2026-03-07", "2026-03-08T05:00:00Z"),
            ("America/New_York", "2026-03-08", "2026-03-09T04:00:00Z"),
            ("America/New_York", "2026-03-10", "2026-03-11T04:00:00Z"),
            ("America/New_York", "2026-10-31", "2026-11-01T04:00:00Z"),
            ("America/New_York", "2026-11-01", "2026-11-02T05:00:00Z"),
            ("America/Los_Angeles", "2026-03-07", "2026-03-08T08:00:00Z"),
            ("UTC", "2028-02-28", "2028-02-29T00:00:00Z"),
            // Midnight itself does not exist on that day: it begins at 01:00.
            ("America/Asuncion", "2023-09-30", "2023-10-01T04:00:00Z"),
        ] {
            assert_eq!(ends(zone, date), end, "{zone} {date}");
        }
        assert!(zone_named("Sunrise").is_none());
        assert_eq!(next_midnight(Date::MAX, &TimeZone::UTC), None);
    }
}
