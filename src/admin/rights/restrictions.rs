//! Restrictions, asked on the client (`admin:restrict`).

use std::sync::Arc;

use super::{
    kept::{Kept, KeptSql, Turn, View, json_words, kept_sql, maybe, words},
    named::malformed,
};
use crate::{
    admin::{
        Actor, Admin, Done, Once, Plea, Version,
        error::AdminError,
        grants::hidden,
        page::{Listed, Page},
    },
    domain::{Reason, Timestamp, restriction::Restriction},
    store::{Sql, StoreError, StoredRow, Value},
};

const CHANGES: &str = "admin:restrict";

impl Kept for Restriction {
    const WHAT: &'static str = "restriction";
    const SQL: KeptSql = kept_sql!(
        "restrictions",
        "id, tenant_id, client_id, kind, target_type, target_id, resource_type, resource_id, field_groups, status, \
         emergency_exception, covers_created_before, valid_from, valid_to, decided_by, requested_at, requested_by, \
         ended_at, ended_by, ended_how",
        "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20",
        "tenant_id = $2, client_id = $3, kind = $4, target_type = $5, target_id = $6, resource_type = $7, \
         resource_id = $8, field_groups = $9, status = $10, emergency_exception = $11, covers_created_before = $12, \
         valid_from = $13, valid_to = $14, decided_by = $15, requested_at = $16, requested_by = $17, ended_at = $18, \
         ended_by = $19, ended_how = $20",
        "COALESCE(target_id, '')",
        "client_id"
    );

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
        Some(self.target_id.as_deref().unwrap_or_default())
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
            kind: some("kind")?,
            target_type: some("target_type")?,
            target_id: maybe(row, "target_id")?,
            resource_type: maybe(row, "resource_type")?,
            resource_id: maybe(row, "resource_id")?,
            fields: words(row, "field_groups")?,
            status: some("status")?,
            emergency_exception: row.flag("emergency_exception")?.unwrap_or(false),
            covers_created_before: row.at("covers_created_before")?,
            from: row.at("valid_from")?,
            to: row.at("valid_to")?,
            decided_by: maybe(row, "decided_by")?,
            requested_at: row.at("requested_at")?,
            requested_by: maybe(row, "requested_by")?,
            ended_at: row.at("ended_at")?,
            ended_by: maybe(row, "ended_by")?,
            ended_how: maybe(row, "ended_how")?,
        })
    }

    fn values(&self) -> Vec<Value<'_>> {
        vec![
            Value::from(&*self.id),
            Value::from(&*self.tenant),
            Value::from(&*self.client),
            Value::from(&*self.kind),
            Value::from(&*self.target_type),
            Value::from(self.target_id.as_deref()),
            Value::from(self.resource_type.as_deref()),
            Value::from(self.resource_id.as_deref()),
            Value::from(json_words(&self.fields)),
            Value::from(&*self.status),
            Value::from(self.emergency_exception),
            Value::from(self.covers_created_before),
            Value::from(self.from),
            Value::from(self.to),
            Value::from(self.decided_by.as_deref()),
            Value::from(self.requested_at),
            Value::from(self.requested_by.as_deref()),
            Value::from(self.ended_at),
            Value::from(self.ended_by.as_deref()),
            Value::from(self.ended_how.as_deref()),
        ]
    }
}

/// A client asks for one; read and typed.
#[derive(Clone, Debug)]
pub struct AskRestriction {
    pub client: Arc<str>,
    pub kind: Arc<str>,
    pub target: (Arc<str>, Option<Arc<str>>),
    /// One record by type and id; `None`: every record of the client.
    pub record: Option<(Arc<str>, Arc<str>)>,
    pub fields: Vec<Arc<str>>,
    pub emergency_exception: bool,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

/// What becomes of one.
#[derive(Clone, Debug)]
pub enum RestrictionStep {
    Agree,
    Decline,
    /// In one of `restriction::ENDINGS`.
    Terminate(Arc<str>),
}

struct Agree;
struct Decline;
struct Terminate<'a>(&'a Arc<str>);

impl Turn<Restriction> for Agree {
    const EVENT: &'static str = "agreed";

    fn take(&self, row: &mut Restriction, by: &Arc<str>, _now: Timestamp) -> Result<(), AdminError> {
        Ok(row.agree(by)?)
    }
}

impl Turn<Restriction> for Decline {
    const EVENT: &'static str = "declined";

    fn take(&self, row: &mut Restriction, by: &Arc<str>, _now: Timestamp) -> Result<(), AdminError> {
        Ok(row.decline(by)?)
    }
}

impl Turn<Restriction> for Terminate<'_> {
    const EVENT: &'static str = "terminated";

    fn take(&self, row: &mut Restriction, by: &Arc<str>, now: Timestamp) -> Result<(), AdminError> {
        Ok(row.terminate(by, self.0, now)?)
    }
}

impl Admin {
    /// Writes down that a client asks for a restriction; not in force until somebody agrees.
    ///
    /// # Errors
    ///
    /// [`AdminError`]; a refusal carries its reason code.
    pub async fn ask_for_restriction(
        &self,
        actor: &Actor,
        asked: &AskRestriction,
        once: &Once,
    ) -> Result<Done<View<Restriction>>, AdminError> {
        let permitted = self.ask_to_change(actor, Plea::on(CHANGES, "Client", &asked.client)).await?;
        self.are_kept_here("restriction", "restrictions")?;
        self.are_groups("/fields", &asked.fields)?;
        let tenant = permitted.tenant().ok_or(AdminError::refused(Reason::new("tenant_missing")))?;
        let mut refused = None;
        if let Some((kind, id)) = &asked.record {
            let named = self.named(actor, kind, id).await?;
            let is_theirs = named.client.as_ref() == Some(&asked.client);
            refused = named.refused.or_else(|| (!is_theirs).then_some(Reason::UNKNOWN_RESOURCE));
        }
        let (resource_type, resource_id) = asked.record.clone().unzip();
        let row = Restriction {
            id: self.new_id(),
            tenant,
            client: asked.client.clone(),
            kind: asked.kind.clone(),
            target_type: asked.target.0.clone(),
            target_id: asked.target.1.clone(),
            resource_type,
            resource_id,
            fields: asked.fields.clone(),
            status: "requested".into(),
            emergency_exception: asked.emergency_exception,
            covers_created_before: None,
            from: asked.from,
            to: asked.to,
            decided_by: None,
            requested_at: Some(self.rooms.clock.now()),
            requested_by: Some(permitted.by()),
            ended_at: None,
            ended_by: None,
            ended_how: None,
        };
        if !row.is_target_whole() {
            return Err(malformed("/target_id", "does not fit `target_type`: `all` has none, most others need one"));
        }
        self.make_kept(&permitted, (row, "requested"), refused, once).await
    }

    /// Takes one step with a restriction.
    ///
    /// # Errors
    ///
    /// [`AdminError::Unknown`]: no such restriction here; [`AdminError::NotNow`].
    pub async fn step_restriction(
        &self,
        actor: &Actor,
        (id, step): (&str, &RestrictionStep),
        expected: Option<&Version>,
        once: &Once,
    ) -> Result<Done<View<Restriction>>, AdminError> {
        let row: Restriction = self.kept(id).await?;
        let asked = self.ask_to_change(actor, Plea::on(CHANGES, "Client", &row.client)).await;
        let permitted = hidden(asked, Restriction::WHAT)?;
        self.are_kept_here("restriction", "restrictions")?;
        match step {
            RestrictionStep::Agree => self.turn_kept(&permitted, (id, &Agree), None, expected, once).await,
            RestrictionStep::Decline => self.turn_kept(&permitted, (id, &Decline), None, expected, once).await,
            RestrictionStep::Terminate(how) => {
                self.turn_kept(&permitted, (id, &Terminate(how)), None, expected, once).await
            }
        }
    }

    /// One restriction, to whoever keeps those of its client.
    ///
    /// # Errors
    ///
    /// [`AdminError::Unknown`]: no such restriction here; [`AdminError::Refused`].
    pub async fn restriction_seen(&self, actor: &Actor, id: &str) -> Result<View<Restriction>, AdminError> {
        let row: Restriction = self.kept(id).await?;
        hidden(self.ask(actor, Plea::on(CHANGES, "Client", &row.client)).await, Restriction::WHAT)?;
        Ok(self.kept_shown(row))
    }

    /// The restrictions of one client, which the page names.
    ///
    /// # Errors
    ///
    /// [`AdminError::Refused`] to whom the policies do not let keep them.
    pub async fn restrictions(
        &self,
        actor: &Actor,
        tenant: &str,
        page: &Page,
    ) -> Result<Listed<View<Restriction>>, AdminError> {
        let client = page.client.as_deref().ok_or_else(|| malformed("client", "is required"))?;
        self.ask(actor, Plea::on(CHANGES, "Client", client)).await?;
        self.kept_page(tenant, page).await
    }
}
