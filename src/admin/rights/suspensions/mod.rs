//! Suspensions of people, asked on the person affected (`admin:disable`): nobody suspends themself.
//!
//! What the application says of a person stands beside: policies that read both deny if either does. Most applications keep
//! all of it, and then nothing is changed here. Changes take turns, so that of two administrators who suspend each other at
//! once the second is suspended already, and somebody is left.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::{
    kept::{Kept, KeptSql, View, kept_sql, maybe, told},
    named::malformed,
};
use crate::{
    admin::{
        Actor, Admin, Change, Done, Moment, Once, Permitted, Plea, Told, Version,
        error::AdminError,
        grants::some_at,
        page::{Listed, Page},
    },
    domain::{NotNow, Reason, RecordKind, Timestamp, suspension::Suspension},
    store::{Sql, StoreError, StoredRow, Transaction, Value},
};

const CHANGES: &str = "admin:disable";
/// Who sees it: whoever reads this group of the person.
const GROUP: &str = "sec.users";
const WHAT: &str = "suspensions";

/// SQLite has one writer by itself.
const IN_TURN: Sql = Sql { sqlite: "SELECT 1", postgres: "LOCK TABLE user_standing IN SHARE ROW EXCLUSIVE MODE" };
/// Those that nobody ended; which of them count is judged by the clock.
const OF_USER: Sql = Sql::both(
    "SELECT id, tenant_id, user_id, reason, valid_from, valid_to, suspended_by, ended_at, ended_by, end_reason \
     FROM user_standing WHERE user_id = $1 AND ended_at IS NULL ORDER BY id DESC LIMIT 1000",
);

impl Kept for Suspension {
    const WHAT: &'static str = "suspension";
    const SQL: KeptSql = kept_sql!(
        "user_standing",
        "id, tenant_id, user_id, reason, valid_from, valid_to, suspended_by, ended_at, ended_by, end_reason",
        "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10",
        "tenant_id = $2, user_id = $3, reason = $4, valid_from = $5, valid_to = $6, suspended_by = $7, ended_at = $8, \
         ended_by = $9, end_reason = $10",
        "user_id",
        "''"
    );
    const UNTOLD: &'static [&'static str] = &["reason", "end_reason"];

    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn tenant(&self) -> &Arc<str> {
        &self.tenant
    }

    fn client(&self) -> Option<&Arc<str>> {
        None
    }

    fn standing(&self, now: Timestamp) -> &'static str {
        self.standing(now)
    }

    fn read(row: &StoredRow) -> Result<Self, StoreError> {
        let some = |column: &str| row.some_text(column).map(Arc::<str>::from);
        Ok(Self {
            id: some("id")?,
            tenant: some("tenant_id")?,
            user: some("user_id")?,
            reason: maybe(row, "reason")?,
            from: some_at(row, "valid_from")?,
            to: row.at("valid_to")?,
            suspended_by: some("suspended_by")?,
            ended_at: row.at("ended_at")?,
            ended_by: maybe(row, "ended_by")?,
            end_reason: maybe(row, "end_reason")?,
        })
    }

    fn values(&self) -> Vec<Value<'_>> {
        vec![
            Value::from(&*self.id),
            Value::from(&*self.tenant),
            Value::from(&*self.user),
            Value::from(self.reason.as_deref()),
            Value::from(self.from),
            Value::from(self.to),
            Value::from(&*self.suspended_by),
            Value::from(self.ended_at),
            Value::from(self.ended_by.as_deref()),
            Value::from(self.end_reason.as_deref()),
        ]
    }
}

/// What becomes of a person's standing; read and typed.
#[derive(Clone, Debug)]
pub enum SetStanding {
    Suspend {
        /// `None`: from now on.
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        reason: Option<Arc<str>>,
    },
    Reinstate {
        reason: Option<Arc<str>>,
    },
}

/// The change, and why not, where somebody else keeps such rows.
struct Setting<'a> {
    user: &'a str,
    id: Arc<str>,
    set: &'a SetStanding,
    expected: Option<&'a Version>,
    elsewhere: Option<String>,
}

impl Change for Setting<'_> {
    type Answer = View<Suspension>;

    fn kind(&self) -> RecordKind {
        RecordKind::Admin
    }

    async fn make(
        &self,
        permitted: &Permitted,
        transaction: &mut Transaction,
        moment: &Moment,
    ) -> Result<Told<View<Suspension>>, AdminError> {
        if let Some(owner) = &self.elsewhere {
            return Err(AdminError::Elsewhere { what: WHAT, owner: owner.clone() });
        }
        let tenant = permitted.tenant().ok_or(AdminError::refused(Reason::new("tenant_missing")))?;
        self.set(&permitted.by(), &tenant, transaction, moment.now).await
    }
}

impl Setting<'_> {
    async fn set(
        &self,
        by: &Arc<str>,
        tenant: &Arc<str>,
        transaction: &mut Transaction,
        now: Timestamp,
    ) -> Result<Told<View<Suspension>>, AdminError> {
        if **by == *self.user {
            return Err(AdminError::refused(Reason::new("self_grant")));
        }
        transaction.run(IN_TURN, &[]).await?;
        // The policies were asked before this turn. Whose own suspension is still to begin suspends nobody either: of any that
        // suspend each other somebody is left.
        if open(transaction, by).await?.iter().any(|row| row.is_open(now)) {
            return Err(AdminError::refused(Reason::new("user_disabled")));
        }
        // A person may work in several organizations: each ends its own.
        let theirs = open(transaction, self.user).await?;
        let found = theirs.into_iter().find(|row| row.tenant == *tenant && row.is_open(now));
        match (self.set, found) {
            (SetStanding::Suspend { .. }, Some(_)) => {
                Err(NotNow("the person is suspended, or about to be: reinstate them first").into())
            }
            (SetStanding::Suspend { from, to, reason }, None) => {
                // No state was there that a version could name.
                if self.expected.is_some() {
                    return Err(AdminError::Changed);
                }
                let row = Suspension {
                    id: self.id.clone(),
                    tenant: tenant.clone(),
                    user: self.user.into(),
                    suspended_by: by.clone(),
                    from: from.unwrap_or(now),
                    to: *to,
                    reason: reason.clone(),
                    ended_at: None,
                    ended_by: None,
                    end_reason: None,
                };
                transaction.run(Suspension::SQL.insert, &row.values()).await?;
                Ok(told("suspended", serde_json::Value::Null, &row, now))
            }
            (SetStanding::Reinstate { .. }, None) => Err(NotNow("the person is not suspended here").into()),
            (SetStanding::Reinstate { reason }, Some(mut row)) => {
                row.version().meet(self.expected)?;
                let before = row.told();
                row.end(by, reason.as_ref(), now)?;
                transaction.run(Suspension::SQL.update, &row.values()).await?;
                Ok(told("reinstated", before, &row, now))
            }
        }
    }
}

/// The rows of a person that nobody ended.
async fn open(transaction: &mut Transaction, user: &str) -> Result<Vec<Suspension>, StoreError> {
    transaction.rows(OF_USER, &[Value::from(user)]).await?.iter().map(Suspension::read).collect()
}

impl Admin {
    /// Suspends a person or reinstates them; in force for the next decision.
    ///
    /// # Errors
    ///
    /// [`AdminError`]; a refusal carries its reason code. [`AdminError::Elsewhere`]: the application keeps it.
    pub async fn set_standing(
        &self,
        actor: &Actor,
        (user, set): (&str, &SetStanding),
        expected: Option<&Version>,
        once: &Once,
    ) -> Result<Done<View<Suspension>>, AdminError> {
        let permitted = self.ask_to_change(actor, Plea::on(CHANGES, "User", user)).await?;
        if let SetStanding::Suspend { from, to, .. } = set {
            let now = self.rooms.clock.now();
            if from.is_some_and(|from| from < now) {
                return Err(malformed("/from", "must not be in the past"));
            }
            if to.is_some_and(|to| to <= from.unwrap_or(now)) {
                return Err(malformed("/to", "must be later than now, and than `from`"));
            }
        }
        let setting = Setting { user, id: self.new_id(), set, expected, elsewhere: self.standing_owner()? };
        self.change(&permitted, &setting, Some(once)).await
    }

    /// The suspensions of one person that are kept here, to whoever reads their permissions.
    ///
    /// # Errors
    ///
    /// [`AdminError::Refused`] to whom the policies do not let read them.
    pub async fn standing_seen(
        &self,
        actor: &Actor,
        (tenant, user): (&str, &str),
        page: Page,
    ) -> Result<Listed<View<Suspension>>, AdminError> {
        self.ask(actor, Plea::on("read", "User", user).field(GROUP)).await?;
        self.kept_page(tenant, &Page { user: Some(user.to_owned()), ..page }).await
    }
}
