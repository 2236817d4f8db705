//! Tests of `window`.

use std::sync::Arc;

use super::*;
use crate::domain::mapping::{Query, Source};

fn at(instant: &str) -> Timestamp {
    instant.parse().unwrap()
}

fn cell(instant: &str) -> Cell {
    if instant.is_empty() { Cell::Null } else { Cell::Instant(at(instant)) }
}

const fn bound(column: usize) -> Option<Bound> {
    Some(Bound { column, plus: jiff::SignedDuration::ZERO, plus_years: None })
}

/// `from`, `to`, `revoked`, and a word that filters may test.
fn window() -> Window {
    Window {
        from: bound(0),
        from_null_is_open: false,
        to: bound(1),
        to_null_is_over: false,
        to_inclusive: false,
        revoked: Some(2),
        revoked_if: None,
        open_if: None,
    }
}

fn word_is(word: &str) -> Option<Filter> {
    Some(Filter(vec![vec![(3, Test::Is(Cell::Text(word.into())))]]))
}

fn row(from: &str, to: &str, revoked: &str, word: &str) -> Vec<Cell> {
    vec![cell(from), cell(to), cell(revoked), Cell::Text(word.into())]
}

fn active(until: &str) -> RowState {
    RowState::Active { until: (!until.is_empty()).then(|| at(until)) }
}

const FROM: &str = "2026-03-10T15:00:00Z";
const TO: &str = "2026-03-10T16:00:00Z";

#[test]
fn a_window_is_open_at_its_start_and_over_at_its_end() {
    let cells = row(FROM, TO, "", "");
    let state = |now: &str| window_state(&window(), &cells, at(now));
    assert_eq!(state("2026-03-10T14:59:59.999999999Z"), RowState::NotStarted { from: Some(at(FROM)) });
    assert_eq!(state(FROM), active(TO));
    assert_eq!(state("2026-03-10T15:59:59.999999999Z"), active(TO));
    assert_eq!(state(TO), RowState::Expired { at: Some(at(TO)) });
}

#[test]
fn an_inclusive_end_still_counts_and_the_instant_after_does_not() {
    let window = Window { to_inclusive: true, ..window() };
    let cells = row(FROM, TO, "", "");
    assert_eq!(window_state(&window, &cells, at(TO)), active(TO));
    let after = at("2026-03-10T16:00:00.000000001Z");
    assert_eq!(window_state(&window, &cells, after), RowState::Expired { at: Some(at(TO)) });
    assert_eq!(window_instants(&window, &cells), [at(FROM), after], "the first instant that is over is named");
}

#[test]
fn a_start_that_is_null_means_never_for_a_right_and_always_for_a_bar() {
    let cells = row("", TO, "", "");
    assert_eq!(window_state(&window(), &cells, at(FROM)), RowState::NotStarted { from: None });
    let bar = Window { from_null_is_open: true, ..window() };
    assert_eq!(window_state(&bar, &cells, at(FROM)), active(TO));
}

#[test]
fn an_end_that_is_null_is_open_unless_a_standing_needs_a_date() {
    let cells = row(FROM, "", "", "");
    assert_eq!(window_state(&window(), &cells, at("9000-01-01T00:00:00Z")), active(""));
    let standing = Window { to_null_is_over: true, ..window() };
    assert_eq!(window_state(&standing, &cells, at(FROM)), RowState::Expired { at: None });
}

#[test]
fn a_revocation_closes_like_an_end_and_the_earlier_of_both_names_the_state() {
    let revoked = "2026-03-10T15:30:00Z";
    let cells = row(FROM, TO, revoked, "");
    let state = |now: &str| window_state(&window(), &cells, at(now));
    assert_eq!(state("2026-03-10T15:29:59Z"), active(revoked));
    assert_eq!(state(revoked), RowState::Revoked { at: Some(at(revoked)) });
    assert_eq!(state("2026-03-11T00:00:00Z"), RowState::Revoked { at: Some(at(revoked)) });
    let late = row(FROM, TO, "2026-03-10T17:00:00Z", "");
    assert_eq!(window_state(&window(), &late, at("2026-03-10T18:00:00Z")), RowState::Expired { at: Some(at(TO)) });
}

#[test]
fn what_its_user_ended_is_expired_and_what_another_took_away_is_revoked() {
    let window = Window { revoked_if: word_is("revoked"), open_if: word_is("active"), ..window() };
    let ended_at = "2026-03-10T15:30:00Z";
    let now = at("2026-03-10T15:45:00Z");
    let state = |word: &str| window_state(&window, &row(FROM, TO, ended_at, word), now);
    assert_eq!(state("ended"), RowState::Expired { at: Some(at(ended_at)) });
    assert_eq!(state("revoked"), RowState::Revoked { at: Some(at(ended_at)) });
}

#[test]
fn a_row_whose_state_is_closed_is_not_active_whatever_its_instants_say() {
    let window = Window { open_if: word_is("active"), ..window() };
    let now = at("2026-03-10T15:30:00Z");
    assert_eq!(window_state(&window, &row(FROM, TO, "", "active"), now), active(TO));
    assert_eq!(window_state(&window, &row(FROM, TO, "", "pending"), now), RowState::Expired { at: None });
}

#[test]
fn a_test_of_a_window_that_names_the_question_never_holds() {
    let operand = Filter(vec![vec![(3, Test::Equals(crate::domain::mapping::Operand::PrincipalId))]]);
    let window = Window { open_if: Some(operand), ..window() };
    assert!(matches!(window_state(&window, &row(FROM, "", "", "ana"), at(FROM)), RowState::Expired { .. }));
}

#[test]
fn years_are_calendar_years_and_the_leap_day_ends_on_the_twenty_eighth() {
    let retention = Window {
        from: Some(Bound { column: 0, plus: jiff::SignedDuration::ZERO, plus_years: Some(1) }),
        to: None,
        revoked: None,
        ..window()
    };
    let state = |created: &str, years: i64, now: &str| {
        let cells = [cell(created), Cell::Int(years)];
        matches!(window_state(&retention, &cells, at(now)), RowState::Active { .. })
    };
    assert!(!state("2024-02-29T12:00:00Z", 1, "2025-02-28T11:59:59Z"));
    assert!(state("2024-02-29T12:00:00Z", 1, "2025-02-28T12:00:00Z"));
    assert!(!state("2024-02-29T00:00:00Z", 4, "2028-02-28T23:59:59Z"), "a leap day again");
    assert!(state("2024-02-29T00:00:00Z", 4, "2028-02-29T00:00:00Z"));
    assert!(!state("2018-05-01T00:00:00Z", 7, "2025-04-30T23:59:59Z"));
    assert!(state("2018-05-01T00:00:00Z", 7, "2025-05-01T00:00:00Z"));
    assert!(!state("2018-05-01T00:00:00Z", 9_999, "2026-01-01T00:00:00Z"), "past the calendar's end is never over");
    let unknown = [cell("2018-05-01T00:00:00Z"), Cell::Null];
    let now = at("2100-01-01T00:00:00Z");
    assert_eq!(window_state(&retention, &unknown, now), RowState::NotStarted { from: None });
}

#[test]
fn a_bound_moved_by_days_moves_by_whole_days_of_24_hours() {
    let days = jiff::SignedDuration::from_hours(30 * 24);
    let near = Window {
        from: Some(Bound { column: 0, plus: -days, plus_years: None }),
        to: Some(Bound { column: 0, plus: days, plus_years: None }),
        to_inclusive: true,
        revoked: None,
        ..window()
    };
    let cells = [cell(FROM)];
    let state = |now: &str| window_state(&near, &cells, at(now));
    assert_eq!(state("2026-02-08T15:00:00Z"), active("2026-04-09T15:00:00Z"));
    assert!(matches!(state("2026-02-08T14:59:59Z"), RowState::NotStarted { .. }));
    assert_eq!(state("2026-04-09T15:00:00Z"), active("2026-04-09T15:00:00Z"));
    assert!(matches!(state("2026-04-09T15:00:01Z"), RowState::Expired { .. }));
}

#[test]
fn a_relation_without_a_window_is_always_active() {
    let text: Arc<str> = "SELECT 1".into();
    let relation = Relation {
        source: Source::App,
        query: Query { sqlite: text.clone(), postgres: text },
        key: None,
        columns: vec![],
        window: None,
        kind: None,
        about: None,
        exceptional: false,
    };
    let row = Row { id: "r".into(), cells: Arc::new([]) };
    assert_eq!(row_state(&relation, &row, at(FROM)), active(""));
}
