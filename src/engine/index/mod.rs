//! Which policies a request can meet at all, so that its cost does not grow with those it cannot.
//!
//! Exact, not approximate: a policy is left out only if its *scope* is false for the request. A scope tests uids and
//! types alone, cannot fail, and stands first in the conjunction that Cedar evaluates, so leaving the policy out changes
//! neither the decision nor the reasons nor the errors. Three conditions keep it so: ancestors come from the entities
//! that the evaluation itself uses; action groups come from the schema and from nobody else; and the index is built
//! anew for another schema or another policy. Nothing is ever left out because of a policy's body.

mod half;
mod reads;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use cedar_policy::{Effect, Entities, Policy, PolicyId, PolicySet, PolicySetError, Request};

use super::actions::Actions;
use half::Half;
pub use reads::Names;

/// Why an index could not be built.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("cannot put a policy into a set of the index")]
    Policy(#[source] Box<PolicySetError>),
}

/// The policies of a bundle, set out by request environment and by the uids that their scopes name.
#[derive(Debug)]
pub struct PolicyIndex {
    actions: Arc<Actions>,
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
    /// Sets out `policies` by the environments of the schema that `actions` are of.
    ///
    /// # Errors
    ///
    /// [`IndexError`] if Cedar refuses a set, which a valid policy set does not cause.
    pub fn build(policies: &PolicySet, actions: &Arc<Actions>) -> Result<Self, IndexError> {
        let of = |effect: Effect| -> Vec<&Policy> {
            let mut some: Vec<&Policy> = policies.policies().filter(|policy| policy.effect() == effect).collect();
            some.sort_by(|one, other| one.id().cmp(other.id()));
            some
        };
        let permits = Half::build(&of(Effect::Permit), policies, actions)?;
        let forbids = Half::build(&of(Effect::Forbid), policies, actions)?;
        Ok(Self { actions: Arc::clone(actions), permits, forbids })
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
        merged.permits = self.permits.evaluate(&self.actions, request, entities, &mut merged.errors);
        merged.forbids = self.forbids.evaluate(&self.actions, request, entities, &mut merged.errors);
        merged.sorted()
    }

    /// Like [`Self::evaluate`] for the permits alone.
    pub fn evaluate_permits(&self, request: &Request, entities: &Entities) -> Merged {
        let mut merged = Merged::default();
        merged.permits = self.permits.evaluate(&self.actions, request, entities, &mut merged.errors);
        merged.sorted()
    }

    /// The same in another world, in which everything is as it was when `before` was told but attributes of these names:
    /// only policies that may read one of them are evaluated anew.
    ///
    /// No entity may have come or gone or have other parents, and `before` may hold no errors.
    pub fn evaluate_after(&self, request: &Request, entities: &Entities, before: &Merged, names: &Names) -> Merged {
        let mut merged = Merged::default();
        let (actions, errors) = (&self.actions, &mut merged.errors);
        merged.permits = self.permits.evaluate_after(actions, request, entities, (&before.permits, names), errors);
        merged.forbids = self.forbids.evaluate_after(actions, request, entities, (&before.forbids, names), errors);
        merged.sorted()
    }

    /// How many distinct policy sets requests have needed so far.
    #[cfg(test)]
    fn set_count(&self) -> usize {
        self.permits.set_count() + self.forbids.set_count()
    }
}
