//! Slice plans: which facts the policies of one request environment can reach.
//!
//! The walk over a policy's body errs on the side of loading too much: an operator it does not know is taken to read
//! everything about every entity below it. Loading too little is impossible to miss but costs a decision: a policy that
//! reads what was not loaded fails, and a failure is a deny.

mod reach;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use cedar_policy::{Effect, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, PolicyToJsonError};
use serde_json::Value as Json;

use super::{
    actions::{Actions, Environment, Environments, Members},
    policies::{annotation, without_text},
    reasons::Reasons,
    schema_shape::SchemaShape,
    scope::Scope,
    taxonomy::Taxonomy,
};
use crate::domain::{EntityPlan, Reason, SlicePlan, mapping::Mapping};
use reach::{Reach, Root, World};

/// Why no plan could be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot take policy `{policy}` apart")]
pub struct PlanError {
    policy: PolicyId,
    #[source]
    source: Box<PolicyToJsonError>,
}

/// What a plan is made from, beside the policies.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub actions: &'a Actions,
    pub types: &'a SchemaShape,
    pub mapping: &'a Mapping,
    pub reasons: &'a Reasons,
    pub taxonomy: &'a Taxonomy,
}

/// The plans of a bundle by the positions of their environments; alike ones are one.
#[derive(Debug)]
pub struct Plans(Vec<Arc<SlicePlan>>);

/// What the policies say, in Cedar's JSON form: known before the schema is.
#[derive(Debug)]
pub struct Bodies(HashMap<PolicyId, Vec<Json>>);

impl Bodies {
    /// Takes the policies apart.
    ///
    /// # Errors
    ///
    /// [`PlanError`] if Cedar cannot write a policy as JSON, which a parsed one does not cause.
    pub fn of(policies: &PolicySet) -> Result<Self, PlanError> {
        // What is reached does not depend on which clause reaches it.
        let bodies = policies.policies().map(|policy| Ok((policy.id().clone(), bodies(&without_text(policy))?)));
        bodies.collect::<Result<_, _>>().map(Self)
    }

    /// The conditions of one policy, in the order of its text.
    pub fn of_policy(&self, id: &PolicyId) -> &[Json] {
        self.0.get(id).map(Vec::as_slice).unwrap_or_default()
    }
}

/// The slice plan of every request environment of the schema.
pub fn plans(policies: &PolicySet, bodies: Bodies, known: Known<'_>) -> Plans {
    let members = Members::of(known.actions);
    let Bodies(mut bodies) = bodies;
    let mut part = |policy: &Policy| {
        let bodies = bodies.remove(policy.id()).unwrap_or_default();
        Part::of(policy, bodies, known.reasons, &members)
    };
    let parts: Vec<Part> = policies.policies().map(&mut part).collect();
    let mut pairs: BTreeMap<(&EntityTypeName, &EntityTypeName), SameKinds<'_>> = BTreeMap::new();
    let plan = |Environment { principal, resource, place, .. }| {
        let of_types = pairs.entry((principal, resource)).or_insert_with(|| {
            let fitting = parts.iter().filter(|part| part.scope.fits_types(principal, resource));
            SameKinds::read(known, [principal, resource].map(|kind| Arc::from(kind.to_string())), fitting)
        });
        of_types.plan(place.action)
    };
    Plans(known.actions.environments.iter().map(plan).collect())
}

/// What environments share that have the same types of principal and resource.
struct SameKinds<'p> {
    /// Read whatever the policies are.
    base: Reach<'p>,
    /// What policies read beside that; many read the same.
    distinct: Vec<Read<'p>>,
    /// The policies whose scopes fit the types, each with the position of what it reads.
    parts: Vec<(&'p Part, usize)>,
    /// By which of `distinct` count: many environments have the same.
    made: BTreeMap<Vec<bool>, Arc<SlicePlan>>,
}

struct Read<'p> {
    reach: Reach<'p>,
    lapsed_kinds: &'p BTreeSet<Arc<str>>,
}

impl<'p> SameKinds<'p> {
    fn read(known: Known<'p>, [principal, resource]: [Arc<str>; 2], fitting: impl Iterator<Item = &'p Part>) -> Self {
        let world = World { types: known.types, mapping: known.mapping };
        let base = Reach::new(world, &principal, &resource);
        let mut this = Self { base, distinct: Vec::new(), parts: Vec::new(), made: BTreeMap::new() };
        for part in fitting {
            let mut reach = this.base.clone();
            part.bodies.iter().for_each(|body| reach.read(body));
            let is_same = |read: &Read<'_>| *read.lapsed_kinds == part.lapsed_kinds && read.reach.reads_as(&reach);
            let position = this.distinct.iter().position(is_same).unwrap_or(this.distinct.len());
            if position == this.distinct.len() {
                this.distinct.push(Read { reach, lapsed_kinds: &part.lapsed_kinds });
            }
            this.parts.push((part, position));
        }
        // What is read beside the policies: limits that end an allow, and the attributes that choose a record's groups.
        for path in known.reasons.deadlines.iter().flat_map(|deadline| &deadline.limits) {
            this.base.read_path(path);
        }
        let short = resource.strip_prefix(&*known.types.namespace).unwrap_or(&resource);
        if let Some(fields) = known.taxonomy.types.get(&resource).or_else(|| known.taxonomy.types.get(short)) {
            for attribute in [&fields.governed_by, &fields.header].into_iter().flatten() {
                this.base.read_attribute(Root::Resource, attribute);
            }
        }
        this
    }

    /// The plan for the action of this number.
    fn plan(&mut self, action: usize) -> Arc<SlicePlan> {
        let mut counts = vec![false; self.distinct.len()];
        for (part, position) in &self.parts {
            if part.actions.get(action).copied().unwrap_or_default()
                && let Some(counts) = counts.get_mut(*position)
            {
                *counts = true;
            }
        }
        let made = self.made.entry(counts).or_insert_with_key(|counts| {
            let mut reach = self.base.clone();
            let mut kinds: BTreeSet<Arc<str>> = BTreeSet::new();
            for (read, _) in self.distinct.iter().zip(counts).filter(|(_, counts)| **counts) {
                reach.absorb(&read.reach);
                kinds.extend(read.lapsed_kinds.iter().cloned());
            }
            // A near miss is explained by lapsed rows about the principal: of every entity that was looked into.
            reach.add_kinds(&kinds);
            Arc::new(reach.into_plan())
        });
        Arc::clone(made)
    }
}

impl Plans {
    /// The plan of several questions about one principal and one resource, asked of the same slice.
    pub fn merged(
        &self,
        environments: &Environments,
        principal: &EntityTypeName,
        resource: &EntityTypeName,
        actions: &[EntityUid],
    ) -> SlicePlan {
        let places = actions.iter().filter_map(|action| environments.find(action, principal, resource));
        union(places.filter_map(|place| self.0.get(place.environment).cloned()))
    }
}

/// What is to be loaded for all of `plans`, which are about one principal and one resource.
pub fn union(plans: impl IntoIterator<Item = Arc<SlicePlan>>) -> SlicePlan {
    plans.into_iter().fold(SlicePlan::default(), |mut union, plan| {
        merge(&mut union.principal, &plan.principal);
        merge(&mut union.resource, &plan.resource);
        union
    })
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

/// What a plan needs of one policy.
struct Part {
    scope: Scope,
    /// The actions that the scope fits, by their numbers.
    actions: Vec<bool>,
    bodies: Vec<Json>,
    /// Kinds of rows that may explain why this permit did not hold.
    lapsed_kinds: BTreeSet<Arc<str>>,
}

impl Part {
    fn of(policy: &Policy, bodies: Vec<Json>, reasons: &Reasons, members: &Members<'_>) -> Self {
        let otherwise = annotation(policy, "otherwise").filter(|_| policy.effect() == Effect::Permit);
        let codes = otherwise.unwrap_or_default().split_whitespace().map(Reason::from);
        let refinements = codes.filter_map(|code| reasons.refine.get(&code));
        let kinds = |refinement: &super::reasons::Refinement| {
            let active = refinement.active.iter().map(|active| active.kind.clone());
            active.chain(refinement.lapsed.keys().cloned()).collect::<Vec<_>>()
        };
        let scope = Scope::of(policy);
        Self {
            actions: scope.fitting_actions(members),
            scope,
            bodies,
            lapsed_kinds: refinements.flat_map(kinds).collect(),
        }
    }
}

/// The conditions of a policy in Cedar's JSON form.
fn bodies(policy: &Policy) -> Result<Vec<Json>, PlanError> {
    let mut json =
        policy.to_json().map_err(|source| PlanError { policy: policy.id().clone(), source: Box::new(source) })?;
    let conditions = json.get_mut("conditions").and_then(Json::as_array_mut).into_iter().flatten();
    Ok(conditions.filter_map(|condition| condition.get_mut("body").map(Json::take)).collect())
}
