//! The grants of a tenant, newest first.

use super::{GrantView, SEEN_AS, rows};
use crate::{
    admin::{
        Actor, Admin, Plea,
        error::AdminError,
        page::{Filling, Listed, Page},
        reviews,
    },
    store::{Sql, Value},
};

const PAGE: Sql = Sql::both(rows::grants!(
    "WHERE tenant_id = $1 AND ($2 = '' OR requested_at < $3 OR (requested_at = $3 AND id < $2)) \
     AND ($4 = '' OR user_id = $4) AND ($5 = '' OR client_id = $5) ORDER BY requested_at DESC, id DESC LIMIT $6"
));

impl Admin {
    /// Asks whether the person may see the grants and reviews of `tenant`.
    pub(in crate::admin) async fn ask_to_see(&self, actor: &Actor, tenant: &str) -> Result<(), AdminError> {
        self.ask(actor, Plea::on("read", "Tenant", tenant).field(SEEN_AS)).await.map(drop)
    }

    /// The grants of `tenant`, newest first.
    ///
    /// # Errors
    ///
    /// [`AdminError::Refused`] to whom the policies do not show them.
    pub async fn grants(&self, actor: &Actor, tenant: &str, page: &Page) -> Result<Listed<GrantView>, AdminError> {
        self.ask_to_see(actor, tenant).await?;
        let mut filling = Filling::begin(page)?;
        let mut transaction = self.store()?.read().await?;
        while filling.wants_more() {
            let values = [
                Value::from(tenant),
                Value::from(filling.after().id()),
                Value::from(filling.after().at()),
                Value::from(page.user.as_deref().unwrap_or_default()),
                Value::from(page.client.as_deref().unwrap_or_default()),
                Value::from(filling.rows_at_once()),
            ];
            let found = transaction.rows(PAGE, &values).await?;
            filling.read(found.len());
            for row in &found {
                let grant = rows::grant(row)?;
                let review = reviews::of_grant(&mut transaction, &grant.id).await?;
                let view = self.shown(&grant, review);
                let is_it = page.state.as_deref().is_none_or(|state| *view.state == *state);
                if !filling.take(grant.requested_at, &grant.id, is_it.then_some(view)) {
                    break;
                }
            }
        }
        transaction.commit().await?;
        Ok(filling.listed())
    }
}
