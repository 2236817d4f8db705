//! Emergency grants: asked for, extended, ended, approved, revoked, entered afterwards, shown.
//!
//! The steps are `domain::grant`'s; here the rows are read under a lock, the step is taken, the grant's review follows, and
//! a word about it stands in `grant_events`.

mod ask;
mod list;
mod rows;
mod steps;
mod view;

pub use ask::{AskGrant, Occurred};
pub use steps::{Approve, End, Extend, Reject, Revoke, Step};
pub use view::{GrantView, ReviewGist};

pub(super) use rows::{Lock, load, lock_person, note, some_at};

use std::sync::Arc;

use super::{Actor, Admin, Permitted, Plea, error::AdminError};
use crate::domain::{
    EntityRef,
    grant::{Grant, GrantRules},
};

/// Where the matrix says who sees grants and reviews.
pub(super) const SEEN_AS: &str = "priv.incident";

impl Admin {
    /// The rules of the live bundle.
    pub(super) fn grant_rules(&self) -> Result<Arc<GrantRules>, AdminError> {
        let bundle = self.rooms.live.current().ok_or(crate::authorize::AuthorizeError::NoBundle)?;
        bundle.reasons.grants.clone().map(Arc::new).ok_or(AdminError::NoRules("grants"))
    }

    /// A grant and its review, for the application that may ask for grants.
    ///
    /// # Errors
    ///
    /// [`AdminError::Unknown`] if there is none; [`AdminError::Store`].
    pub async fn grant(&self, id: &str) -> Result<GrantView, AdminError> {
        let mut transaction = self.store()?.read().await?;
        let grant = load(&mut transaction, id, rows::Lock::Not).await?.ok_or(AdminError::Unknown("grant"))?;
        let review = super::reviews::of_grant(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(self.shown(&grant, review))
    }

    /// The same for an administrator to whom the policies show grants of its tenant.
    ///
    /// # Errors
    ///
    /// [`AdminError::Unknown`]: no such grant here; [`AdminError::Refused`].
    pub async fn grant_seen(&self, actor: &Actor, id: &str) -> Result<GrantView, AdminError> {
        let view = self.grant(id).await?;
        hidden(self.ask_to_see(actor, &view.tenant).await, "grant")?;
        Ok(view)
    }

    pub(super) fn shown(&self, grant: &Grant, review: Option<crate::domain::review::Review>) -> GrantView {
        let obligations = self.grant_rules().map(|rules| rules.obligations.clone()).unwrap_or_default();
        GrantView::of(grant, review, &obligations, self.rooms.clock.now())
    }

    /// Asks whether the person of `actor` may do `action` to the grant `id`, which is asked on its client.
    ///
    /// # Errors
    ///
    /// [`AdminError::Unknown`]: no such grant here; [`AdminError::Refused`].
    pub async fn ask_about_grant(&self, actor: &Actor, action: &str, id: &str) -> Result<Permitted, AdminError> {
        let client = self.client_of(id).await?;
        hidden(self.ask_to_change(actor, Plea::on(action, "Client", &client)).await, "grant")
    }

    /// The permit to end a grant: the application's own, since nobody is kept from giving access back.
    ///
    /// # Errors
    ///
    /// [`AdminError::Unknown`]: no such grant.
    pub async fn ask_to_end(&self, actor: &Actor, id: &str) -> Result<Permitted, AdminError> {
        let client = self.client_of(id).await?;
        Ok(Self::closing(actor, "grant:end", &client))
    }

    /// Asks whether the holder of the grant `id` is still eligible: the application extends it for them, without a session.
    ///
    /// # Errors
    ///
    /// As [`ask_about_grant`](Self::ask_about_grant).
    pub async fn ask_to_extend(&self, actor: &Actor, id: &str) -> Result<Permitted, AdminError> {
        let mut transaction = self.store()?.read().await?;
        let grant = load(&mut transaction, id, rows::Lock::Not).await?.ok_or(AdminError::Unknown("grant"))?;
        transaction.commit().await?;
        let mut holder = actor.clone();
        holder.principal = Some(EntityRef { kind: "User".to_owned(), id: grant.user.to_string() });
        if !holder.session.contains_key("tenant") {
            holder.session.insert("tenant".to_owned(), grant.tenant.to_string().into());
        }
        self.ask_to_change(&holder, Plea::on("grant:extend", "Client", &grant.client)).await
    }

    async fn client_of(&self, id: &str) -> Result<Arc<str>, AdminError> {
        let mut transaction = self.store()?.read().await?;
        let grant = load(&mut transaction, id, rows::Lock::Not).await?;
        transaction.commit().await?;
        Ok(grant.ok_or(AdminError::Unknown("grant"))?.client)
    }
}

/// What another tenant has is not there.
pub(super) fn hidden<T>(asked: Result<T, AdminError>, what: &'static str) -> Result<T, AdminError> {
    match asked {
        Err(AdminError::Refused { reason, .. }) if reason.as_str() == "tenant_mismatch" => {
            Err(AdminError::Unknown(what))
        }
        other => other,
    }
}
