//! The rows that a poll gets: where the feed stands after it, and what changed.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{Row as _, postgres::PgRow};

use crate::entities::{
    error::Cause,
    feed::FeedError,
    fresh::{Changed, ChangedFact},
};

/// Changes that one poll takes in one by one; beyond that everything known is forgotten, which is cheaper.
pub(super) const ROWS_MAX: usize = 10_000;

/// Where the feed has come to, and by what it knows that it is still the same history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) cursor: String,
    server: String,
    epoch: String,
    trimmed_below: String,
    /// The highest id told: only the seeded shortcut goes by it.
    pub(super) high: i64,
}

impl Position {
    /// Whether `after` continues this history, with nothing of it lost.
    pub(super) fn precedes(&self, after: &Self, rows: &[PgRow]) -> Result<(), FeedError> {
        let moved = |what| Err(FeedError::Moved { what });
        if self.server != after.server {
            return moved("the server is another one, or was started anew");
        }
        if self.epoch != after.epoch {
            return moved("the feed has a new epoch");
        }
        let is_behind = rows.first().is_none_or(|row| row.try_get::<bool, _>(6).unwrap_or(true));
        // A bound that stood when the cursor was taken deleted nothing since, so nothing that this cursor has not seen.
        if is_behind && self.trimmed_below != after.trimmed_below {
            return moved("changes were deleted before this feed saw them");
        }
        Ok(())
    }
}

/// What each row of an answer repeats.
pub(super) struct Seen {
    pub(super) position: Position,
    pub(super) server_time: Option<Timestamp>,
}

/// Reads it, and refuses a standby.
pub(super) fn seen(rows: &[PgRow]) -> Result<Seen, FeedError> {
    let Some(row) = rows.first() else {
        return Err(FeedError::Moved { what: "the feed's own row is gone" });
    };
    let read = || -> Result<(Seen, bool), sqlx::Error> {
        let position = Position {
            cursor: row.try_get(0)?,
            server: row.try_get(1)?,
            epoch: row.try_get(2)?,
            trimmed_below: row.try_get(3)?,
            high: 0,
        };
        Ok((Seen { position, server_time: Timestamp::from_microsecond(row.try_get(5)?).ok() }, row.try_get(4)?))
    };
    match read() {
        Ok((_, true)) => Err(FeedError::Standby),
        Ok((seen, false)) => Ok(seen),
        Err(error) => Err(FeedError::Away(Cause::of(&error))),
    }
}

/// The changes of a poll, how long ago the first of them was written, and the highest id of them.
pub(super) fn told(rows: &[PgRow]) -> Result<(Changed, Option<Duration>, i64), FeedError> {
    let mut facts = Vec::new();
    let mut oldest: Option<f64> = None;
    let mut high = 0;
    let mut is_everything = rows.len() > ROWS_MAX;
    for row in rows {
        let read = || -> Result<_, sqlx::Error> {
            let id: Option<i64> = row.try_get(7)?;
            let names: (Option<String>, Option<String>) = (row.try_get(8)?, row.try_get(9)?);
            Ok((id, names, row.try_get::<Option<f64>, _>(10)?))
        };
        let (id, (name, key), age) = read().map_err(|error| FeedError::Away(Cause::of(&error)))?;
        let Some(id) = id else { continue };
        high = high.max(id);
        oldest = match (oldest, age) {
            (Some(oldest), Some(age)) => Some(oldest.max(age)),
            (oldest, age) => oldest.or(age),
        };
        let Some(name) = name else {
            is_everything = true;
            continue;
        };
        let (kind, relation) = match name.split_once('.') {
            Some((kind, relation)) => (kind.into(), Some(relation.into())),
            None => (name.into(), None),
        };
        facts.push(ChangedFact { kind, relation, id: key.map(Into::into) });
    }
    let changed = if is_everything { Changed::Everything } else { Changed::These(facts) };
    let lag = oldest.map(|age| Duration::try_from_secs_f64(age).unwrap_or_default());
    Ok((changed, lag, high))
}
