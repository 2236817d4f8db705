//! Assignments: who may work with whom. Asked on the person affected (`admin:assign`): nobody assigns to themselves.

use std::sync::Arc;

use jiff::civil::Date;

use super::{
    kept::{Kept, KeptSql, Turn, View, json_words, kept_sql, maybe, unreadable, words},
    named::malformed,
};
use crate::{
    admin::{
        Actor, Admin, Done, Once, Permitted, Plea, Version,
        error::AdminError,
        grants::{hidden, some_at},
        page::{Listed, Page},
    },
    domain::{
        Reason, Timestamp,
        assignment::{Assignment, End, Scope},
        next_midnight,
    },
    store::{Sql, StoreError, StoredRow, Value},
};

const CHANGES: &str = "admin:assign";
const SHOWS: &str = "admin:assignments";
const KIND: &str = "assignment";
const WHAT: &str = "assignments";

impl Kept for Assignment {
    const WHAT: &'static str = "assignment";
    const SQL: KeptSql = kept_sql!(
        "assignments",
        "id, tenant_id, client_id, user_id, scope, service_authorization_id, service_codes, assigned_by, valid_from, \
         valid_to, revoked_at, revoked_by, revoke_reason, reason",
        "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14",
        "tenant_id = $2, client_id = $3, user_id = $4, scope = $5, service_authorization_id = $6, service_codes = $7, \
         assigned_by = $8, valid_from = $9, valid_to = $10, revoked_at = $11, revoked_by = $12, revoke_reason = $13, \
         reason = $14",
        "user_id",
        "client_id"
    );
    const UNTOLD: &'static [&'static str] = &["reason", "end_reason"];

    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn tenant(&self) -> &Arc<str> {
        &self.tenant
    }

    fn client(&self) -> Option<&Arc<str>> {
        Some(&self.client)
    }

    fn whom(&self) -> Option<&str> {
        Some(&self.user)
    }

    fn is_again(&self, other: &Self, now: Timestamp) -> bool {
        self.is_again(other, now)
    }

    fn standing(&self, now: Timestamp) -> &'static str {
        self.standing(now)
    }

    fn read(row: &StoredRow) -> Result<Self, StoreError> {
        let some = |column: &str| row.some_text(column).map(Arc::<str>::from);
        Ok(Self {
            id: some("id")?,
            tenant: some("tenant_id")?,
            client: some("client_id")?,
            user: some("user_id")?,
            scope: Scope::of_word(&row.some_text("scope")?).ok_or_else(|| unreadable("scope", "scope"))?,
            service_authorization: maybe(row, "service_authorization_id")?,
            service_codes: words(row, "service_codes")?,
            assigned_by: some("assigned_by")?,
            from: some_at(row, "valid_from")?,
            to: row.at("valid_to")?,
            reason: maybe(row, "reason")?,
            ended_at: row.at("revoked_at")?,
            ended_by: maybe(row, "revoked_by")?,
            end_reason: maybe(row, "revoke_reason")?,
        })
    }

    fn values(&self) -> Vec<Value<'_>> {
        vec![
            Value::from(&*self.id),
            Value::from(&*self.tenant),
            Value::from(&*self.client),
            Value::from(&*self.user),
            Value::from(self.scope.as_str()),
            Value::from(self.service_authorization.as_deref()),
            Value::from(json_words(&self.service_codes)),
            Value::from(&*self.assigned_by),
            Value::from(self.from),
            Value::from(self.to),
            Value::from(self.ended_at),
            Value::from(self.ended_by.as_deref()),
            Value::from(self.end_reason.as_deref()),
            Value::from(self.reason.as_deref()),
        ]
    }
}

/// When a window ends, as an administrator says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// Nothing is said.
    #[default]
    Unsaid,
    /// Open-ended.
    Open,
    At(Timestamp),
    /// A payer's date: the last day, where the organization is.
    LastDay(Date),
}

/// A request for an assignment, read and typed.
#[derive(Clone, Debug)]
pub struct AskAssignment {
    pub client: Arc<str>,
    pub user: Arc<str>,
    pub scope: Scope,
    pub service_authorization: Option<Arc<str>>,
    pub service_codes: Vec<Arc<str>>,
    /// `None`: from now on.
    pub from: Option<Timestamp>,
    pub until: Until,
    pub reason: Option<Arc<str>>,
}

/// Over from now on.
#[derive(Clone, Debug)]
pub struct EndAssignment {
    pub reason: Option<Arc<str>>,
}

/// Another window.
#[derive(Clone, Copy, Debug)]
pub struct MoveWindow {
    pub from: Option<Timestamp>,
    pub until: Until,
}

struct Moving {
    from: Option<Timestamp>,
    to: End,
}

impl Turn<Assignment> for EndAssignment {
    const EVENT: &'static str = "ended";

    fn take(&self, row: &mut Assignment, by: &Arc<str>, now: Timestamp) -> Result<(), AdminError> {
        Ok(row.end(by, self.reason.as_ref(), now)?)
    }
}

impl Turn<Assignment> for Moving {
    const EVENT: &'static str = "moved";
    const WIDENS: bool = true;

    fn take(&self, row: &mut Assignment, _by: &Arc<str>, now: Timestamp) -> Result<(), AdminError> {
        Ok(row.move_window(self.from, self.to, now)?)
    }
}

impl Admin {
    /// Assigns a person to a client; in force for the next decision.
    ///
    /// # Errors
    ///
    /// [`AdminError`]; a refusal carries its reason code.
    pub async fn assign(
        &self,
        actor: &Actor,
        asked: &AskAssignment,
        once: &Once,
    ) -> Result<Done<View<Assignment>>, AdminError> {
        let permitted = self.ask_to_change(actor, Plea::on(CHANGES, "User", &asked.user)).await?;
        self.are_kept_here(KIND, WHAT)?;
        let tenant = permitted.tenant().ok_or(AdminError::refused(Reason::new("tenant_missing")))?;
        // A second question of the same call has a decision id of its own, though nothing records this one.
        let named = self.named(&actor.item(0), "Client", &asked.client).await?;
        let from = asked.from.unwrap_or_else(|| self.rooms.clock.now());
        let to = match self.end_of(&tenant, asked.until).await? {
            End::Same | End::Open => None,
            End::At(to) if to <= from => return Err(malformed("/to", "must be later than `from`")),
            End::At(to) => Some(to),
        };
        let row = Assignment {
            id: self.new_id(),
            tenant,
            client: asked.client.clone(),
            user: asked.user.clone(),
            scope: asked.scope,
            service_authorization: asked.service_authorization.clone(),
            service_codes: asked.service_codes.clone(),
            assigned_by: permitted.by(),
            from,
            to,
            reason: asked.reason.clone(),
            ended_at: None,
            ended_by: None,
            end_reason: None,
        };
        self.make_kept(&permitted, (row, "assigned"), named.refused, once).await
    }

    /// Ends an assignment at once.
    ///
    /// # Errors
    ///
    /// [`AdminError::Unknown`]: no such assignment here; [`AdminError::NotNow`]: it is over.
    pub async fn end_assignment(
        &self,
        actor: &Actor,
        (id, end): (&str, &EndAssignment),
        expected: Option<&Version>,
        once: &Once,
    ) -> Result<Done<View<Assignment>>, AdminError> {
        let (permitted, _) = self.ask_about_assignment(actor, id).await?;
        self.turn_kept(&permitted, (id, end), None, expected, once).await
    }

    /// Moves the window of an assignment.
    ///
    /// # Errors
    ///
    /// As [`end_assignment`](Self::end_assignment).
    pub async fn move_assignment(
        &self,
        actor: &Actor,
        (id, moved): (&str, &MoveWindow),
        expected: Option<&Version>,
        once: &Once,
    ) -> Result<Done<View<Assignment>>, AdminError> {
        let (permitted, row) = self.ask_about_assignment(actor, id).await?;
        let to = self.end_of(&row.tenant, moved.until).await?;
        self.turn_kept(&permitted, (id, &Moving { from: moved.from, to }), None, expected, once).await
    }

    /// One assignment, to whom the policies show those of its organization.
    ///
    /// # Errors
    ///
    /// [`AdminError::Unknown`]: no such assignment here; [`AdminError::Refused`].
    pub async fn assignment_seen(&self, actor: &Actor, id: &str) -> Result<View<Assignment>, AdminError> {
        let row: Assignment = self.kept(id).await?;
        hidden(self.ask(actor, Plea::on(SHOWS, "Tenant", &row.tenant)).await, Assignment::WHAT)?;
        Ok(self.kept_shown(row))
    }

    /// The assignments of `tenant`.
    ///
    /// # Errors
    ///
    /// [`AdminError::Refused`] to whom the policies do not show them.
    pub async fn assignments(
        &self,
        actor: &Actor,
        tenant: &str,
        page: &Page,
    ) -> Result<Listed<View<Assignment>>, AdminError> {
        self.ask(actor, Plea::on(SHOWS, "Tenant", tenant)).await?;
        self.kept_page(tenant, page).await
    }

    async fn ask_about_assignment(&self, actor: &Actor, id: &str) -> Result<(Permitted, Assignment), AdminError> {
        let row: Assignment = self.kept(id).await?;
        let asked = self.ask_to_change(actor, Plea::on(CHANGES, "User", &row.user)).await;
        let permitted = hidden(asked, Assignment::WHAT)?;
        self.are_kept_here(KIND, WHAT)?;
        Ok((permitted, row))
    }

    /// The instant behind what was said of an end.
    pub(super) async fn end_of(&self, tenant: &str, until: Until) -> Result<End, AdminError> {
        Ok(match until {
            Until::Unsaid => End::Same,
            Until::Open => End::Open,
            Until::At(to) => End::At(to),
            Until::LastDay(date) => {
                let end = next_midnight(date, &self.zone(tenant).await?);
                End::At(end.ok_or_else(|| malformed("/until_date", "must be a date that has a next day"))?)
            }
        })
    }
}
