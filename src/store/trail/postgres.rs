//! Appending in PostgreSQL: one call of the one function that the shipping role may execute.

use sqlx::Row as _;

use super::{
    super::{error::StoreError, pool::Store},
    TrailError,
};
use crate::domain::{Held, IndexRow, ShippedFrame, ShippedHeader};

const APPEND: &str = "SELECT held_frame, held_seq, held_notes, held_alarm FROM audit_append($1, $2, $3, $4::jsonb)";

pub(super) async fn append(
    store: &Store,
    writer: &str,
    header: Option<&ShippedHeader>,
    frames: &[ShippedFrame],
) -> Result<Option<Held>, TrailError> {
    let bytes: Vec<&[u8]> = frames.iter().map(|frame| frame.bytes.as_slice()).collect();
    let rows: Vec<&IndexRow> = frames.iter().flat_map(|frame| &frame.rows).collect();
    let rows = serde_json::to_string(&rows).map_err(|error| TrailError::Malformed(error.to_string()))?;
    let pool = store.postgres().ok_or_else(|| TrailError::Malformed("no PostgreSQL".to_owned()))?;
    let query =
        sqlx::query(APPEND).bind(writer).bind(header.map(|header| header.bytes.as_slice())).bind(bytes).bind(rows);
    let row = query.fetch_one(pool).await.map_err(|error| failed(store, &error))?;
    let unreadable = |error: &sqlx::Error| TrailError::Store(StoreError::of(store.address(), error));
    let frame: Option<i64> = row.try_get(0).map_err(|error| unreadable(&error))?;
    let seq: Option<i64> = row.try_get(1).map_err(|error| unreadable(&error))?;
    let notes: Option<Vec<String>> = row.try_get(2).map_err(|error| unreadable(&error))?;
    let alarm = row.try_get(3).map_err(|error| unreadable(&error))?;
    let number = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
    let notes = notes.unwrap_or_default();
    Ok(number(frame).zip(number(seq)).map(|(frame, seq)| Held { frame, seq, notes, alarm }))
}

/// The function's own words hold numbers alone, so they may be said.
fn failed(store: &Store, error: &sqlx::Error) -> TrailError {
    let Some(said) = error.as_database_error() else {
        return TrailError::Store(StoreError::of(store.address(), error));
    };
    let words = said.message().to_owned();
    match said.code().as_deref() {
        Some("CH001") => TrailError::Gap(words),
        Some("CH002") => TrailError::Fork(words),
        Some("CH003") => TrailError::Malformed(words),
        // No such function or not as it is now, or not for this role.
        Some("42883" | "42703" | "42501") => TrailError::Store(StoreError::Unmigrated {
            address: store.address().to_owned(),
            missing: vec!["0002_trail and 0003_trail_bound, or the right to execute audit_append"],
        }),
        _ => TrailError::Store(StoreError::of(store.address(), error)),
    }
}
