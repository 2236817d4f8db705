//! One slice, at one instant, before the policies: the answer for one group at a time.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use cedar_policy::{Context, EntityUid, PolicyId, Request, RestrictedExpression};
use jiff::Timestamp;

use super::{
    bundle::Bundle,
    index::{Merged, Names},
    probes,
    question::{ContextValues, Question, names_said},
    world::World,
};
use crate::domain::{
    Evidence, Reason, Slice, Value,
    projection::{Projected, View},
};

/// Asks the policies of one bundle about one slice at one instant.
pub(super) struct Judge<'a> {
    pub(super) bundle: &'a Bundle,
    pub(super) question: &'a Question,
    pub(super) slice: &'a Slice,
    pub(super) now: Timestamp,
    pub(super) view: View<'a>,
    world: Arc<World>,
    said: Rc<Said>,
    told: Rc<RefCell<Answers>>,
    before: Option<Before>,
    explains: bool,
}

/// What policies said in one world, by what was asked, and about which resource.
type Answers = BTreeMap<(Ask, EntityUid), Rc<Merged>>;

/// Another world, which differs from this one in attributes of these names alone.
struct Before {
    told: Rc<RefCell<Answers>>,
    names: Names,
}

/// What is said beside the entities: the same in every world that is asked with the same words.
struct Said {
    words: ContextValues,
    /// The words, and what goes without saying.
    context: ContextValues,
    base: Context,
    /// Checked against the schema already.
    requests: RefCell<Requests>,
}

/// By what is asked, and about which resource; `None` where the action does not apply to it.
type Requests = BTreeMap<(Ask, EntityUid), Option<Rc<Request>>>;

/// Why no verdict could be formed: the data do not fit, or Cedar could not evaluate.
#[derive(Debug, thiserror::Error)]
pub(super) enum JudgeError {
    #[error("the facts do not fit the mapping")]
    Facts(#[from] crate::domain::projection::ProjectError),
    #[error("cedar refused an entity")]
    Entity(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the clocks of the databases differ by so much that it cannot be said which rows are active")]
    Clocks,
    #[error("policies failed to evaluate")]
    Policies(Vec<Arc<str>>),
}

/// What the policies say about one action on one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow { permits: Vec<Arc<str>> },
    Mask { how: Arc<str>, permits: Vec<Arc<str>> },
    Deny(Denied),
}

/// A deny with all that explains it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Denied {
    pub(super) forbids: Vec<Arc<str>>,
    /// Permits that came near, with the code of the clause that failed.
    pub(super) near: Vec<(Arc<str>, Reason)>,
    /// Codes of a required question that was denied.
    pub(super) required: Vec<Reason>,
}

/// The satisfied policies of one evaluation, none of which erred.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) permits: Vec<Arc<str>>,
    pub(super) forbids: Vec<Arc<str>>,
}

/// One action about one group, as policies are asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ask {
    pub(super) verb: Arc<str>,
    /// The group that governs; `None` for an action without groups.
    pub(super) group: Option<Arc<str>>,
    /// The group as the caller named it.
    pub(super) asked: Option<Arc<str>>,
    /// A plain action: `verb` is its whole name.
    pub(super) plain: bool,
}

impl Said {
    fn of(bundle: &Bundle, words: &ContextValues, world: &World) -> Result<Self, JudgeError> {
        let mut context = words.clone();
        if bundle.context_has_purpose() && !context.contains_key("purpose") {
            context.insert("purpose".into(), Value::Text(bundle.default_purpose(&world.projected.roles)));
        }
        let base = Context::from_pairs(nested(&context)).map_err(|source| JudgeError::Entity(Box::new(source)))?;
        Ok(Self { words: words.clone(), context, base, requests: RefCell::default() })
    }
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        bundle: &'a Bundle,
        question: &'a Question,
        slice: &'a Slice,
        now: Timestamp,
        context: &ContextValues,
    ) -> Result<Self, JudgeError> {
        let view = View::new(&bundle.mapping, slice, now, question.said_tenant.as_deref());
        let world = World::of(bundle, question, slice, &view, now)?;
        Self::within(bundle, question, (slice, now), context, (view, world))
    }

    /// A judge in a world that was made before, for this question too.
    pub(super) fn within(
        bundle: &'a Bundle,
        question: &'a Question,
        (slice, now): (&'a Slice, Timestamp),
        context: &ContextValues,
        (view, world): (View<'a>, Arc<World>),
    ) -> Result<Self, JudgeError> {
        let said = Rc::new(Said::of(bundle, context, &world)?);
        let told = Rc::default();
        Ok(Self { bundle, question, slice, now, view, world, said, told, before: None, explains: true })
    }

    /// A judge of the same question on other facts, at another instant or with other words; `slice` is a change of this
    /// one's. Equal to a new one, and made of what did not change.
    pub(super) fn elsewhere<'b>(
        &self,
        slice: &'b Slice,
        now: Timestamp,
        context: &ContextValues,
    ) -> Result<Judge<'b>, JudgeError>
    where
        'a: 'b,
    {
        if now != self.now {
            return Judge::new(self.bundle, self.question, slice, now, context);
        }
        let view = View::new(&self.bundle.mapping, slice, now, self.question.said_tenant.as_deref());
        let (world, names) = if std::ptr::eq(slice, self.slice) {
            (Arc::clone(&self.world), Some(Names::new()))
        } else {
            let (world, names) = self.world.changed(self.bundle, self.question, self.slice, &view)?;
            (Arc::new(world), names)
        };
        // Whatever is tested holds this too.
        debug_assert!(world.tells_as(&World::made(self.bundle, self.question, &[], &view)?), "of {:?}", self.question);
        // The default purpose goes by the roles.
        let said = if *context == self.said.words && world.projected.roles == self.world.projected.roles {
            Rc::clone(&self.said)
        } else {
            Rc::new(Said::of(self.bundle, context, &world)?)
        };
        let before = names.map(|mut names| {
            names.extend(names_said(&self.said.context, &said.context));
            Before { told: Rc::clone(&self.told), names }
        });
        let (bundle, question, explains) = (self.bundle, self.question, self.explains);
        Ok(Judge { bundle, question, slice, now, view, world, said, told: Rc::default(), before, explains })
    }

    /// Whoever only wants to know whether something is allowed need not hear what a deny came near.
    pub(super) fn unexplained(self) -> Self {
        Self { explains: false, ..self }
    }

    /// The entities as policies see them.
    pub(super) fn projected(&self) -> &Projected {
        &self.world.projected
    }

    /// The purpose that policies see: stated, else the default of the first role; `None` where there is none.
    pub(super) fn purpose(&self) -> Option<Arc<str>> {
        match self.said.context.get("purpose") {
            Some(Value::Text(purpose)) if !purpose.is_empty() => Some(purpose.clone()),
            _ => None,
        }
    }

    /// Context values for witnesses: what was said, and the group asked about.
    pub(super) fn context_for(&self, ask: &Ask) -> ContextValues {
        let mut context = self.said.context.clone();
        if let (Some(group), Some(asked)) = (&ask.group, &ask.asked) {
            context.insert("group".into(), Value::Text(group.clone()));
            context.insert("asked".into(), Value::Text(asked.clone()));
        }
        context
    }

    /// The rows that made `permits` true for `ask`.
    pub(super) fn evidence(&self, ask: &Ask, permits: &[Arc<str>]) -> Vec<Evidence> {
        let context = self.context_for(ask);
        let permits: Vec<PolicyId> = permits.iter().map(PolicyId::new).collect();
        let question = probes::Question {
            principal: &self.question.principal,
            resource: &self.question.resource,
            context: &context,
        };
        self.bundle.probes.witnesses(&permits, &self.view, &self.world.projected, question)
    }

    /// What the policies say about `ask` on `resource`; `None` where the action does not apply to the type.
    pub(super) fn evaluate(&self, ask: &Ask, resource: &EntityUid) -> Result<Option<(Rc<Request>, Told)>, JudgeError> {
        let Some(request) = self.request(ask, resource)? else { return Ok(None) };
        let merged = self.merged(ask, resource, &request);
        if !merged.errors.is_empty() {
            return Err(JudgeError::Policies(self.bundle.policy_names(merged.errors.iter().map(|(id, _)| id))));
        }
        let told = Told {
            permits: self.bundle.policy_names(&merged.permits),
            forbids: self.bundle.policy_names(&merged.forbids),
        };
        Ok(Some((request, told)))
    }

    /// What all policies say; those that cannot say otherwise than in the world before are not asked again.
    fn merged(&self, ask: &Ask, resource: &EntityUid, request: &Request) -> Rc<Merged> {
        let (index, entities) = (&self.bundle.index, &self.world.entities);
        let key = (ask.clone(), resource.clone());
        if let Some(known) = self.told.borrow().get(&key) {
            return Rc::clone(known);
        }
        let before = self.before.as_ref().and_then(|before| {
            let told = before.told.borrow().get(&key).cloned();
            told.filter(|told| told.errors.is_empty()).map(|told| (told, &before.names))
        });
        let merged = Rc::new(match before {
            Some((told, names)) => index.evaluate_after(request, entities, &told, names),
            None => index.evaluate(request, entities),
        });
        // Whatever is tested holds this too.
        debug_assert_eq!(*merged, index.evaluate(request, entities), "of {ask:?}");
        self.told.borrow_mut().insert(key, Rc::clone(&merged));
        merged
    }

    /// The permits that hold for `ask` on `resource`, bars aside: who is offered a way on. Every bar is judged by the
    /// supposed world itself; facts that this question did not load offer nothing.
    pub(super) fn permits_for(&self, ask: &Ask, resource: &EntityUid) -> Result<Vec<Arc<str>>, JudgeError> {
        let Some(request) = self.request(ask, resource)? else { return Ok(Vec::new()) };
        let merged = self.bundle.index.evaluate_permits(&request, &self.world.entities);
        Ok(if merged.errors.is_empty() { self.bundle.policy_names(&merged.permits) } else { Vec::new() })
    }

    fn request(&self, ask: &Ask, resource: &EntityUid) -> Result<Option<Rc<Request>>, JudgeError> {
        let key = (ask.clone(), resource.clone());
        if let Some(known) = self.said.requests.borrow().get(&key) {
            return Ok(known.clone());
        }
        let made = self.made_request(ask, resource)?.map(Rc::new);
        self.said.requests.borrow_mut().insert(key, made.clone());
        Ok(made)
    }

    fn made_request(&self, ask: &Ask, resource: &EntityUid) -> Result<Option<Request>, JudgeError> {
        let Some(action) = self.bundle.action_of(ask) else { return Ok(None) };
        if !self.bundle.applies(&action, &self.question.principal, resource) {
            return Ok(None);
        }
        let context = match (&ask.group, &ask.asked) {
            (Some(group), Some(asked)) => self
                .said
                .base
                .clone()
                .merge([
                    ("group".to_owned(), RestrictedExpression::new_string(group.to_string())),
                    ("asked".to_owned(), RestrictedExpression::new_string(asked.to_string())),
                ])
                .map_err(|source| JudgeError::Entity(Box::new(source)))?,
            _ => self.said.base.clone(),
        };
        // INVARIANT(schema-checked): the schema is passed always, so that a context of the wrong shape is an error here
        // and not a policy that quietly reads nothing.
        Request::new(self.question.principal.clone(), action, resource.clone(), context, Some(&self.bundle.schema))
            .map(Some)
            .map_err(|source| JudgeError::Entity(Box::new(source)))
    }

    /// The verdict on `ask` for the question's resource. `outer` is the verb the caller asked with, for explanations;
    /// `plainly` judges the same without exceptional access, for what an exception must not carry over to.
    pub(super) fn verdict(
        &self,
        ask: &Ask,
        plainly: &dyn Fn(&Ask) -> Result<Verdict, JudgeError>,
    ) -> Result<Verdict, JudgeError> {
        let Some((request, merged)) = self.evaluate(ask, &self.question.resource)? else {
            return Ok(Verdict::Deny(Denied::default()));
        };
        if !merged.forbids.is_empty() {
            return Ok(Verdict::Deny(Denied { forbids: merged.forbids, ..Denied::default() }));
        }
        let mut denied = Denied::default();
        let mut permits = Vec::new();
        for permit in merged.permits {
            match self.required(&permit, ask, plainly)? {
                None => permits.push(permit),
                Some(codes) => denied.required.extend(codes),
            }
        }
        if !permits.is_empty() {
            return Ok(Verdict::Allow { permits });
        }
        if let Some(masked) = self.masked(ask, &mut denied)? {
            return Ok(masked);
        }
        self.near_misses(&request, ask, plainly, &mut denied)?;
        Ok(Verdict::Deny(denied))
    }

    /// A group that may not be read may still be shown masked.
    fn masked(&self, ask: &Ask, denied: &mut Denied) -> Result<Option<Verdict>, JudgeError> {
        let masks = !ask.plain && self.bundle.taxonomy.verbs.get(&ask.verb).is_some_and(|verb| verb.masks);
        let Some(group) = ask.group.as_ref().filter(|_| masks) else { return Ok(None) };
        let mask = Ask { verb: "mask".into(), ..ask.clone() };
        let Some((request, merged)) = self.evaluate(&mask, &self.question.resource)? else { return Ok(None) };
        if !merged.forbids.is_empty() {
            return Ok(Some(Verdict::Deny(Denied { forbids: merged.forbids, ..Denied::default() })));
        }
        if merged.permits.is_empty() {
            denied.near.extend(self.near(&request));
            return Ok(None);
        }
        let how = self.bundle.taxonomy.groups.get(group).and_then(|group| group.masked_as.clone());
        Ok(Some(Verdict::Mask { how: how.unwrap_or_else(|| "masked".into()), permits: merged.permits }))
    }

    /// Whether the question that `permit` requires is denied, and why; `None`: it requires none, or it is allowed.
    fn required(
        &self,
        permit: &Arc<str>,
        ask: &Ask,
        plainly: &dyn Fn(&Ask) -> Result<Verdict, JudgeError>,
    ) -> Result<Option<Vec<Reason>>, JudgeError> {
        let Some(required) = self.bundle.policies.get(permit).and_then(|meta| meta.requires.clone()) else {
            return Ok(None);
        };
        let ask = self.bundle.required_ask(&required, ask, &self.question.resource, &self.world.projected);
        match plainly(&ask)? {
            Verdict::Allow { .. } => Ok(None),
            Verdict::Mask { .. } => Ok(Some(vec![self.bundle.reasons.default.clone()])),
            Verdict::Deny(denied) => Ok(Some(self.bundle.codes(&denied))),
        }
    }

    fn near(&self, request: &Request) -> Vec<(Arc<str>, Reason)> {
        if !self.explains {
            return Vec::new();
        }
        self.bundle
            .clauses
            .near(request, &self.world.entities)
            .into_iter()
            .filter_map(|near| {
                let (id, meta) = self.bundle.policies.get_key_value(AsRef::<str>::as_ref(&near.id))?;
                let code = match meta.otherwise.as_slice() {
                    [only] => only.clone(),
                    several => several.get(near.first_failing_clause).cloned().flatten(),
                };
                code.map(|code| (id.clone(), code))
            })
            .collect()
    }

    /// Explains a default deny: the clauses that did not hold, and the required questions behind them.
    fn near_misses(
        &self,
        request: &Request,
        ask: &Ask,
        plainly: &dyn Fn(&Ask) -> Result<Verdict, JudgeError>,
        denied: &mut Denied,
    ) -> Result<(), JudgeError> {
        let near = self.near(request);
        for (permit, _) in &near {
            if let Some(codes) = self.required(permit, ask, plainly)? {
                denied.required.extend(codes);
            }
        }
        denied.near.extend(near);
        Ok(())
    }
}

impl Bundle {
    /// The bundle's own names of policies, shared and not copied.
    fn policy_names<'p>(&self, ids: impl IntoIterator<Item = &'p PolicyId>) -> Vec<Arc<str>> {
        ids.into_iter()
            .map(|id| {
                let name: &str = id.as_ref();
                self.policies.get_key_value(name).map_or_else(|| name.into(), |(known, _)| known.clone())
            })
            .collect()
    }

    /// Every code that a deny gives, unrefined.
    pub(super) fn codes(&self, denied: &Denied) -> Vec<Reason> {
        let forbids = denied.forbids.iter().filter_map(|id| self.policies.get(id)?.reason.clone());
        forbids.chain(denied.near.iter().map(|(_, code)| code.clone())).chain(denied.required.iter().cloned()).collect()
    }
}

/// Dotted keys -> nested records for Cedar.
fn nested(values: &ContextValues) -> Vec<(String, RestrictedExpression)> {
    let mut flat = Vec::new();
    let mut records: BTreeMap<&str, Vec<(String, RestrictedExpression)>> = BTreeMap::new();
    for (key, value) in values {
        match key.split_once('.') {
            Some((record, field)) => records.entry(record).or_default().push((field.to_owned(), value.to_cedar())),
            None => flat.push((key.to_string(), value.to_cedar())),
        }
    }
    for (record, fields) in records {
        // INVARIANT(record-keys): keys come from a `BTreeMap`, so no field is given twice.
        if let Ok(record_value) = RestrictedExpression::new_record(fields) {
            flat.push((record.to_owned(), record_value));
        }
    }
    flat
}
