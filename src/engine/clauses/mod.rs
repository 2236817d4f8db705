//! Permits taken apart, for explanations: which clause failed, and which rows made a test true.
//!
//! Both rest on Cedar's own evaluation of the policies' own text. A clause is tried as a policy of its own with the same
//! scope; a witness is looked for only where a permit was satisfied.

mod witness;

use std::{collections::BTreeMap, sync::Arc};

use cedar_policy::{
    Effect, Entities, EntityUid, Policy, PolicyId, PolicySet, PolicySetError, PolicyToJsonError, Request, Schema,
};
use serde_json::{Value as Json, json};

use super::index::{IndexError, PolicyIndex};
use crate::domain::{
    Evidence, Value,
    projection::{Projected, View},
};
use witness::Probe;

/// Why permits could not be taken apart.
#[derive(Debug, thiserror::Error)]
pub enum ClausesError {
    #[error("cannot take policy `{policy}` apart")]
    ToJson {
        policy: PolicyId,
        #[source]
        source: Box<PolicyToJsonError>,
    },
    #[error("cannot put a clause of policy `{policy}` together")]
    FromJson {
        policy: PolicyId,
        #[source]
        source: Box<cedar_policy::PolicyFromJsonError>,
    },
    #[error("two clauses have one name")]
    Set(#[source] Box<PolicySetError>),
    #[error("cannot index the clauses")]
    Index(#[source] Box<IndexError>),
}

/// The permits of a bundle, clause by clause.
#[derive(Debug)]
pub struct Clauses {
    /// Policies `ID#scope` and `ID#0`, `ID#1`, …
    index: PolicyIndex,
    /// Permit -> the ids of its scope and of its clauses.
    parts: BTreeMap<Arc<str>, (PolicyId, Vec<PolicyId>)>,
    probes: BTreeMap<Arc<str>, Vec<Probe>>,
}

/// A permit whose scope held and a clause of which did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Near {
    pub id: Arc<str>,
    /// The first clause, in the order of the text, that is false or cannot be evaluated.
    pub first_failing_clause: usize,
}

impl Clauses {
    /// Takes every permit of `policies` apart.
    ///
    /// # Errors
    ///
    /// [`ClausesError`] if Cedar cannot write or read a part, which a valid policy does not cause.
    pub fn build(policies: &PolicySet, schema: &Schema) -> Result<Self, ClausesError> {
        let mut set = PolicySet::new();
        let mut parts = BTreeMap::new();
        let mut probes = BTreeMap::new();
        for policy in policies.policies().filter(|policy| policy.effect() == Effect::Permit) {
            let id: Arc<str> = AsRef::<str>::as_ref(policy.id()).into();
            let est = policy
                .to_json()
                .map_err(|source| ClausesError::ToJson { policy: policy.id().clone(), source: Box::new(source) })?;
            let conditions = est.get("conditions").and_then(Json::as_array).cloned().unwrap_or_default();
            probes.insert(id.clone(), Probe::all(policy, &conditions));
            if conditions.is_empty() {
                continue;
            }
            let scope = part(policy, &est, "scope", json!([]))?;
            let scope_id = scope.id().clone();
            set.add(scope).map_err(|source| ClausesError::Set(Box::new(source)))?;
            let mut clauses = Vec::new();
            for (position, condition) in conditions.iter().enumerate() {
                let clause = part(policy, &est, &position.to_string(), json!([condition]))?;
                clauses.push(clause.id().clone());
                set.add(clause).map_err(|source| ClausesError::Set(Box::new(source)))?;
            }
            parts.insert(id, (scope_id, clauses));
        }
        let index = PolicyIndex::build(&set, schema).map_err(|source| ClausesError::Index(Box::new(source)))?;
        Ok(Self { index, parts, probes })
    }

    /// The permits whose scope holds for `request` and a clause of which does not.
    pub fn near(&self, request: &Request, entities: &Entities) -> Vec<Near> {
        let held = self.index.evaluate_permits(request, entities).permits;
        let holds = |id: &PolicyId| held.binary_search(id).is_ok();
        let near = self.parts.iter().filter(|(_, (scope, _))| holds(scope)).filter_map(|(id, (_, clauses))| {
            let first_failing_clause = clauses.iter().position(|clause| !holds(clause))?;
            Some(Near { id: id.clone(), first_failing_clause })
        });
        near.collect()
    }

    /// The active rows that made the satisfied permit `id` true.
    pub fn witnesses(
        &self,
        id: &str,
        principal: &EntityUid,
        resource: &EntityUid,
        view: &View<'_>,
        projected: &Projected,
        context: &BTreeMap<Arc<str>, Value>,
    ) -> Vec<Evidence> {
        let world = witness::World { principal, resource, view, projected, context };
        let mut found: Vec<Evidence> =
            self.probes.get(id).into_iter().flatten().flat_map(|probe| probe.witnesses(&world)).collect();
        found.sort();
        found.dedup();
        found
    }
}

/// The same scope with other conditions, under a derived name.
fn part(policy: &Policy, est: &Json, name: &str, conditions: Json) -> Result<Policy, ClausesError> {
    let id = PolicyId::new(format!("{}#{name}", policy.id()));
    let mut est = est.clone();
    if let Some(fields) = est.as_object_mut() {
        fields.insert("conditions".to_owned(), conditions);
        fields.remove("annotations");
    }
    Policy::from_json(Some(id), est)
        .map_err(|source| ClausesError::FromJson { policy: policy.id().clone(), source: Box::new(source) })
}
