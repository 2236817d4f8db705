//! The rows of the outbox: put with a change, handed out one message at a time, marked as taken.

use serde_json::{Value as Json, json};

use super::{Notices, Urgency};
use crate::{
    admin::{Admin, error::AdminError, reviews},
    domain::Timestamp,
    store::{Sql, StoreError, Transaction, Value},
};

const PUT: Sql = Sql::both(
    "INSERT INTO outbox (id, tenant_id, kind, about, written_at, next_try_at) VALUES ($1, $2, $3, $4, $5, $6) \
     ON CONFLICT (id) DO NOTHING",
);
const NEXT: Sql = Sql {
    sqlite: "SELECT id, tenant_id, kind, batch, attempts FROM outbox WHERE sent_at IS NULL AND next_try_at <= $1 \
             ORDER BY next_try_at, id LIMIT 1",
    // Another sidecar that hands one out holds it: this one takes the next.
    postgres: "SELECT id, tenant_id, kind, batch, attempts FROM outbox WHERE sent_at IS NULL AND next_try_at <= $1 \
               ORDER BY next_try_at, id LIMIT 1 FOR UPDATE SKIP LOCKED",
};
/// Those of a tenant that are due by now go together, and stay together at each try.
const GATHER: Sql = Sql {
    sqlite: "UPDATE outbox SET batch = $1 WHERE id IN (SELECT id FROM outbox WHERE tenant_id = $2 AND kind = 'digest' \
             AND batch IS NULL AND sent_at IS NULL AND next_try_at <= $3 ORDER BY written_at, id LIMIT 500)",
    // Two that gather at once, each holding its first row, would wait for each other.
    postgres: "UPDATE outbox SET batch = $1 WHERE id IN (SELECT id FROM outbox WHERE tenant_id = $2 AND kind = 'digest' \
               AND batch IS NULL AND sent_at IS NULL AND next_try_at <= $3 ORDER BY written_at, id LIMIT 500 \
               FOR UPDATE SKIP LOCKED)",
};
const OF_MESSAGE: Sql =
    Sql::both("SELECT about, written_at FROM outbox WHERE id = $1 OR batch = $1 ORDER BY written_at, id LIMIT 1000");
const AGAIN: Sql = Sql::both(
    "UPDATE outbox SET attempts = attempts + 1, next_try_at = $2 WHERE (id = $1 OR batch = $1) AND sent_at IS NULL",
);
const TAKEN: Sql = Sql::both("UPDATE outbox SET sent_at = $2 WHERE (id = $1 OR batch = $1) AND sent_at IS NULL");
const IS_TOLD: Sql = Sql::both("SELECT id FROM outbox WHERE id = $1");

/// Seconds to the next try, after the first one, the second, …: longer than a try may take, at most a day.
const BACKOFF_SECONDS: [i64; 7] = [20, 60, 300, 1_800, 7_200, 21_600, 86_400];

/// One message that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The same at each try: whoever gets it twice knows it by this.
    pub id: String,
    pub body: String,
    /// Tries before this one.
    pub attempts: i64,
}

/// What one row tells of.
pub(in crate::admin) struct Told<'a> {
    pub(in crate::admin) id: &'a str,
    pub(in crate::admin) tenant: &'a str,
    pub(in crate::admin) client: &'a str,
    pub(in crate::admin) review: &'a str,
}

impl Notices {
    /// Writes a notice into the transaction of what it tells of.
    pub(in crate::admin) async fn put(
        &self,
        transaction: &mut Transaction,
        urgency: Urgency,
        told: Told<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let values = [
            Value::from(told.id),
            Value::from(told.tenant),
            Value::from(urgency.as_str()),
            Value::from(self.about(told.client, told.review).to_string()),
            Value::from(now),
            Value::from(urgency.due(now)),
        ];
        transaction.write(PUT, &values).await
    }
}

impl Admin {
    /// The next message that is due. It is due again, later each time, until [`notice_taken`](Self::notice_taken).
    ///
    /// # Errors
    ///
    /// [`AdminError`]: the store is away, and nothing was handed out.
    pub async fn next_notice(&self) -> Result<Option<Notice>, AdminError> {
        let now = self.rooms.clock.now();
        let mut transaction = self.store()?.begin().await?;
        let Some(row) = transaction.row(NEXT, &[Value::from(now)]).await? else { return Ok(None) };
        let (first, kind, tenant) = (row.some_text("id")?, row.some_text("kind")?, row.some_text("tenant_id")?);
        let id = match row.text("batch")? {
            Some(batch) => batch,
            None if kind == Urgency::Digest.as_str() => {
                let values = [Value::from(&*first), Value::from(&*tenant), Value::from(now)];
                transaction.run(GATHER, &values).await?;
                first
            }
            None => first,
        };
        let attempts = row.int("attempts")?.unwrap_or(0);
        let mut reviews = Vec::new();
        let mut written_at = now;
        for row in transaction.rows(OF_MESSAGE, &[Value::from(&*id)]).await? {
            reviews.push(serde_json::from_str::<Json>(&row.some_text("about")?).unwrap_or_default());
            written_at = written_at.min(row.at("written_at")?.unwrap_or(now));
        }
        let wait = BACKOFF_SECONDS.get(usize::try_from(attempts).unwrap_or(usize::MAX)).or(BACKOFF_SECONDS.last());
        let again = now.checked_add(jiff::SignedDuration::from_secs(wait.copied().unwrap_or(0))).unwrap_or(now);
        // Said before it is sent: a crash in between only makes it later, and another sidecar takes another one.
        transaction.run(AGAIN, &[Value::from(&*id), Value::from(again)]).await?;
        transaction.commit().await?;
        let name = match kind.as_str() {
            "immediate" => "grant.opened",
            "digest" => "grants.digest",
            _ => "review.overdue",
        };
        let body = json!({
            "type": name,
            "timestamp": written_at.to_string(),
            "data": { "tenant": tenant, "reviews": reviews },
        });
        Ok(Some(Notice { id, body: body.to_string(), attempts }))
    }

    /// The receiver has it.
    ///
    /// # Errors
    ///
    /// [`AdminError`]: the store is away, and it is sent once more.
    pub async fn notice_taken(&self, id: &str) -> Result<(), AdminError> {
        let mut transaction = self.store()?.begin().await?;
        transaction.run(TAKEN, &[Value::from(id), Value::from(self.rooms.clock.now())]).await?;
        Ok(transaction.commit().await?)
    }

    /// Tells of reviews that are past due, each once.
    ///
    /// # Errors
    ///
    /// [`AdminError`]: the store is away; they are told of later.
    pub async fn note_overdue(&self) -> Result<(), AdminError> {
        let Some(notices) = self.notices.clone() else { return Ok(()) };
        let now = self.rooms.clock.now();
        let mut transaction = self.store()?.begin().await?;
        for (review, grant) in reviews::past_due(&mut transaction, now).await? {
            let id = format!("overdue-{}", review.id);
            if transaction.row(IS_TOLD, &[Value::from(&*id)]).await?.is_none() {
                let told = Told { id: &id, tenant: &review.tenant, client: &grant.client, review: &review.id };
                notices.put(&mut transaction, Urgency::Overdue, told, now).await?;
            }
        }
        Ok(transaction.commit().await?)
    }
}
