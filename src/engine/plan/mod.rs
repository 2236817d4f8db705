//! Slice plans: which facts the policies of one request environment can reach.
//!
//! The walk over a policy's body errs on the side of loading too much: an operator it does not know is taken to read
//! everything about every entity below it. Loading too little is impossible to miss but costs a decision: a policy that
//! reads what was not loaded fails, and a failure is a deny.

mod reach;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cedar_policy::{
    ActionConstraint, Effect, EntityUid, Policy, PolicyId, PolicySet, PolicyToJsonError, PrincipalConstraint,
    ResourceConstraint, Schema,
};
use serde_json::Value as Json;

use super::{
    actions::{Actions, environments},
    bundle::Environment,
    reasons::Reasons,
    schema_shape::SchemaShape,
    taxonomy::Taxonomy,
};
use crate::domain::{EntityPlan, Reason, SlicePlan, mapping::Mapping};
use reach::{Reach, Root, World};

/// Why no plan could be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("cannot close the action hierarchy")]
    Actions(#[source] Box<cedar_policy::entities_errors::EntitiesError>),
    #[error("cannot take policy `{policy}` apart")]
    Policy {
        policy: PolicyId,
        #[source]
        source: Box<PolicyToJsonError>,
    },
}

/// What a plan is made from, beside the policies.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub schema: &'a Schema,
    pub types: &'a SchemaShape,
    pub mapping: &'a Mapping,
    pub reasons: &'a Reasons,
    pub taxonomy: &'a Taxonomy,
}

/// Principal type, resource type and policies: environments that share all three share a plan.
type Alike = (Arc<str>, Arc<str>, Vec<usize>);

/// The slice plan of every request environment of the schema.
///
/// # Errors
///
/// [`PlanError`] if Cedar cannot write a policy as JSON, which a parsed one does not cause.
pub fn plans(policies: &PolicySet, known: Known<'_>) -> Result<BTreeMap<Environment, SlicePlan>, PlanError> {
    let actions = Actions::of(known.schema).map_err(PlanError::Actions)?;
    let parts: Vec<Part> =
        policies.policies().map(|policy| Part::of(policy, known.reasons)).collect::<Result<_, _>>()?;
    let mut made: BTreeMap<Alike, SlicePlan> = BTreeMap::new();
    let mut plans = BTreeMap::new();
    for (action, principal, resource) in environments(known.schema) {
        let (principal, resource): (Arc<str>, Arc<str>) = (principal.to_string().into(), resource.to_string().into());
        let fitting: Vec<usize> = parts
            .iter()
            .enumerate()
            .filter(|(_, part)| part.fits(&actions, &action, &principal, &resource))
            .map(|(position, _)| position)
            .collect();
        // Many environments have the same policies: one plan does for all of them.
        let plan = made.entry((principal.clone(), resource.clone(), fitting)).or_insert_with_key(|key| {
            let fitting = key.2.iter().filter_map(|position| parts.get(*position));
            plan(known, &principal, &resource, fitting)
        });
        plans.insert(Environment { principal, action, resource }, plan.clone());
    }
    Ok(plans)
}

/// The plan of several questions about one principal and one resource, asked of the same slice.
pub fn plan_for(
    plans: &BTreeMap<Environment, SlicePlan>,
    principal_type: &str,
    resource_type: &str,
    actions: &[EntityUid],
) -> SlicePlan {
    let mut union = SlicePlan::default();
    for action in actions {
        let environment =
            Environment { principal: principal_type.into(), action: action.clone(), resource: resource_type.into() };
        if let Some(plan) = plans.get(&environment) {
            merge(&mut union.principal, &plan.principal);
            merge(&mut union.resource, &plan.resource);
        }
    }
    union
}

fn merge(into: &mut EntityPlan, from: &EntityPlan) {
    for relation in &from.relations {
        if let Err(position) = into.relations.binary_search(relation) {
            into.relations.insert(position, relation.clone());
        }
    }
    for (attribute, plan) in &from.follow {
        merge(into.follow.entry(attribute.clone()).or_default(), plan);
    }
}

fn plan<'p>(
    known: Known<'_>,
    principal: &Arc<str>,
    resource: &Arc<str>,
    fitting: impl Iterator<Item = &'p Part>,
) -> SlicePlan {
    let world = World { types: known.types, mapping: known.mapping };
    let mut reach = Reach::new(world, principal, resource);
    let mut kinds: BTreeSet<Arc<str>> = BTreeSet::new();
    for part in fitting {
        for body in &part.bodies {
            reach.read(body);
        }
        kinds.extend(part.lapsed_kinds.iter().cloned());
    }
    // What is read beside the policies: limits that end an allow, and the attributes that choose a record's groups.
    for path in known.reasons.deadlines.iter().flat_map(|deadline| &deadline.limits) {
        reach.read_path(path);
    }
    let base = resource.strip_prefix(&*known.types.namespace).unwrap_or(resource);
    if let Some(fields) = known.taxonomy.types.get(resource).or_else(|| known.taxonomy.types.get(base)) {
        for attribute in [&fields.governed_by, &fields.header].into_iter().flatten() {
            reach.read_attribute(Root::Resource, attribute);
        }
    }
    // A near miss is explained by lapsed rows about the principal: of every entity that was looked into.
    reach.add_kinds(&kinds);
    reach.into_plan()
}

/// What a plan needs of one policy.
struct Part {
    action: ActionConstraint,
    principal: Option<Arc<str>>,
    resource: Option<Arc<str>>,
    bodies: Vec<Json>,
    /// Kinds of rows that may explain why this permit did not hold.
    lapsed_kinds: BTreeSet<Arc<str>>,
}

impl Part {
    fn of(policy: &Policy, reasons: &Reasons) -> Result<Self, PlanError> {
        let json = policy
            .to_json()
            .map_err(|source| PlanError::Policy { policy: policy.id().clone(), source: Box::new(source) })?;
        let conditions = json.get("conditions").and_then(Json::as_array).into_iter().flatten();
        let bodies = conditions.filter_map(|condition| condition.get("body").cloned()).collect();
        let otherwise = policy.annotation("otherwise").filter(|_| policy.effect() == Effect::Permit);
        let codes = otherwise.unwrap_or_default().split_whitespace().map(Reason::from);
        let refinements = codes.filter_map(|code| reasons.refine.get(&code));
        let kinds = |refinement: &super::reasons::Refinement| {
            let active = refinement.active.iter().map(|active| active.kind.clone());
            active.chain(refinement.lapsed.keys().cloned()).collect::<Vec<_>>()
        };
        Ok(Self {
            action: policy.action_constraint(),
            principal: match policy.principal_constraint() {
                PrincipalConstraint::Is(kind) | PrincipalConstraint::IsIn(kind, _) => Some(kind.to_string().into()),
                PrincipalConstraint::Eq(uid) => Some(uid.type_name().to_string().into()),
                PrincipalConstraint::Any | PrincipalConstraint::In(_) => None,
            },
            resource: match policy.resource_constraint() {
                ResourceConstraint::Is(kind) | ResourceConstraint::IsIn(kind, _) => Some(kind.to_string().into()),
                ResourceConstraint::Eq(uid) => Some(uid.type_name().to_string().into()),
                ResourceConstraint::Any | ResourceConstraint::In(_) => None,
            },
            bodies,
            lapsed_kinds: refinements.flat_map(kinds).collect(),
        })
    }

    fn fits(&self, actions: &Actions, action: &EntityUid, principal: &Arc<str>, resource: &Arc<str>) -> bool {
        self.principal.as_ref().is_none_or(|kind| kind == principal)
            && self.resource.as_ref().is_none_or(|kind| kind == resource)
            && actions.fits(&self.action, action)
    }
}
