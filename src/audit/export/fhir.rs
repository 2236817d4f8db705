//! FHIR R4 `AuditEvent`, one a record.
//!
//! The IHE BALP profile of consent decisions is not claimed: its closed slicing of entities leaves no place for the
//! resource, the request and the record. Policies and fields stand in `outcomeDesc`.

use serde_json::{Value as Json, json};

use super::{super::query::Found, GrantTurn, event_word, grant_turn, is_bare, is_emergency, is_failure, put_into};
use crate::domain::{Record, RecordKind};

/// The extension for it: no element of the resource says that something is kept from its reader.
const NOT_SHOWN: &str = "urn:chaperone:audit:not_shown";
const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const AUTHZ: &str = "https://profiles.ihe.net/ITI/BALP/CodeSystem/AuthZsubType";
const REASONS: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
const ROLE_CLASS: &str = "http://terminology.hl7.org/CodeSystem/v3-RoleClass";
const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
const SECURITY_ROLE: &str = "http://terminology.hl7.org/CodeSystem/extra-security-role-type";
const SOURCE: &str = "http://terminology.hl7.org/CodeSystem/security-source-type";
const ENTITY: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const OBJECT_ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const BALP_ENTITY: &str = "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType";
/// The purposes of this product that the code system has.
const KNOWN_REASONS: [&str; 16] = [
    "TREAT",
    "ETREAT",
    "ERTREAT",
    "BTG",
    "HPAYMT",
    "HOPERAT",
    "HRESCH",
    "PUBHLTH",
    "PATRQT",
    "FAMRQT",
    "CAREMGT",
    "HLEGAL",
    "HCOMPL",
    "HSYSADMIN",
    "PATADMIN",
    "HMARKT",
];

pub(super) fn event(found: &Found, record: &Record, not_shown: &[String]) -> Json {
    let mut event = json!({ "resourceType": "AuditEvent", "id": id(found, record), "type": kind(record) });
    let mut put = |key: &str, value: Json| put_into(&mut event, key, value);
    put("subtype", subtype(record));
    put("action", json!(action(record)));
    put("recorded", json!(record.at.to_string()));
    put("outcome", json!(outcome(record)));
    put("outcomeDesc", if is_bare(not_shown) { json!("not shown") } else { outcome_words(record) });
    put("purposeOfEvent", purposes(record));
    put("agent", agents(record));
    put(
        "source",
        json!({ "observer": { "identifier": { "value": "chaperone" } }, "type": [{ "system": SOURCE, "code": "6" }] }),
    );
    put("entity", entities(found, record));
    put("extension", left_out(not_shown));
    event
}

/// What the reader's tenant is not shown, name by name.
fn left_out(not_shown: &[String]) -> Json {
    let named = |name: &String| json!({ "url": NOT_SHOWN, "valueString": name });
    if not_shown.is_empty() { Json::Null } else { not_shown.iter().map(named).collect() }
}

/// A decision's own id where FHIR takes it; else the record's name.
fn id(found: &Found, record: &Record) -> String {
    let fits = |id: &String| {
        (1..=64).contains(&id.len()) && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
    };
    let own = record.decision_id.clone().filter(|id| record.kind == RecordKind::Decision && fits(id));
    own.unwrap_or_else(|| format!("{}-{}", found.writer, found.seq))
}

fn kind(record: &Record) -> Json {
    let (code, display) = match record.kind {
        RecordKind::Decision | RecordKind::Grant | RecordKind::Review | RecordKind::Policy => {
            ("110113", "Security Alert")
        }
        RecordKind::Outcome if record.detail.contains_key("recipient") => ("110106", "Export"),
        RecordKind::Outcome => ("110110", "Patient Record"),
        RecordKind::Admin if is_about_the_trail(record) => ("110101", "Audit Log Used"),
        RecordKind::Admin => ("110113", "Security Alert"),
        RecordKind::System => ("110100", "Application Activity"),
    };
    json!({ "system": DCM, "code": code, "display": display })
}

fn is_about_the_trail(record: &Record) -> bool {
    record.resource.as_ref().is_some_and(|resource| resource.kind == "Trail")
}

fn subtype(record: &Record) -> Json {
    let dcm = |code: &str, display: &str| json!([{ "system": DCM, "code": code, "display": display }]);
    match record.kind {
        RecordKind::Decision => {
            let by_consent = record.evidence.iter().any(|evidence| &*evidence.kind == "consent");
            json!([{ "system": AUTHZ, "code": if by_consent { "AuthZ-Consent" } else { "AuthZ-Role" } }])
        }
        RecordKind::Grant => match grant_turn(record) {
            GrantTurn::Starts => dcm("110127", "Emergency Override Started"),
            GrantTurn::Ends => dcm("110138", "Emergency Override Stopped"),
            GrantTurn::Other => dcm("110132", "Use of Restricted Function"),
        },
        RecordKind::Policy => dcm("110129", "Security Configuration"),
        RecordKind::System if event_word(record) == "system.started" => dcm("110120", "Application Start"),
        RecordKind::Admin if !is_about_the_trail(record) => dcm("110136", "Security Roles Changed"),
        RecordKind::Admin | RecordKind::Outcome | RecordKind::Review | RecordKind::System => Json::Null,
    }
}

/// To decide is to execute; everything else is what it is.
fn action(record: &Record) -> char {
    match (record.kind, record.crud) {
        (RecordKind::Decision, _) => 'E',
        (_, Some(crud @ ('C' | 'R' | 'U' | 'D' | 'E'))) => crud,
        (_, _) => 'E',
    }
}

fn outcome(record: &Record) -> &'static str {
    let has_failed = record.detail.get("outcome").and_then(Json::as_str) == Some("failure");
    match record.decision {
        // Nobody could decide.
        _ if is_failure(record) => "12",
        Some(decision) if !decision.is_allow() => "8",
        _ if has_failed => "4",
        Some(_) | None => "0",
    }
}

/// The reason first; then what the profile has no place for.
fn outcome_words(record: &Record) -> Json {
    let mut words = Vec::new();
    words.extend(record.reason.as_ref().map(|reason| reason.as_str().to_owned()));
    if record.kind != RecordKind::Decision {
        words.push(event_word(record));
    }
    if !record.policies.is_empty() {
        words.push(format!("policies: {}", record.policies.join(" ")));
    }
    if let Some(fields) = &record.fields {
        let denied: Vec<_> = fields.denied.keys().map(String::as_str).collect();
        words.push(format!("allowed: {}; denied: {}", fields.allowed.join(" "), denied.join(" ")));
    }
    if words.is_empty() { Json::Null } else { json!(words.join("; ")) }
}

fn purposes(record: &Record) -> Json {
    let mut codes: Vec<&str> = Vec::new();
    let is_under_emergency = is_emergency(record) || record.kind == RecordKind::Grant;
    // The grant changed the answer: policy was overridden.
    if is_under_emergency && record.would_have_been_allowed != Some(true) {
        codes.push("BTG");
    }
    codes.extend(record.purpose.as_deref().filter(|purpose| *purpose != "BTG" || codes.is_empty()));
    let coded = |code: &str| {
        if KNOWN_REASONS.contains(&code) {
            json!({ "coding": [{ "system": REASONS, "code": code }] })
        } else {
            json!({ "text": code })
        }
    };
    if codes.is_empty() { Json::Null } else { codes.into_iter().map(coded).collect() }
}

fn agents(record: &Record) -> Json {
    let coding = |system: &str, code: &str| json!({ "coding": [{ "system": system, "code": code }] });
    let who = |id: &str| json!({ "identifier": { "value": id } });
    let mut agents =
        vec![json!({ "type": coding(SECURITY_ROLE, "authserver"), "who": who("chaperone"), "requestor": false })];
    if let Some(caller) = &record.caller {
        let mut agent =
            json!({ "type": coding(DCM, "110150"), "who": who(caller), "requestor": record.principal.is_none() });
        if let Some(ip) = &record.ip {
            put_into(&mut agent, "network", json!({ "address": ip, "type": "2" }));
        }
        agents.push(agent);
    }
    if let Some(principal) = &record.principal {
        let mut agent = json!({ "type": coding(PARTICIPATION, "IRCP"), "who": who(&principal.id), "requestor": true });
        if !principal.roles.is_empty() {
            let roles = principal.roles.iter().map(|role| json!({ "text": role })).collect();
            put_into(&mut agent, "role", roles);
        }
        agents.push(agent);
    }
    if let Some(tenant) = &record.tenant {
        agents.push(json!({ "type": coding(ROLE_CLASS, "PROV"), "who": who(tenant), "requestor": false }));
    }
    json!(agents)
}

fn entities(found: &Found, record: &Record) -> Json {
    let mut entities = Vec::new();
    if let Some(client) = &record.client {
        let is_fhir_id = (1..=64).contains(&client.len())
            && client.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
        let what = if is_fhir_id {
            json!({ "reference": format!("Patient/{client}") })
        } else {
            json!({ "identifier": { "value": client }, "type": "Patient" })
        };
        entities.push(json!({
            "what": what,
            "type": { "system": ENTITY, "code": "1" },
            "role": { "system": OBJECT_ROLE, "code": "1" },
        }));
    }
    if let Some(resource) = &record.resource {
        entities.push(json!({
            "what": { "identifier": { "value": format!("{}/{}", resource.kind, resource.id) } },
            "type": { "system": ENTITY, "code": "2" },
            "role": { "system": OBJECT_ROLE, "code": "4" },
        }));
    }
    if let Some(id) = &record.request_id {
        entities.push(json!({
            "what": { "identifier": { "value": id } },
            "type": { "system": BALP_ENTITY, "code": "XrequestId" },
        }));
    }
    // The grant, and the record itself: what an auditor goes back to.
    if let Some(grant) = &record.grant {
        let exception = if is_emergency(record) { "emergency grant" } else { "ticket" };
        entities.push(json!({ "what": { "identifier": { "value": grant } }, "description": exception }));
    }
    entities.push(json!({
        "what": { "identifier": { "value": super::name(found) } },
        "type": { "system": ENTITY, "code": "2" },
        "role": { "system": OBJECT_ROLE, "code": "13" },
        "description": "record in the trail",
    }));
    json!(entities)
}
