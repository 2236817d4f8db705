//! Reason codes: the stable words that say why a request was denied.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

/// A stable snake_case code. Policies bring theirs by `@reason` and `@otherwise`; the constants below are the ones that
/// Chaperone itself gives, before or instead of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reason(Cow<'static, str>);

impl Reason {
    pub const POLICY_ERROR: Self = Self::new("policy_error");
    pub const DATA_UNAVAILABLE: Self = Self::new("data_unavailable");
    pub const DATA_STALE: Self = Self::new("data_stale");
    pub const UNKNOWN_PRINCIPAL: Self = Self::new("unknown_principal");
    pub const UNKNOWN_ACTION: Self = Self::new("unknown_action");
    pub const UNKNOWN_RESOURCE: Self = Self::new("unknown_resource");

    /// A code known when the program is written.
    pub const fn new(code: &'static str) -> Self {
        Self(Cow::Borrowed(code))
    }

    /// The code as it stands in answers, records and metric labels.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Reason {
    fn from(code: &str) -> Self {
        Self(Cow::Owned(code.to_owned()))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
