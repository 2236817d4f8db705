//! Loads on PostgreSQL: a few lanes, each on a connection of its own, each statement with a snapshot of its own.

use std::{sync::Arc, time::Duration};

use sqlx::{PgPool, Postgres, pool::PoolConnection};

use super::{Want, exact, unavailable};
use crate::{
    domain::Row,
    entities::{
        error::{Cause, FactsError},
        fresh::{Bug, is_seeded},
        keep::Lane,
        primary::Primary,
        read::{self, ReadError},
    },
};

/// Connections that one slice may use at once.
const LANES_MAX: usize = 4;

/// Deals `wanted` out.
pub(in crate::entities) fn lanes<T>(wanted: Vec<T>) -> Vec<Vec<T>> {
    let count = wanted.len().min(LANES_MAX);
    let mut lanes: Vec<Vec<T>> = (0..count).map(|_| Vec::new()).collect();
    for (lane, wanted) in (0..count).cycle().zip(wanted) {
        if let Some(lane) = lanes.get_mut(lane) {
            lane.push(wanted);
        }
    }
    lanes
}

/// Makes every load of a lane. `limit` is for one statement, and for the wait for a connection.
///
/// Runs to its end whoever goes on waiting: a load that is dropped halfway would leave its connection in the middle of
/// an answer.
pub(in crate::entities) async fn depart(pool: PgPool, primary: Arc<Primary>, limit: Duration, mut lane: Lane) {
    // After a restart of the server each connection of the pool is broken, and each is found out once.
    let mut spares = pool.options().get_max_connections() + 1;
    let mut connection: Option<PoolConnection<Postgres>> = None;
    let mut retirements = primary.retirements();
    loop {
        // The feed has found another server since: this connection may lead to the one before.
        if let Some(live) = connection.as_mut().filter(|_| primary.retirements() != retirements) {
            live.close_on_drop();
            connection = None;
        }
        // The connection comes first and the mark after it: a wait for a connection must not make a fact old.
        if connection.is_none() {
            retirements = primary.retirements();
            match tokio::time::timeout(limit, pool.acquire()).await {
                // Looked at once more before it is used.
                Ok(Ok(live)) => {
                    connection = Some(live);
                    continue;
                }
                Ok(Err(error)) => return fail(&mut lane, Cause::of(&error)),
                Err(_elapsed) => return fail(&mut lane, Cause::NoConnection),
            }
        }
        let (Some(live), Some(wanted)) = (&mut connection, lane.next()) else { return };
        let want = wanted.borrowed();
        let rows = match tokio::time::timeout(limit, read::postgres(live, &want)).await {
            Ok(Ok(rows)) => Ok(exact(&want.key, rows)),
            Ok(Err(ReadError::Rows(error))) => Err(error),
            Ok(Err(ReadError::Database(cause))) if cause.is_impossible_key() && want.key.relation.is_none() => {
                Ok(Vec::new().into())
            }
            Ok(Err(ReadError::Database(cause))) if cause.is_connection_lost() && spares > 0 => {
                live.close_on_drop();
                connection = None;
                spares -= 1;
                continue;
            }
            Ok(Err(ReadError::Database(cause))) => Err(unavailable(&want, cause)),
            Err(_elapsed) => {
                live.close_on_drop();
                connection = None;
                unanswered(&want)
            }
        };
        let is_lost = connection.is_none();
        lane.done(rows);
        if is_lost {
            return fail(&mut lane, Cause::Timeout);
        }
    }
}

/// What a statement that got no answer gives: an error, never a fact.
pub(in crate::entities) fn unanswered(want: &Want<'_>) -> Result<Arc<[Row]>, FactsError> {
    if is_seeded(Bug::TimeoutIsAbsent) { Ok(Arc::new([])) } else { Err(unavailable(want, Cause::Timeout)) }
}

fn fail(lane: &mut Lane, cause: Cause) {
    if let Some(error) = lane.error(cause) {
        lane.fail(&error);
    }
}
