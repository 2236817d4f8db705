//! What `reasons.yaml` says: the order of reasons, their refinement by lapsed facts, remedies and duties.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;

use crate::domain::{Reason, grant::GrantRules};

/// The explanation side of a bundle. An empty one (no file) gives every default deny the reason `role`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reasons {
    pub version: u32,
    pub order: Vec<Reason>,
    #[serde(default = "default_reason")]
    pub default: Reason,
    #[serde(default)]
    pub refine: BTreeMap<Reason, Refinement>,
    #[serde(default)]
    pub purpose: Purpose,
    #[serde(default)]
    pub deadlines: Vec<Deadline>,
    #[serde(default)]
    pub remedies: Remedies,
    #[serde(default)]
    pub exceptional: Option<Exceptional>,
    /// Emergency grants; without it none can be asked for.
    #[serde(default)]
    pub grants: Option<GrantRules>,
    /// Obligation id -> AuthZEN type; `custom` unless named.
    #[serde(default)]
    pub obligation_types: BTreeMap<Arc<str>, Arc<str>>,
}

fn default_reason() -> Reason {
    Reason::new("role")
}

impl Default for Reasons {
    fn default() -> Self {
        Self {
            version: 1,
            order: Vec::new(),
            default: default_reason(),
            refine: BTreeMap::new(),
            purpose: Purpose::default(),
            deadlines: Vec::new(),
            remedies: Remedies::default(),
            exceptional: None,
            grants: None,
            obligation_types: BTreeMap::new(),
        }
    }
}

impl Reasons {
    /// Place of a reason in the order. Chaperone's own codes are gate 1 and come first; unlisted ones come last.
    pub fn rank(&self, reason: &Reason) -> usize {
        let own = [Reason::UNKNOWN_PRINCIPAL, Reason::UNKNOWN_ACTION, Reason::UNKNOWN_RESOURCE];
        if own.contains(reason) {
            return 0;
        }
        self.order.iter().position(|listed| listed == reason).map_or(usize::MAX, |position| position + 1)
    }
}

/// How a near miss is called once the facts about the principal are known.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refinement {
    /// While a row of this kind about the principal is active.
    #[serde(default)]
    pub active: Option<ActiveName>,
    /// Kind of row -> codes by the state of the row that ended last.
    #[serde(default)]
    pub lapsed: BTreeMap<Arc<str>, LapsedNames>,
    /// The public code where nothing refines it.
    #[serde(default)]
    pub otherwise: Option<Reason>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActiveName {
    pub kind: Arc<str>,
    /// For verbs that only look.
    pub read: Reason,
    pub other: Reason,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LapsedNames {
    #[serde(default)]
    pub revoked: Option<Reason>,
    #[serde(default)]
    pub expired: Option<Reason>,
    #[serde(default)]
    pub not_started: Option<Reason>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purpose {
    /// (role, purpose): the first role of the list that the principal has.
    #[serde(default)]
    pub default_by_role: Vec<(Arc<str>, Arc<str>)>,
}

/// A number in the context that grows by itself, and the limits it runs into.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deadline {
    pub counts: Arc<str>,
    pub limits: Vec<Arc<str>>,
    /// Used where none of `limits` can be read.
    #[serde(default, rename = "or")]
    pub otherwise: Vec<Arc<str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remedies {
    #[serde(default)]
    pub step_up: Option<ContextRemedy>,
    #[serde(default)]
    pub state_reason: Option<ContextRemedy>,
    #[serde(default)]
    pub request_assignment: Option<FactRemedy>,
    #[serde(default)]
    pub break_glass: Option<FactRemedy>,
}

/// A remedy that changes what the session or the request says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContextRemedy {
    /// Dotted context key -> value.
    pub context: BTreeMap<Arc<str>, serde_json::Value>,
}

/// A remedy that supposes one more row.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactRemedy {
    /// Action that the policies must permit the principal on the client.
    pub asks: Arc<str>,
    /// Only for these verbs; empty: for every one.
    #[serde(default)]
    pub verbs: Vec<Arc<str>>,
    pub suppose: Suppose,
    #[serde(default)]
    pub opens: Option<Opens>,
    /// Reason code -> further groups it opens by default.
    #[serde(default)]
    pub reasons: BTreeMap<Arc<str>, Vec<Arc<str>>>,
}

/// A row that does not exist. Values may be `$principal`, `$opens`, `$reason`, `$later` (an
/// instant beyond the reuse of any answer).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suppose {
    pub entity: Arc<str>,
    pub relation: Arc<str>,
    pub row: BTreeMap<Arc<str>, Arc<str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opens {
    pub default: Vec<Arc<str>>,
    #[serde(default)]
    pub by_request: Vec<Arc<str>>,
}

/// Duties of an allow that would have been a deny without an exceptional row.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exceptional {
    pub kind: Arc<str>,
    pub obligations: Vec<Arc<str>>,
    #[serde(default)]
    pub lifted: BTreeMap<Reason, Vec<Arc<str>>>,
    #[serde(default)]
    pub groups: BTreeMap<Arc<str>, Vec<Arc<str>>>,
}
