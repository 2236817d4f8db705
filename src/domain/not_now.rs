//! Why a step with something that exists leads nowhere, and when two of a kind are one too many.

use jiff::Timestamp;

/// The state that the thing is in does not let the step happen; the words say which state, and what would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotNow(pub &'static str);

/// Whether two windows have an instant in common; `None` is without a start, or without an end.
pub(super) fn overlap(
    (from, to): (Option<Timestamp>, Option<Timestamp>),
    (other_from, other_to): (Option<Timestamp>, Option<Timestamp>),
) -> bool {
    let begins_before =
        |from: Option<Timestamp>, end: Option<Timestamp>| from.zip(end).is_none_or(|(from, end)| from < end);
    begins_before(from, other_to) && begins_before(other_from, to)
}

/// Whether the first window holds all of the second; `None` is without a start, or without an end.
pub(super) fn covers(
    (from, to): (Option<Timestamp>, Option<Timestamp>),
    (other_from, other_to): (Option<Timestamp>, Option<Timestamp>),
) -> bool {
    let begins_first = from.is_none_or(|from| other_from.is_some_and(|other| from <= other));
    let ends_last = to.is_none_or(|to| other_to.is_some_and(|other| other <= to));
    begins_first && ends_last
}
