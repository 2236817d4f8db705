//! Who the administrator is. Where the listener's configuration says `asserted`, two headers say it:
//!
//! ```text
//! Chaperone-Principal: sid
//! Chaperone-Session: mfa=true, age_seconds=60, idle_seconds=5, tenant=T1
//! ```
//!
//! What they say of the session is judged by the same gates as anybody's.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use serde_json::{Map, Value as Json};

use crate::{
    admin::Actor,
    clock::{self, Clock},
    domain::{Api, CallerName, EntityRef, request::Caller},
    http::{
        error::{ApiError, Code},
        layers::Arrival,
    },
};

const PRINCIPAL: HeaderName = HeaderName::from_static("chaperone-principal");
const SESSION: HeaderName = HeaderName::from_static("chaperone-session");

/// The person behind a call of the admin listener.
pub(in crate::http) fn actor(
    headers: &HeaderMap,
    arrival: &Arrival,
    is_asserted: bool,
    clock: &dyn Clock,
) -> Result<Actor, ApiError> {
    if !is_asserted {
        let detail =
            "this listener knows no administrators: set `server.admin.asserted: true` where the caller may name them";
        return Err(ApiError::new(Code::Forbidden, detail));
    }
    let id = one(headers, &PRINCIPAL)?.filter(|id| !id.is_empty() && id.len() <= 256);
    let id = id.ok_or_else(|| {
        ApiError::new(Code::Unauthenticated, "say who the administrator is: `Chaperone-Principal: …`, one id")
    })?;
    let session = session(one(headers, &SESSION)?.unwrap_or_default())?;
    Ok(Actor {
        caller: Arc::new(Caller { name: Some(CallerName("admin".into())), ..Caller::default() }),
        principal: Some(EntityRef { kind: "User".to_owned(), id: id.to_owned() }),
        session,
        request_id: arrival.request_id.clone(),
        trace_id: arrival.trace_id.clone(),
        decision_id: clock::new_id(clock).to_string(),
        api: Api::Admin,
    })
}

fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ApiError> {
    let mut given = headers.get_all(name).iter();
    let (first, second) = (given.next(), given.next());
    let Some(value) = first else { return Ok(None) };
    match (value.to_str(), second) {
        (Ok(text), None) => Ok(Some(text.trim())),
        _ => Err(ApiError::new(Code::Malformed, format!("`{name}` must be one readable text"))),
    }
}

/// `key=value` pairs, separated by commas.
fn session(text: &str) -> Result<Map<String, Json>, ApiError> {
    let mut session = Map::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').map(|(key, value)| (key.trim(), value.trim())).unwrap_or((pair, ""));
        let value = match key {
            "mfa" | "device_managed" => value.parse().ok().map(Json::Bool),
            // As the document has it: digits alone.
            "age_seconds" | "idle_seconds" | "mfa_age_seconds" => {
                value.parse::<u32>().ok().filter(|_| !value.starts_with('+')).map(Json::from)
            }
            "tenant" => (!value.is_empty()).then(|| Json::from(value)),
            _ => None,
        };
        let expected = "`Chaperone-Session` must be `mfa=true, mfa_age_seconds=60, age_seconds=60, idle_seconds=5, device_managed=true, \
             tenant=T1` or a part of it";
        let value = value.ok_or_else(|| ApiError::new(Code::Malformed, expected))?;
        if session.insert(key.to_owned(), value).is_some() {
            return Err(ApiError::new(Code::Malformed, "`Chaperone-Session` says something twice"));
        }
    }
    Ok(session)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_session_is_read_as_it_is_said_and_not_guessed() {
        let read = session("mfa=true, age_seconds=60,idle_seconds=5, tenant=T1").unwrap();
        assert_eq!(Json::Object(read), json!({"mfa": true, "age_seconds": 60, "idle_seconds": 5, "tenant": "T1"}));
        assert!(session("").unwrap().is_empty());
        for wrong in [
            "mfa",
            "mfa=yes",
            "age_seconds=x",
            "mfa_age_seconds=-1",
            "idle_seconds=+5",
            "tenant=",
            "role=admin",
            "mfa=true, mfa=false",
        ] {
            assert!(session(wrong).is_err(), "{wrong}");
        }
    }
}
