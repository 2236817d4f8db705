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
