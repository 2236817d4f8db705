//! The bundle: policies, schema, mapping and field groups that were validated together and decide together.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use cedar_policy::{Entities, EntityId, EntityTypeName, EntityUid, Schema};

use super::{
    actions::Actions,
    clauses::Clauses,
    index::PolicyIndex,
    judge::{Ask, JudgeError},
    plan,
    probes::Probes,
    question::{Asked, ContextKind, MergedPlans, Question},
    reasons::Reasons,
    taxonomy::Taxonomy,
};
use crate::domain::{PolicyEffect, Reason, SlicePlan, Tier, mapping::Mapping, projection::Projected};

/// An immutable, validated bundle. A request keeps one `Arc` of it from beginning to end.
#[derive(Debug)]
pub struct Bundle {
    /// `sha256:` and the digest over every file of the bundle.
    pub revision: Arc<str>,
    pub schema: Schema,
    /// Namespace prefix of entity types and actions, `""` or `"Ns::"`.
    pub namespace: Arc<str>,
    pub policies: BTreeMap<Arc<str>, PolicyMeta>,
    pub taxonomy: Taxonomy,
    pub reasons: Reasons,
    pub mapping: Mapping,
    /// Context keys a caller may say, dotted (`session.mfa`), with the kind of value the schema gives them.
    pub(super) caller_context: BTreeMap<Arc<str>, ContextKind>,
    /// The same by the action that takes them: an action's context may declare fewer.
    pub(super) caller_context_of: BTreeMap<Arc<str>, Arc<BTreeSet<Arc<str>>>>,
    /// Whether the schema's context has a `purpose` that Chaperone fills where none is stated.
    pub(super) has_purpose: bool,
    pub(super) index: PolicyIndex,
    pub(super) clauses: Clauses,
    pub(super) probes: Probes,
    pub(super) plans: plan::Plans,
    /// Those of questions asked so far.
    pub(super) merged_plans: MergedPlans,
    pub(super) action_sets: ActionSets,
    /// Every action of the schema with all its groups.
    pub(super) actions: Arc<Actions>,
    /// The type of the namespace's actions.
    pub(super) action_type: EntityTypeName,
    pub(super) principal_types: BTreeSet<Arc<str>>,
}

/// Entities of actions that were asked about together.
#[derive(Debug, Default)]
pub(super) struct ActionSets(RwLock<HashMap<BTreeSet<EntityUid>, Entities>>);

/// Callers choose which groups they ask for together: so many sets are remembered, and the others made each time.
const ACTION_SETS_MAX: usize = 128;

/// What a policy's annotations say, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyMeta {
    pub id: Arc<str>,
    pub effect: PolicyEffect,
    /// `@text`: caller-safe words.
    pub text: Option<Arc<str>>,
    /// `@reason`: on a forbid.
    pub reason: Option<Reason>,
    /// `@otherwise`: on a permit, one code for each `when`/`unless` clause in order; `None` (written `-`) says that a
    /// permit failing there did not come near. A single code stands for every clause.
    pub otherwise: Vec<Option<Reason>>,
    /// `@obligation`: ids, separated by blanks.
    pub obligations: Vec<Arc<str>>,
    /// `@requires`: another question that must be allowed too: a verb (for the same group) or `verb:group`.
    pub requires: Option<Arc<str>>,
    /// `@durability`.
    pub durability: Option<Tier>,
    /// `@priority`: breaks ties within one reason.
    pub priority: i64,
    pub file: PathBuf,
    pub line: usize,
}

impl Bundle {
    /// Whether `action` may be asked by this principal's type on this resource's.
    pub(super) fn applies(&self, action: &EntityUid, principal: &EntityUid, resource: &EntityUid) -> bool {
        self.actions.environments.find(action, principal.type_name(), resource.type_name()).is_some()
    }

    pub(super) fn applies_somewhere(&self, action: &EntityUid) -> bool {
        self.actions.environments.action_number(action).is_some()
    }

    /// Every action that asking `verb` on `resource` may lead to: its groups, their masks, and what its permits require.
    pub(super) fn verb_actions(&self, verb: &Arc<str>, resource: &EntityUid) -> Vec<EntityUid> {
        let verbs = self.verbs_reached_from(verb);
        self.applicable_actions(resource, |name| {
            name.split_once(':').is_some_and(|(of, _)| verbs.contains(of)) || self.is_remedy(name)
        })
    }

    /// The same for a plain action.
    pub(super) fn plain_actions(&self, action: &Arc<str>, resource: &EntityUid) -> Vec<EntityUid> {
        let verbs = self.verbs_reached_from(action);
        self.applicable_actions(resource, |name| {
            name == &**action || name.split_once(':').is_some_and(|(of, _)| verbs.contains(of)) || self.is_remedy(name)
        })
    }

    fn is_remedy(&self, name: &str) -> bool {
        self.taxonomy.actions.get(name).is_some_and(|plain| plain.internal)
    }

    /// `name`, what its permits may require, and `mask` beside a verb that masks.
    fn verbs_reached_from(&self, name: &str) -> BTreeSet<&str> {
        let mut verbs: BTreeSet<&str> = BTreeSet::new();
        if let Some((verb, _)) = self.taxonomy.verbs.get_key_value(name) {
            verbs.insert(verb);
        }
        let required = self.policies.values().filter_map(|meta| meta.requires.as_deref());
        verbs.extend(required.map(|required| required.split_once(':').map_or(required, |(verb, _)| verb)));
        if verbs.iter().any(|verb| self.taxonomy.verbs.get(*verb).is_some_and(|verb| verb.masks)) {
            verbs.insert("mask");
        }
        verbs
    }

    fn applicable_actions(&self, resource: &EntityUid, wanted: impl Fn(&str) -> bool) -> Vec<EntityUid> {
        let asked = self.actions.environments.actions_on(resource.type_name()).into_iter();
        asked.filter(|action| wanted(AsRef::<str>::as_ref(action.id()))).cloned().collect()
    }

    pub(super) fn plan_of(&self, principal: &EntityUid, resource: &EntityUid, actions: &[EntityUid]) -> SlicePlan {
        let environments = &self.actions.environments;
        self.plans.merged(environments, principal.type_name(), resource.type_name(), actions)
    }

    /// The actions that judging `question` needs among the entities: without them `action in …` is false.
    pub(super) fn actions_for(&self, question: &Question, projected: &Projected) -> BTreeSet<EntityUid> {
        let mut uids: BTreeSet<EntityUid> = BTreeSet::new();
        let asks = self.all_asks(question, projected);
        for ask in &asks {
            uids.extend(self.action_of(ask));
            if !ask.plain {
                uids.extend(self.action_of(&Ask { verb: "mask".into(), ..ask.clone() }));
            }
            for required in self.policies.values().filter_map(|meta| meta.requires.as_ref()) {
                let required = self.required_ask(required, ask, &question.resource, projected);
                uids.extend(self.action_of(&required));
                uids.extend(self.action_of(&Ask { verb: "mask".into(), ..required }));
            }
        }
        let remedies = self.taxonomy.actions.iter().filter(|(_, plain)| plain.internal);
        uids.extend(remedies.filter_map(|(name, _)| self.action_uid(name)));
        uids
    }

    /// These actions as entities, to which others can be added. The same actions are asked for again and again.
    pub(super) fn entities_of_actions(&self, uids: BTreeSet<EntityUid>) -> Result<Entities, JudgeError> {
        if let Some(known) = self.action_sets.0.read().unwrap_or_else(PoisonError::into_inner).get(&uids) {
            return Ok(known.clone());
        }
        let entities = uids.iter().filter_map(|uid| self.actions.entity(uid));
        let entities =
            Entities::from_entities(entities, None).map_err(|source| JudgeError::Entity(Box::new(source)))?;
        let mut known = self.action_sets.0.write().unwrap_or_else(PoisonError::into_inner);
        // One caller's odd sets must not keep out everybody else's for good.
        if known.len() >= ACTION_SETS_MAX {
            known.clear();
        }
        known.insert(uids, entities.clone());
        Ok(entities)
    }

    fn all_asks(&self, question: &Question, projected: &Projected) -> Vec<Ask> {
        match &question.asked {
            Asked::Unknown(_) => Vec::new(),
            Asked::Bare { action } => vec![Ask { verb: action.clone(), group: None, asked: None, plain: true }],
            Asked::Plain { action, group } => {
                vec![Ask { verb: action.clone(), group: Some(group.clone()), asked: Some(group.clone()), plain: true }]
            }
            Asked::Groups { verb, names } => {
                let groups = match names {
                    None => self.own_groups(&question.resource),
                    Some(names) => names
                        .iter()
                        .flat_map(|name| self.groups_named(name, verb, &question.resource, projected))
                        .filter_map(|(_, group)| group.ok())
                        .collect(),
                };
                groups.iter().map(|group| self.governed(verb, group, &question.resource, projected)).collect()
            }
        }
    }

    pub(super) const fn context_has_purpose(&self) -> bool {
        self.has_purpose
    }

    /// The purpose of a principal who states none: the first role of the list that it has, empty where it has none.
    pub(super) fn default_purpose(&self, roles: &[Arc<str>]) -> Arc<str> {
        let default = self.reasons.purpose.default_by_role.iter().find(|(role, _)| roles.contains(role));
        default.map_or_else(|| "".into(), |(_, purpose)| purpose.clone())
    }

    /// The uid of an action by its name.
    pub(super) fn action_uid(&self, name: &str) -> Option<EntityUid> {
        let uid = EntityUid::from_type_name_and_id(self.action_type.clone(), EntityId::new(name));
        self.actions.environments.has_action(&uid).then_some(uid)
    }
}
