//! Which policies a request can meet at all, so that its cost does not grow with those it cannot.
//!
//! Exact, not approximate: a policy is left out only if its *scope* is false for the request. A scope tests uids and
//! types alone, cannot fail, and stands first in the conjunction that Cedar evaluates, so leaving the policy out changes
//! neither the decision nor the reasons nor the errors. Three conditions keep it so: ancestors come from the entities
//! that the evaluation itself uses; action groups come from the schema and from nobody else; and the index is built
//! anew for another schema or another policy. Nothing is ever left out because of a policy's body.

mod half;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use cedar_policy::{
    Effect, Entities, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, PolicySetError, Request, Schema,
    entities_errors::EntitiesError,
};

use super::actions::{Actions, environments};
use half::Half;

/// Why an index could not be built.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("cannot close the action hierarchy")]
    Actions(#[source] Box<EntitiesError>),
    #[error("cannot put a policy into a set of the index")]
    Policy(#[source] Box<PolicySetError>),
    #[error("the schema has more than {max} actions, entity types or request environments")]
    TooMany { max: u32 },
}

/// The policies of a bundle, set out by request environment and by the uids that their scopes name.
#[derive(Debug)]
pub struct PolicyIndex {
    actions: Actions,
    environments: Environments,
    // INVARIANT(halves): permits and forbids never share a set, since Cedar names the satisfied permits of a set only
    // where no forbid of the same set is satisfied.
    permits: Half,
    forbids: Half,
}

/// Everything that the evaluation of one request told. All three lists are sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Satisfied permits, also where a forbid is satisfied.
    pub permits: Vec<PolicyId>,
    pub forbids: Vec<PolicyId>,
    /// Policies that could not be evaluated, and why. Cedar skips them: whoever decides must not.
    pub errors: Vec<(PolicyId, String)>,
}

impl Merged {
    /// What Cedar would decide. A decision with `errors` must not be given out.
    pub fn is_allowed(&self) -> bool {
        self.forbids.is_empty() && !self.permits.is_empty()
    }

    fn sorted(mut self) -> Self {
        self.permits.sort();
        self.forbids.sort();
        self.errors.sort();
        self
    }
}

impl PolicyIndex {
    /// Sets out `policies` by the environments of `schema`.
    ///
    /// # Errors
    ///
    /// [`IndexError`] if Cedar refuses a set, which a valid schema and policy set do not cause.
    pub fn build(policies: &PolicySet, schema: &Schema) -> Result<Self, IndexError> {
        let actions = Actions::of(schema).map_err(IndexError::Actions)?;
        let environments = Environments::of(schema)?;
        let of = |effect: Effect| -> Vec<&Policy> {
            let mut some: Vec<&Policy> = policies.policies().filter(|policy| policy.effect() == effect).collect();
            some.sort_by(|one, other| one.id().cmp(other.id()));
            some
        };
        let permits = Half::build(&of(Effect::Permit), policies, &actions, &environments)?;
        let forbids = Half::build(&of(Effect::Forbid), policies, &actions, &environments)?;
        Ok(Self { actions, environments, permits, forbids })
    }

    /// The action hierarchy that the index was built with.
    pub fn actions(&self) -> &Actions {
        &self.actions
    }

    /// Evaluates every policy whose scope may hold. Equal to evaluating the whole set.
    ///
    /// `entities` must be closed (Cedar's `from_entities` closes them) and hold no action that the schema does not.
    pub fn evaluate(&self, request: &Request, entities: &Entities) -> Merged {
        let mut merged = Merged::default();
        merged.permits = self.permits.evaluate(&self.environments, request, entities, &mut merged.errors);
        merged.forbids = self.forbids.evaluate(&self.environments, request, entities, &mut merged.errors);
        merged.sorted()
    }

    /// Like [`Self::evaluate`] for the permits alone.
    pub fn evaluate_permits(&self, request: &Request, entities: &Entities) -> Merged {
        let mut merged = Merged::default();
        merged.permits = self.permits.evaluate(&self.environments, request, entities, &mut merged.errors);
        merged.sorted()
    }

    /// How many distinct policy sets the index holds.
    pub fn set_count(&self) -> usize {
        self.permits.set_count() + self.forbids.set_count()
    }
}

/// Numbers for the actions, types and environments of a schema.
#[derive(Debug, Default)]
struct Environments {
    actions: HashMap<EntityUid, u32>,
    types: HashMap<EntityTypeName, u32>,
    /// (action, principal type, resource type) -> position in `all`.
    numbers: HashMap<(u32, u32, u32), u32>,
    all: Vec<(EntityUid, EntityTypeName, EntityTypeName)>,
}

/// The numbers of one request's environment.
#[derive(Clone, Copy)]
struct Place {
    action: u32,
    environment: u32,
}

impl Environments {
    fn of(schema: &Schema) -> Result<Self, IndexError> {
        let mut this = Self { all: environments(schema), ..Self::default() };
        for (position, (action, principal, resource)) in this.all.iter().enumerate() {
            let next = number(this.actions.len())?;
            let action = *this.actions.entry(action.clone()).or_insert(next);
            let next = number(this.types.len())?;
            let principal = *this.types.entry(principal.clone()).or_insert(next);
            let next = number(this.types.len())?;
            let resource = *this.types.entry(resource.clone()).or_insert(next);
            this.numbers.insert((action, principal, resource), number(position)?);
        }
        Ok(this)
    }

    /// `None`: the schema knows no such environment.
    fn place(&self, request: &Request) -> Option<Place> {
        let action = *self.actions.get(request.action()?)?;
        let principal = *self.types.get(request.principal()?.type_name())?;
        let resource = *self.types.get(request.resource()?.type_name())?;
        let environment = *self.numbers.get(&(action, principal, resource))?;
        Some(Place { action, environment })
    }
}

fn number(position: usize) -> Result<u32, IndexError> {
    u32::try_from(position).map_err(|_source| IndexError::TooMany { max: u32::MAX })
}
