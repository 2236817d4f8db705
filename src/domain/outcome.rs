//! What became of an access after it was allowed: said by the caller, recorded beside the decision.

use serde::{Deserialize, Serialize};

/// Whether the access that was decided took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    Success,
    Failure,
}

impl OutcomeKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

/// One report about one decision. A repeat is harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub decision_id: String,
    pub kind: OutcomeKind,
    /// How many rows were read or written.
    pub rows: Option<u64>,
    pub disclosure: Option<Disclosure>,
    pub request_id: String,
    /// The W3C trace id (32 hex digits), when the caller sent one.
    pub trace_id: Option<String>,
}

/// What left the house, for the accounting of disclosures. Each text has at most
/// [`super::record::FREE_TEXT_CHARS_MAX`] characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disclosure {
    pub recipient: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
    pub description: String,
    pub basis: String,
}
