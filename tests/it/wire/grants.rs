//! `/grants/v1` and the administrators' side of it, as bytes on a line.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Result;
use chaperone::http::{AdminApi, Callers, CallersApi, Capability, Limits, Room};
use serde_json::json;

use super::{admin, ask, caller, open_shared, room};
use crate::{
    grants::opened_store,
    helpers::{authorizer::Authorizing, world::World},
};

const ASK: &str = r#"{"subject":{"type":"User","id":"ana"},"client":"C4","reason_code":"COVERING",
    "justification":"Covering for a colleague on leave","session":{"mfa":true,"idle_seconds":5,"age_seconds":60}}"#;
const JSON: &str = "authorization: Bearer glass\r\ncontent-type: application/json\r\n";
const PERSON: &str =
    "authorization: Bearer admin\r\nchaperone-session: mfa=true, age_seconds=60, idle_seconds=5, tenant=T1\r\n";

/// Both listeners, and the world behind them.
async fn doors() -> Result<(SocketAddr, SocketAddr, Authorizing)> {
    let world = World::sqlite().await;
    let store = opened_store(&world).await;
    let authorizing = Authorizing::on(world).await;
    let changes = authorizing.admin(Some(store));
    let entries = vec![
        caller("ehr", "glass", &[Capability::Decide, Capability::Grant]),
        caller("index", "right", &[Capability::Decide]),
    ];
    let room = Room {
        callers: Arc::new(Callers::new(entries)?),
        admin: Arc::clone(&changes),
        ..room(&authorizing, Limits::default(), None)
    };
    let callers = open_shared(Arc::new(CallersApi::new(room))).await?;
    let admins = open_shared(Arc::new(AdminApi { admin: changes, ..admin(&authorizing) })).await?;
    Ok((callers, admins, authorizing))
}

#[tokio::test]
async fn a_grant_goes_from_its_request_to_its_end() -> Result<()> {
    let (address, _, _world) = doors().await?;
    let once = JSON.to_owned() + "idempotency-key: k1\r\n";
    let granted = ask(address, "POST /grants/v1/emergency", &once, ASK).await?;
    assert_eq!(granted.status, 201, "{}", granted.body);
    let again = ask(address, "POST /grants/v1/emergency", &once, ASK).await?;
    assert_eq!((again.status, &again.body), (201, &granted.body), "the same answer to the same key");
    let second = ask(address, "POST /grants/v1/emergency", JSON, &ASK.replace("on leave", "in hospital")).await?;
    assert_eq!((second.status, second.json()["type"].as_str()), (409, Some("urn:chaperone:problem:conflict")));
    let (id, version) = (granted.json()["grant_id"].clone(), granted.json()["version"].clone());
    let path = |verb: &str| format!("POST /grants/v1/{}/{verb}", id.as_str().unwrap());
    let stale = JSON.to_owned() + "if-match: \"another\"\r\n";
    assert_eq!(ask(address, &path("end"), &stale, "{}").await?.status, 412);
    let read = format!("{JSON}if-match: \"{}\"\r\n", version.as_str().unwrap());
    let extended =
        ask(address, &path("extend"), &read, r#"{"justification":"It takes longer than we thought"}"#).await?;
    assert_eq!((extended.status, &extended.json()["expires_at"]), (200, &json!("2026-03-10T17:00:00Z")));
    assert_eq!(ask(address, &path("end"), &read, "{}").await?.status, 412, "it was extended since");
    let ended = ask(address, &path("end"), "authorization: Bearer glass\r\n", "").await?;
    assert_eq!((ended.status, &ended.json()["state"]), (200, &json!("ended")), "{}", ended.body);
    assert_eq!(ask(address, &path("end"), JSON, "{}").await?.status, 409);
    let shown = ask(address, &format!("GET /grants/v1/{}", id.as_str().unwrap()), JSON, "").await?;
    assert_eq!((shown.status, &shown.json()["state"]), (200, &json!("ended")));
    assert!(!shown.body.contains("Covering for"), "what the person wrote is for the review");
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_named() -> Result<()> {
    let (address, _, _world) = doors().await?;
    let emergency = "POST /grants/v1/emergency";
    let path = |from: &str, to: &str| {
        assert!(ASK.contains(from), "{from}");
        let body = ASK.replace(from, to);
        async move {
            ask(address, emergency, JSON, &body).await.map(|answer| (answer.status, answer.json()["path"].clone()))
        }
    };
    assert_eq!(path(r#""client":"C4","#, "").await?, (400, json!("/client")));
    assert_eq!(path(r#""id":"ana""#, r#""id":1"#).await?, (400, json!("/subject/id")));
    assert_eq!(path("COVERING", "BOREDOM").await?, (400, json!("/reason_code")));
    assert_eq!(path(r#""client""#, r#""duration_seconds":0,"client""#).await?, (400, json!("/duration_seconds")));
    assert_eq!(path(r#""client""#, r#""duration":9,"client""#).await?, (400, json!("/duration")));
    assert_eq!(path(r#""client""#, r#""fields":[],"client""#).await?, (400, json!("/fields")));
    let refused = ask(address, emergency, JSON, &ASK.replace("Covering for a colleague on leave", "urgent")).await?;
    assert_eq!((refused.status, &refused.json()["reason"]), (403, &json!("reason_required")));
    let nobody = ask(address, emergency, JSON, &ASK.replace("\"ana\"", "\"nobody\"")).await?;
    assert_eq!((nobody.status, &nobody.json()["reason"]), (403, &json!("unknown_principal")));
    assert_eq!(ask(address, emergency, "content-type: application/json\r\n", ASK).await?.status, 401);
    let without =
        ask(address, emergency, "authorization: Bearer right\r\ncontent-type: application/json\r\n", ASK).await?;
    assert_eq!((without.status, &without.json()["reason"]), (403, &json!(null)), "{}", without.body);
    assert_eq!(ask(address, "GET /grants/v1/nothing", JSON, "").await?.status, 404);
    assert_eq!(ask(address, "POST /grants/v1/nothing/end", JSON, "{}").await?.status, 404);
    assert_eq!(ask(address, "POST /grants/v1/BG1", JSON, "{}").await?.status, 405);
    assert_eq!(ask(address, "POST /grants/v1/BG1/open", JSON, "{}").await?.status, 404);
    Ok(())
}

#[tokio::test]
async fn an_administrator_is_somebody_and_may_it() -> Result<()> {
    let (_, address, _world) = doors().await?;
    let as_whom = |id: &str, key: &str| format!("{PERSON}chaperone-principal: {id}\r\nidempotency-key: {key}\r\n");
    let revoke = "POST /admin/v1/grants/BG1/revoke";
    assert_eq!(ask(address, revoke, PERSON, "").await?.status, 401, "nobody");
    for (who, status, reason) in
        [("ana", 403, json!("role")), ("tom", 403, json!("user_disabled")), ("sid2", 403, json!("tenant_missing"))]
    {
        let refused = ask(address, revoke, &as_whom(who, who), "").await?;
        assert_eq!((refused.status, &refused.json()["reason"]), (status, &reason), "{who}: {}", refused.body);
    }
    let idle = as_whom("sid", "idle").replace("idle_seconds=5", "idle_seconds=900");
    assert_eq!(ask(address, revoke, &idle, "").await?.json()["reason"], json!("session_idle"));
    let bare = as_whom("sid", "bare").replace("mfa=true, ", "");
    assert_eq!(ask(address, revoke, &bare, "").await?.json()["reason"], json!("mfa_required"));
    let elsewhere = as_whom("sid", "z").replace("chaperone-session", "x");
    assert_eq!(ask(address, "POST /admin/v1/grants/BG2/revoke", &as_whom("sid", "z2"), "").await?.status, 404);
    assert_eq!(ask(address, revoke, &elsewhere, "").await?.status, 403);
    let revoked = ask(address, revoke, &as_whom("sid", "k"), "").await?;
    assert_eq!((revoked.status, &revoked.json()["state"]), (200, &json!("revoked")), "{}", revoked.body);
    let again = ask(address, revoke, &as_whom("sid", "k"), "").await?;
    assert_eq!((again.status, again.body), (200, revoked.body));
    assert_eq!(ask(address, revoke, &as_whom("sid", "k"), r#"{"x":1}"#).await?.status, 400);
    assert_eq!(ask(address, revoke, &as_whom("sid", "l"), "").await?.status, 409);
    let listed = ask(address, "GET /admin/v1/grants?state=revoked&user=ben", &as_whom("pri", "m"), "").await?;
    assert_eq!((listed.status, listed.json()["items"].as_array().map(Vec::len)), (200, Some(1)), "{}", listed.body);
    assert_eq!(ask(address, "GET /admin/v1/reviews", &as_whom("ana", "n"), "").await?.status, 403);
    assert_eq!(ask(address, "GET /admin/v1/reviews?stat=open", &as_whom("pri", "o"), "").await?.status, 400);
    Ok(())
}
