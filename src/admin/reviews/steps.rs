//! The steps of a review: taken, asked about, answered, closed.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::{ReviewView, rows, view};
use crate::{
    admin::{
        Actor, Admin, Change, Done, Moment, Once, Permitted, Plea, Told, Version,
        change::About,
        error::AdminError,
        grants::{self, Lock, hidden},
    },
    domain::{
        RecordKind,
        grant::Grant,
        review::{Disposition, Review},
    },
    store::{Sql, Transaction, Value},
};

const OPEN_INCIDENT: Sql = Sql::both(
    "INSERT INTO incidents (id, tenant_id, client_id, grant_id, source, state, discovered_at, opened_by) \
     VALUES ($1, $2, $3, $4, 'review', 'open', $5, $6)",
);
const PROPOSE: Sql = Sql::both(
    "INSERT INTO assignment_proposals (id, tenant_id, client_id, user_id, grant_id, proposed_by, proposed_at, state) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, 'open')",
);
const LED_TO: Sql = Sql::both("UPDATE reviews SET incident_id = $2, proposal_id = $3 WHERE id = $1");

/// What a reviewer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReviewStep {
    Take,
    /// Something has to be told by the grant's holder first.
    AskForInfo,
    InfoGiven,
    Close(Disposition),
}

impl ReviewStep {
    const fn event(self) -> &'static str {
        match self {
            Self::Take => "taken",
            Self::AskForInfo => "info_asked",
            Self::InfoGiven => "info_given",
            Self::Close(_) => "closed",
        }
    }
}

/// That this person may review this grant: as a reviewer, of its holder, and of who approved it.
#[derive(Clone, Debug)]
pub struct ReviewPermit(Permitted);

impl Admin {
    /// Asks all that has to be asked before somebody reviews: the right to, and that they are not the holder, the approver
    /// or of their line.
    ///
    /// # Errors
    ///
    /// [`AdminError::Unknown`]: no such review here; [`AdminError::Refused`].
    pub async fn ask_to_review(&self, actor: &Actor, id: &str) -> Result<ReviewPermit, AdminError> {
        let (_, grant) = self.reviewed(id).await?;
        let on_client = Plea::on("admin:review", "Client", &grant.client);
        let permitted = hidden(self.ask_to_change(actor, on_client).await, "review")?;
        for (position, person) in [Some(&grant.user), grant.approver.as_ref()].into_iter().flatten().enumerate() {
            self.ask_to_change(&actor.item(position), Plea::on("admin:review", "User", person)).await?;
        }
        Ok(ReviewPermit(permitted))
    }

    async fn reviewed(&self, id: &str) -> Result<(rows::Stored, Grant), AdminError> {
        let mut transaction = self.store()?.read().await?;
        let found = load(&mut transaction, id, Lock::Not).await?;
        transaction.commit().await?;
        Ok(found)
    }

    /// One review, to whom the policies show reviews of its tenant.
    ///
    /// # Errors
    ///
    /// [`AdminError::Unknown`]: no such review here; [`AdminError::Refused`].
    pub async fn review(&self, actor: &Actor, id: &str) -> Result<ReviewView, AdminError> {
        let (stored, grant) = self.reviewed(id).await?;
        hidden(self.ask_to_see(actor, &grant.tenant).await, "review")?;
        Ok(ReviewView::of(stored, &grant, self.rooms.clock.now()))
    }

    /// Takes one step with a review. `expected` is the state that the caller read.
    ///
    /// # Errors
    ///
    /// [`AdminError::Unreviewable`] where no such step leads on; [`AdminError::Changed`] where the state is another.
    pub async fn review_step(
        &self,
        permit: &ReviewPermit,
        id: &str,
        step: ReviewStep,
        expected: Option<&Version>,
        once: Option<&Once>,
    ) -> Result<Done<ReviewView>, AdminError> {
        let stepping = Stepping { id, step, expected, ids: [self.new_id(), self.new_id()] };
        self.change(&permit.0, &stepping, once).await
    }
}

async fn load(transaction: &mut Transaction, id: &str, lock: Lock) -> Result<(rows::Stored, Grant), AdminError> {
    let unknown = || AdminError::Unknown("review");
    let stored = rows::load(transaction, id, lock).await?.ok_or_else(unknown)?;
    let grant = grants::load(transaction, &stored.review.grant_id, Lock::Not).await?.ok_or_else(unknown)?;
    Ok((stored, grant))
}

struct Stepping<'a> {
    id: &'a str,
    step: ReviewStep,
    expected: Option<&'a Version>,
    /// Of the line in the history, and of what the step leads to.
    ids: [Arc<str>; 2],
}

/// What closing a review leads to.
#[derive(Clone, Debug, Default)]
struct LedTo {
    incident: Option<Arc<str>>,
    proposal: Option<Arc<str>>,
}

impl Stepping<'_> {
    async fn lead(
        &self,
        transaction: &mut Transaction,
        grant: &Grant,
        by: &str,
        moment: &Moment,
    ) -> Result<LedTo, AdminError> {
        let [_, id] = &self.ids;
        let led = match self.step {
            ReviewStep::Close(Disposition::Unjustified) => {
                let values = [
                    Value::from(&**id),
                    Value::from(&*grant.tenant),
                    Value::from(&*grant.client),
                    Value::from(&*grant.id),
                    Value::from(moment.now),
                    Value::from(by),
                ];
                transaction.run(OPEN_INCIDENT, &values).await?;
                LedTo { incident: Some(id.clone()), proposal: None }
            }
            ReviewStep::Close(Disposition::FixAccess) => {
                let values = [
                    Value::from(&**id),
                    Value::from(&*grant.tenant),
                    Value::from(&*grant.client),
                    Value::from(&*grant.user),
                    Value::from(&*grant.id),
                    Value::from(by),
                    Value::from(moment.now),
                ];
                transaction.run(PROPOSE, &values).await?;
                LedTo { incident: None, proposal: Some(id.clone()) }
            }
            ReviewStep::Close(Disposition::Justified | Disposition::FalseStart)
            | ReviewStep::Take
            | ReviewStep::AskForInfo
            | ReviewStep::InfoGiven => return Ok(LedTo::default()),
        };
        let values = [Value::from(self.id), Value::from(led.incident.as_deref()), Value::from(led.proposal.as_deref())];
        transaction.run(LED_TO, &values).await?;
        Ok(led)
    }

    fn after(&self, review: Review, grant: &Grant, by: &Arc<str>, moment: &Moment) -> Result<Review, AdminError> {
        let now = moment.now;
        Ok(match self.step {
            ReviewStep::Take => review.take(grant, by, now),
            ReviewStep::AskForInfo => review.ask(grant, by, now),
            ReviewStep::InfoGiven => review.answered(grant, by, now),
            ReviewStep::Close(disposition) => review.close(grant, by, disposition, now),
        }?)
    }
}

impl Change for Stepping<'_> {
    type Answer = ReviewView;

    fn kind(&self) -> RecordKind {
        RecordKind::Review
    }

    async fn make(
        &self,
        permitted: &Permitted,
        transaction: &mut Transaction,
        moment: &Moment,
    ) -> Result<Told<ReviewView>, AdminError> {
        let (stored, grant) = load(transaction, self.id, Lock::ToWrite).await?;
        view::version(&stored.review).meet(self.expected)?;
        let before = view::state(&stored.review);
        let by = permitted.by();
        let review = self.after(stored.review, &grant, &by, moment)?;
        rows::update(transaction, &review).await?;
        let led = self.lead(transaction, &grant, &by, moment).await?;
        let [event_id, _] = &self.ids;
        let event = self.step.event();
        let line = format!("review_{event}");
        grants::note(transaction, (event_id, &grant.id), &line, &by, moment.now, None).await?;
        let after = view::state(&review);
        let mut detail = Map::new();
        let mut say = |key: &str, word: Option<&str>| {
            detail.extend(word.map(|word| (key.to_owned(), Json::from(word))));
        };
        say("review", Some(self.id));
        say("holder", Some(&grant.user));
        say("incident", led.incident.as_deref());
        say("proposal", led.proposal.as_deref());
        let about = About {
            tenant: Some(grant.tenant.clone()),
            client: Some(grant.client.clone()),
            grant: Some(grant.id.clone()),
            ..About::default()
        };
        let stored = rows::Stored {
            review,
            incident: led.incident.or(stored.incident),
            proposal: led.proposal.or(stored.proposal),
        };
        let answer = ReviewView::of(stored, &grant, moment.now);
        Ok(Told { answer, event, before, after, about, detail, alerts: Vec::new() })
    }
}
