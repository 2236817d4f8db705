//! The permits, or the forbids, of an index.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use cedar_policy::{
    AuthorizationError, Authorizer, Entities, EntityUid, Policy, PolicyId, PolicySet, Request, Response,
};

use super::{
    IndexError,
    reads::{Names, Reads},
};
use crate::engine::{
    actions::{Actions, Environment, Place},
    policies::without_text,
    scope::Scope,
};

/// Up to here the policies that name one uid stay in a single set; beyond, they are set out by action.
const UNDIVIDED_POLICIES_MAX: usize = 8;

/// Policies of one effect.
#[derive(Debug)]
pub(super) struct Half {
    scopes: Vec<Scope>,
    sets: Sets,
    /// Those that name no uid.
    unnamed: Vec<usize>,
    /// The sets of those, by environment.
    general: Vec<Slot>,
    /// Those that name a principal by `==` or `in`: a person, or a role.
    by_principal: HashMap<EntityUid, Named>,
    /// Those that name a resource and no principal.
    by_resource: HashMap<EntityUid, Named>,
    /// By position. Found out when a world is first compared with another: a start has no use for it.
    reads: OnceLock<Vec<Reads>>,
    touched: Mutex<BTreeMap<(usize, Names), Arc<Touched>>>,
    authorizer: Authorizer,
}

/// The policies that may tell two worlds of one environment apart.
#[derive(Debug)]
struct Touched {
    ids: BTreeSet<PolicyId>,
    set: Option<Arc<PolicySet>>,
}

/// Worlds differ in the few names that a remedy or an exception is made of. Whatever differs in more ways than these is
/// evaluated whole.
const TOUCHED_MAX: usize = 256;

/// A set that is made when a request first needs it. A sidecar meets a few of the environments that a schema allows:
/// making all of them is most of a start, and most of its memory.
type Slot = OnceLock<Option<Arc<PolicySet>>>;

/// The policies that name one uid.
#[derive(Debug)]
struct Named {
    list: Vec<usize>,
    /// One for all of them, or one for each action's number.
    slots: Vec<Slot>,
}

impl Half {
    /// `policies` are one effect of `source`, in the order of their ids.
    pub(super) fn build(policies: &[&Policy], source: &PolicySet, actions: &Actions) -> Result<Self, IndexError> {
        let scopes: Vec<Scope> = policies.iter().map(|policy| Scope::of(policy)).collect();
        let mut unnamed = Vec::new();
        let mut principals: HashMap<EntityUid, Vec<usize>> = HashMap::new();
        let mut resources: HashMap<EntityUid, Vec<usize>> = HashMap::new();
        for (position, scope) in scopes.iter().enumerate() {
            match (scope.named_principal(), scope.named_resource()) {
                (Some(uid), _) => principals.entry(uid.clone()).or_default().push(position),
                (None, Some(uid)) => resources.entry(uid.clone()).or_default().push(position),
                (None, None) => unnamed.push(position),
            }
        }
        let slots = |count: usize| (0..count).map(|_| Slot::new()).collect::<Vec<_>>();
        let named = |lists: HashMap<EntityUid, Vec<usize>>| {
            let named = |list: Vec<usize>| {
                let count = if list.len() <= UNDIVIDED_POLICIES_MAX { 1 } else { actions.environments.action_count() };
                Named { list, slots: slots(count) }
            };
            lists.into_iter().map(|(uid, list)| (uid, named(list))).collect()
        };
        Ok(Self {
            sets: Sets::of(policies, source)?,
            unnamed,
            general: slots(actions.environments.count()),
            by_principal: named(principals),
            by_resource: named(resources),
            scopes,
            reads: OnceLock::new(),
            touched: Mutex::default(),
            authorizer: Authorizer::new(),
        })
    }

    #[cfg(test)]
    pub(super) fn set_count(&self) -> usize {
        self.sets.made.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The satisfied policies; errors are added to `errors`.
    pub(super) fn evaluate(
        &self,
        actions: &Actions,
        request: &Request,
        entities: &Entities,
        errors: &mut Vec<(PolicyId, String)>,
    ) -> Vec<PolicyId> {
        let mut satisfied = Vec::new();
        let sets = self.sets_for(actions, request, entities);
        // Leaving policies out only saves time: whatever keeps the sets from being known, the whole of them answers.
        let whole = || vec![Arc::clone(&self.sets.whole)];
        for set in sets.unwrap_or_else(whole) {
            collect(&self.decide(request, &set, entities), &mut satisfied, errors);
        }
        satisfied
    }

    /// Like [`Self::evaluate`], of what was satisfied before attributes of these names changed.
    pub(super) fn evaluate_after(
        &self,
        actions: &Actions,
        request: &Request,
        entities: &Entities,
        (before, names): (&[PolicyId], &Names),
        errors: &mut Vec<(PolicyId, String)>,
    ) -> Vec<PolicyId> {
        let Some(touched) = self.touched(actions, request, names) else {
            return self.evaluate(actions, request, entities, errors);
        };
        let mut satisfied: Vec<PolicyId> = before.iter().filter(|id| !touched.ids.contains(*id)).cloned().collect();
        if let Some(set) = &touched.set {
            collect(&self.decide(request, set, entities), &mut satisfied, errors);
        }
        satisfied
    }

    /// `None` where they could not be made, or there are too many already.
    fn touched(&self, actions: &Actions, request: &Request, names: &Names) -> Option<Arc<Touched>> {
        let at = actions.environments.place(request)?.environment;
        let Environment { action, principal, resource, .. } = actions.environments.get(at)?;
        let mut known = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (at, names.clone());
        if let Some(touched) = known.get(&key) {
            return Some(Arc::clone(touched));
        }
        if known.len() >= TOUCHED_MAX {
            return None;
        }
        let reads = self
            .reads
            .get_or_init(|| self.sets.policies().map(|policy| policy.map_or_else(Reads::unknown, Reads::of)).collect());
        let is_touched = |(scope, reads): (&Scope, &Reads)| {
            reads.any(names) && scope.fits_types(principal, resource) && scope.fits_action(actions, action)
        };
        let list: Vec<usize> =
            self.scopes.iter().zip(reads).enumerate().filter(|(_, both)| is_touched(*both)).map(|(at, _)| at).collect();
        let ids = list.iter().filter_map(|position| self.sets.ids.get(*position).cloned()).collect();
        let touched = Arc::new(Touched { ids, set: self.sets.with(list).ok()? });
        known.insert(key, Arc::clone(&touched));
        Some(touched)
    }

    /// The sets of the policies whose scope may hold; `None` for a request of an environment that the schema does not
    /// know.
    fn sets_for(&self, actions: &Actions, request: &Request, entities: &Entities) -> Option<Vec<Arc<PolicySet>>> {
        let place = actions.environments.place(request)?;
        let (principal, resource) = (request.principal()?, request.resource()?);
        // INVARIANT(disjoint): a policy stands in exactly one of the three tables, under at most one uid, so no set
        // that is evaluated here shares a policy with another.
        let mut sets = Vec::with_capacity(4);
        sets.extend(self.general_set(actions, place)?);
        for (uid, table) in [(principal, &self.by_principal), (resource, &self.by_resource)] {
            if table.is_empty() {
                continue;
            }
            for uid in std::iter::once(uid).chain(entities.ancestors(uid).into_iter().flatten()) {
                if let Some(named) = table.get(uid) {
                    sets.extend(self.named_set(named, actions, place)?);
                }
            }
        }
        Some(sets)
    }

    /// The outer `None`: the set could not be made; the inner one: it is empty.
    fn general_set(&self, actions: &Actions, place: Place) -> Option<Option<Arc<PolicySet>>> {
        let at = place.environment;
        let Environment { action, principal, resource, .. } = actions.environments.get(at)?;
        let fits = |scope: &Scope| scope.fits_types(principal, resource) && scope.fits_action(actions, action);
        self.set_in(self.general.get(at)?, &self.unnamed, fits)
    }

    fn named_set(&self, named: &Named, actions: &Actions, place: Place) -> Option<Option<Arc<PolicySet>>> {
        if let [only] = named.slots.as_slice() {
            return self.set_in(only, &named.list, |_| true);
        }
        let action = actions.environments.get(place.environment)?.action;
        let slot = named.slots.get(place.action)?;
        self.set_in(slot, &named.list, |scope| scope.fits_action(actions, action))
    }

    fn set_in(&self, slot: &Slot, list: &[usize], fits: impl Fn(&Scope) -> bool) -> Option<Option<Arc<PolicySet>>> {
        if let Some(made) = slot.get() {
            return Some(made.clone());
        }
        let fitting = list.iter().copied().filter(|position| self.scopes.get(*position).is_some_and(&fits)).collect();
        let made = self.sets.with(fitting).ok()?;
        // Two requests may have made it at once: the sets are equal.
        Some(slot.get_or_init(|| made).clone())
    }

    #[expect(clippy::disallowed_methods, reason = "this is where the engine evaluates")]
    fn decide(&self, request: &Request, set: &PolicySet, entities: &Entities) -> Response {
        self.authorizer.is_authorized(request, set, entities)
    }
}

fn collect(response: &Response, satisfied: &mut Vec<PolicyId>, errors: &mut Vec<(PolicyId, String)>) {
    // All policies of the set have one effect, so the reasons are the satisfied ones whatever the decision.
    satisfied.extend(response.diagnostics().reason().cloned());
    errors.extend(response.diagnostics().errors().map(|error| match error {
        AuthorizationError::PolicyEvaluationError(error) => (error.policy_id().clone(), error.inner().to_string()),
    }));
}

/// The sets made so far; an equal list of policies gives the same set.
#[derive(Debug)]
struct Sets {
    /// The ids by position.
    ids: Vec<PolicyId>,
    whole: Arc<PolicySet>,
    made: Mutex<BTreeMap<Vec<usize>, Arc<PolicySet>>>,
}

impl Sets {
    fn of(policies: &[&Policy], source: &PolicySet) -> Result<Self, IndexError> {
        let mut whole = PolicySet::new();
        for policy in policies {
            add(&mut whole, source, policy)?;
        }
        let ids = policies.iter().map(|policy| policy.id().clone()).collect();
        Ok(Self { ids, whole: Arc::new(whole), made: Mutex::new(BTreeMap::new()) })
    }

    /// By position; `None` for one that is not known.
    fn policies(&self) -> impl Iterator<Item = Option<&Policy>> {
        self.ids.iter().map(|id| self.whole.policy(id))
    }

    /// `None` for an empty list.
    fn with(&self, list: Vec<usize>) -> Result<Option<Arc<PolicySet>>, IndexError> {
        if list.is_empty() {
            return Ok(None);
        }
        if list.len() == self.ids.len() {
            return Ok(Some(Arc::clone(&self.whole)));
        }
        let mut known = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&list) {
            return Ok(Some(Arc::clone(known)));
        }
        let mut set = PolicySet::new();
        for policy in list.iter().filter_map(|position| self.whole.policy(self.ids.get(*position)?)) {
            add(&mut set, &self.whole, policy)?;
        }
        let set = Arc::new(set);
        known.insert(list, Arc::clone(&set));
        Ok(Some(set))
    }
}

/// Adds `policy` of `source` to `set`; a linked policy goes by way of its template.
fn add(set: &mut PolicySet, source: &PolicySet, policy: &Policy) -> Result<(), IndexError> {
    let refused = |error| IndexError::Policy(Box::new(error));
    let Some((template_id, values)) = policy.template_id().zip(policy.template_links()) else {
        return set.add(without_text(policy)).map_err(refused);
    };
    if set.template(template_id).is_none()
        && let Some(template) = source.template(template_id)
    {
        set.add_template(template.clone()).map_err(refused)?;
    }
    set.link(template_id.clone(), policy.id().clone(), values).map_err(refused)
}
