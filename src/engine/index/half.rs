//! The permits, or the forbids, of an index.

use std::collections::{BTreeMap, HashMap};

use cedar_policy::{
    AuthorizationError, Authorizer, Entities, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet,
    PrincipalConstraint, Request, ResourceConstraint, Response,
};

use super::{Environments, IndexError, Place, number};
use crate::engine::actions::Actions;

/// Up to here the policies that name one uid stay in a single set; beyond, they are set out by action.
const UNDIVIDED_POLICIES_MAX: usize = 8;

/// Policies of one effect.
#[derive(Debug)]
pub(super) struct Half {
    /// Every distinct set, once.
    sets: Vec<PolicySet>,
    /// Those that name no uid, by environment.
    general: Vec<Option<u32>>,
    /// Those that name a principal by `==` or `in`: a person, or a role.
    by_principal: HashMap<EntityUid, Named>,
    /// Those that name a resource and no principal.
    by_resource: HashMap<EntityUid, Named>,
    /// For a request of an environment that the schema does not know.
    whole: PolicySet,
    authorizer: Authorizer,
}

#[derive(Debug)]
enum Named {
    All(u32),
    /// By the action's number.
    ByAction(Vec<Option<u32>>),
}

/// A scope's test of the principal or the resource.
enum Scope {
    Any,
    Is(EntityTypeName),
    In(EntityUid),
    Eq(EntityUid),
    IsIn(EntityTypeName, EntityUid),
}

impl Half {
    /// `policies` are one effect of `whole`, in the order of their ids.
    pub(super) fn build(
        policies: &[&Policy],
        whole: &PolicySet,
        actions: &Actions,
        environments: &Environments,
    ) -> Result<Self, IndexError> {
        let mut sets = Sets { source: whole, policies, known: BTreeMap::new(), sets: Vec::new() };
        let mut unnamed = Vec::new();
        let mut principals: HashMap<EntityUid, Vec<usize>> = HashMap::new();
        let mut resources: HashMap<EntityUid, Vec<usize>> = HashMap::new();
        for (position, policy) in policies.iter().enumerate() {
            match (principal_scope(policy).into_named(), resource_scope(policy).into_named()) {
                (Some(uid), _) => principals.entry(uid).or_default().push(position),
                (None, Some(uid)) => resources.entry(uid).or_default().push(position),
                (None, None) => unnamed.push(position),
            }
        }
        let mut general = Vec::with_capacity(environments.all.len());
        for (action, principal, resource) in &environments.all {
            let fitting = unnamed.iter().copied().filter(|position| {
                policies.get(*position).is_some_and(|policy| {
                    actions.fits(&policy.action_constraint(), action)
                        && principal_scope(policy).may_hold_for(principal)
                        && resource_scope(policy).may_hold_for(resource)
                })
            });
            general.push(sets.of(fitting.collect())?);
        }
        let by_principal = sets.named(principals, actions, environments)?;
        let by_resource = sets.named(resources, actions, environments)?;
        let mut rest = PolicySet::new();
        for policy in policies {
            add(&mut rest, whole, policy)?;
        }
        let sets = sets.sets;
        Ok(Self { sets, general, by_principal, by_resource, whole: rest, authorizer: Authorizer::new() })
    }

    pub(super) fn set_count(&self) -> usize {
        self.sets.len()
    }

    /// The satisfied policies; errors are added to `errors`.
    pub(super) fn evaluate(
        &self,
        environments: &Environments,
        request: &Request,
        entities: &Entities,
        errors: &mut Vec<(PolicyId, String)>,
    ) -> Vec<PolicyId> {
        let mut satisfied = Vec::new();
        let mut take = |set: &PolicySet| collect(&self.decide(request, set, entities), &mut satisfied, errors);
        let (Some(place), Some(principal), Some(resource)) =
            (environments.place(request), request.principal(), request.resource())
        else {
            take(&self.whole);
            return satisfied;
        };
        // INVARIANT(disjoint): a policy stands in exactly one of the three tables, under at most one uid, so no set
        // that is evaluated here shares a policy with another.
        let mut take_number = |number: Option<u32>| {
            if let Some(set) = number.and_then(|number| self.sets.get(usize::try_from(number).ok()?)) {
                take(set);
            }
        };
        take_number(position(place.environment).and_then(|at| self.general.get(at).copied().flatten()));
        for (uid, table) in [(principal, &self.by_principal), (resource, &self.by_resource)] {
            if table.is_empty() {
                continue;
            }
            take_number(named(table, uid, place));
            for ancestor in entities.ancestors(uid).into_iter().flatten() {
                take_number(named(table, ancestor, place));
            }
        }
        satisfied
    }

    #[expect(clippy::disallowed_methods, reason = "this is where the engine evaluates")]
    fn decide(&self, request: &Request, set: &PolicySet, entities: &Entities) -> Response {
        self.authorizer.is_authorized(request, set, entities)
    }
}

fn named(table: &HashMap<EntityUid, Named>, uid: &EntityUid, place: Place) -> Option<u32> {
    match table.get(uid)? {
        Named::All(set) => Some(*set),
        Named::ByAction(sets) => sets.get(position(place.action)?).copied().flatten(),
    }
}

fn position(number: u32) -> Option<usize> {
    usize::try_from(number).ok()
}

fn collect(response: &Response, satisfied: &mut Vec<PolicyId>, errors: &mut Vec<(PolicyId, String)>) {
    // All policies of the set have one effect, so the reasons are the satisfied ones whatever the decision.
    satisfied.extend(response.diagnostics().reason().cloned());
    errors.extend(response.diagnostics().errors().map(|error| match error {
        AuthorizationError::PolicyEvaluationError(error) => (error.policy_id().clone(), error.inner().to_string()),
    }));
}

/// Sets under construction; an equal list of policies gives the same set.
struct Sets<'a> {
    source: &'a PolicySet,
    policies: &'a [&'a Policy],
    known: BTreeMap<Vec<usize>, u32>,
    sets: Vec<PolicySet>,
}

impl Sets<'_> {
    /// `None` for an empty list.
    fn of(&mut self, list: Vec<usize>) -> Result<Option<u32>, IndexError> {
        if list.is_empty() {
            return Ok(None);
        }
        if let Some(known) = self.known.get(&list) {
            return Ok(Some(*known));
        }
        let mut set = PolicySet::new();
        for policy in list.iter().filter_map(|position| self.policies.get(*position)) {
            add(&mut set, self.source, policy)?;
        }
        let number = number(self.sets.len())?;
        self.sets.push(set);
        self.known.insert(list, number);
        Ok(Some(number))
    }

    fn named(
        &mut self,
        lists: HashMap<EntityUid, Vec<usize>>,
        actions: &Actions,
        environments: &Environments,
    ) -> Result<HashMap<EntityUid, Named>, IndexError> {
        let mut table = HashMap::with_capacity(lists.len());
        for (uid, list) in lists {
            if list.len() <= UNDIVIDED_POLICIES_MAX {
                if let Some(set) = self.of(list)? {
                    table.insert(uid, Named::All(set));
                }
                continue;
            }
            let mut by_action = vec![None; environments.actions.len()];
            for (action, number) in &environments.actions {
                let fits = |position: &usize| {
                    self.policies.get(*position).is_some_and(|policy| actions.fits(&policy.action_constraint(), action))
                };
                let fitting = list.iter().copied().filter(fits).collect();
                let set = self.of(fitting)?;
                if let Some(slot) = position(*number).and_then(|at| by_action.get_mut(at)) {
                    *slot = set;
                }
            }
            table.insert(uid, Named::ByAction(by_action));
        }
        Ok(table)
    }
}

/// Adds `policy` of `source` to `set`; a linked policy goes by way of its template.
fn add(set: &mut PolicySet, source: &PolicySet, policy: &Policy) -> Result<(), IndexError> {
    let refused = |error| IndexError::Policy(Box::new(error));
    let Some((template_id, values)) = policy.template_id().zip(policy.template_links()) else {
        return set.add(policy.clone()).map_err(refused);
    };
    if set.template(template_id).is_none()
        && let Some(template) = source.template(template_id)
    {
        set.add_template(template.clone()).map_err(refused)?;
    }
    set.link(template_id.clone(), policy.id().clone(), values).map_err(refused)
}

impl Scope {
    fn may_hold_for(&self, kind: &EntityTypeName) -> bool {
        match self {
            Self::Any | Self::In(_) => true,
            Self::Is(wanted) | Self::IsIn(wanted, _) => wanted == kind,
            Self::Eq(uid) => uid.type_name() == kind,
        }
    }

    fn into_named(self) -> Option<EntityUid> {
        match self {
            Self::In(uid) | Self::Eq(uid) | Self::IsIn(_, uid) => Some(uid),
            Self::Any | Self::Is(_) => None,
        }
    }
}

fn principal_scope(policy: &Policy) -> Scope {
    match policy.principal_constraint() {
        PrincipalConstraint::Any => Scope::Any,
        PrincipalConstraint::Is(kind) => Scope::Is(kind),
        PrincipalConstraint::In(uid) => Scope::In(uid),
        PrincipalConstraint::Eq(uid) => Scope::Eq(uid),
        PrincipalConstraint::IsIn(kind, uid) => Scope::IsIn(kind, uid),
    }
}

fn resource_scope(policy: &Policy) -> Scope {
    match policy.resource_constraint() {
        ResourceConstraint::Any => Scope::Any,
        ResourceConstraint::Is(kind) => Scope::Is(kind),
        ResourceConstraint::In(uid) => Scope::In(uid),
        ResourceConstraint::Eq(uid) => Scope::Eq(uid),
        ResourceConstraint::IsIn(kind, uid) => Scope::IsIn(kind, uid),
    }
}
