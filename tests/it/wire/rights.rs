//! Every route of administrators, asked by everybody who may not: refused, and recorded where somebody is known.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Result;
use chaperone::{
    audit::{self, Filter},
    http::AdminApi,
};
use serde_json::{Value as Json, json};

use super::{admin, ask, open_shared};
use crate::{
    grants::opened_store,
    helpers::{authorizer::Authorizing, world::World},
};

const SESSION: &str = "mfa=true, age_seconds=60, idle_seconds=5, tenant=T1";

const CONSENT: &str = r#"{"client":"C2","kind":"part2_tpo","discloser":"T1","recipient":"bil","purposes":["HPAYMT"],
    "fields":["clin.sud"],"signed_by":"C2"}"#;
const TICKET: &str = r#"{"source":"email","engineer":"eng","phi_needed":true,
    "scope":[{"resource_type":"Note","resource_id":"N1","fields":["clin.note"]}]}"#;

const SCOPED: &str = r#"{"resource_type":"Note","resource_id":"N6","fields":["clin.note"]}"#;
const RECORD: &str = r#"{"resource_type":"Note","resource_id":"N1"}"#;

/// An operation of the document, a path that it fits, a body that it takes, who may, and what they are told. Each is of T1;
/// they are asked in this order, so that one may be refused for what another did before.
const ROUTES: [(&str, &str, &str, &str, u16); 37] = [
    ("GET /admin/v1/assignments", "", "", "sid", 200),
    ("POST /admin/v1/assignments", "", r#"{"client":"C4","user":"ana"}"#, "sid", 201),
    ("GET /admin/v1/assignments/{id}", "A1", "", "sid", 200),
    ("POST /admin/v1/assignments/{id}/window", "A1", r#"{"until_date":"2026-07-31"}"#, "sid", 200),
    ("POST /admin/v1/assignments/{id}/end", "A1", "{}", "sid", 200),
    ("GET /admin/v1/restrictions", "?client=C1", "", "pri", 200),
    ("POST /admin/v1/restrictions", "", r#"{"client":"C1","target_type":"user","target_id":"mo"}"#, "pri", 201),
    ("GET /admin/v1/restrictions/{id}", "RS1", "", "pri", 200),
    ("POST /admin/v1/restrictions/{id}/agree", "RS3", "{}", "pri", 200),
    ("POST /admin/v1/restrictions/{id}/decline", "RS3", "{}", "pri", 409),
    ("POST /admin/v1/restrictions/{id}/terminate", "RS1", r#"{"how":"request"}"#, "pri", 200),
    ("GET /admin/v1/consents", "?client=C2", "", "pri", 200),
    ("POST /admin/v1/consents", "", CONSENT, "pri", 201),
    ("GET /admin/v1/consents/{id}", "CS1", "", "pri", 200),
    ("POST /admin/v1/consents/{id}/revoke", "CS1", "{}", "pri", 200),
    ("GET /admin/v1/tickets", "", "", "adm", 200),
    ("POST /admin/v1/tickets", "", TICKET, "adm", 201),
    ("GET /admin/v1/tickets/{id}", "TK1", "", "adm", 200),
    ("POST /admin/v1/tickets/{id}/scope", "TK1", SCOPED, "adm", 200),
    ("POST /admin/v1/tickets/{id}/release", "TK1", RECORD, "adm", 200),
    ("POST /admin/v1/tickets/{id}/resolve", "TK1", "{}", "adm", 200),
    ("POST /admin/v1/tickets/{id}/reopen", "TK1", "{}", "adm", 200),
    ("GET /admin/v1/users/{id}/standing", "ana", "", "sid", 200),
    ("POST /admin/v1/users/{id}/standing", "ana", r#"{"standing":"suspended"}"#, "sid", 409),
    ("GET /admin/v1/grants", "", "", "pri", 200),
    ("GET /admin/v1/grants/{id}", "BG1", "", "pri", 200),
    ("POST /admin/v1/grants/{id}/approve", "BG1", "{}", "sid", 409),
    ("POST /admin/v1/grants/{id}/reject", "BG1", "{}", "sid", 409),
    ("POST /admin/v1/grants/{id}/revoke", "BG1", "{}", "sid", 200),
    ("GET /admin/v1/reviews", "", "", "pri", 200),
    ("GET /admin/v1/reviews/{id}", "RV3", "", "pri", 200),
    ("POST /admin/v1/reviews/{id}/take", "RV3", "{}", "pri", 200),
    ("POST /admin/v1/reviews/{id}/ask", "RV3", "{}", "pri", 200),
    ("POST /admin/v1/reviews/{id}/answered", "RV3", "{}", "pri", 200),
    ("POST /admin/v1/reviews/{id}/decide", "RV3", r#"{"disposition":"justified"}"#, "pri", 200),
    ("GET /admin/v1/decisions", "", "", "pri", 200),
    ("GET /admin/v1/audit/export", "", "", "pri", 200),
];

/// The line that asks: an id in its place, or a query behind the path.
fn line(route: &str, more: &str) -> String {
    if route.contains("{id}") { route.replace("{id}", more) } else { format!("{route}{more}") }
}

fn document() -> Json {
    serde_json::from_slice(&chaperone::http::openapi()).unwrap()
}

/// The operations of the admin listener, and whether a person stands behind them.
fn described(document: &Json) -> Vec<(String, bool)> {
    let mut described = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, call) in item.as_object().unwrap() {
            if call["tags"] == json!(["admin"]) {
                let parameters = call["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
                let is_a_persons = parameters.iter().any(|parameter| parameter["name"] == "Chaperone-Principal");
                described.push((format!("{} {path}", method.to_uppercase()), is_a_persons));
            }
        }
    }
    described
}

/// Holds an answer to the schema that the document gives for it.
#[track_caller]
fn fits(document: &Json, route: &str, answer: &crate::helpers::raw::Answer) {
    let (method, path) = route.split_once(' ').unwrap();
    let response = &document["paths"][path][method.to_lowercase()]["responses"][answer.status.to_string()];
    assert!(!response.is_null(), "{route}: {} is not described", answer.status);
    let is_refusal = answer.status >= 400;
    let kind = if is_refusal { "application/problem+json" } else { "application/json" };
    let response = if is_refusal { &document["components"]["responses"]["Problem"] } else { response };
    let Some(schema) = response["content"][kind]["schema"]["$ref"].as_str() else { return };
    let whole = json!({ "$ref": schema, "components": document["components"] });
    let validator = jsonschema::validator_for(&whole).unwrap();
    let told = answer.json();
    let misfits: Vec<String> = validator.iter_errors(&told).map(|error| error.to_string()).collect();
    assert!(misfits.is_empty(), "{route}: {misfits:?} in {told}");
}

const BODY: &str = r#"{"client":"C4","user":"ana","scope":"read_only","until_date":"2026-03-10","reason":"Cover"}"#;

async fn door() -> Result<(SocketAddr, Authorizing)> {
    let world = World::sqlite().await;
    let store = opened_store(&world).await;
    let authorizing = Authorizing::on(world).await;
    let changes = authorizing.admin(Some(store));
    let address = open_shared(Arc::new(AdminApi {
        admin: changes,
        trail: Some(Arc::new(authorizing.trail_api())),
        ..admin(&authorizing)
    }))
    .await?;
    Ok((address, authorizing))
}

fn told(world: &Authorizing) -> Vec<Json> {
    let folder = world.trail();
    let records = audit::records(&folder, Filter::default()).unwrap();
    let lines = records.map(|record| serde_json::from_slice::<Json>(&record.unwrap().line).unwrap());
    // The trail's own, as about a disk that was slow, are of no call.
    lines.filter(|line| line["kind"] != "system").collect()
}

/// Waits until every export that began has been recorded as ended: what is read next is of the next call.
async fn exported(world: &Authorizing) {
    for _ in 0..1_000 {
        let told = told(world).iter().filter(|record| record["action"] == "admin:export").count();
        if told > 0 && told.is_multiple_of(2) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("an export has no end in the trail");
}

fn headers(token: &str, who: Option<&str>, session: &str, key: usize) -> String {
    let who = who.map(|who| format!("chaperone-principal: {who}\r\n")).unwrap_or_default();
    format!("{token}{who}chaperone-session: {session}\r\nidempotency-key: k{key}\r\ncontent-type: application/json\r\n")
}

#[test]
fn every_operation_of_an_administrator_is_asked_below() {
    let described = described(&document());
    let of_persons: Vec<&str> =
        described.iter().filter(|(_, is_a_persons)| *is_a_persons).map(|(route, _)| route.as_str()).collect();
    for route in &of_persons {
        assert!(ROUTES.iter().any(|asked| asked.0 == *route), "{route} is not in the matrix");
    }
    assert_eq!(ROUTES.len(), of_persons.len(), "the matrix asks what is not there");
    let others: Vec<&str> =
        described.iter().filter(|(_, is_a_persons)| !*is_a_persons).map(|(route, _)| route.as_str()).collect();
    assert_eq!(others, OF_OPERATORS);
}

/// What the token of the listener opens, with nobody behind it.
const OF_OPERATORS: [&str; 2] = ["POST /admin/v1/barrier", "GET /admin/v1/status"];

/// Why a person who may is refused all the same.
fn reason_for(case: &str) -> Option<&'static str> {
    match case {
        "no second factor" | "a second factor of half a day ago" => Some("mfa_required"),
        "a session of a day ago" => Some("session_age"),
        "a session that was left alone" => Some("session_idle"),
        _ => None,
    }
}

#[tokio::test]
async fn who_may_not_is_refused_on_every_route_and_recorded() -> Result<()> {
    let (address, world) = door().await?;
    let document = document();
    let admin = "authorization: Bearer admin\r\n";
    let bare = SESSION.replace("mfa=true, ", "");
    let old_factor = SESSION.replace("mfa=true", "mfa=true, mfa_age_seconds=43200");
    let expired = SESSION.replace("age_seconds=60", "age_seconds=86400");
    let (idle, elsewhere) = (SESSION.replace("idle_seconds=5", "idle_seconds=900"), SESSION.replace("T1", "T2"));
    let (mut key, mut before) = (0, 0);
    for route in OF_OPERATORS {
        for token in ["", "authorization: Bearer right\r\n"] {
            assert_eq!(ask(address, route, token, "").await?.status, 401, "{route}");
        }
    }
    for (route, more, body, may, _) in ROUTES {
        for (case, token, who, session, status) in [
            ("no credential", "", Some(may), SESSION, 401),
            ("a caller's credential", "authorization: Bearer right\r\n", Some(may), SESSION, 401),
            ("no principal", admin, None, SESSION, 401),
            ("a wrong role", admin, Some("rbt"), SESSION, 403),
            ("a wrong tenant", admin, Some("sid2"), SESSION, 403),
            ("another tenant", admin, Some("pri2"), elsewhere.as_str(), 0),
            ("no second factor", admin, Some(may), bare.as_str(), 403),
            ("a second factor of half a day ago", admin, Some(may), old_factor.as_str(), 403),
            ("a session of a day ago", admin, Some(may), expired.as_str(), 403),
            ("a session that was left alone", admin, Some(may), idle.as_str(), 403),
        ] {
            // To look at something needs no factor that was shown lately.
            if session == old_factor && route.starts_with("GET") {
                continue;
            }
            key += 1;
            let answer = ask(address, &line(route, more), &headers(token, who, session, key), body).await?;
            // What another organization has is not there; a list is empty of what this one has.
            let is_refused = match status {
                0 => [200, 403, 404].contains(&answer.status) && !answer.body.contains(r#""tenant":"T1""#),
                status => answer.status == status,
            };
            assert!(is_refused, "{route}, {case}: {} {}", answer.status, answer.body);
            let reason = reason_for(case);
            assert!(reason.is_none() || answer.json()["reason"].as_str() == reason, "{route}, {case}: {}", answer.body);
            if !route.ends_with("/export") {
                fits(&document, route, &answer);
            }
            if route.ends_with("/export") && answer.status == 200 {
                exported(&world).await;
            }
            let records = told(&world);
            let is_known = status != 401;
            assert_eq!(records.len() > before, is_known, "{route}, {case}: {}", answer.body);
            before = records.len();
            if is_known {
                let last = records.last().unwrap();
                assert_eq!(last["principal"]["id"], json!(who), "{route}, {case}");
                assert!(status == 0 || last["decision"] == "deny", "{route}, {case}: {last}");
            }
        }
    }
    for (route, more, body, may, status) in ROUTES {
        key += 1;
        let answer = ask(address, &line(route, more), &headers(admin, Some(may), SESSION, key), body).await?;
        assert_eq!(answer.status, status, "{route}: {}", answer.body);
        fits(&document, route, &answer);
        let records = told(&world);
        assert!(records.len() > before, "{route} left no record");
        before = records.len();
        if status == 409 {
            let last = records.last().unwrap();
            assert_eq!((&last["decision"], &last["detail"]["event"]), (&json!("deny"), &json!("refused")), "{route}");
            assert!(last["detail"]["conflict"].is_string() && last["principal"]["id"] == may, "{route}: {last}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_assignment_is_made_once_moved_by_its_state_and_ended() -> Result<()> {
    let (address, _world) = door().await?;
    let ask_as_sid = |first: String, more: &'static str, key: usize, body: &'static str| async move {
        let headers = headers("authorization: Bearer admin\r\n", Some("sid"), SESSION, key) + more;
        ask(address, &first, &headers, body).await
    };
    let new = || "POST /admin/v1/assignments".to_owned();
    let made = ask_as_sid(new(), "", 1, BODY).await?;
    assert_eq!((made.status, &made.json()["to"]), (201, &json!("2026-03-11T04:00:00Z")), "{}", made.body);
    let again = ask_as_sid(new(), "", 1, BODY).await?;
    assert_eq!((again.body == made.body, again.header("idempotency-replayed").is_some()), (true, true));
    let path =
        |verb: &str| format!("POST /admin/v1/assignments/{}/{verb}", made.json()["assignment_id"].as_str().unwrap());
    let lost = ask_as_sid(path("window"), "if-match: \"another\"\r\n", 2, r#"{"open_ended":true}"#).await?;
    assert_eq!(lost.status, 412);
    for (key, body, at) in [
        (3, r#"{"client":"C4"}"#, "/user"),
        (4, r#"{"client":"C4","user":"ana","scope":"all"}"#, "/scope"),
        (5, r#"{"client":"C4","user":"ana","to":"2026-04-01T00:00:00Z","until_date":"2026-04-01"}"#, "/to"),
        (6, r#"{"client":"C4","user":"ana","until_date":"2026-04-01T00:00:00Z"}"#, "/until_date"),
        (7, r#"{"client":"C4","user":"ana","until":"2026-04-01"}"#, "/until"),
    ] {
        let wrong = ask_as_sid(new(), "", key, body).await?;
        assert_eq!((wrong.status, &wrong.json()["path"]), (400, &json!(at)), "{}", wrong.body);
    }
    let own = ask_as_sid(new(), "", 8, r#"{"client":"C4","user":"sid"}"#).await?;
    assert_eq!((own.status, &own.json()["reason"]), (403, &json!("self_grant")));
    let nobody = ask_as_sid(new(), "", 9, r#"{"client":"C99","user":"ana"}"#).await?;
    assert_eq!((nobody.status, &nobody.json()["reason"]), (403, &json!("unknown_resource")));
    let ended = ask_as_sid(path("end"), "", 10, "{}").await?;
    assert_eq!((ended.status, &ended.json()["state"]), (200, &json!("ended")));
    assert_eq!(ask_as_sid(path("end"), "", 11, "{}").await?.status, 409);
    assert_eq!(ask_as_sid(path("delete"), "", 12, "{}").await?.status, 404);
    assert_eq!(ask_as_sid("DELETE /admin/v1/assignments/A1".to_owned(), "", 13, "").await?.status, 405);
    Ok(())
}
