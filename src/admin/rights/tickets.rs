//! Support tickets, asked on the organization (`admin:ticket`).

use std::sync::Arc;

use super::{
    kept::{Kept, KeptSql, Turn, View, json_words, kept_sql, maybe, words},
    named::malformed,
};
use crate::{
    admin::{
        Actor, Admin, Done, Once, Plea, Version,
        error::AdminError,
        grants::{hidden, some_at},
        page::{Listed, Page},
    },
    domain::{
        Reason, Timestamp,
        ticket::{InScope, LASTS, LASTS_AT_MOST, RECORDS_MAX, Ticket},
    },
    store::{Sql, StoreError, StoredRow, Transaction, Value},
};

const CHANGES: &str = "admin:ticket";

/// A ticket holds [`RECORDS_MAX`] records where it was made here; one that was made elsewhere is read as far as this.
const SCOPE: Sql = Sql::both(
    "SELECT resource_type, resource_id, field_groups, released_by FROM ticket_scopes WHERE ticket_id = $1 \
     ORDER BY resource_type, resource_id LIMIT 1000",
);
const KEEP_SCOPE: Sql = Sql::both(
    "INSERT INTO ticket_scopes (ticket_id, resource_type, resource_id, field_groups, released_by) \
     VALUES ($1, $2, $3, $4, $5) ON CONFLICT (ticket_id, resource_type, resource_id) \
     DO UPDATE SET field_groups = excluded.field_groups, released_by = excluded.released_by",
);

impl Kept for Ticket {
    const WHAT: &'static str = "ticket";
    const SQL: KeptSql = kept_sql!(
        "tickets",
        "id, tenant_id, source, opened_by, assigned_engineer_id, phi_needed, phi_approved_by, status, opened_at, \
         expires_at, resolved_at, resolved_by, reopened_at, reopened_by",
        "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14",
        "tenant_id = $2, source = $3, opened_by = $4, assigned_engineer_id = $5, phi_needed = $6, phi_approved_by = $7, \
         status = $8, opened_at = $9, expires_at = $10, resolved_at = $11, resolved_by = $12, reopened_at = $13, \
         reopened_by = $14",
        "assigned_engineer_id",
        "''"
    );

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
            source: some("source")?,
            opened_by: some("opened_by")?,
            engineer: some("assigned_engineer_id")?,
            phi_needed: row.flag("phi_needed")?.unwrap_or(false),
            phi_approved_by: maybe(row, "phi_approved_by")?,
            status: some("status")?,
            opened_at: some_at(row, "opened_at")?,
            expires_at: some_at(row, "expires_at")?,
            resolved_at: row.at("resolved_at")?,
            resolved_by: maybe(row, "resolved_by")?,
            reopened_at: row.at("reopened_at")?,
            reopened_by: maybe(row, "reopened_by")?,
            scope: Vec::new(),
        })
    }

    fn values(&self) -> Vec<Value<'_>> {
        vec![
            Value::from(&*self.id),
            Value::from(&*self.tenant),
            Value::from(&*self.source),
            Value::from(&*self.opened_by),
            Value::from(&*self.engineer),
            Value::from(self.phi_needed),
            Value::from(self.phi_approved_by.as_deref()),
            Value::from(&*self.status),
            Value::from(self.opened_at),
            Value::from(self.expires_at),
            Value::from(self.resolved_at),
            Value::from(self.resolved_by.as_deref()),
            Value::from(self.reopened_at),
            Value::from(self.reopened_by.as_deref()),
        ]
    }

    async fn fill(&mut self, transaction: &mut Transaction) -> Result<(), AdminError> {
        let rows = transaction.rows(SCOPE, &[Value::from(&*self.id)]).await?;
        self.scope = rows.iter().map(in_scope).collect::<Result<_, _>>()?;
        Ok(())
    }

    async fn keep(&self, transaction: &mut Transaction) -> Result<(), AdminError> {
        for record in &self.scope {
            let values = [
                Value::from(&*self.id),
                Value::from(&*record.resource_type),
                Value::from(&*record.resource_id),
                Value::from(json_words(&record.fields)),
                Value::from(record.released_by.as_deref()),
            ];
            transaction.run(KEEP_SCOPE, &values).await?;
        }
        Ok(())
    }
}

fn in_scope(row: &StoredRow) -> Result<InScope, StoreError> {
    Ok(InScope {
        resource_type: row.some_text("resource_type")?.into(),
        resource_id: row.some_text("resource_id")?.into(),
        fields: words(row, "field_groups")?,
        released_by: maybe(row, "released_by")?,
    })
}

/// A ticket to be opened; read and typed.
#[derive(Clone, Debug)]
pub struct AskTicket {
    pub source: Arc<str>,
    pub engineer: Arc<str>,
    pub phi_needed: bool,
    /// The administrator approves that the engineer learns who the client is.
    pub is_phi_approved: bool,
    pub expires_at: Option<Timestamp>,
    pub scope: Vec<InScope>,
}

/// What becomes of one.
#[derive(Clone, Debug)]
pub enum TicketStep {
    Add(InScope),
    /// By type and id.
    Release(Arc<str>, Arc<str>),
    Resolve,
    Reopen,
}

struct Add<'a>(&'a InScope);
struct Release<'a>(&'a str, &'a str);
struct Resolve;
struct Reopen;

impl Turn<Ticket> for Add<'_> {
    const EVENT: &'static str = "scoped";

    fn take(&self, row: &mut Ticket, by: &Arc<str>, now: Timestamp) -> Result<(), AdminError> {
        Ok(row.add(self.0.clone(), by, now)?)
    }
}

impl Turn<Ticket> for Release<'_> {
    const EVENT: &'static str = "released";

    fn take(&self, row: &mut Ticket, by: &Arc<str>, now: Timestamp) -> Result<(), AdminError> {
        row.release(self.0, self.1, by, now)?.ok_or(AdminError::Unknown("record in this ticket"))
    }
}

impl Turn<Ticket> for Resolve {
    const EVENT: &'static str = "resolved";

    fn take(&self, row: &mut Ticket, by: &Arc<str>, now: Timestamp) -> Result<(), AdminError> {
        Ok(row.resolve(by, now)?)
    }
}

impl Turn<Ticket> for Reopen {
    const EVENT: &'static str = "reopened";

    fn take(&self, row: &mut Ticket, by: &Arc<str>, now: Timestamp) -> Result<(), AdminError> {
        Ok(row.reopen(by, now)?)
    }
}

impl Admin {
    /// Opens a ticket in the organization that the person works in.
    ///
    /// # Errors
    ///
    /// [`AdminError`]; a refusal carries its reason code.
    pub async fn open_ticket(
        &self,
        actor: &Actor,
        tenant: &str,
        asked: &AskTicket,
        once: &Once,
    ) -> Result<Done<View<Ticket>>, AdminError> {
        let permitted = self.ask_to_change(actor, Plea::on(CHANGES, "Tenant", tenant)).await?;
        self.are_kept_here("ticket", "tickets")?;
        if asked.scope.len() > RECORDS_MAX {
            return Err(malformed("/scope", "names more records than a ticket may"));
        }
        let now = self.rooms.clock.now();
        let expires_at = asked.expires_at.or_else(|| now.checked_add(LASTS).ok()).unwrap_or(now);
        if expires_at <= now || now.checked_add(LASTS_AT_MOST).is_ok_and(|latest| latest < expires_at) {
            return Err(malformed("/expires_at", "must be later than now, by 30 days at most"));
        }
        let mut refused = (*asked.engineer == *permitted.by()).then_some(Reason::new("ticket_self"));
        if refused.is_none() {
            // Vendor staff belong to no organization: that they are elsewhere is no reason.
            let named = self.named(actor, "User", &asked.engineer).await?.refused;
            refused = named.filter(|reason| !reason.as_str().starts_with("tenant_"));
        }
        for record in &asked.scope {
            refused = refused.or(self.in_the_way(actor, record).await?);
        }
        let row = Ticket {
            id: self.new_id(),
            tenant: tenant.into(),
            source: asked.source.clone(),
            opened_by: permitted.by(),
            engineer: asked.engineer.clone(),
            phi_needed: asked.phi_needed,
            phi_approved_by: asked.is_phi_approved.then(|| permitted.by()),
            status: "open".into(),
            opened_at: now,
            expires_at,
            resolved_at: None,
            resolved_by: None,
            reopened_at: None,
            reopened_by: None,
            scope: asked.scope.clone(),
        };
        self.make_kept(&permitted, (row, "opened"), refused, once).await
    }

    /// Takes one step with a ticket; in force for the next decision.
    ///
    /// # Errors
    ///
    /// [`AdminError::Unknown`]: no such ticket here; [`AdminError::NotNow`].
    pub async fn step_ticket(
        &self,
        actor: &Actor,
        (id, step): (&str, &TicketStep),
        expected: Option<&Version>,
        once: &Once,
    ) -> Result<Done<View<Ticket>>, AdminError> {
        let row: Ticket = self.kept(id).await?;
        let permitted =
            hidden(self.ask_to_change(actor, Plea::on(CHANGES, "Tenant", &row.tenant)).await, Ticket::WHAT)?;
        self.are_kept_here("ticket", "tickets")?;
        match step {
            TicketStep::Add(record) => {
                let refused = self.in_the_way(actor, record).await?;
                self.turn_kept(&permitted, (id, &Add(record)), refused, expected, once).await
            }
            TicketStep::Release(kind, of) => {
                self.turn_kept(&permitted, (id, &Release(kind, of)), None, expected, once).await
            }
            TicketStep::Resolve => self.turn_kept(&permitted, (id, &Resolve), None, expected, once).await,
            TicketStep::Reopen => self.turn_kept(&permitted, (id, &Reopen), None, expected, once).await,
        }
    }

    async fn in_the_way(&self, actor: &Actor, record: &InScope) -> Result<Option<Reason>, AdminError> {
        self.are_groups("/fields", &record.fields)?;
        Ok(self.named(actor, &record.resource_type, &record.resource_id).await?.refused)
    }

    /// One ticket, to whoever keeps those of its organization.
    ///
    /// # Errors
    ///
    /// [`AdminError::Unknown`]: no such ticket here; [`AdminError::Refused`].
    pub async fn ticket_seen(&self, actor: &Actor, id: &str) -> Result<View<Ticket>, AdminError> {
        let row: Ticket = self.kept(id).await?;
        hidden(self.ask(actor, Plea::on(CHANGES, "Tenant", &row.tenant)).await, Ticket::WHAT)?;
        Ok(self.kept_shown(row))
    }

    /// The tickets of `tenant`.
    ///
    /// # Errors
    ///
    /// [`AdminError::Refused`] to whom the policies do not let keep them.
    pub async fn tickets(&self, actor: &Actor, tenant: &str, page: &Page) -> Result<Listed<View<Ticket>>, AdminError> {
        self.ask(actor, Plea::on(CHANGES, "Tenant", tenant)).await?;
        self.kept_page(tenant, page).await
    }
}
