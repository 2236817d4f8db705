//! OCSF 1.8.0 API Activity (class 6003): what was asked, by whom, and that it was allowed or denied.

use serde_json::{Map, Value as Json, json};

use super::{super::query::Found, event_word, is_bare, is_emergency, is_failure, name, put_into};
use crate::domain::{Decision, Record, RecordKind};

const VERSION: &str = "1.8.0";
const CLASS: u32 = 6003;
const PRODUCT: &str = "chaperone";
const NOT_SHOWN: &str = "not_shown";

pub(super) fn event(found: &Found, record: &Record, not_shown: &[String]) -> Json {
    let activity = activity(record);
    let mut event = json!({});
    // An absent attribute is left out, as OCSF wants it.
    let mut put = |key: &str, value: Json| put_into(&mut event, key, value);
    put("metadata", metadata(found, record));
    put("time", json!(record.at.as_millisecond()));
    put("class_uid", json!(CLASS));
    put("category_uid", json!(6));
    put("activity_id", json!(activity));
    if activity == 99 {
        put("activity_name", json!(record.action.clone().unwrap_or_else(|| event_word(record))));
    }
    put("type_uid", json!(CLASS * 100 + activity));
    put("severity_id", json!(if is_emergency(record) { 4 } else { 1 }));
    put("status_id", json!(status(record)));
    put("status_code", json!(record.reason.as_ref().map(|reason| reason.as_str())));
    if let Some(decision) = record.decision {
        let (id, caption) = if decision.is_allow() { (1, "Allowed") } else { (2, "Denied") };
        put("action_id", json!(id));
        put("action", json!(caption));
        let (id, caption) = disposition(record, decision);
        put("disposition_id", json!(id));
        put("disposition", json!(caption));
    }
    put("actor", actor(record));
    put("api", api(record));
    put("resources", resources(record));
    put("src_endpoint", endpoint(record));
    put("trace", record.trace_id.as_ref().map_or(Json::Null, |id| json!({ "uid": id })));
    put("unmapped", unmapped(found, record, not_shown));
    if is_bare(not_shown) {
        tell_the_place_alone(&mut event);
    }
    event
}

/// Nothing that a system's own record would say is known of it.
fn tell_the_place_alone(event: &mut Json) {
    let Some(event) = event.as_object_mut() else { return };
    event.insert("activity_name".to_owned(), json!(NOT_SHOWN));
    for (part, key) in [("metadata", "log_name"), ("unmapped", "kind")] {
        event.get_mut(part).and_then(Json::as_object_mut).and_then(|part| part.remove(key));
    }
    if let Some(api) = event.get_mut("api") {
        put_into(api, "operation", json!(NOT_SHOWN));
    }
}

fn metadata(found: &Found, record: &Record) -> Json {
    let is_decision = record.kind == RecordKind::Decision;
    let uid = record.decision_id.clone().filter(|_| is_decision).unwrap_or_else(|| name(found));
    let mut profiles = Vec::new();
    profiles.extend(record.decision.map(|_| "security_control"));
    profiles.extend(record.trace_id.as_ref().map(|_| "trace"));
    let mut metadata = json!({
        "version": VERSION,
        "uid": uid,
        "sequence": found.seq,
        "log_name": record.kind.as_str(),
        "profiles": profiles,
        "product": { "vendor_name": "Chaperone", "name": PRODUCT, "version": env!("CARGO_PKG_VERSION") },
    });
    put_into(&mut metadata, "correlation_uid", json!(record.request_id));
    put_into(&mut metadata, "tenant_uid", json!(record.tenant));
    metadata
}

const fn activity(record: &Record) -> u32 {
    match record.crud {
        Some('C') => 1,
        Some('R') => 2,
        Some('U') => 3,
        Some('D') => 4,
        _ => 99,
    }
}

/// 1: it worked, and a deny is work done. 2: nobody could decide, or the access failed.
fn status(record: &Record) -> u32 {
    let has_failed = record.detail.get("outcome").and_then(Json::as_str) == Some("failure");
    if is_failure(record) || has_failed { 2 } else { 1 }
}

fn disposition(record: &Record, decision: Decision) -> (u32, &'static str) {
    if is_failure(record) {
        return (27, "Error");
    }
    match decision {
        Decision::Allow => (1, "Allowed"),
        Decision::Deny if record.reason.as_ref().is_some_and(|reason| reason.as_str() == "mfa_required") => {
            (23, "Challenge")
        }
        Decision::Deny => (2, "Blocked"),
    }
}

fn actor(record: &Record) -> Json {
    let mut actor = Map::new();
    if let Some(principal) = &record.principal {
        let groups: Vec<_> = principal.roles.iter().map(|role| json!({ "name": role })).collect();
        let mut user = json!({ "uid": principal.id, "type_id": 1 });
        if !groups.is_empty() {
            put_into(&mut user, "groups", json!(groups));
        }
        actor.insert("user".to_owned(), user);
    }
    let app = record.caller.as_deref().unwrap_or(PRODUCT);
    actor.insert("app_uid".to_owned(), json!(app));
    if let Some(decision) = record.decision.filter(|_| !record.policies.is_empty()) {
        let word = if decision.is_allow() { "allowed" } else { "denied" };
        let version = record.revisions.as_ref().map(|revisions| revisions.policies.as_str());
        let of = |policy: &std::sync::Arc<str>| {
            let mut told = json!({ "uid": policy, "is_applied": decision.is_allow() });
            put_into(&mut told, "version", json!(version));
            json!({ "decision": word, "policy": told })
        };
        actor.insert("authorizations".to_owned(), record.policies.iter().map(of).collect());
    }
    Json::Object(actor)
}

fn api(record: &Record) -> Json {
    let operation = match (&record.resource, &record.action) {
        (Some(resource), Some(action)) => format!("{}.{action}", resource.kind),
        (None, Some(action)) => action.clone(),
        (_, None) => event_word(record),
    };
    let mut api = json!({ "operation": operation, "service": { "name": record.caller.as_deref().unwrap_or(PRODUCT) } });
    if let Some(id) = &record.request_id {
        put_into(&mut api, "request", json!({ "uid": id }));
    }
    api
}

fn resources(record: &Record) -> Json {
    let mut resources = Vec::new();
    if let Some(resource) = &record.resource {
        resources.push(json!({ "type": resource.kind, "uid": resource.id }));
    }
    let is_other = |client: &str| {
        record.resource.as_ref().is_none_or(|resource| resource.kind != "Client" || resource.id != client)
    };
    if let Some(client) = record.client.as_deref().filter(|client| is_other(client)) {
        resources.push(json!({ "type": "Client", "uid": client }));
    }
    if resources.is_empty() { Json::Null } else { json!(resources) }
}

fn endpoint(record: &Record) -> Json {
    match &record.ip {
        Some(ip) if ip.parse::<std::net::IpAddr>().is_ok() => json!({ "ip": ip }),
        Some(_) | None => json!({ "name": record.caller.as_deref().unwrap_or(PRODUCT) }),
    }
}

/// What OCSF has no place for.
fn unmapped(found: &Found, record: &Record, not_shown: &[String]) -> Json {
    let mut unmapped = json!({
        "kind": record.kind.as_str(),
        "writer": &*found.writer,
        "decision_id": record.decision_id,
        "fields": record.fields,
        "evidence": record.evidence,
        "obligations": record.obligations,
        "purpose": record.purpose,
        "access_reason": record.access_reason,
        "grant": record.grant,
        "resource_tenant": record.resource_tenant,
        "would_have_been_allowed": record.would_have_been_allowed,
        "session": record.session,
        "revisions": record.revisions,
        "detail": record.detail,
    });
    if !not_shown.is_empty() {
        put_into(&mut unmapped, NOT_SHOWN, json!(not_shown));
    }
    unmapped
}
