//! The demo's clock: `POST /demo/v1/clock {"now": "…Z"}`. Mounted only where a frozen clock was given.

use serde_json::{Value as Json, json};

use super::{
    callers_api::Room,
    error::{ApiError, Code},
    json,
    layers::to_json,
};
use crate::domain::Timestamp;

/// Moves the clock and says where it stands.
pub(super) fn clock(room: &Room, body: &[u8]) -> Result<Vec<u8>, ApiError> {
    let Some(clock) = &room.demo_clock else { return Err(ApiError::new(Code::NotFound, "no such path")) };
    let given = json::read_object(body, &room.limits.json)?;
    let now = given.get("now").and_then(Json::as_str).and_then(|now| now.parse::<Timestamp>().ok());
    let Some(now) = now else {
        return Err(ApiError::new(Code::Malformed, "now must be an instant such as `2026-03-10T15:00:00Z`").at("/now"));
    };
    clock.set(now);
    to_json(&json!({ "now": now.to_string() }))
}
