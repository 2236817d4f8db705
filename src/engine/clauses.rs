//! Permits cut into clauses, so that a default deny can say which condition of which permit did not hold.
//!
//! Each permit with conditions is cut when a deny first comes near it: one policy for each `when` or `unless` by itself
//! (`ID#0`, `ID#1`, …). The cuts are evaluated by Cedar like any policy; they decide nothing.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use cedar_policy::{
    Authorizer, Effect, Entities, Policy, PolicyFromJsonError, PolicyId, PolicySet, PolicySetError, PolicyToJsonError,
    Request,
};
use serde_json::{Value as Json, json};

use super::{actions::Actions, policies::without_text, scope::Scope};

/// Why a permit could not be cut.
#[derive(Debug, thiserror::Error)]
pub enum ClauseError {
    #[error("cannot take policy `{policy}` apart")]
    Apart {
        policy: PolicyId,
        #[source]
        source: Box<PolicyToJsonError>,
    },
    #[error("cannot put a clause of policy `{policy}` together")]
    Together {
        policy: PolicyId,
        #[source]
        source: Box<PolicyFromJsonError>,
    },
    #[error("two clauses have one id")]
    Set(#[source] Box<PolicySetError>),
}

/// The permits of a bundle, cut as far as they were needed.
#[derive(Debug)]
pub struct Clauses {
    actions: Arc<Actions>,
    permits: Vec<Permit>,
    /// Positions of the permits whose scope fits an action, by its number, found when it is first denied.
    of_action: Vec<OnceLock<Vec<usize>>>,
    authorizer: Authorizer,
}

#[derive(Debug)]
struct Permit {
    /// With its text: that alone tells clauses apart.
    policy: Policy,
    scope: Scope,
    /// Boxed: most are never needed.
    cut: OnceLock<Option<Box<Cut>>>,
}

#[derive(Debug)]
struct Cut {
    /// The clauses in the order of the policy's text.
    ids: Vec<PolicyId>,
    set: PolicySet,
}

/// A permit whose scope fits the request and whose conditions do not all hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Near {
    pub id: PolicyId,
    /// Position of the first `when` or `unless` that does not hold, or that cannot be evaluated.
    pub first_failing_clause: usize,
}

impl Clauses {
    /// Keeps the permits of `policies`, which must have their texts.
    pub fn of(policies: &PolicySet, actions: &Arc<Actions>) -> Self {
        let permits = policies.policies().filter(|policy| policy.effect() == Effect::Permit);
        let permits = permits
            .map(|policy| Permit { policy: policy.clone(), scope: Scope::of(policy), cut: OnceLock::new() })
            .collect();
        let of_action = (0..actions.environments.action_count()).map(|_| OnceLock::new()).collect();
        Self { actions: Arc::clone(actions), permits, of_action, authorizer: Authorizer::new() }
    }

    /// The permits that came near, by id. A satisfied one is not among them.
    pub fn near(&self, request: &Request, entities: &Entities) -> Vec<Near> {
        let fitting = self.fitting(request).iter().filter_map(|position| self.permits.get(*position));
        let fitting = fitting.filter(|permit| permit.scope.holds_for_parties(request, entities));
        let mut near: Vec<Near> = fitting
            .filter_map(|permit| {
                let cut = permit.cut()?;
                let holding = self.holding(cut, request, entities);
                let first_failing_clause = cut.ids.iter().position(|id| !holding.contains(id))?;
                Some(Near { id: permit.policy.id().clone(), first_failing_clause })
            })
            .collect();
        near.sort();
        near
    }

    /// Those whose scope fits the request's action. An action that is asked nowhere has none.
    fn fitting(&self, request: &Request) -> &[usize] {
        let numbered =
            request.action().and_then(|action| Some((action, self.actions.environments.action_number(action)?)));
        let Some((action, list)) = numbered.and_then(|(action, at)| Some((action, self.of_action.get(at)?))) else {
            return &[];
        };
        list.get_or_init(|| {
            let fits = |(at, permit): (usize, &Permit)| permit.scope.fits_action(&self.actions, action).then_some(at);
            self.permits.iter().enumerate().filter_map(fits).collect()
        })
    }

    /// The clauses that hold; one that errs is not among them.
    #[expect(clippy::disallowed_methods, reason = "this is where the engine evaluates clauses")]
    fn holding(&self, cut: &Cut, request: &Request, entities: &Entities) -> BTreeSet<PolicyId> {
        let response = self.authorizer.is_authorized(request, &cut.set, entities);
        response.diagnostics().reason().cloned().collect()
    }
}

impl Permit {
    /// `None` for a permit without conditions, which cannot fail beyond its scope.
    fn cut(&self) -> Option<&Cut> {
        let cut = || {
            cut(&self.policy).map(|cut| cut.map(Box::new)).unwrap_or_else(|error| {
                // A bundle goes live only with permits that `can_be_cut`: an explanation is poorer, no decision is.
                tracing::error!(error = &error as &dyn std::error::Error, "a permit cannot be explained");
                None
            })
        };
        self.cut.get_or_init(cut).as_deref()
    }
}

/// Has Cedar make the parser that reads the text of a single policy, which it does when one is first read. Before a bundle
/// is built, that takes memory which the bundle uses again, and the first deny need not wait for it.
pub fn make_parser_ready() {
    const ANY: &str = "permit(principal, action, resource);";
    if let Err(error) = ANY.parse::<Policy>() {
        tracing::error!(%error, "a policy that says nothing cannot be read");
    }
}

/// Whether a deny will be able to name the clauses of `policy`: part of what a bundle is checked for.
///
/// # Errors
///
/// [`ClauseError`] if Cedar refuses a cut, which a parsed policy does not cause.
pub fn can_be_cut(policy: &Policy) -> Result<(), ClauseError> {
    cut(policy).map(drop)
}

/// `None` for a policy without conditions.
fn cut(policy: &Policy) -> Result<Option<Cut>, ClauseError> {
    let id = policy.id();
    let mut whole =
        policy.to_json().map_err(|source| ClauseError::Apart { policy: id.clone(), source: Box::new(source) })?;
    let conditions = match whole.get_mut("conditions").map(Json::take) {
        Some(Json::Array(conditions)) if !conditions.is_empty() => conditions,
        Some(_) | None => return Ok(None),
    };
    if let Some(whole) = whole.as_object_mut() {
        whole.remove("annotations");
    }
    let mut set = PolicySet::new();
    let mut ids = Vec::with_capacity(conditions.len());
    for (position, condition) in conditions.into_iter().enumerate() {
        let mut json = whole.clone();
        if let Some(json) = json.as_object_mut() {
            json.insert("conditions".to_owned(), json!([condition]));
        }
        let clause = Policy::from_json(Some(PolicyId::new(format!("{id}#{position}"))), json)
            .map_err(|source| ClauseError::Together { policy: id.clone(), source: Box::new(source) })?;
        ids.push(clause.id().clone());
        set.add(without_text(&clause)).map_err(|source| ClauseError::Set(Box::new(source)))?;
    }
    Ok(Some(Cut { ids, set }))
}

#[cfg(test)]
mod tests {
    use cedar_policy::{Context, Entity, EntityUid, Schema};

    use super::*;

    const SCHEMA: &str = "
        entity Role; entity User in [Role] { level: Long }; entity Note { open: Bool };
        action all; action view in [all] appliesTo { principal: User, resource: Note }; action edit appliesTo { principal: User, resource: Note };
    ";

    fn uid(text: &str) -> EntityUid {
        text.parse().unwrap()
    }

    /// What came near when Ann, a nurse of level 3, wants to view a closed note.
    fn near(policies: &str) -> Vec<(String, usize)> {
        let parsed: PolicySet = policies.parse().unwrap();
        let mut named = PolicySet::new();
        for policy in parsed.policies() {
            named.add(policy.new_id(PolicyId::new(policy.annotation("id").unwrap()))).unwrap();
        }
        let schema = Schema::from_cedarschema_str(SCHEMA).unwrap().0;
        named.policies().for_each(|policy| can_be_cut(policy).unwrap());
        let actions = Arc::new(Actions::of(&schema).unwrap());
        let clauses = Clauses::of(&named, &actions);
        let entity = |name: &str, attribute: (&str, &str), parents: &[&str]| {
            let attributes = [(attribute.0.to_owned(), attribute.1.parse().unwrap())].into();
            Entity::new(uid(name), attributes, parents.iter().map(|name| uid(name)).collect()).unwrap()
        };
        let ann = entity(r#"User::"ann""#, ("level", "3"), &[r#"Role::"nurse""#]);
        let note = entity(r#"Note::"n""#, ("open", "false"), &[]);
        let action = actions.entity(&uid(r#"Action::"view""#)).unwrap();
        let entities = Entities::from_entities([ann, note, action], None).unwrap();
        let request =
            Request::new(uid(r#"User::"ann""#), uid(r#"Action::"view""#), uid(r#"Note::"n""#), Context::empty(), None);
        let near = clauses.near(&request.unwrap(), &entities);
        near.into_iter().map(|near| (near.id.to_string(), near.first_failing_clause)).collect()
    }

    #[test]
    fn a_near_permit_names_its_first_clause_that_does_not_hold() {
        let policies = r#"
            @id("a") permit(principal in Role::"nurse", action in Action::"all", resource)
                when { principal.level > 2 } unless { principal.level > 9 } when { resource.open } unless { true };
            @id("b") permit(principal, action, resource) unless { principal.level == 3 } when { resource.open };
        "#;
        assert_eq!(near(policies), [("a".to_owned(), 2), ("b".to_owned(), 0)]);
    }

    #[test]
    fn a_permit_whose_scope_does_not_fit_is_not_near() {
        let policies = r#"
            @id("a") permit(principal in Role::"doctor", action, resource) when { false };
            @id("b") permit(principal, action == Action::"edit", resource) when { false };
            @id("c") forbid(principal, action, resource) when { false };
        "#;
        assert_eq!(near(policies), []);
    }

    #[test]
    fn a_satisfied_permit_is_not_near() {
        let policies = r#"
            @id("a") permit(principal, action, resource) when { principal.level == 3 };
            @id("b") permit(principal, action, resource);
        "#;
        assert_eq!(near(policies), []);
    }

    #[test]
    fn a_clause_that_errs_counts_as_failing() {
        let policies =
            r#"@id("a") permit(principal, action, resource) when { true } when { resource.gone } when { false };"#;
        assert_eq!(near(policies), [("a".to_owned(), 1)]);
    }
}
