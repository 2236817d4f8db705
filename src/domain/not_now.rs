//! Why a step with something that exists leads nowhere.

/// The state that the thing is in does not let the step happen; the words say which state, and what would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotNow(pub &'static str);
