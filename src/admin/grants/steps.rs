//! The steps of a grant that exists: extended, ended, approved, rejected, revoked.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::{GrantView, rows, view};
use crate::{
    admin::{Admin, Change, Done, Moment, Once, Permitted, Told, Version, change::About, error::AdminError, reviews},
    domain::{
        Reason, RecordKind,
        grant::{Grant, is_a_reason},
    },
    store::Transaction,
};

/// The application or the person gives the access back.
#[derive(Clone, Copy, Debug)]
pub struct End;

/// Longer, once, and with a reason of its own.
#[derive(Clone, Debug)]
pub struct Extend {
    pub justification: Arc<str>,
    pub duration_seconds: Option<i64>,
}

/// A second person agrees.
#[derive(Clone, Copy, Debug)]
pub struct Approve;

/// A second person does not agree.
#[derive(Clone, Copy, Debug)]
pub struct Reject;

/// An officer takes it away.
#[derive(Clone, Copy, Debug)]
pub struct Revoke;

/// One step, as the frame around all of them sees it.
pub trait Step: Send + Sync {
    const EVENT: &'static str;

    /// The grant after the step.
    fn take(
        &self,
        grant: Grant,
        by: &Arc<str>,
        transaction: &mut Transaction,
        moment: &Moment,
    ) -> impl Future<Output = Result<Grant, AdminError>> + Send;

    /// The text that the step brings.
    fn justification(&self) -> Option<&str> {
        None
    }
}

impl Step for End {
    const EVENT: &'static str = "ended";

    async fn take(
        &self,
        grant: Grant,
        by: &Arc<str>,
        _transaction: &mut Transaction,
        moment: &Moment,
    ) -> Result<Grant, AdminError> {
        Ok(grant.end(by, moment.now)?)
    }
}

impl Step for Extend {
    const EVENT: &'static str = "extended";

    async fn take(
        &self,
        grant: Grant,
        _by: &Arc<str>,
        transaction: &mut Transaction,
        moment: &Moment,
    ) -> Result<Grant, AdminError> {
        let (user, code) = (grant.user.clone(), grant.reason_code.clone());
        let extended = grant.extend(self.duration_seconds, moment.now, moment.limits)?;
        let last = rows::last_texts(transaction, &user).await?;
        if !is_a_reason(&self.justification, &code, last.iter().map(String::as_str)) {
            let text = "say in a sentence why it takes longer, and not with one of your last three texts";
            return Err(AdminError::Refused { reason: Reason::new("reason_required"), text: Some(text.to_owned()) });
        }
        Ok(extended)
    }

    fn justification(&self) -> Option<&str> {
        Some(&self.justification)
    }
}

impl Step for Approve {
    const EVENT: &'static str = "approved";

    async fn take(
        &self,
        grant: Grant,
        by: &Arc<str>,
        transaction: &mut Transaction,
        moment: &Moment,
    ) -> Result<Grant, AdminError> {
        let others = rows::open_of(transaction, &grant.user, &grant.client).await?;
        let others: Vec<Grant> = others.into_iter().filter(|other| other.id != grant.id).collect();
        Ok(grant.approve(by, &others, moment.now, moment.limits)?)
    }
}

impl Step for Reject {
    const EVENT: &'static str = "rejected";

    async fn take(
        &self,
        grant: Grant,
        by: &Arc<str>,
        _transaction: &mut Transaction,
        moment: &Moment,
    ) -> Result<Grant, AdminError> {
        Ok(grant.reject(by, moment.now)?)
    }
}

impl Step for Revoke {
    const EVENT: &'static str = "revoked";

    async fn take(
        &self,
        grant: Grant,
        by: &Arc<str>,
        _transaction: &mut Transaction,
        moment: &Moment,
    ) -> Result<Grant, AdminError> {
        Ok(grant.revoke(by, moment.now)?)
    }
}

struct Stepping<'a, S> {
    id: &'a str,
    step: &'a S,
    expected: Option<&'a Version>,
    obligations: Vec<Arc<str>>,
    event_id: Arc<str>,
}

impl Admin {
    /// Takes one step with a grant; in force for the next decision. `expected` is the state that the caller read.
    ///
    /// # Errors
    ///
    /// [`AdminError::Illegal`] where no such step leads on; [`AdminError::Changed`] where the state is another.
    pub async fn step<S: Step>(
        &self,
        permitted: &Permitted,
        id: &str,
        step: &S,
        expected: Option<&Version>,
        once: Option<&Once>,
    ) -> Result<Done<GrantView>, AdminError> {
        let obligations = self.grant_rules().map(|rules| rules.obligations.clone()).unwrap_or_default();
        let stepping = Stepping { id, step, expected, obligations, event_id: self.new_id() };
        self.change(permitted, &stepping, once).await
    }
}

impl<S: Step> Change for Stepping<'_, S> {
    type Answer = GrantView;

    fn kind(&self) -> RecordKind {
        RecordKind::Grant
    }

    async fn make(
        &self,
        permitted: &Permitted,
        transaction: &mut Transaction,
        moment: &Moment,
    ) -> Result<Told<GrantView>, AdminError> {
        let unknown = || AdminError::Unknown("grant");
        let found = rows::load(transaction, self.id, rows::Lock::Not).await?.ok_or_else(unknown)?;
        // The person's lock comes before the row's, as it does where a grant is asked for: nobody waits in a ring.
        rows::lock_person(transaction, &found.user, &found.client).await?;
        let grant = rows::load(transaction, self.id, rows::Lock::ToWrite).await?.ok_or_else(unknown)?;
        view::version(&grant).meet(self.expected)?;
        let before = view::state(&grant);
        let by = permitted.by();
        let after = self.step.take(grant, &by, transaction, moment).await?;
        rows::update(transaction, &after).await?;
        let text = self.step.justification();
        rows::note(transaction, (&self.event_id, self.id), S::EVENT, &by, moment.now, text).await?;
        let review = reviews::follow(transaction, &after, moment.now).await?;
        let mut detail = Map::new();
        if let Some(text) = text {
            detail.insert("justification".to_owned(), Json::from(text));
        }
        detail.insert("reason_code".to_owned(), Json::from(&*after.reason_code));
        detail.insert("holder".to_owned(), Json::from(&*after.user));
        let about = About {
            tenant: Some(after.tenant.clone()),
            client: Some(after.client.clone()),
            grant: Some(after.id.clone()),
            ..About::default()
        };
        let answer = GrantView::of(&after, review, &self.obligations, moment.now);
        Ok(Told { answer, event: S::EVENT, before, after: view::state(&after), about, detail, alerts: Vec::new() })
    }
}
