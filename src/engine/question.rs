//! A request in the bundle's words: which entities, which actions, what the caller may be believed about.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use cedar_policy::{EntityTypeName, EntityUid};
use serde_json::Value as Json;

use super::{bundle::Bundle, plan};
use crate::domain::{
    EntityRef, Mode, Reason, Request, SlicePlan, Tier, Value,
    projection::{ProjectError, names_between, uid},
    record::code_word,
};

/// What is asked, before any fact is known.
#[derive(Clone, Debug)]
pub struct Question {
    pub principal: EntityUid,
    pub resource: EntityUid,
    pub asked: Asked,
    pub mode: Mode,
    pub context: ContextValues,
    pub said_tenant: Option<Arc<str>>,
    /// Attributes asserted by a caller that may do so.
    pub asserted: BTreeMap<EntityUid, BTreeMap<Arc<str>, Value>>,
    /// `Type.attribute`, for the record.
    pub asserted_names: Vec<String>,
    /// What the caller said and is not believed about, for the record.
    pub ignored: Vec<String>,
    pub crud: Option<char>,
    pub durability: Tier,
}

/// What a caller said and is not believed about goes into the record: so many names, and so much of each.
const IGNORED_MAX: usize = 32;
const IGNORED_NAME_CHARS_MAX: usize = 64;

/// Context values by dotted key (`session.mfa`).
pub type ContextValues = BTreeMap<Arc<str>, Value>;

/// What differs between two contexts, as policies name it: each part of a dotted key.
pub(super) fn names_said(one: &ContextValues, other: &ContextValues) -> BTreeSet<Arc<str>> {
    let mut names = BTreeSet::new();
    for key in names_between(one, other) {
        names.extend(key.split('.').map(Arc::from));
    }
    names
}

/// Slice plans by what they depend on.
#[derive(Debug, Default)]
pub(super) struct MergedPlans(RwLock<HashMap<PlanKey, Arc<SlicePlan>>>);

/// The name of the verb or action, and the types of principal and resource.
type PlanKey = (Arc<str>, EntityTypeName, EntityTypeName);

/// The action, resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Asked {
    /// A verb asked for each group; `None` asks for the record as a whole.
    Groups { verb: Arc<str>, names: Option<Vec<String>> },
    /// A verb that touches one group.
    Plain { action: Arc<str>, group: Arc<str> },
    /// An action of a schema without field groups.
    Bare { action: Arc<str> },
    /// Denied before any policy is asked; the principal's existence still comes first.
    Unknown(Reason),
}

/// Why a request cannot even be denied properly.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    #[error("the principal is of a type that nobody knows")]
    UnknownPrincipalType,
    #[error(transparent)]
    Uid(#[from] ProjectError),
}

impl Bundle {
    /// Understands `request`.
    ///
    /// # Errors
    ///
    /// [`QuestionError`] if the principal's type is unknown: nothing can be loaded, the decision is `unknown_principal`.
    pub fn question(&self, request: &Request) -> Result<Question, QuestionError> {
        let principal_type = self.entity_type(&request.subject, request).ok_or(QuestionError::UnknownPrincipalType)?;
        if !self.principal_types.contains(&principal_type) {
            return Err(QuestionError::UnknownPrincipalType);
        }
        let principal = uid(&principal_type, &request.subject.id)?;
        let resource_type = self.entity_type(&request.resource, request);
        let (asked, resource) = match resource_type {
            Some(kind) => (self.asked(request, &kind), uid(&kind, &request.resource.id)?),
            // The action is the earlier code: an unknown action on an unknown type is an unknown action.
            None if !self.knows_action(&request.action) => (Asked::Unknown(Reason::UNKNOWN_ACTION), principal.clone()),
            None => (Asked::Unknown(Reason::UNKNOWN_RESOURCE), principal.clone()),
        };
        let (crud, durability, mode) = self.verb_facts(&asked);
        let mut question = Question {
            principal,
            resource,
            asked,
            mode: request.mode.unwrap_or(mode),
            context: ContextValues::new(),
            said_tenant: None,
            asserted: BTreeMap::new(),
            asserted_names: Vec::new(),
            ignored: Vec::new(),
            crud,
            durability,
        };
        self.read_context(request, &mut question);
        self.read_assertions(request, &mut question);
        question.ignored = bounded(question.ignored);
        Ok(question)
    }

    /// What must be loaded to answer `question`: one plan for all questions that differ in ids and fields alone.
    pub fn plan(&self, question: &Question) -> Arc<SlicePlan> {
        let name = match &question.asked {
            Asked::Unknown(_) => return Arc::default(),
            Asked::Groups { verb, .. } => verb,
            Asked::Plain { action, .. } | Asked::Bare { action } => action,
        };
        let (principal, resource) = (question.principal.type_name(), question.resource.type_name());
        let key = (Arc::clone(name), principal.clone(), resource.clone());
        if let Some(plan) = self.merged_plans.0.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Arc::clone(plan);
        }
        let actions = match &question.asked {
            Asked::Unknown(_) => Vec::new(),
            Asked::Groups { verb, .. } => self.verb_actions(verb, &question.resource),
            Asked::Plain { action, .. } => self.plain_actions(action, &question.resource),
            Asked::Bare { action } => self.action_uid(action).into_iter().collect(),
        };
        let plan = Arc::new(self.plan_of(&question.principal, &question.resource, &actions));
        // Verbs, actions and types are the bundle's own words, so there are only so many keys.
        let mut plans = self.merged_plans.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(plans.entry(key).or_insert(plan))
    }

    /// What must be loaded to answer each of `questions`, which are about one principal and one resource.
    pub fn plan_of_all(&self, questions: &[Question]) -> Arc<SlicePlan> {
        Arc::new(plan::union(questions.iter().map(|question| self.plan(question))))
    }

    fn entity_type(&self, entity: &EntityRef, request: &Request) -> Option<Arc<str>> {
        let said = request.caller.types.get(&entity.kind).map_or(entity.kind.as_str(), String::as_str);
        if let Some((known, _)) = self.mapping.entities.get_key_value(said) {
            return Some(known.clone());
        }
        let qualified = format!("{}{said}", self.namespace);
        self.mapping.entities.get_key_value(qualified.as_str()).map(|(known, _)| known.clone())
    }

    fn knows_action(&self, action: &str) -> bool {
        self.taxonomy.verbs.contains_key(action)
            || self.taxonomy.actions.get(action).is_some_and(|plain| !plain.internal)
            || (self.taxonomy.verbs.is_empty()
                && self.action_uid(action).is_some_and(|uid| self.applies_somewhere(&uid)))
    }

    fn asked(&self, request: &Request, resource_type: &Arc<str>) -> Asked {
        let short = self.short_name(resource_type);
        if let Some((verb, _)) = self.taxonomy.verbs.get_key_value(request.action.as_str()) {
            return Asked::Groups { verb: verb.clone(), names: request.fields.clone() };
        }
        if let Some((action, plain)) = self.taxonomy.actions.get_key_value(request.action.as_str())
            && !plain.internal
        {
            return match plain.on.get(short) {
                Some(group) => Asked::Plain { action: action.clone(), group: group.clone() },
                None => Asked::Unknown(Reason::UNKNOWN_ACTION),
            };
        }
        if self.taxonomy.verbs.is_empty() && self.knows_action(&request.action) {
            return Asked::Bare { action: request.action.as_str().into() };
        }
        Asked::Unknown(Reason::UNKNOWN_ACTION)
    }

    fn verb_facts(&self, asked: &Asked) -> (Option<char>, Tier, Mode) {
        match asked {
            Asked::Groups { verb, .. } => match self.taxonomy.verbs.get(verb) {
                Some(verb) => (Some(verb.crud), verb.durability, verb.mode),
                None => (None, Tier::Disk, Mode::Strict),
            },
            Asked::Plain { action, .. } => match self.taxonomy.actions.get(action) {
                Some(plain) => (Some(plain.crud), plain.durability, Mode::Strict),
                None => (None, Tier::Disk, Mode::Strict),
            },
            Asked::Bare { .. } | Asked::Unknown(_) => (None, Tier::Process, Mode::Strict),
        }
    }

    /// Keeps what the schema marks as the caller's to say, and lists the rest.
    fn read_context(&self, request: &Request, question: &mut Question) {
        let mut said: Vec<(String, &Json)> = Vec::new();
        flatten("", &request.context, &mut said);
        flatten("action.", &request.action_properties, &mut said);
        for (key, value) in said {
            let takes = |key: &str| match &question.asked {
                // A schema of its own may give each action another context.
                Asked::Bare { action } => self.caller_context_of.get(action).is_some_and(|keys| keys.contains(key)),
                Asked::Groups { .. } | Asked::Plain { .. } | Asked::Unknown(_) => true,
            };
            let known = self.caller_context.get_key_value(key.as_str()).filter(|(key, _)| takes(key));
            match known.and_then(|(known, kind)| typed(value, *kind).map(|value| (known.clone(), value))) {
                Some((key, value)) => {
                    if &*key == "session.tenant"
                        && let Value::Text(tenant) = &value
                    {
                        question.said_tenant = Some(tenant.clone());
                    }
                    // Blank counts as absent: a reason of three spaces is none.
                    if matches!(&value, Value::Text(text) if text.trim().is_empty()) {
                        continue;
                    }
                    question.context.insert(key, value);
                }
                None => question.ignored.push(format!("context.{key}")),
            }
        }
    }

    fn read_assertions(&self, request: &Request, question: &mut Question) {
        let sides = [
            (question.principal.clone(), &request.subject_properties, "subject"),
            (question.resource.clone(), &request.resource_properties, "resource"),
        ];
        for (uid, properties, side) in sides {
            let short = self.short_name(&uid.type_name().to_string()).to_owned();
            for (name, value) in properties {
                let pair = format!("{short}.{name}");
                match scalar(value) {
                    Some(value) if request.caller.may_assert.contains(&pair) => {
                        question.asserted.entry(uid.clone()).or_default().insert(name.as_str().into(), value);
                        question.asserted_names.push(pair);
                    }
                    Some(_) | None => question.ignored.push(format!("{side}.{name}")),
                }
            }
        }
    }
}

/// Names are the caller's to choose, so the record takes no more than this of them.
fn bounded(names: Vec<String>) -> Vec<String> {
    let more = names.len().saturating_sub(IGNORED_MAX);
    let cut = |name: String| match name.char_indices().nth(IGNORED_NAME_CHARS_MAX) {
        Some((end, _)) => name.get(..end).map(str::to_owned).unwrap_or_default(),
        None => name,
    };
    let mut kept: Vec<String> = names.into_iter().take(IGNORED_MAX).map(|name| code_word(&cut(name))).collect();
    if more > 0 {
        kept.push(format!("…{more} more"));
    }
    kept
}

/// The kind of value a context key holds, from the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextKind {
    Bool,
    Long,
    Text,
}

/// Stands for a dot that the caller wrote inside a key.
const DOT_IN_KEY: &str = "\u{b7}";

/// One level of nesting is all that a caller may say (`session.mfa`, `action.soft`).
fn flatten<'a>(prefix: &str, map: &'a serde_json::Map<String, Json>, out: &mut Vec<(String, &'a Json)>) {
    for (key, value) in map {
        match value {
            Json::Object(inner) if prefix.is_empty() && !key.contains('.') => flatten(&format!("{key}."), inner, out),
            Json::Null => {}
            Json::Object(_) | Json::Array(_) | Json::Bool(_) | Json::Number(_) | Json::String(_) => {
                // A key with a dot of its own would pass for a nested one, beside the real one: it is nobody's.
                let key = if key.contains('.') { key.replace('.', DOT_IN_KEY) } else { key.clone() };
                out.push((format!("{prefix}{key}"), value));
            }
        }
    }
}

/// A value of another kind than the schema's counts as not said: a missing flag is false, a missing number over its limit.
fn typed(value: &Json, kind: ContextKind) -> Option<Value> {
    let value = scalar(value)?;
    match (&value, kind) {
        (Value::Bool(_), ContextKind::Bool)
        | (Value::Long(_), ContextKind::Long)
        | (Value::Text(_), ContextKind::Text) => Some(value),
        _ => None,
    }
}

fn scalar(value: &Json) -> Option<Value> {
    match value {
        Json::Bool(value) => Some(Value::Bool(*value)),
        Json::Number(number) => number.as_i64().map(Value::Long),
        Json::String(text) => Some(Value::Text(text.as_str().into())),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_at_the_limit_is_kept_whole_and_one_beyond_is_cut() {
        let (at, beyond) = ("a".repeat(64), "a".repeat(65));
        assert_eq!(bounded(vec![at.clone(), beyond]), [at.clone(), at]);
        assert_eq!(bounded(vec!["context.Jane Roe".to_owned()]), ["(not a name)"]);
    }

    #[test]
    fn a_word_of_the_session_differs_by_every_name_that_leads_to_it() {
        let said = |pairs: &[(&str, bool)]| -> ContextValues {
            pairs.iter().map(|(key, value)| (Arc::from(*key), Value::Bool(*value))).collect()
        };
        let names = |one, other| names_said(&said(one), &said(other)).into_iter().collect::<Vec<_>>();
        assert_eq!(
            names(&[("session.mfa", false), ("b", true)], &[("session.mfa", true), ("b", true)]),
            ["mfa".into(), "session".into()]
        );
        assert_eq!(names(&[("a", true)], &[("b.c", true)]), ["a".into(), "b".into(), "c".into()]);
        assert_eq!(names(&[("a", true)], &[("a", true)]), [] as [Arc<str>; 0]);
    }

    #[test]
    fn as_many_names_as_the_limit_are_kept_and_one_more_is_counted() {
        let names = |count: usize| (0..count).map(|name| format!("context.{name}")).collect::<Vec<_>>();
        assert_eq!(bounded(names(32)), names(32));
        let kept = bounded(names(33));
        assert_eq!((kept.len(), kept[31].as_str(), kept[32].as_str()), (33, "context.31", "…1 more"));
        assert_eq!(bounded(names(1_000)).last().map(String::as_str), Some("…968 more"));
    }
}
