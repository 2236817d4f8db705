//! The pure function: one bundle, one question, one slice, one instant -> one evaluation.
//!
//! A request for fields is judged once a group and folded; every explanation rests on a re-evaluation, never on a guess.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    bundle::Bundle,
    exception::Exception,
    judge::{Ask, Denied, Judge, JudgeError, Verdict},
    question::{Asked, ContextValues, Question},
    world::World,
};
use crate::domain::{
    Decision, Evaluation, Fields, Loaded, Mode, Obligation, PolicyEffect, PolicyRef, Reason, Skew, Slice, Value,
    evaluation::Subject, projection::View,
};

/// An answer is never to be reused for longer than this.
pub const REUSE_SECONDS_MAX: i64 = 30;

/// One asked name with what the policies say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) ask: Option<Ask>,
    pub(super) verdict: Verdict,
    /// Set where the deny was given without asking a policy.
    pub(super) given: Option<Reason>,
}

/// All names of one question, judged in one world (a slice, a context, an instant).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) lines: Vec<Line>,
    pub(super) decision: Decision,
}

impl Bundle {
    /// Evaluates `question` over `slice` as of `now`. Pure: the same arguments give the same evaluation.
    ///
    /// Whatever goes wrong inside is a deny: a policy that errs is `policy_error`, facts that do not fit the mapping are
    /// `data_unavailable`.
    pub fn evaluate(&self, question: &Question, slice: &Slice, now: Timestamp) -> Evaluation {
        if let Some(reason) = unknown(question, slice) {
            let mut evaluation = self.denied(question, slice, reason);
            self.say_subject(&mut evaluation, question, slice, now);
            return evaluation;
        }
        match self.try_evaluate(question, slice, now) {
            Ok(evaluation) => evaluation,
            Err(JudgeError::Policies(ids)) => {
                let mut evaluation = self.denied(question, slice, Reason::POLICY_ERROR);
                evaluation.policy_errors = ids;
                self.say_subject(&mut evaluation, question, slice, now);
                evaluation
            }
            Err(error @ (JudgeError::Facts(_) | JudgeError::Entity(_))) => {
                tracing::error!(error = &error as &dyn std::error::Error, "facts do not fit the bundle: denied");
                self.denied(question, slice, Reason::DATA_UNAVAILABLE)
            }
            Err(error @ JudgeError::Clocks) => {
                tracing::error!(error = &error as &dyn std::error::Error, "an allow is not certain: denied");
                self.denied(question, slice, Reason::DATA_UNAVAILABLE)
            }
        }
    }

    /// Which of `questions`, all about one principal and one resource, a policy permits the plain action of, bars aside:
    /// what a change wants to know of the facts around it. Never an answer. Whatever goes wrong permits nothing.
    pub fn finds(&self, questions: &[Question], slice: &Slice, now: Timestamp) -> Vec<bool> {
        let world = questions.split_first().and_then(|(first, others)| {
            let view = View::new(&self.mapping, slice, now, first.said_tenant.as_deref());
            World::made(self, first, others, &view).ok().map(|world| (first, Arc::new(world)))
        });
        let Some((first, world)) = world else { return vec![false; questions.len()] };
        let is_like = |question: &Question| {
            (&question.principal, &question.resource, &question.said_tenant)
                == (&first.principal, &first.resource, &first.said_tenant)
        };
        let finds = |question: &Question| {
            let Asked::Plain { action, group } = &question.asked else { return false };
            if unknown(question, slice).is_some() || !is_like(question) {
                return false;
            }
            let view = View::new(&self.mapping, slice, now, question.said_tenant.as_deref());
            let world = Arc::clone(&world);
            let judge = Judge::within(self, question, (slice, now), &question.context, (view, world));
            let ask = Ask { verb: action.clone(), group: Some(group.clone()), asked: Some(group.clone()), plain: true };
            let permits = judge.and_then(|judge| judge.permits_for(&ask, &question.resource));
            permits.is_ok_and(|permits| !permits.is_empty())
        };
        questions.iter().map(finds).collect()
    }

    /// A deny given without asking any policy.
    pub fn denied(&self, question: &Question, slice: &Slice, reason: Reason) -> Evaluation {
        let mut evaluation = self.denied_without_facts(Some(question), reason);
        evaluation.facts_revision.clone_from(&slice.freshness.revision);
        evaluation.facts_age_ms = slice.freshness.age_ms;
        evaluation
    }

    /// A deny given before facts could be read.
    pub fn denied_without_facts(&self, question: Option<&Question>, reason: Reason) -> Evaluation {
        Evaluation {
            decision: Decision::Deny,
            reason: Some(reason),
            fields: None,
            policies: Vec::new(),
            evidence: Vec::new(),
            obligations: Vec::new(),
            remedies: Vec::new(),
            not_after: None,
            grant: None,
            would_have_been_allowed: None,
            subject: Subject { crud: question.and_then(|question| question.crud), ..Subject::default() },
            policies_revision: self.revision.clone(),
            facts_revision: String::new(),
            facts_age_ms: 0,
            durability: question.map_or(crate::domain::Tier::Process, |question| question.durability),
            ignored: question.map(|question| question.ignored.clone()).unwrap_or_default(),
            asserted: question.map(|question| question.asserted_names.clone()).unwrap_or_default(),
            policy_errors: Vec::new(),
        }
    }

    /// The record names roles and tenant also where nothing could be judged.
    fn say_subject(&self, evaluation: &mut Evaluation, question: &Question, slice: &Slice, now: Timestamp) {
        if let Ok(judge) = Judge::new(self, question, slice, now, &question.context) {
            evaluation.subject = self.subject(&judge);
        }
    }

    fn try_evaluate(&self, question: &Question, slice: &Slice, now: Timestamp) -> Result<Evaluation, JudgeError> {
        let judge = Judge::new(self, question, slice, now, &question.context)?;
        let exception = Exception::find(self, slice, now);
        let reduced = exception.as_ref().map(|exception| exception.without(slice));
        let plain = match &reduced {
            Some(slice) => Some(judge.elsewhere(slice, now, &question.context)?),
            None => None,
        };
        let outcome = self.outcome(&judge, &|required| plainly(plain.as_ref().unwrap_or(&judge), required, 0))?;
        if let Some(instant) = self.least(&judge, &outcome)? {
            let certain = Slice { skew: Skew::default(), ..slice.clone() };
            let mut evaluation = self.try_evaluate(question, &certain, instant)?;
            // What is left of an allow while a window opens or closes is good for this once.
            evaluation.not_after = evaluation.not_after.map(|_| now);
            return Ok(evaluation);
        }
        let mut evaluation = self.denied(question, slice, self.reasons.default.clone());
        evaluation.subject = self.subject(&judge);
        evaluation.decision = outcome.decision;
        if outcome.decision.is_allow() {
            self.say_allow(&mut evaluation, &judge, &outcome);
            if let (Some(exception), Some(plain)) = (&exception, &plain) {
                let without = self.outcome(plain, &|required| plainly(plain, required, 0))?;
                self.say_exception(&mut evaluation, &outcome, &without, exception);
            }
            evaluation.not_after = Some(self.not_after(&judge, &outcome, &evaluation)?);
        } else {
            self.say_deny(&mut evaluation, &judge, &outcome);
            evaluation.remedies = self.remedies(&judge)?;
        }
        Ok(evaluation)
    }

    /// What would be answered to the same question on other facts, at another instant or with other words. Exceptional
    /// access carries no further there than it does here.
    pub(super) fn supposed(
        &self,
        judge: &Judge<'_>,
        slice: &Slice,
        now: Timestamp,
        context: &ContextValues,
    ) -> Result<Outcome, JudgeError> {
        let supposed = judge.elsewhere(slice, now, context)?.unexplained();
        // The same world without exceptional access is seldom asked for, and dear to make.
        let reduced: OnceCell<Option<Slice>> = OnceCell::new();
        let plain = OnceCell::new();
        self.outcome(&supposed, &|required| {
            let without = || Exception::find(self, slice, now).map(|exception| exception.without(slice));
            let Some(reduced) = reduced.get_or_init(without) else { return plainly(&supposed, required, 0) };
            if plain.get().is_none() {
                let made = supposed.elsewhere(reduced, now, context)?.unexplained();
                // INVARIANT(plain): nobody else fills it.
                let _is_first = plain.set(made).is_ok();
            }
            plainly(plain.get().unwrap_or(&supposed), required, 0)
        })
    }

    /// Judges every asked name. `plainly` judges in the same world without exceptional access.
    pub(super) fn outcome(
        &self,
        judge: &Judge<'_>,
        plainly: &dyn Fn(&Ask) -> Result<Verdict, JudgeError>,
    ) -> Result<Outcome, JudgeError> {
        let mut seen: BTreeMap<Ask, Verdict> = BTreeMap::new();
        let mut lines = Vec::new();
        for (name, ask) in self.asks(judge) {
            let line = match ask {
                Err(reason) => Line { name, ask: None, verdict: Verdict::Deny(Denied::default()), given: Some(reason) },
                Ok(ask) => {
                    let verdict = match seen.get(&ask) {
                        Some(verdict) => verdict.clone(),
                        None => judge.verdict(&ask, plainly)?,
                    };
                    seen.insert(ask.clone(), verdict.clone());
                    Line { name, ask: Some(ask), verdict, given: None }
                }
            };
            lines.push(line);
        }
        let decision = fold(judge.question, &lines);
        Ok(Outcome { lines, decision })
    }

    /// The questions behind the asked names, in their order; a name that means nothing carries its reason.
    pub(super) fn asks(&self, judge: &Judge<'_>) -> Vec<(String, Result<Ask, Reason>)> {
        let ask =
            |verb: &Arc<str>, group: &Arc<str>| self.governed(verb, group, &judge.question.resource, judge.projected());
        match &judge.question.asked {
            Asked::Unknown(reason) => vec![(String::new(), Err(reason.clone()))],
            Asked::Bare { action } => {
                vec![(String::new(), Ok(Ask { verb: action.clone(), group: None, asked: None, plain: true }))]
            }
            Asked::Plain { action, group } => {
                // A label changes what is signed or deleted as it changes what is read.
                let ask = Ask { plain: true, ..ask(action, group) };
                vec![(String::new(), Ok(ask))]
            }
            Asked::Groups { verb, names: None } => {
                let groups = self.own_groups(&judge.question.resource);
                groups.iter().map(|group| (group.to_string(), Ok(ask(verb, group)))).collect()
            }
            Asked::Groups { verb, names: Some(names) } => {
                let mut asks = Vec::new();
                let mut told = BTreeSet::new();
                for name in names {
                    for (name, group) in self.groups_named(name, verb, &judge.question.resource, judge.projected()) {
                        if told.insert(name.clone()) {
                            asks.push((name, group.map(|group| ask(verb, &group))));
                        }
                    }
                }
                asks
            }
        }
    }

    fn say_allow(&self, evaluation: &mut Evaluation, judge: &Judge<'_>, outcome: &Outcome) {
        evaluation.reason = None;
        let mut permits = BTreeSet::new();
        let mut evidence = BTreeSet::new();
        for line in &outcome.lines {
            if let (Some(ask), Verdict::Allow { permits: by }) | (Some(ask), Verdict::Mask { permits: by, .. }) =
                (&line.ask, &line.verdict)
            {
                let masked = matches!(line.verdict, Verdict::Mask { .. });
                let ask = if masked { Ask { verb: "mask".into(), ..ask.clone() } } else { ask.clone() };
                evidence.extend(judge.evidence(&ask, by));
                permits.extend(by.iter().cloned());
            }
        }
        for id in &permits {
            let Some(meta) = self.policies.get(id) else { continue };
            evaluation.policies.push(PolicyRef {
                id: id.clone(),
                effect: PolicyEffect::Permit,
                text: meta.text.clone(),
                otherwise: None,
            });
            evaluation.durability = evaluation.durability.max(meta.durability.unwrap_or(evaluation.durability));
            for obligation in &meta.obligations {
                self.oblige(evaluation, obligation);
            }
        }
        evaluation.evidence = evidence.into_iter().collect();
        evaluation.fields = self.fields(judge, outcome);
    }

    fn say_deny(&self, evaluation: &mut Evaluation, judge: &Judge<'_>, outcome: &Outcome) {
        let mut reasons: Vec<Reason> = Vec::new();
        let mut forbids = BTreeSet::new();
        let mut near = BTreeSet::new();
        for line in &outcome.lines {
            if let Some(reason) = self.line_reason(judge, line) {
                reasons.push(reason);
            }
            if let Verdict::Deny(denied) = &line.verdict {
                forbids.extend(denied.forbids.iter().cloned());
                near.extend(denied.near.iter().cloned());
            }
        }
        let reason = reasons
            .into_iter()
            .min_by_key(|reason| self.reasons.rank(reason))
            .unwrap_or_else(|| self.reasons.default.clone());
        let mut determining: Vec<_> = forbids.iter().filter_map(|id| self.policies.get(id)).collect();
        determining.sort_by_key(|meta| {
            (meta.reason.as_ref().map(|reason| self.reasons.rank(reason)), meta.priority, meta.id.clone())
        });
        for meta in determining {
            evaluation.policies.push(PolicyRef {
                id: meta.id.clone(),
                effect: PolicyEffect::Forbid,
                text: meta.text.clone(),
                otherwise: None,
            });
            if meta.reason.as_ref() == Some(&reason) {
                for obligation in &meta.obligations {
                    self.oblige(evaluation, obligation);
                }
            }
        }
        if forbids.is_empty() {
            for (id, code) in near {
                let text = self.policies.get(&id).and_then(|meta| meta.text.clone());
                let otherwise = Some(self.refine(judge, &code));
                evaluation.policies.push(PolicyRef { id, effect: PolicyEffect::Permit, text, otherwise });
            }
        }
        evaluation.reason = Some(reason);
        evaluation.fields = self.fields(judge, outcome);
    }

    /// Why a line is denied, refined by the lapsed facts; `None` if it is not.
    pub(super) fn line_reason(&self, judge: &Judge<'_>, line: &Line) -> Option<Reason> {
        if let Some(reason) = &line.given {
            return Some(reason.clone());
        }
        match &line.verdict {
            Verdict::Allow { .. } => None,
            Verdict::Mask { .. } => (!counts_masked(judge.question)).then(|| self.reasons.default.clone()),
            Verdict::Deny(denied) => {
                let codes = self.codes(denied).into_iter().map(|code| self.refine(judge, &code));
                Some(codes.min_by_key(|code| self.reasons.rank(code)).unwrap_or_else(|| self.reasons.default.clone()))
            }
        }
    }

    fn fields(&self, judge: &Judge<'_>, outcome: &Outcome) -> Option<Fields> {
        let Asked::Groups { names: Some(_), .. } = &judge.question.asked else { return None };
        let mut fields = Fields::default();
        for line in &outcome.lines {
            match (self.line_reason(judge, line), &line.verdict) {
                (Some(reason), _) => drop(fields.deny.insert(line.name.clone(), reason)),
                (None, Verdict::Mask { how, .. }) => drop(fields.mask.insert(line.name.clone(), how.to_string())),
                (None, Verdict::Allow { .. } | Verdict::Deny(_)) => fields.allow.push(line.name.clone()),
            }
        }
        if !outcome.decision.is_allow() {
            fields.allow.clear();
            fields.mask.clear();
        }
        Some(fields)
    }

    pub(super) fn oblige(&self, evaluation: &mut Evaluation, id: &Arc<str>) {
        if evaluation.obligations.iter().any(|obligation| obligation.id == *id) {
            return;
        }
        let kind = self.reasons.obligation_types.get(id).cloned().unwrap_or_else(|| "custom".into());
        evaluation.obligations.push(Obligation { id: id.clone(), kind, properties: BTreeMap::new() });
    }

    fn subject(&self, judge: &Judge<'_>) -> Subject {
        let client = match self.lookup(judge, "resource.client") {
            Some(Value::Entity(uid)) => Some(Arc::from(AsRef::<str>::as_ref(uid.id()))),
            _ => None,
        };
        Subject {
            resource_tenant: self.resource_tenant(judge),
            roles: judge.projected().roles.clone(),
            tenant: judge.projected().tenant.clone(),
            client,
            purpose: judge.purpose(),
            crud: judge.question.crud,
        }
    }

    /// The earliest instant at which the same question might be answered otherwise, 30 s at most: evidence ends, the
    /// session runs into a limit, or a window opens or closes and a re-evaluation there differs.
    fn not_after(
        &self,
        judge: &Judge<'_>,
        outcome: &Outcome,
        evaluation: &Evaluation,
    ) -> Result<Timestamp, JudgeError> {
        let horizon = judge.now.saturating_add(SignedDuration::from_secs(REUSE_SECONDS_MAX)).unwrap_or(judge.now);
        // A window ends when the clock that is furthest ahead says so: by ours that is earlier.
        let ahead = judge.slice.skew.ahead;
        let ours = |instant: Timestamp| instant.saturating_sub(ahead).unwrap_or(judge.now).max(judge.now);
        let evidence = evaluation.evidence.iter().filter_map(|evidence| evidence.until.map(ours));
        let sessions = self.reasons.deadlines.iter().filter_map(|deadline| self.deadline(judge, deadline));
        let end = evidence.chain(sessions).fold(horizon, Timestamp::min);
        let (_, latest) = judge.slice.skew.around(judge.now);
        for instant in judge.view.boundaries(latest, end.saturating_add(ahead).unwrap_or(end)) {
            let context = self.later_context(judge, instant);
            let then = self.supposed(judge, judge.slice, instant, &context)?;
            if then.decision != outcome.decision || shrinks(outcome, &then) {
                return Ok(ours(instant));
            }
        }
        Ok(end)
    }

    /// The context as it will be at `instant`: what counts up has counted up.
    fn later_context(&self, judge: &Judge<'_>, instant: Timestamp) -> ContextValues {
        let mut context = judge.question.context.clone();
        let seconds = instant.duration_since(judge.now).as_secs();
        for deadline in &self.reasons.deadlines {
            if let Some(Value::Long(value)) = context.get_mut(&deadline.counts) {
                *value = value.saturating_add(seconds);
            }
        }
        context
    }
}

/// Judges `ask` in one world, its required questions in the same. The depth ends a circle of `@requires`, which the
/// loader refuses, all the same.
pub(super) fn plainly(judge: &Judge<'_>, ask: &Ask, depth: u8) -> Result<Verdict, JudgeError> {
    if depth > 3 {
        return Err(JudgeError::Policies(vec!["@requires".into()]));
    }
    judge.verdict(ask, &|required| plainly(judge, required, depth + 1))
}

/// Gate 1, in its order.
fn unknown(question: &Question, slice: &Slice) -> Option<Reason> {
    if !matches!(slice.entities.get(&question.principal), Some(Loaded::Present(_))) {
        return Some(Reason::UNKNOWN_PRINCIPAL);
    }
    if let Asked::Unknown(reason) = &question.asked {
        return Some(reason.clone());
    }
    if !matches!(slice.entities.get(&question.resource), Some(Loaded::Present(_))) {
        return Some(Reason::UNKNOWN_RESOURCE);
    }
    None
}

/// Masked counts as an answer only where single fields were asked for reading.
fn counts_masked(question: &Question) -> bool {
    matches!(&question.asked, Asked::Groups { names: Some(_), .. })
}

fn fold(question: &Question, lines: &[Line]) -> Decision {
    let passes = |line: &Line| match line.verdict {
        Verdict::Allow { .. } => line.given.is_none(),
        Verdict::Mask { .. } => counts_masked(question),
        Verdict::Deny(_) => false,
    };
    let whole = !counts_masked(question);
    let allowed = match question.mode {
        Mode::Filter if !whole => lines.iter().any(passes),
        // The record as a whole, and every strict question: all or nothing; nothing asked is nothing allowed.
        Mode::Filter | Mode::Strict => !lines.is_empty() && lines.iter().all(passes),
    };
    if allowed { Decision::Allow } else { Decision::Deny }
}

/// Whether `then` gives less than `now` does.
pub(super) fn shrinks(now: &Outcome, then: &Outcome) -> bool {
    let strength = |verdict: &Verdict| match verdict {
        Verdict::Allow { .. } => 2,
        Verdict::Mask { .. } => 1,
        Verdict::Deny(_) => 0,
    };
    now.lines.iter().zip(&then.lines).any(|(now, then)| strength(&then.verdict) < strength(&now.verdict))
}
