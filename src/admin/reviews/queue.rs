//! The queue of a tenant's reviews, those due first, and how many are past due in all.

use super::{ReviewView, rows};
use crate::{
    admin::{
        Actor, Admin,
        error::AdminError,
        grants::{self, Lock},
        page::{Filling, Listed, Page},
    },
    domain::{
        Timestamp,
        grant::Grant,
        review::{Review, ReviewState},
    },
    store::{Sql, Transaction, Value},
};

const PAGE: Sql = Sql::both(rows::reviews!(
    "WHERE r.tenant_id = $1 AND ($2 = '' OR r.due_at > $3 OR (r.due_at = $3 AND r.id > $2)) \
     AND ($4 <> 'open' OR r.state <> 'closed') ORDER BY r.due_at, r.id LIMIT $5"
));

/// More than that past due is a number that says enough.
const OVERDUE: Sql =
    Sql::both(rows::reviews!("WHERE r.state <> 'closed' AND r.due_at <= $1 ORDER BY r.due_at LIMIT 1000"));

impl Admin {
    /// The reviews of `tenant`, those due first; open ones unless the page says otherwise.
    ///
    /// # Errors
    ///
    /// [`AdminError::Refused`] to whom the policies do not show them.
    pub async fn reviews(&self, actor: &Actor, tenant: &str, page: &Page) -> Result<Listed<ReviewView>, AdminError> {
        let wanted = page.state.as_deref().unwrap_or("open");
        if !["open", "closed", "all"].contains(&wanted) {
            let expected = "must be `open`, `closed` or `all`".to_owned();
            return Err(AdminError::Malformed { path: "state", expected });
        }
        self.ask_to_see(actor, tenant).await?;
        let mut filling = Filling::begin(page)?;
        let now = self.rooms.clock.now();
        let mut transaction = self.store()?.read().await?;
        while filling.wants_more() {
            let values = [
                Value::from(tenant),
                Value::from(filling.after().id()),
                Value::from(filling.after().at()),
                Value::from(wanted),
                Value::from(filling.rows_at_once()),
            ];
            let found = transaction.rows(PAGE, &values).await?;
            filling.read(found.len());
            for row in &found {
                let stored = rows::stored(row)?;
                let (due_at, id) = (stored.review.due_at, stored.review.id.clone());
                let grant = grants::load(&mut transaction, &stored.review.grant_id, Lock::Not).await?;
                let view = grant.map(|grant| ReviewView::of(stored, &grant, now));
                // Some close by themselves, which no row says.
                let view = view.filter(|review| {
                    let is_closed = *review.state == *ReviewState::Closed.as_str();
                    match wanted {
                        "open" => !is_closed,
                        "closed" => is_closed,
                        _ => true,
                    }
                });
                if !filling.take(due_at, &id, view) {
                    break;
                }
            }
        }
        transaction.commit().await?;
        Ok(filling.listed())
    }
}

/// How many reviews are past due, of all tenants.
pub(in crate::admin) async fn overdue(transaction: &mut Transaction, now: Timestamp) -> Result<u64, AdminError> {
    let count = past_due(transaction, now).await?.len();
    Ok(u64::try_from(count).unwrap_or(u64::MAX))
}

/// The reviews that are past due and wait for a person, as of `now`, with their grants.
pub(in crate::admin) async fn past_due(
    transaction: &mut Transaction,
    now: Timestamp,
) -> Result<Vec<(Review, Grant)>, AdminError> {
    let mut found = Vec::new();
    for row in transaction.rows(OVERDUE, &[Value::from(now)]).await? {
        let rows::Stored { review, .. } = rows::stored(&row)?;
        let Some(grant) = grants::load(transaction, &review.grant_id, Lock::Not).await? else { continue };
        let review = review.as_of(&grant, now);
        if review.state == ReviewState::Escalated {
            found.push((review, grant));
        }
    }
    Ok(found)
}
