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

/// A route, a body that it takes, and who may: each is of T1.
const ROUTES: [(&str, &str, &str); 23] = [
    ("GET /admin/v1/assignments", "", "sid"),
    ("POST /admin/v1/assignments", r#"{"client":"C4","user":"ana"}"#, "sid"),
    ("GET /admin/v1/assignments/A1", "", "sid"),
    ("POST /admin/v1/assignments/A1/window", r#"{"until_date":"2026-07-31"}"#, "sid"),
    ("POST /admin/v1/assignments/A1/end", "{}", "sid"),
    ("GET /admin/v1/restrictions?client=C1", "", "pri"),
    ("POST /admin/v1/restrictions", r#"{"client":"C1","target_type":"user","target_id":"mo"}"#, "pri"),
    ("GET /admin/v1/restrictions/RS1", "", "pri"),
    ("POST /admin/v1/restrictions/RS3/agree", "{}", "pri"),
    ("GET /admin/v1/consents?client=C2", "", "pri"),
    ("POST /admin/v1/consents", CONSENT, "pri"),
    ("GET /admin/v1/consents/CS1", "", "pri"),
    ("POST /admin/v1/consents/CS1/revoke", "{}", "pri"),
    ("GET /admin/v1/tickets", "", "adm"),
    ("POST /admin/v1/tickets", TICKET, "adm"),
    ("GET /admin/v1/tickets/TK1", "", "adm"),
    ("POST /admin/v1/tickets/TK1/resolve", "{}", "adm"),
    ("GET /admin/v1/grants", "", "pri"),
    ("GET /admin/v1/grants/BG1", "", "pri"),
    ("POST /admin/v1/grants/BG1/revoke", "{}", "sid"),
    ("GET /admin/v1/reviews", "", "pri"),
    ("GET /admin/v1/reviews/RV3", "", "pri"),
    ("POST /admin/v1/reviews/RV3/take", "{}", "pri"),
];

const BODY: &str = r#"{"client":"C4","user":"ana","scope":"read_only","until_date":"2026-03-10","reason":"Cover"}"#;

async fn door() -> Result<(SocketAddr, Authorizing)> {
    let world = World::sqlite().await;
    let store = opened_store(&world).await;
    let authorizing = Authorizing::on(world).await;
    let changes = authorizing.admin(Some(store));
    let address = open_shared(Arc::new(AdminApi { admin: changes, ..admin(&authorizing) })).await?;
    Ok((address, authorizing))
}

fn told(world: &Authorizing) -> Vec<Json> {
    let folder = world.trail();
    let records = audit::records(&folder, Filter::default()).unwrap();
    records.map(|record| serde_json::from_slice(&record.unwrap().line).unwrap()).collect()
}

fn headers(token: &str, who: Option<&str>, session: &str, key: usize) -> String {
    let who = who.map(|who| format!("chaperone-principal: {who}\r\n")).unwrap_or_default();
    format!("{token}{who}chaperone-session: {session}\r\nidempotency-key: k{key}\r\ncontent-type: application/json\r\n")
}

#[tokio::test]
async fn who_may_not_is_refused_on_every_route_and_recorded() -> Result<()> {
    let (address, world) = door().await?;
    let admin = "authorization: Bearer admin\r\n";
    let bare = SESSION.replace("mfa=true, ", "");
    let elsewhere = SESSION.replace("T1", "T2");
    let mut key = 0;
    for (route, body, may) in ROUTES {
        for (case, token, who, session, status) in [
            ("no credential", "", Some(may), SESSION, 401),
            ("a caller's credential", "authorization: Bearer right\r\n", Some(may), SESSION, 401),
            ("no principal", admin, None, SESSION, 401),
            ("a wrong role", admin, Some("rbt"), SESSION, 403),
            ("a wrong tenant", admin, Some("sid2"), SESSION, 403),
            ("another tenant", admin, Some("pri2"), elsewhere.as_str(), 0),
            ("no second factor", admin, Some(may), bare.as_str(), 403),
        ] {
            key += 1;
            let before = told(&world).len();
            let answer = ask(address, route, &headers(token, who, session, key), body).await?;
            // What another organization has is not there; its list is empty of what this one has.
            let is_refused = match status {
                0 if route.ends_with("/assignments") && route.starts_with("GET") => !answer.body.contains("\"A1\""),
                0 => [403, 404].contains(&answer.status) || answer.json()["items"].is_array(),
                status => answer.status == status,
            };
            assert!(is_refused, "{route}, {case}: {} {}", answer.status, answer.body);
            let records = told(&world);
            let is_known = status != 401;
            assert_eq!(records.len() > before, is_known, "{route}, {case}: {}", answer.body);
            if is_known {
                let last = records.last().unwrap();
                assert_eq!(last["principal"]["id"], json!(who), "{route}, {case}");
                assert!(status == 0 || last["decision"] == "deny", "{route}, {case}: {last}");
            }
        }
    }
    for (route, body, may) in ROUTES {
        key += 1;
        let answer = ask(address, route, &headers(admin, Some(may), SESSION, key), body).await?;
        assert!([200, 201].contains(&answer.status), "{route}: {} {}", answer.status, answer.body);
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
