//! Consents, asked on the client (`admin:consent`).

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
    domain::{Reason, Timestamp, consent::Consent},
    store::{Sql, StoreError, StoredRow, Value},
};

const CHANGES: &str = "admin:consent";

impl Kept for Consent {
    const WHAT: &'static str = "consent";
    const SQL: KeptSql = kept_sql!(
        "consents",
        "id, tenant_id, client_id, kind, discloser, recipient, purposes, field_groups, signed_by, signed_at, expires_at, \
         revoked_at, entered_by, revoked_by",
        "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14",
        "tenant_id = $2, client_id = $3, kind = $4, discloser = $5, recipient = $6, purposes = $7, field_groups = $8, \
         signed_by = $9, signed_at = $10, expires_at = $11, revoked_at = $12, entered_by = $13, revoked_by = $14",
        "recipient",
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
        Some(&self.recipient)
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
            discloser: some("discloser")?,
            recipient: some("recipient")?,
            purposes: words(row, "purposes")?,
            fields: words(row, "field_groups")?,
            signed_by: some("signed_by")?,
            signed_at: some_at(row, "signed_at")?,
            expires_at: row.at("expires_at")?,
            revoked_at: row.at("revoked_at")?,
            entered_by: maybe(row, "entered_by")?,
            revoked_by: maybe(row, "revoked_by")?,
        })
    }

    fn values(&self) -> Vec<Value<'_>> {
        vec![
            Value::from(&*self.id),
            Value::from(&*self.tenant),
            Value::from(&*self.client),
            Value::from(&*self.kind),
            Value::from(&*self.discloser),
            Value::from(&*self.recipient),
            Value::from(json_words(&self.purposes)),
            Value::from(json_words(&self.fields)),
            Value::from(&*self.signed_by),
            Value::from(self.signed_at),
            Value::from(self.expires_at),
            Value::from(self.revoked_at),
            Value::from(self.entered_by.as_deref()),
            Value::from(self.revoked_by.as_deref()),
        ]
    }
}

/// A consent that was signed; read and typed.
#[derive(Clone, Debug)]
pub struct AskConsent {
    pub client: Arc<str>,
    pub kind: Arc<str>,
    pub discloser: Arc<str>,
    pub recipient: Arc<str>,
    pub purposes: Vec<Arc<str>>,
    pub fields: Vec<Arc<str>>,
    pub signed_by: Arc<str>,
    /// `None`: now.
    pub signed_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
}

struct Revoke;

impl Turn<Consent> for Revoke {
    const EVENT: &'static str = "revoked";

    fn take(&self, row: &mut Consent, by: &Arc<str>, now: Timestamp) -> Result<(), AdminError> {
        Ok(row.revoke(by, now)?)
    }
}

impl Admin {
    /// Enters a consent that was signed.
    ///
    /// # Errors
    ///
    /// [`AdminError`]; a refusal carries its reason code.
    pub async fn enter_consent(
        &self,
        actor: &Actor,
        asked: &AskConsent,
        once: &Once,
    ) -> Result<Done<View<Consent>>, AdminError> {
        let permitted = self.ask_to_change(actor, Plea::on(CHANGES, "Client", &asked.client)).await?;
        self.are_kept_here("consent", "consents")?;
        self.are_groups("/fields", &asked.fields)?;
        let now = self.rooms.clock.now();
        let row = Consent {
            id: self.new_id(),
            tenant: permitted.tenant().ok_or(AdminError::refused(Reason::new("tenant_missing")))?,
            client: asked.client.clone(),
            kind: asked.kind.clone(),
            discloser: asked.discloser.clone(),
            recipient: asked.recipient.clone(),
            purposes: asked.purposes.clone(),
            fields: asked.fields.clone(),
            signed_by: asked.signed_by.clone(),
            signed_at: asked.signed_at.unwrap_or(now),
            expires_at: asked.expires_at,
            entered_by: Some(permitted.by()),
            revoked_at: None,
            revoked_by: None,
        };
        if row.signed_at > now {
            return Err(malformed("/signed_at", "must not be in the future"));
        }
        if !row.is_end_said() {
            return Err(malformed("/expires_at", "is required: only `part2_tpo` may last until it is revoked"));
        }
        if row.expires_at.is_some_and(|end| end <= row.signed_at) {
            return Err(malformed("/expires_at", "must be later than `signed_at`"));
        }
        self.make_kept(&permitted, (row, "signed"), None, once).await
    }

    /// Revokes a consent: worth nothing for the next decision.
    ///
    /// # Errors
    ///
    /// [`AdminError::Unknown`]: no such consent here; [`AdminError::NotNow`].
    pub async fn revoke_consent(
        &self,
        actor: &Actor,
        id: &str,
        expected: Option<&Version>,
        once: &Once,
    ) -> Result<Done<View<Consent>>, AdminError> {
        let row: Consent = self.kept(id).await?;
        let permitted =
            hidden(self.ask_to_change(actor, Plea::on(CHANGES, "Client", &row.client)).await, Consent::WHAT)?;
        self.are_kept_here("consent", "consents")?;
        self.turn_kept(&permitted, (id, &Revoke), None, expected, once).await
    }

    /// One consent, to whoever keeps those of its client.
    ///
    /// # Errors
    ///
    /// [`AdminError::Unknown`]: no such consent here; [`AdminError::Refused`].
    pub async fn consent_seen(&self, actor: &Actor, id: &str) -> Result<View<Consent>, AdminError> {
        let row: Consent = self.kept(id).await?;
        hidden(self.ask(actor, Plea::on(CHANGES, "Client", &row.client)).await, Consent::WHAT)?;
        Ok(self.kept_shown(row))
    }

    /// The consents of one client, which the page names.
    ///
    /// # Errors
    ///
    /// [`AdminError::Refused`] to whom the policies do not let keep them.
    pub async fn consents(
        &self,
        actor: &Actor,
        tenant: &str,
        page: &Page,
    ) -> Result<Listed<View<Consent>>, AdminError> {
        let client = page.client.as_deref().ok_or_else(|| malformed("client", "is required"))?;
        self.ask(actor, Plea::on(CHANGES, "Client", client)).await?;
        self.kept_page(tenant, page).await
    }
}
