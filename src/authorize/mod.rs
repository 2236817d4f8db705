//! The use case: authorize one request. The only place that joins engine, entities and audit.
//!
//! One bundle, one slice, one clock reading a request. What comes back is recorded, or it does not come back.

mod batch;
mod capture;
mod record;
mod rederive;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use capture::Basis;

pub use batch::Held;
pub use rederive::{Derived, Difference, NotDerived, Rederiver, bundles_folder};

use crate::{
    audit::{AppendError, Captures, Recorded, Trail},
    clock::Clock,
    domain::{
        Cell, Evaluation, Outcome, Reason, Record, RecordKind, Request, Tier, Timestamp, mapping::Attribute,
        projection, record::code_word, request::Caller,
    },
    engine::{Bundle, live::Live, question::Question},
    entities::{Asking, Facts, FactsError, Hold, Trust},
    telemetry::{CacheUse, Chain, Metrics},
};

/// Why there is no answer. A deny is not an error: it is an [`Evaluation`].
#[derive(Debug, thiserror::Error)]
pub enum AuthorizeError {
    #[error("no policy bundle was ever loaded")]
    NoBundle,
    #[error("the record of the decision could not be written")]
    Unrecorded(#[source] AppendError),
    #[error("a fact could not be read")]
    Unread(#[from] FactsError),
}

/// Why an outcome was not taken.
#[derive(Debug, thiserror::Error)]
pub enum OutcomeError {
    /// Never decided here, or for another caller: the two are not told apart.
    #[error("no such decision")]
    Unknown,
    #[error("the record of the outcome could not be written")]
    Unrecorded(#[source] AppendError),
    #[error("the trail could not be read")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A decision that has not left yet, with what it rests on.
struct Decided {
    evaluation: Evaluation,
    hold: Hold,
    cache: CacheUse,
    question: Option<Question>,
    /// What the evaluation was made of; none where no facts were read.
    basis: Option<Basis>,
}

impl Decided {
    fn without_facts(evaluation: Evaluation, question: Option<Question>) -> Self {
        Self { evaluation, hold: Hold::default(), cache: CacheUse::Unused, question, basis: None }
    }
}

/// Authorizes requests; one for the whole process, shared.
#[derive(Debug)]
pub struct Authorizer {
    live: Arc<Live>,
    facts: Arc<Facts>,
    trail: Arc<Trail>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    settings: Settings,
    /// Where it is kept what decisions were made of, if it is.
    captures: Option<Arc<Captures>>,
    /// Looking for an old decision reads the folder: one at a time, so that reports cannot crowd out decisions.
    lookup: tokio::sync::Mutex<()>,
}

/// What an operator sets about decisions.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The least durability of a record, and of one that is about more than reading. Policies may ask for more.
    pub durability: Tier,
    pub durability_of_changes: Tier,
}

/// What is recorded behind a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follows {
    Nothing,
    /// A change, on disk: what stands before it in the same trail is on disk by then.
    Change,
}

impl Settings {
    /// The durability of a change's own record.
    fn tier_of_changes(self) -> Tier {
        self.tier(Tier::Disk)
    }

    /// That of the decision that permits a change, which stands before it in the same trail. What must be in the store waits
    /// for it here as well: that is before anything was changed.
    fn tier_of_a_permit(self, asked: Tier) -> Tier {
        match self.tier(asked) {
            Tier::Disk => self.durability.min(Tier::Disk),
            tier => tier,
        }
    }

    fn tier(self, asked: Tier) -> Tier {
        match asked {
            Tier::Process => self.durability,
            Tier::Disk | Tier::Remote => asked.max(self.durability_of_changes),
        }
    }
}

impl Authorizer {
    pub fn new(
        live: Arc<Live>,
        facts: Arc<Facts>,
        trail: Arc<Trail>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        settings: Settings,
    ) -> Self {
        Self { live, facts, trail, clock, metrics, settings, captures: None, lookup: tokio::sync::Mutex::new(()) }
    }

    /// How durable the record of a change must be before anybody hears of it.
    pub fn tier_of_changes(&self) -> Tier {
        self.settings.tier_of_changes()
    }

    /// The same, keeping what each decision is made of.
    #[must_use]
    pub fn capturing(self, captures: Option<Arc<Captures>>) -> Self {
        Self { captures, ..self }
    }

    /// Decides `request`, records the decision and only then returns it.
    ///
    /// An allow leaves only while its facts are fresh: one that comes too late is withheld, which is recorded, and the
    /// question is decided once more from facts read for it alone. If that comes too late as well it is a deny.
    ///
    /// # Errors
    ///
    /// [`AuthorizeError`] if nobody decided or the record could not be written; the caller of the API gets a 503.
    #[tracing::instrument(name = "chaperone.evaluate", skip_all, fields(
        chaperone.decision.id = %request.decision_id, chaperone.decision.result, chaperone.decision.reason,
        chaperone.policy.revision, chaperone.action = %code_word(&request.action), chaperone.resource.type = %code_word(&request.resource.kind),
    ))]
    pub async fn authorize(&self, request: Request) -> Result<Recorded<Evaluation>, AuthorizeError> {
        // A barrier waits until this is dropped: after the last look at the facts.
        let _entered = self.facts.enter();
        self.decide(&request, Follows::Nothing).await.map(|(recorded, _)| recorded)
    }

    /// The same for a change, of which nobody hears before its own record is on disk: an allow does not wait for its own. Where
    /// the change then comes to nothing that is recorded, as a call that is repeated, the allow is on disk as soon as a read's.
    ///
    /// # Errors
    ///
    /// Those of [`Self::authorize`].
    pub async fn authorize_change(&self, request: Request) -> Result<Recorded<Evaluation>, AuthorizeError> {
        let _entered = self.facts.enter();
        self.decide(&request, Follows::Change).await.map(|(recorded, _)| recorded)
    }

    /// The same, with what the answer rests on.
    async fn decide(
        &self,
        request: &Request,
        follows: Follows,
    ) -> Result<(Recorded<Evaluation>, Hold), AuthorizeError> {
        let started = self.clock.elapsed();
        let bundle = self.live.current().ok_or(AuthorizeError::NoBundle)?;
        let mut last = None;
        for trust in [Trust::Feed, Trust::LoadsAlone] {
            let decided = self.evaluate(&bundle, request, trust).await;
            let facts = decided.question.as_ref().zip(decided.basis.as_ref());
            let recorded = self.record(request, decided.evaluation, facts, started, follows).await?;
            if !recorded.value().decision.is_allow() || decided.hold.is_good(self.clock.elapsed()) {
                return Ok((self.released(request, recorded, decided.cache, started), decided.hold));
            }
            self.withhold(request, &recorded).await?;
            last = Some((recorded, decided.question));
        }
        let (recorded, question) = last.unzip();
        let stale = self.stale(&bundle, recorded.as_ref(), question.flatten().as_ref(), started);
        let recorded = self.record(request, stale, None, started, follows).await?;
        Ok((self.released(request, recorded, CacheUse::Miss, started), Hold::default()))
    }

    /// Which of `requests`, all of one person about one record, a policy permits, bars aside, on the facts as they are read
    /// now. For changes that want to know the facts around them; no answer, so that nothing is recorded. Facts that cannot
    /// be read permit nothing.
    pub async fn finds(&self, requests: &[Request]) -> Vec<bool> {
        let now = self.clock.now();
        let none = || vec![false; requests.len()];
        let Some(bundle) = self.live.current() else { return none() };
        let questions: Result<Vec<Question>, _> = requests.iter().map(|request| bundle.question(request)).collect();
        let Ok(questions) = questions else { return none() };
        let Some(first) = questions.first() else { return none() };
        let plan = bundle.plan_of_all(&questions);
        let gathered = self.facts.gathered(&bundle.mapping, &plan, &asking(first, now), Trust::Feed).await;
        gathered.map_or_else(|_unread| none(), |gathered| bundle.finds(&questions, &gathered.slice, now))
    }

    /// What would be said to `request`. For changes that want to know whether a thing they name is there and whose it is;
    /// no answer, so that nothing is recorded.
    ///
    /// # Errors
    ///
    /// [`AuthorizeError::NoBundle`].
    pub async fn supposes(&self, request: &Request) -> Result<Evaluation, AuthorizeError> {
        let bundle = self.live.current().ok_or(AuthorizeError::NoBundle)?;
        Ok(self.evaluate(&bundle, request, Trust::Feed).await.evaluation)
    }

    /// The cell behind an attribute of one entity, as the mapping reads it: `None` where the mapping has no such attribute
    /// of a column, there is no such entity, or its cell is null.
    ///
    /// # Errors
    ///
    /// [`AuthorizeError::NoBundle`]; [`AuthorizeError::Unread`]: the database cannot be read now.
    pub async fn fact(&self, kind: &Arc<str>, id: &str, attribute: &str) -> Result<Option<Cell>, AuthorizeError> {
        let bundle = self.live.current().ok_or(AuthorizeError::NoBundle)?;
        let attribute = bundle.mapping.entity(kind).and_then(|mapping| mapping.attributes.get(attribute));
        let Some(Attribute::Column { column, .. }) = attribute else { return Ok(None) };
        let Ok(uid) = projection::uid(kind, id) else { return Ok(None) };
        let asking = Asking {
            principal: uid.clone(),
            resource: uid.clone(),
            now: self.clock.now(),
            said_tenant: None,
            asserted: BTreeMap::new(),
        };
        let gathered = self.facts.gathered(&bundle.mapping, &Arc::default(), &asking, Trust::Feed).await?;
        let cell = gathered.slice.present(&uid).and_then(|entity| entity.row.cells.get(*column).cloned());
        Ok(cell.filter(|cell| *cell != Cell::Null))
    }

    async fn record(
        &self,
        request: &Request,
        evaluation: Evaluation,
        facts: Option<(&Question, &Basis)>,
        started: Duration,
        follows: Follows,
    ) -> Result<Recorded<Evaluation>, AuthorizeError> {
        self.tell(request, &evaluation);
        let latency = self.clock.elapsed().saturating_sub(started);
        let mut record = record::of(request, &evaluation, self.clock.now(), latency);
        if let (Some(captures), Some((question, basis))) = (&self.captures, facts)
            && let Err(why) = capture::capture(captures, request, question, basis, &mut record)
        {
            tracing::warn!(%why, "what a decision was made of is not kept: it cannot be derived again");
        }
        let tier = if follows == Follows::Change && evaluation.decision.is_allow() {
            self.settings.tier_of_a_permit(evaluation.durability)
        } else {
            self.settings.tier(evaluation.durability)
        };
        let appending = self.clock.elapsed();
        let recorded = self.trail.append(evaluation, record, tier).await.map_err(AuthorizeError::Unrecorded)?;
        let durability = recorded.receipt().durability;
        self.metrics.appended(durability, self.clock.elapsed().saturating_sub(appending).as_secs_f64());
        Ok(recorded)
    }

    /// The trail says that an allow it holds never left.
    async fn withhold(&self, request: &Request, recorded: &Recorded<Evaluation>) -> Result<(), AuthorizeError> {
        let record = record::of_withheld(request, recorded.receipt().seq, self.clock.now());
        self.trail.append((), record, self.settings.durability).await.map_err(AuthorizeError::Unrecorded)?;
        tracing::warn!("an allow came too late for its facts: withheld");
        Ok(())
    }

    fn released(
        &self,
        request: &Request,
        recorded: Recorded<Evaluation>,
        cache: CacheUse,
        started: Duration,
    ) -> Recorded<Evaluation> {
        self.metrics.decided(
            recorded.value().decision,
            recorded.value().reason.as_ref().map(Reason::as_str),
            request.api,
            cache,
            self.clock.elapsed().saturating_sub(started).as_secs_f64(),
        );
        recorded
    }

    async fn evaluate(&self, bundle: &Bundle, request: &Request, trust: Trust) -> Decided {
        let now = self.clock.now();
        let Ok(question) = bundle.question(request) else {
            return Decided::without_facts(bundle.denied_without_facts(None, Reason::UNKNOWN_PRINCIPAL), None);
        };
        let plan = bundle.plan(&question);
        let asking = asking(&question, now);
        match self.facts.gathered(&bundle.mapping, &plan, &asking, trust).await {
            Ok(gathered) => Decided {
                basis: Some(Basis { entities: gathered.slice.entities.clone(), skew: gathered.slice.skew, at: now }),
                evaluation: bundle.evaluate(&question, &gathered.slice, now),
                cache: match (gathered.kept, gathered.loaded) {
                    (0, 0) => CacheUse::Unused,
                    (_, 0) => CacheUse::Hit,
                    (_, _) => CacheUse::Miss,
                },
                hold: gathered.hold,
                question: Some(question),
            },
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "facts could not be read: denied");
                let denied = bundle.denied_without_facts(Some(&question), Reason::DATA_UNAVAILABLE);
                Decided::without_facts(denied, Some(question))
            }
        }
    }

    /// Two allows in a row came too late: a deny, about the same subject.
    fn stale(
        &self,
        bundle: &Bundle,
        last: Option<&Recorded<Evaluation>>,
        question: Option<&Question>,
        started: Duration,
    ) -> Evaluation {
        let mut stale = bundle.denied_without_facts(question, Reason::DATA_STALE);
        stale.facts_age_ms =
            u64::try_from(self.clock.elapsed().saturating_sub(started).as_millis()).unwrap_or(u64::MAX);
        if let Some(recorded) = last {
            stale.facts_revision.clone_from(&recorded.value().facts_revision);
            stale.subject = recorded.value().subject.clone();
        }
        stale
    }

    fn tell(&self, request: &Request, evaluation: &Evaluation) {
        let reason = evaluation.reason.as_ref().map(Reason::as_str);
        tracing::record_all!(
            tracing::Span::current(),
            chaperone.decision.result = evaluation.decision.as_str(),
            chaperone.decision.reason = reason,
            chaperone.policy.revision = &*evaluation.policies_revision,
        );
        for policy in &evaluation.policy_errors {
            self.metrics.policy_failed(policy);
            tracing::error!(policy = %policy, action = %code_word(&request.action), "a policy failed to evaluate: denied");
        }
    }

    /// Completes the record of a decision with what came of it. A repeat is harmless: the trail keeps every report, and
    /// whoever counts takes the first.
    ///
    /// # Errors
    ///
    /// [`OutcomeError::Unknown`] if this caller never got that decision.
    pub async fn outcome(&self, outcome: Outcome, caller: &Caller) -> Result<Recorded<()>, OutcomeError> {
        let (trail, id) = (Arc::clone(&self.trail), outcome.decision_id.clone());
        let _one_at_a_time = self.lookup.lock().await;
        // An older decision is looked for in the folder.
        let found = tokio::task::spawn_blocking(move || trail.decision(&id))
            .await
            .map_err(|source| OutcomeError::Unreadable(Box::new(source)))?
            .map_err(|source| OutcomeError::Unreadable(Box::new(source)))?;
        if found.is_none_or(|decision| decision.caller != caller.display_name()) {
            return Err(OutcomeError::Unknown);
        }
        let record = record::of_outcome(&outcome, caller, Record::new(RecordKind::Outcome, self.clock.now()));
        self.trail.append((), record, Tier::Disk).await.map_err(OutcomeError::Unrecorded)
    }
}

/// Whose facts a question needs.
fn asking(question: &Question, now: Timestamp) -> Asking {
    Asking {
        principal: question.principal.clone(),
        resource: question.resource.clone(),
        now,
        said_tenant: question.said_tenant.as_deref().map(str::to_owned),
        asserted: question.asserted.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_permits_a_change_waits_for_the_store_where_changes_do_and_for_the_disk_with_the_change() {
        for (durability, durability_of_changes, of_a_permit, of_changes) in [
            (Tier::Process, Tier::Disk, Tier::Process, Tier::Disk),
            (Tier::Disk, Tier::Disk, Tier::Disk, Tier::Disk),
            (Tier::Process, Tier::Remote, Tier::Remote, Tier::Remote),
            (Tier::Remote, Tier::Remote, Tier::Remote, Tier::Remote),
        ] {
            let settings = Settings { durability, durability_of_changes };
            assert_eq!(settings.tier_of_a_permit(Tier::Disk), of_a_permit, "{settings:?}");
            assert_eq!(settings.tier_of_a_permit(Tier::Remote), Tier::Remote, "a policy asks for it: {settings:?}");
            assert_eq!(settings.tier_of_changes(), of_changes, "{settings:?}");
        }
    }
}
