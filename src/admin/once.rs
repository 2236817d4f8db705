//! A call that may be repeated: the same key brings the same answer, and changes nothing again.

use jiff::SignedDuration;
use serde::{Serialize, de::DeserializeOwned};

use super::{change::Moment, error::AdminError};
use crate::store::{Sql, StoreError, Transaction, Value};

/// How long an answer is kept.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

const FIND: Sql = Sql::both("SELECT digest, answer FROM idempotency_keys WHERE actor = $1 AND key = $2");
const KEEP: Sql =
    Sql::both("INSERT INTO idempotency_keys (actor, key, digest, answer, at) VALUES ($1, $2, $3, $4, $5)");
const FORGET: Sql = Sql::both("DELETE FROM idempotency_keys WHERE at < $1");

/// An idempotency key, whose it is, and a digest of the request that it came with.
#[derive(Clone, Debug)]
pub struct Once {
    pub actor: String,
    pub key: String,
    pub digest: String,
}

impl Once {
    /// The answer that was given to this key.
    pub(super) async fn answer<A: DeserializeOwned>(
        &self,
        transaction: &mut Transaction,
    ) -> Result<Option<A>, AdminError> {
        let values = [Value::from(&self.actor), Value::from(&self.key)];
        let Some(row) = transaction.row(FIND, &values).await? else { return Ok(None) };
        if row.some_text("digest")? != self.digest {
            return Err(AdminError::KeyUsed);
        }
        let unreadable = |_error| StoreError::Unreadable { column: "answer".to_owned(), wanted: "answer of this call" };
        Ok(Some(serde_json::from_str(&row.some_text("answer")?).map_err(unreadable)?))
    }

    /// Keeps the answer, and forgets those that are old. What was kept longer than that may come again.
    pub(super) async fn keep(
        &self,
        transaction: &mut Transaction,
        answer: &impl Serialize,
        moment: &Moment,
    ) -> Result<(), AdminError> {
        let oldest = moment.now.saturating_sub(KEPT).unwrap_or(moment.now);
        transaction.write(FORGET, &[Value::from(oldest)]).await?;
        let unwritable = |_error| StoreError::Unreadable { column: "answer".to_owned(), wanted: "JSON" };
        let answer = serde_json::to_string(answer).map_err(unwritable)?;
        let values = [
            Value::from(&self.actor),
            Value::from(&self.key),
            Value::from(&self.digest),
            Value::from(answer),
            Value::from(moment.now),
        ];
        transaction.write(KEEP, &values).await?;
        Ok(())
    }
}
