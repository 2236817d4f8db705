//! The one way to change something: authorized, changed, recorded, in force.
//!
//! ```text
//! 1 note that a change begins                 committed by itself
//! 2 begin; read; decide; write rows           a refusal ends here, and is recorded
//! 3 append the record, synced to disk         names the change
//! 4 drop the note; commit                     the change and the note's end are one commit
//! 5 forget what was kept of the rows          the next decision reads them
//! ```
//!
//! A crash before 3 leaves a note and nothing else; between 3 and 4 a note and a record, which is then taken back; after 4
//! nothing is left to do. So no change is in force without its record, and no record stands without its change.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value as Json};

use super::{
    Admin, Permitted,
    error::AdminError,
    intents::{DONE, Settled},
    once::Once,
};
use crate::{
    audit::AppendError,
    domain::{
        Decision, Record, RecordKind, Timestamp,
        grant::{Alert, GrantLimits},
        mapping::Source,
        record::{CHANGE, FieldsRecord},
    },
    store::{Store, StoreError, Transaction, Value},
};

/// When a change is made, and within which limits.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub now: Timestamp,
    pub limits: GrantLimits,
}

/// One thing to change.
pub trait Change: Send + Sync {
    /// What the caller is told; kept for a repeated call.
    type Answer: Serialize + DeserializeOwned + Send + Sync;

    /// The kind of its record.
    fn kind(&self) -> RecordKind;

    /// Reads rows, decides, writes rows; says what to record. Dropped at any point it did nothing.
    fn make(
        &self,
        permitted: &Permitted,
        transaction: &mut Transaction,
        moment: &Moment,
    ) -> impl Future<Output = Result<Told<Self::Answer>, AdminError>> + Send;
}

/// What a change did: for the caller, and for the record.
#[derive(Debug)]
pub struct Told<A> {
    pub answer: A,
    /// The word in the record: `activated`, `ended`, …
    pub event: &'static str,
    /// The state before and after it; ids, codes and instants.
    pub before: Json,
    pub after: Json,
    pub about: About,
    /// What more the record says.
    pub detail: Map<String, Json>,
    /// Soft limits that it met, counted once it stands.
    pub alerts: Vec<Alert>,
}

/// Whom and what a change is about.
#[derive(Clone, Debug, Default)]
pub struct About {
    pub tenant: Option<Arc<str>>,
    pub client: Option<Arc<str>>,
    pub grant: Option<Arc<str>>,
    pub purpose: Option<Arc<str>>,
    pub fields: Option<FieldsRecord>,
}

/// An answer, and whether it is the one of an earlier call with the same key.
#[derive(Debug)]
pub struct Done<A> {
    pub answer: A,
    pub is_repeated: bool,
}

enum Attempt<A> {
    Made(A, Vec<Alert>),
    Repeated(A),
    /// The commit was cut off.
    CutOff(A, Vec<Alert>, StoreError),
}

impl Admin {
    /// Makes `change`, records it and puts it in force, before this returns. `once` makes a repeated call harmless.
    ///
    /// # Errors
    ///
    /// [`AdminError`]: nothing was changed, or ([`AdminError::Unsettled`]) it is not known yet.
    pub async fn change<C: Change>(
        &self,
        permitted: &Permitted,
        change: &C,
        once: Option<&Once>,
    ) -> Result<Done<C::Answer>, AdminError> {
        let store = self.store()?;
        let intent = self.begin(store).await?;
        self.change_begun(intent, permitted, change, once).await
    }

    /// The same, of which it is noted already that it begins.
    pub(super) async fn change_begun<C: Change>(
        &self,
        intent: Arc<str>,
        permitted: &Permitted,
        change: &C,
        once: Option<&Once>,
    ) -> Result<Done<C::Answer>, AdminError> {
        let store = self.store()?;
        let (answer, alerts) = match self.attempt(store, &intent, permitted, change, once).await {
            Ok(Attempt::Made(answer, alerts)) => (answer, alerts),
            Ok(Attempt::Repeated(answer)) => {
                self.forget(store, &intent).await;
                return Ok(Done { answer, is_repeated: true });
            }
            Ok(Attempt::CutOff(answer, alerts, error)) => match self.settle(store, &intent).await {
                Ok(Settled::Made) => (answer, alerts),
                Ok(Settled::NotMade) => return Err(AdminError::Store(error)),
                // Nobody knows until the store is back.
                Err(_still_away) => {
                    self.leave(intent);
                    return Err(AdminError::Unsettled(error));
                }
            },
            // Whether its record stands is not known: the note stays for the next start.
            Err(error @ AdminError::Unrecorded(AppendError::Fatal)) => return Err(error),
            // It may stand, or come to stand once a disk or the store is back: then it is taken back.
            Err(error @ AdminError::Unrecorded(_)) => {
                self.leave(intent);
                return Err(error);
            }
            Err(error) => {
                self.tell_refusal(permitted, change.kind(), &error).await?;
                self.forget(store, &intent).await;
                return Err(error);
            }
        };
        self.rooms.facts.committed(Source::Store);
        self.tell_alerts(&alerts);
        Ok(Done { answer, is_repeated: false })
    }

    async fn attempt<C: Change>(
        &self,
        store: &Store,
        intent: &str,
        permitted: &Permitted,
        change: &C,
        once: Option<&Once>,
    ) -> Result<Attempt<C::Answer>, AdminError> {
        let moment = self.moment();
        let mut transaction = store.begin().await?;
        if let Some(once) = once
            && let Some(answer) = once.answer(&mut transaction).await?
        {
            return Ok(Attempt::Repeated(answer));
        }
        let told = change.make(permitted, &mut transaction, &moment).await?;
        if let Some(once) = once {
            once.keep(&mut transaction, &told.answer, &moment).await?;
        }
        transaction.run(DONE, &[Value::from(intent)]).await?;
        let (answer, alerts, record) = recorded(permitted.record(change.kind(), moment.now), told, intent);
        // INVARIANT(record-first): everything that can be refused was; what is left is the commit.
        self.rooms
            .trail
            .append((), record, self.rooms.authorizer.tier_of_changes())
            .await
            .map_err(AdminError::Unrecorded)?;
        Ok(match transaction.commit().await {
            Ok(()) => Attempt::Made(answer, alerts),
            Err(error) => Attempt::CutOff(answer, alerts, error),
        })
    }

    /// A refusal by the rules of the thing itself, or by the state it is in, is recorded as one by the policies is.
    async fn tell_refusal(
        &self,
        permitted: &Permitted,
        kind: RecordKind,
        error: &AdminError,
    ) -> Result<(), AdminError> {
        let (reason, conflict) = match error {
            AdminError::Refused { reason, .. } => (Some(reason.clone()), None),
            AdminError::Illegal(illegal) => (None, Some(illegal.to_string())),
            AdminError::NotNow(why) => (None, Some(why.to_string())),
            AdminError::Twin { .. } => (None, Some(error.to_string())),
            AdminError::Unreviewable(step) => (None, Some(step.to_string())),
            AdminError::Elsewhere { .. } => (None, Some(error.to_string())),
            // Asked wrongly, about nothing, or not settled: nobody was told no.
            AdminError::Malformed { .. }
            | AdminError::Unknown(_)
            | AdminError::Changed
            | AdminError::KeyUsed
            | AdminError::NoRules(_)
            | AdminError::NoStore
            | AdminError::Store(_)
            | AdminError::Unsettled(_)
            | AdminError::Trail(_)
            | AdminError::Undecided(_)
            | AdminError::Unrecorded(_) => return Ok(()),
        };
        let mut record = permitted.record(kind, self.rooms.clock.now());
        record.decision = Some(Decision::Deny);
        record.reason = reason;
        // One of the program's own sentences: they name states, nobody and nothing.
        record.detail.extend(conflict.map(|why| ("conflict".to_owned(), why.into())));
        if let AdminError::Twin { id, .. } = error {
            record.detail.insert("existing".into(), (&**id).into());
        }
        record.detail.insert("event".into(), "refused".into());
        self.rooms
            .trail
            .append((), record, self.rooms.authorizer.tier_of_changes())
            .await
            .map(drop)
            .map_err(AdminError::Unrecorded)
    }
}

fn recorded<A>(mut record: Record, told: Told<A>, intent: &str) -> (A, Vec<Alert>, Record) {
    let Told { answer, event, before, after, about, detail, alerts } = told;
    record.decision = Some(Decision::Allow);
    record.tenant = about.tenant.or(record.tenant);
    record.client = about.client.or(record.client);
    record.grant = about.grant;
    record.purpose = about.purpose;
    record.fields = about.fields;
    record.detail.extend(detail);
    record.detail.insert("event".into(), event.into());
    record.detail.insert(CHANGE.into(), intent.into());
    record.detail.extend(
        [("before".to_owned(), before), ("after".to_owned(), after)].into_iter().filter(|(_, state)| !state.is_null()),
    );
    (answer, alerts, record)
}
