//! The rows of grants, and what the steps want to know beside them.

use std::sync::Arc;

use crate::{
    admin::error::AdminError,
    domain::{
        Timestamp,
        grant::{Grant, GrantState, HISTORY_SPAN, History, Recipient},
    },
    store::{Dialect, Sql, StoreError, StoredRow, Transaction, Value},
};

macro_rules! grants {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant_id, user_id, client_id, reason_code, justification, field_groups, state, requested_at, \
             wished_seconds, approver_id, activated_at, expires_at, extensions, ended_at, ended_by, recipient_name, \
             recipient_affiliation FROM grants ",
            $rest
        )
    };
}
pub(super) use grants;

const BY_ID: Sql = Sql::both(grants!("WHERE id = $1"));
const BY_ID_LOCKED: Sql = Sql { sqlite: grants!("WHERE id = $1"), postgres: grants!("WHERE id = $1 FOR UPDATE") };
/// Those that may be active or wait; the rest of a person's past matters to no step.
const OPEN_OF: Sql = Sql::both(grants!("WHERE client_id = $1 AND user_id = $2 AND state IN ('active', 'pending')"));

/// Of PostgreSQL. SQLite has one writer at a time: whoever writes holds every lock.
const LOCK_PERSON: Sql = Sql { sqlite: "", postgres: "SELECT pg_advisory_xact_lock(hashtextextended($1, 4850741))" };

const INSERT: Sql = Sql::both(
    "INSERT INTO grants (id, tenant_id, user_id, client_id, reason_code, justification, field_groups, state, requested_at, \
     wished_seconds, approver_id, activated_at, expires_at, extensions, ended_at, ended_by, recipient_name, \
     recipient_affiliation) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
);
const UPDATE: Sql = Sql::both(
    "UPDATE grants SET state = $2, approver_id = $3, activated_at = $4, expires_at = $5, extensions = $6, ended_at = $7, \
     ended_by = $8 WHERE id = $1",
);
const NOTE: Sql = Sql::both(
    "INSERT INTO grant_events (id, grant_id, at, event, actor, justification) VALUES ($1, $2, $3, $4, $5, $6)",
);
/// A person's last texts, of grants and of extensions.
const LAST_TEXTS: Sql = Sql::both(
    "SELECT said FROM (SELECT justification AS said, requested_at AS at FROM grants WHERE user_id = $1 \
     UNION ALL SELECT e.justification AS said, e.at AS at FROM grant_events e JOIN grants g ON g.id = e.grant_id \
     WHERE g.user_id = $1 AND e.event = 'extended' AND e.justification IS NOT NULL) AS texts ORDER BY at DESC LIMIT 3",
);
/// A tenant with more grants than that in a month has other worries than a median.
const HISTORY: Sql = Sql::both(
    "SELECT user_id, client_id, requested_at FROM grants WHERE tenant_id = $1 AND requested_at > $2 \
     ORDER BY requested_at DESC LIMIT 10000",
);
const DISASTER: Sql = Sql::both(
    "SELECT id FROM disasters WHERE tenant_id = $1 AND declared_at <= $2 AND (ended_at IS NULL OR ended_at > $2) LIMIT 1",
);

/// Whether a row that is read will be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) enum Lock {
    Not,
    ToWrite,
}

pub(in crate::admin) async fn load(
    transaction: &mut Transaction,
    id: &str,
    lock: Lock,
) -> Result<Option<Grant>, AdminError> {
    let sql = match lock {
        Lock::Not => BY_ID,
        Lock::ToWrite => BY_ID_LOCKED,
    };
    let row = transaction.row(sql, &[Value::from(id)]).await?;
    row.map(|row| grant(&row).map_err(AdminError::from)).transpose()
}

/// Nobody else makes a grant of this person for this client active until the transaction ends.
pub(in crate::admin) async fn lock_person(
    transaction: &mut Transaction,
    user: &str,
    client: &str,
) -> Result<(), AdminError> {
    if transaction.dialect() == Dialect::Postgres {
        // A length in front keeps `a` + `bc` and `ab` + `c` apart.
        let name = format!("{}:{user}{client}", user.len());
        transaction.row(LOCK_PERSON, &[Value::from(name)]).await?;
    }
    Ok(())
}

/// The person's grants for the client that may stand in the way of another one.
pub(super) async fn open_of(transaction: &mut Transaction, user: &str, client: &str) -> Result<Vec<Grant>, AdminError> {
    let rows = transaction.rows(OPEN_OF, &[Value::from(client), Value::from(user)]).await?;
    Ok(rows.iter().map(grant).collect::<Result<_, _>>()?)
}

pub(super) async fn insert(transaction: &mut Transaction, grant: &Grant) -> Result<(), AdminError> {
    let groups = serde_json::Value::from(grant.groups.iter().map(|group| &**group).collect::<Vec<_>>()).to_string();
    let recipient = grant.recipient.as_ref();
    let values = [
        Value::from(&*grant.id),
        Value::from(&*grant.tenant),
        Value::from(&*grant.user),
        Value::from(&*grant.client),
        Value::from(&*grant.reason_code),
        Value::from(&*grant.justification),
        Value::from(groups),
        Value::from(grant.state.as_str()),
        Value::from(grant.requested_at),
        Value::from(grant.wished_seconds),
        Value::from(grant.approver.as_deref()),
        Value::from(grant.activated_at),
        Value::from(grant.expires_at),
        Value::from(grant.extensions),
        Value::from(grant.ended_at),
        Value::from(grant.ended_by.as_deref()),
        Value::from(recipient.map(|recipient| recipient.name.as_str())),
        Value::from(recipient.map(|recipient| recipient.affiliation.as_str())),
    ];
    Ok(transaction.write(INSERT, &values).await?)
}

pub(super) async fn update(transaction: &mut Transaction, grant: &Grant) -> Result<(), AdminError> {
    let values = [
        Value::from(&*grant.id),
        Value::from(grant.state.as_str()),
        Value::from(grant.approver.as_deref()),
        Value::from(grant.activated_at),
        Value::from(grant.expires_at),
        Value::from(grant.extensions),
        Value::from(grant.ended_at),
        Value::from(grant.ended_by.as_deref()),
    ];
    Ok(transaction.write(UPDATE, &values).await?)
}

/// One line of a grant's history. `id` is new with every step.
pub(in crate::admin) async fn note(
    transaction: &mut Transaction,
    (id, grant): (&str, &str),
    event: &str,
    by: &str,
    at: Timestamp,
    justification: Option<&str>,
) -> Result<(), AdminError> {
    let values = [
        Value::from(id),
        Value::from(grant),
        Value::from(at),
        Value::from(event),
        Value::from(by),
        Value::from(justification),
    ];
    Ok(transaction.write(NOTE, &values).await?)
}

pub(super) async fn last_texts(transaction: &mut Transaction, user: &str) -> Result<Vec<String>, AdminError> {
    Ok(texts(&transaction.rows(LAST_TEXTS, &[Value::from(user)]).await?)?)
}

fn texts(rows: &[StoredRow]) -> Result<Vec<String>, StoreError> {
    rows.iter().map(|row| row.some_text("said")).collect()
}

/// What was before a grant is asked for.
pub(super) struct Past {
    /// The person's last texts.
    pub(super) texts: Vec<String>,
    /// The person's grants for the client that may stand in the way.
    pub(super) open: Vec<Grant>,
    /// Everybody's of the tenant, as far back as soft limits look.
    pub(super) history: Vec<History>,
}

pub(super) async fn past(
    transaction: &mut Transaction,
    tenant: &str,
    (user, client): (&str, &str),
    now: Timestamp,
) -> Result<Past, AdminError> {
    let since = now.saturating_sub(HISTORY_SPAN).unwrap_or(Timestamp::MIN);
    let queries: [(Sql, &[Value<'_>]); 3] = [
        (LAST_TEXTS, &[Value::from(user)]),
        (OPEN_OF, &[Value::from(client), Value::from(user)]),
        (HISTORY, &[Value::from(tenant), Value::from(since)]),
    ];
    let mut read = transaction.all(&queries).await?.into_iter();
    // There are as many as queries.
    let mut next = || read.next().unwrap_or_default();
    let past = |row: &StoredRow| {
        Ok::<_, StoreError>(History {
            user: row.some_text("user_id")?.into(),
            client: row.some_text("client_id")?.into(),
            requested_at: some_at(row, "requested_at")?,
        })
    };
    Ok(Past {
        texts: texts(&next())?,
        open: next().iter().map(grant).collect::<Result<_, _>>()?,
        history: next().iter().map(past).collect::<Result<_, _>>()?,
    })
}

pub(super) async fn is_disaster(
    transaction: &mut Transaction,
    tenant: &str,
    now: Timestamp,
) -> Result<bool, AdminError> {
    Ok(transaction.row(DISASTER, &[Value::from(tenant), Value::from(now)]).await?.is_some())
}

/// The grant of a row of [`grants!`].
pub(super) fn grant(row: &StoredRow) -> Result<Grant, StoreError> {
    let some = |column: &str| row.some_text(column).map(Arc::<str>::from);
    let maybe = |column: &str| Ok::<_, StoreError>(row.text(column)?.map(Arc::<str>::from));
    let unreadable = |column: &str, wanted| StoreError::Unreadable { column: column.to_owned(), wanted };
    let groups: Vec<Arc<str>> = serde_json::from_str(&row.some_text("field_groups")?)
        .map_err(|_error| unreadable("field_groups", "list of groups"))?;
    let state = GrantState::of(&row.some_text("state")?).ok_or_else(|| unreadable("state", "state of a grant"))?;
    let recipient = match (row.text("recipient_name")?, row.text("recipient_affiliation")?) {
        (Some(name), Some(affiliation)) => Some(Recipient { name, affiliation }),
        _ => None,
    };
    Ok(Grant {
        id: some("id")?,
        tenant: some("tenant_id")?,
        user: some("user_id")?,
        client: some("client_id")?,
        reason_code: some("reason_code")?,
        justification: some("justification")?,
        groups,
        state,
        requested_at: some_at(row, "requested_at")?,
        wished_seconds: row.int("wished_seconds")?.unwrap_or(0),
        approver: maybe("approver_id")?,
        activated_at: row.at("activated_at")?,
        expires_at: row.at("expires_at")?,
        extensions: row.int("extensions")?.unwrap_or(0),
        ended_at: row.at("ended_at")?,
        ended_by: maybe("ended_by")?,
        recipient,
    })
}

pub(in crate::admin) fn some_at(row: &StoredRow, column: &str) -> Result<Timestamp, StoreError> {
    row.at(column)?.ok_or_else(|| StoreError::Unreadable { column: column.to_owned(), wanted: "instant" })
}
