//! The rows of reviews.

use std::sync::Arc;

use jiff::SignedDuration;

use crate::{
    admin::{error::AdminError, grants::Lock, grants::some_at},
    domain::{
        Timestamp,
        grant::Grant,
        review::{Disposition, Priority, Review, ReviewState},
    },
    store::{Sql, StoreError, StoredRow, Transaction, Value},
};

macro_rules! reviews {
    ($rest:literal) => {
        concat!(
            "SELECT r.id AS id, r.grant_id AS grant_id, r.tenant_id AS tenant_id, r.priority AS priority, \
             r.auto_explanation AS auto_explanation, r.due_at AS due_at, r.reviewer_id AS reviewer_id, r.state AS state, \
             r.disposition AS disposition, r.closed_at AS closed_at, r.incident_id AS incident_id, \
             r.proposal_id AS proposal_id, \
             (SELECT g.activated_at FROM grants g WHERE g.id = r.grant_id) AS activated_at, \
             (SELECT MIN(a.valid_from) FROM assignments a JOIN grants g ON a.client_id = g.client_id AND a.user_id = g.user_id \
              WHERE g.id = r.grant_id AND a.valid_from >= g.activated_at AND a.revoked_at IS NULL) AS assigned_at \
             FROM reviews r ",
            $rest
        )
    };
}
pub(super) use reviews;

const BY_ID: Sql = Sql::both(reviews!("WHERE r.id = $1"));
const BY_ID_LOCKED: Sql =
    Sql { sqlite: reviews!("WHERE r.id = $1"), postgres: reviews!("WHERE r.id = $1 FOR UPDATE OF r") };
const OF_GRANT: Sql = Sql::both(reviews!("WHERE r.grant_id = $1"));
const OF_GRANT_LOCKED: Sql =
    Sql { sqlite: reviews!("WHERE r.grant_id = $1"), postgres: reviews!("WHERE r.grant_id = $1 FOR UPDATE OF r") };

const INSERT: Sql = Sql::both(
    "INSERT INTO reviews (id, grant_id, tenant_id, priority, auto_explanation, due_at, reviewer_id, state, disposition, closed_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
);
const UPDATE: Sql = Sql::both(
    "UPDATE reviews SET priority = $2, auto_explanation = $3, due_at = $4, reviewer_id = $5, state = $6, disposition = $7, \
     closed_at = $8 WHERE id = $1",
);

/// An assignment that is made within this time after the grant explains it.
const ASSIGNED_WITHIN: SignedDuration = SignedDuration::from_hours(24);

/// A review as it is stored, with what closing it led to.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) review: Review,
    pub(super) incident: Option<Arc<str>>,
    pub(super) proposal: Option<Arc<str>>,
}

pub(super) async fn load(transaction: &mut Transaction, id: &str, lock: Lock) -> Result<Option<Stored>, AdminError> {
    let sql = match lock {
        Lock::Not => BY_ID,
        Lock::ToWrite => BY_ID_LOCKED,
    };
    let row = transaction.row(sql, &[Value::from(id)]).await?;
    Ok(row.map(|row| stored(&row)).transpose()?)
}

/// The review of a grant, not yet as of any instant.
pub(in crate::admin) async fn of_grant(
    transaction: &mut Transaction,
    grant: &str,
) -> Result<Option<Review>, AdminError> {
    let row = transaction.row(OF_GRANT, &[Value::from(grant)]).await?;
    Ok(row.map(|row| stored(&row)).transpose()?.map(|stored| stored.review))
}

/// Lets the review follow a step of its grant.
pub(in crate::admin) async fn follow(
    transaction: &mut Transaction,
    grant: &Grant,
    now: Timestamp,
) -> Result<Option<Review>, AdminError> {
    let row = transaction.row(OF_GRANT_LOCKED, &[Value::from(&*grant.id)]).await?;
    let Some(Stored { review, .. }) = row.map(|row| stored(&row)).transpose()? else { return Ok(None) };
    let review = review.following(grant, now);
    update(transaction, &review).await?;
    Ok(Some(review))
}

pub(in crate::admin) async fn insert(transaction: &mut Transaction, review: &Review) -> Result<(), AdminError> {
    let values = [
        Value::from(&*review.id),
        Value::from(&*review.grant_id),
        Value::from(&*review.tenant),
        Value::from(review.priority.as_str()),
        Value::from(review.explanation.as_deref()),
        Value::from(review.due_at),
        Value::from(review.reviewer.as_deref()),
        Value::from(review.state.as_str()),
        Value::from(review.disposition.map(Disposition::as_str)),
        Value::from(review.closed_at),
    ];
    Ok(transaction.write(INSERT, &values).await?)
}

pub(super) async fn update(transaction: &mut Transaction, review: &Review) -> Result<(), AdminError> {
    let values = [
        Value::from(&*review.id),
        Value::from(review.priority.as_str()),
        Value::from(review.explanation.as_deref()),
        Value::from(review.due_at),
        Value::from(review.reviewer.as_deref()),
        Value::from(review.state.as_str()),
        Value::from(review.disposition.map(Disposition::as_str)),
        Value::from(review.closed_at),
    ];
    Ok(transaction.write(UPDATE, &values).await?)
}

pub(super) fn stored(row: &StoredRow) -> Result<Stored, StoreError> {
    let unreadable = |column: &str, wanted| StoreError::Unreadable { column: column.to_owned(), wanted };
    let some = |column: &str| row.some_text(column).map(Arc::<str>::from);
    let maybe = |column: &str| Ok::<_, StoreError>(row.text(column)?.map(Arc::<str>::from));
    let priority = Priority::of_word(&row.some_text("priority")?).ok_or_else(|| unreadable("priority", "priority"))?;
    let state = ReviewState::of_word(&row.some_text("state")?).ok_or_else(|| unreadable("state", "state"))?;
    let disposition = match row.text("disposition")? {
        None => None,
        Some(word) => Some(Disposition::of_word(&word).ok_or_else(|| unreadable("disposition", "disposition"))?),
    };
    let review = Review {
        id: some("id")?,
        grant_id: some("grant_id")?,
        tenant: some("tenant_id")?,
        priority,
        explanation: maybe("auto_explanation")?,
        due_at: some_at(row, "due_at")?,
        reviewer: maybe("reviewer_id")?,
        state,
        disposition,
        closed_at: row.at("closed_at")?,
    };
    let was_assigned_soon = match (row.at("activated_at")?, row.at("assigned_at")?) {
        (Some(activated), Some(assigned)) => assigned.duration_since(activated) <= ASSIGNED_WITHIN,
        _ => false,
    };
    let review = if was_assigned_soon { review.explained_by("assignment") } else { review };
    Ok(Stored { review, incident: maybe("incident_id")?, proposal: maybe("proposal_id")? })
}
