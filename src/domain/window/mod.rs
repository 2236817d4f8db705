//! When a row is active: half-open windows, judged by the row alone at an instant that is a parameter.

use jiff::{Timestamp, ToSpan, tz::TimeZone};

use super::{
    mapping::{Bound, Filter, Relation, RowState, Test, Window},
    slice::Row,
    value::Cell,
};

/// The state of a relation's row at `now`; a relation without a window is always active.
pub fn row_state(relation: &Relation, row: &Row, now: Timestamp) -> RowState {
    match &relation.window {
        None => RowState::Active { until: None },
        Some(window) => window_state(window, &row.cells, now),
    }
}

pub(in crate::domain) fn window_state(window: &Window, cells: &[Cell], now: Timestamp) -> RowState {
    let instant = |bound: &Option<Bound>| bound.as_ref().and_then(|bound| bound_at(bound, cells));
    let from = instant(&window.from);
    let to = instant(&window.to);
    let revoked = window.revoked.and_then(|column| match cells.get(column) {
        Some(Cell::Instant(at)) => Some(*at),
        _ => None,
    });
    let counts_as_revoked = window.revoked_if.as_ref().is_none_or(|filter| static_match(filter, cells));
    if let Some(at) = revoked
        && at <= now
        && to.is_none_or(|to| at <= to)
    {
        return if counts_as_revoked { RowState::Revoked { at: Some(at) } } else { RowState::Expired { at: Some(at) } };
    }
    if window.from.is_some() {
        match from {
            None if !window.from_null_is_open => return RowState::NotStarted { from: None },
            Some(from) if now < from => return RowState::NotStarted { from: Some(from) },
            None | Some(_) => {}
        }
    }
    if window.to_null_is_over && window.to.is_some() && to.is_none() {
        return RowState::Expired { at: None };
    }
    if let Some(to) = to
        && (if window.to_inclusive { now > to } else { now >= to })
    {
        return RowState::Expired { at: Some(to) };
    }
    if window.open_if.as_ref().is_some_and(|filter| !static_match(filter, cells)) {
        let at = revoked.or(to).filter(|at| *at <= now);
        return if counts_as_revoked && window.revoked_if.is_some() {
            RowState::Revoked { at }
        } else {
            RowState::Expired { at }
        };
    }
    let until = match (to, revoked) {
        (Some(to), Some(revoked)) => Some(to.min(revoked)),
        (one, other) => one.or(other),
    };
    RowState::Active { until }
}

fn bound_at(bound: &Bound, cells: &[Cell]) -> Option<Timestamp> {
    let Some(Cell::Instant(at)) = cells.get(bound.column) else { return None };
    let at = at.checked_add(bound.plus).ok()?;
    let Some(column) = bound.plus_years else { return Some(at) };
    let Some(Cell::Int(years)) = cells.get(column) else { return None };
    // Calendar years in UTC: 29 February plus one year is 28 February.
    let zoned = at.to_zoned(TimeZone::UTC).checked_add(jiff::Span::new().try_years(*years).ok()?).ok()?;
    Some(zoned.timestamp())
}

/// Every instant at which a window's row changes its state: an end that still counts is over one nanosecond later.
pub(in crate::domain) fn window_instants(window: &Window, cells: &[Cell]) -> Vec<Timestamp> {
    let revoked = window.revoked.and_then(|column| match cells.get(column) {
        Some(Cell::Instant(at)) => Some(*at),
        _ => None,
    });
    let from = window.from.as_ref().and_then(|bound| bound_at(bound, cells));
    let to = window.to.as_ref().and_then(|bound| bound_at(bound, cells));
    let to = if window.to_inclusive { to.and_then(|to| to.checked_add(1.nanosecond()).ok()) } else { to };
    [from, to, revoked].into_iter().flatten().collect()
}

/// A filter that names no operand of the question: windows are judged by the row alone.
fn static_match(filter: &Filter, cells: &[Cell]) -> bool {
    filter.0.iter().any(|all| {
        all.iter().all(|(column, test)| match (test, cells.get(*column)) {
            (Test::Is(wanted), Some(cell)) => cell == wanted,
            (Test::IsNot(wanted), Some(cell)) => cell != wanted,
            (Test::OneOf(wanted), Some(cell)) => wanted.contains(cell),
            (Test::Equals(_) | Test::After(_) | Test::AfterOrUnknown(_), _) | (_, None) => false,
        })
    })
}

#[cfg(test)]
mod tests;
