//! The whole answer to one question, before and after it is recorded.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{reason::Reason, tier::Tier};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Allow,
    Deny,
}

impl Decision {
    pub const fn is_allow(self) -> bool {
        matches!(self, Self::Allow)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// What a policy does when it applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyEffect {
    Permit,
    Forbid,
}

/// A policy that decided, or a permit that came nearest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyRef {
    pub id: Arc<str>,
    pub effect: PolicyEffect,
    /// The caller-safe sentence of `@text`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<Arc<str>>,
    /// On a default deny: the code of the clause that did not hold.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub otherwise: Option<Reason>,
}

/// An active row that made a policy true.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Evidence {
    pub kind: Arc<str>,
    pub id: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<Timestamp>,
}

/// What the caller must do; a caller that cannot treats the answer as a deny (AuthZEN obligations profile).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Obligation {
    pub id: Arc<str>,
    /// `custom`, `session_termination`, `notification` or `step-up`.
    #[serde(rename = "type")]
    pub kind: Arc<str>,
    pub properties: BTreeMap<Arc<str>, String>,
}

/// What would lawfully change a deny; listed only after a re-evaluation with it applied allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Remedy {
    BreakGlass { reasons: Vec<Arc<str>> },
    StepUp { amr: Vec<Arc<str>> },
    StateReason,
    RequestAssignment,
}

/// The asked names, folded: each stands in exactly one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields {
    pub allow: Vec<String>,
    /// Name -> how it must be masked.
    pub mask: BTreeMap<String, String>,
    /// Name -> why it is denied.
    pub deny: BTreeMap<String, Reason>,
}

/// The answer to one question. Not an answer yet: only `audit` can make a `Recorded<Evaluation>` of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    pub decision: Decision,
    /// On a deny only.
    pub reason: Option<Reason>,
    /// Present when fields were asked for.
    pub fields: Option<Fields>,
    pub policies: Vec<PolicyRef>,
    pub evidence: Vec<Evidence>,
    pub obligations: Vec<Obligation>,
    pub remedies: Vec<Remedy>,
    /// On an allow: the answer must not be reused from this instant on.
    pub not_after: Option<Timestamp>,
    /// The exceptional grant that the allow rests on, or that was active without need.
    pub grant: Option<Arc<str>>,
    /// Set when a grant was active: whether the answer would have been the same without it.
    pub would_have_been_allowed: Option<bool>,
    /// What the record says about the people and things involved.
    pub subject: Subject,
    /// Digest of the bundle that decided.
    pub policies_revision: Arc<str>,
    pub facts_revision: String,
    pub facts_age_ms: u64,
    /// The strongest durability that a determining policy (`@durability`) or the action asks for.
    pub durability: Tier,
    /// Context keys and properties that the caller said and Chaperone did not believe.
    pub ignored: Vec<String>,
    /// `Type.attribute` that the caller asserted and was allowed to.
    pub asserted: Vec<String>,
    /// Policies whose evaluation failed; not empty only with `policy_error`.
    pub policy_errors: Vec<Arc<str>>,
}

/// What the facts said about the principal, the resource and the purpose: for the record, never for the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    pub roles: Vec<Arc<str>>,
    pub tenant: Option<Arc<str>>,
    pub client: Option<Arc<str>>,
    /// Whose the resource is; `tenant` is the one that the principal acts in.
    pub resource_tenant: Option<Arc<str>>,
    pub purpose: Option<Arc<str>>,
    pub crud: Option<char>,
}
