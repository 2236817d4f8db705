//! The grants of a tenant, newest first.

use serde::Serialize;

use super::{GrantView, SEEN_AS, rows};
use crate::{
    admin::{Actor, Admin, Plea, cursor, error::AdminError, reviews},
    store::{Sql, Value},
};

/// How many an answer holds at most.
pub const PAGE_MAX: i64 = 100;

const PAGE: Sql = Sql::both(rows::grants!(
    "WHERE tenant_id = $1 AND ($2 = '' OR requested_at < $3 OR (requested_at = $3 AND id < $2)) \
     AND ($4 = '' OR user_id = $4) AND ($5 = '' OR client_id = $5) ORDER BY requested_at DESC, id DESC LIMIT $6"
));

/// Which rows of a list.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub limit: Option<i64>,
    /// Where the page before ended.
    pub cursor: Option<String>,
    pub user: Option<String>,
    pub client: Option<String>,
    /// Grants: a standing. Reviews: `open`, `closed` or `all`.
    pub state: Option<String>,
}

/// A page, and where the next one begins.
#[derive(Clone, Debug, Serialize)]
pub struct Listed<T> {
    pub items: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Page {
    pub(in crate::admin) fn limit(&self) -> i64 {
        self.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX)
    }
}

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
        let after = cursor::read(page.cursor.as_deref())?;
        let limit = page.limit();
        let values = [
            Value::from(tenant),
            Value::from(after.id()),
            Value::from(after.at()),
            Value::from(page.user.as_deref().unwrap_or_default()),
            Value::from(page.client.as_deref().unwrap_or_default()),
            Value::from(limit),
        ];
        let mut transaction = self.store()?.read().await?;
        let found = transaction.rows(PAGE, &values).await?;
        let grants = found.iter().map(rows::grant).collect::<Result<Vec<_>, _>>()?;
        let mut items = Vec::with_capacity(grants.len());
        for grant in &grants {
            let review = reviews::of_grant(&mut transaction, &grant.id).await?;
            items.push(self.shown(grant, review));
        }
        transaction.commit().await?;
        // What stands in no row is filtered here: a page may hold fewer, and the cursor still leads on.
        items.retain(|grant| page.state.as_deref().is_none_or(|state| *grant.state == *state));
        let is_full = i64::try_from(grants.len()).is_ok_and(|count| count >= limit);
        let last = grants.last().filter(|_| is_full);
        Ok(Listed { items, next: last.map(|grant| cursor::write(grant.requested_at, &grant.id)) })
    }
}
