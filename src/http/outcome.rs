//! `POST /access/v1/outcome`: what became of a decided access.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::{
    authzen::Asking,
    callers_api::Room,
    error::{ApiError, Code},
    json,
    layers::to_json,
};
use crate::domain::{Disclosure, Outcome, OutcomeKind, Receipt, record::FREE_TEXT_CHARS_MAX};

/// Records the outcome and answers with its receipt.
pub(super) async fn outcome(room: Arc<Room>, body: Bytes, asking: Asking) -> Result<Vec<u8>, ApiError> {
    #[derive(Serialize)]
    struct Answer<'a> {
        decision_id: &'a str,
        receipt: &'a Receipt,
    }
    let object = json::read_object(&body, &room.limits.json)?;
    let outcome = parse(object, asking.request_id, asking.trace_id, room.limits.id_bytes_max)?;
    let decision_id = outcome.decision_id.clone();
    let recorded = room.authorizer.outcome(outcome, &asking.caller).await?;
    to_json(&Answer { decision_id: &decision_id, receipt: recorded.receipt() })
}

fn parse(
    mut given: Map<String, Json>,
    request_id: String,
    trace_id: Option<String>,
    id_bytes_max: usize,
) -> Result<Outcome, ApiError> {
    let Some(Json::String(decision_id)) = given.swap_remove("decision_id") else {
        return Err(misfit("/decision_id", "must be a string"));
    };
    if decision_id.len() > id_bytes_max {
        return Err(misfit("/decision_id", &format!("must not be longer than {id_bytes_max} bytes")));
    }
    let kind = match given.get("outcome").and_then(Json::as_str) {
        Some("success") => OutcomeKind::Success,
        Some("failure") => OutcomeKind::Failure,
        _ => return Err(misfit("/outcome", "must be `success` or `failure`")),
    };
    let rows = match given.get("rows") {
        None => None,
        Some(rows) => Some(rows.as_u64().ok_or_else(|| misfit("/rows", "must be a whole number, not negative"))?),
    };
    let disclosure = match given.swap_remove("disclosure") {
        None => None,
        Some(Json::Object(disclosure)) => Some(parse_disclosure(disclosure)?),
        Some(_) => return Err(misfit("/disclosure", "must be an object")),
    };
    Ok(Outcome { decision_id, kind, rows, disclosure, request_id, trace_id })
}

fn parse_disclosure(mut given: Map<String, Json>) -> Result<Disclosure, ApiError> {
    let mut text = |name: &str| match given.swap_remove(name) {
        None => Ok(None),
        Some(Json::String(text)) if text.chars().count() <= FREE_TEXT_CHARS_MAX => Ok(Some(text)),
        Some(Json::String(_)) => {
            let expected = format!("must not be longer than {FREE_TEXT_CHARS_MAX} characters");
            Err(misfit(&format!("/disclosure/{name}"), &expected))
        }
        Some(_) => Err(misfit(&format!("/disclosure/{name}"), "must be a string")),
    };
    let (recipient, address) = (text("recipient")?, text("address")?);
    let (description, basis) = (text("description")?, text("basis")?);
    let needed = |name: &str, text: Option<String>| {
        text.filter(|text| !text.is_empty()).ok_or_else(|| misfit(&format!("/disclosure/{name}"), "is required"))
    };
    Ok(Disclosure {
        recipient: needed("recipient", recipient)?,
        address,
        description: needed("description", description)?,
        basis: needed("basis", basis)?,
    })
}

fn misfit(path: &str, expected: &str) -> ApiError {
    let name = path.trim_start_matches('/').replace('/', ".");
    ApiError::new(Code::Malformed, format!("{name} {expected}")).at(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(given: Json) -> Result<Outcome, Option<String>> {
        let Json::Object(given) = given else { panic!("an object") };
        parse(given, "r".to_owned(), None, 256).map_err(|error| error.path)
    }

    #[test]
    fn an_outcome_with_a_disclosure_is_read() {
        let read = read(json!({"decision_id":"d","outcome":"success","rows":3,
            "disclosure":{"recipient":"Dr. Who","description":"summary","basis":"treatment"}}));
        let outcome = read.unwrap();
        assert_eq!((outcome.kind, outcome.rows), (OutcomeKind::Success, Some(3)));
        assert_eq!(outcome.disclosure.unwrap().recipient, "Dr. Who");
    }

    #[test]
    fn what_does_not_fit_is_named_by_its_path() {
        let path = |given| read(given).unwrap_err().unwrap();
        assert_eq!(path(json!({"outcome":"success"})), "/decision_id");
        assert_eq!(path(json!({"decision_id":"d".repeat(257),"outcome":"success"})), "/decision_id");
        assert_eq!(path(json!({"decision_id":"d","outcome":"maybe"})), "/outcome");
        assert_eq!(path(json!({"decision_id":"d","outcome":"success","rows":-1})), "/rows");
        assert_eq!(path(json!({"decision_id":"d","outcome":"success","rows":1.5})), "/rows");
        assert_eq!(path(json!({"decision_id":"d","outcome":"success","disclosure":{}})), "/disclosure/recipient");
        let disclosure = |length| {
            json!({"decision_id":"d","outcome":"success",
            "disclosure":{"recipient":"é".repeat(length),"description":"x","basis":"y"}})
        };
        assert!(read(disclosure(500)).is_ok());
        assert_eq!(path(disclosure(501)), "/disclosure/recipient");
    }
}
