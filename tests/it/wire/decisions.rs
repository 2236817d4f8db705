//! Decisions over a listener: what the answer says, and that its record says the same.

use std::sync::Arc;

use anyhow::Result;
use chaperone::{
    audit::{Filter, holds, records},
    http::{CallersApi, Limits},
};
use serde_json::{Value as Json, json};

use super::{Furnished, JSON, POST, ask, open, open_shared, room};
use crate::{
    helpers::{authorizer::Authorizing, clinic::fresh, raw::Line, world::World},
    withheld::{AfterRecord, lines, told},
};

async fn furnished() -> Result<(Arc<Furnished>, std::net::SocketAddr)> {
    let furnished = Arc::new(Furnished::new(Default::default(), None).await);
    let address = open_shared(Arc::clone(&furnished)).await?;
    Ok((furnished, address))
}

fn reads(principal: &str, kind: &str, id: &str, fields: &[&str]) -> Json {
    json!({
        "subject": { "type": "User", "id": principal },
        "action": { "name": "read", "properties": { "fields": fields } },
        "resource": { "type": kind, "id": id },
        "context": { "session": { "mfa": true, "idle_seconds": 12, "age_seconds": 900 } },
    })
}

/// The records of decisions, in order.
fn decisions(furnished: &Furnished) -> Vec<Json> {
    let trail = furnished.authorizing.trail();
    let stored = records(&trail, Filter::default()).unwrap();
    let lines = stored.map(|stored| serde_json::from_slice::<Json>(&stored.unwrap().line).unwrap());
    lines.filter(|line| line["kind"] == "decision").collect()
}

#[tokio::test]
async fn an_allow_and_a_deny_are_in_the_trail_as_they_were_answered() -> Result<()> {
    let (furnished, address) = furnished().await?;
    for (question, decision, reason) in [
        (reads("ana", "Note", "N1", &["clin.note"]), true, Json::Null),
        (reads("ana", "Client", "C4", &["clin.summary"]), false, json!("no_assignment")),
        (reads("nobody", "Note", "N1", &["clin.note"]), false, json!("unknown_principal")),
        (reads("ana", "Note", "none", &["clin.note"]), false, json!("unknown_resource")),
    ] {
        let answer = ask(address, POST, JSON, &question.to_string()).await?;
        let body = answer.json();
        assert_eq!((answer.status, &body["decision"]), (200, &json!(decision)), "{body}");
        assert_eq!(body["context"]["reason"], reason);
        let said = &body["context"]["chaperone"];
        let (id, receipt) = (said["decision_id"].as_str().unwrap(), &said["receipt"]);
        assert_eq!(answer.header("x-decision-id"), Some(id));
        let (writer, seq) = (receipt["writer"].as_str().unwrap(), receipt["seq"].as_u64().unwrap());
        assert!(holds(&furnished.authorizing.trail(), writer, seq, Some(id))?, "{receipt}");
        let record = decisions(&furnished).pop().unwrap();
        assert_eq!(record["decision_id"], said["decision_id"]);
        assert_eq!(record["decision"], if decision { "allow" } else { "deny" });
        assert_eq!((&record["reason"], &record["caller"]), (&reason, &json!("ehr")));
        assert_eq!(record["revisions"]["policies"], said["revisions"]["policies"]);
    }
    Ok(())
}

/// The first allow waits for the second, and time passes once that one is recorded: both are too old to leave.
#[tokio::test]
async fn no_allow_of_a_batch_leaves_that_grew_old_while_the_last_was_decided() -> Result<()> {
    let clock = AfterRecord::of(2);
    let authorizing = Authorizing::with(World::sqlite().await, |world| world.options(), clock.clone()).await;
    let trail = authorizing.trail();
    clock.watch(trail.clone());
    let api = CallersApi::new(room(&authorizing, Limits::default(), None));
    let address = open(api).await?;
    let batch = json!({
        "subject": { "type": "User", "id": "ana" }, "action": { "name": "read" }, "context": { "session": fresh("T1") },
        "evaluations": [{ "resource": { "type": "Note", "id": "N1" } }, { "resource": { "type": "Note", "id": "N1" } }],
        // One after the other.
        "options": { "evaluations_semantic": "deny_on_first_deny" },
    });
    let answer = ask(address, "POST /access/v1/evaluations", JSON, &batch.to_string()).await?;
    let decisions: Vec<_> = answer.json()["evaluations"]
        .as_array()
        .unwrap_or_else(|| panic!("{}", answer.body))
        .iter()
        .map(|item| item["decision"].clone())
        .collect();
    assert_eq!(decisions, [true, true], "{}", answer.body);
    let lines = lines(&trail);
    assert_eq!(told(&lines), ["allow", "allow", "withheld", "allow", "withheld", "allow"]);
    let items: Vec<&str> = lines.iter().filter_map(|line| line["decision_id"].as_str()?.rsplit('.').next()).collect();
    assert_eq!(items, ["0", "1", "1", "1", "0", "0"], "each is decided once more");
    Ok(())
}

#[tokio::test]
async fn each_item_of_a_batch_has_a_record_of_its_own_and_what_was_not_asked_has_none() -> Result<()> {
    let (furnished, address) = furnished().await?;
    let (allowed, denied) = (reads("ana", "Note", "N1", &["clin.note"]), reads("ana", "Client", "C4", &["clin.note"]));
    let batch = json!({
        "evaluations": [allowed, denied, allowed],
        "options": { "evaluations_semantic": "deny_on_first_deny" },
    });
    let answer = ask(address, "POST /access/v1/evaluations", JSON, &batch.to_string()).await?;
    assert_eq!(answer.body, r#"{"evaluations":[{"decision":true},{"decision":false}]}"#);
    let id = answer.header("x-decision-id").unwrap();
    let recorded: Vec<_> = decisions(&furnished).into_iter().map(|record| record["decision_id"].clone()).collect();
    assert_eq!(recorded, [json!(format!("{id}.0")), json!(format!("{id}.1"))]);
    Ok(())
}

#[tokio::test]
async fn a_caller_that_hangs_up_stops_no_record() -> Result<()> {
    let (furnished, address) = furnished().await?;
    let body = reads("ana", "Note", "N1", &["clin.note"]).to_string();
    let head = format!("{POST} HTTP/1.1\r\nhost: localhost\r\nx-request-id: gone\r\n{JSON}");
    let mut line = Line::tcp(address).await?;
    line.send(format!("{head}content-length: {}\r\n\r\n{body}", body.len())).await?;
    drop(line);
    let end = std::time::Instant::now() + crate::helpers::raw::PATIENCE;
    while !decisions(&furnished).iter().any(|record| record["request_id"] == "gone") {
        assert!(std::time::Instant::now() < end, "the record of the abandoned question never came");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    Ok(())
}

#[tokio::test]
async fn an_outcome_completes_the_record_of_its_own_caller_alone() -> Result<()> {
    let (_furnished, address) = furnished().await?;
    let answer = ask(address, POST, JSON, &reads("ana", "Note", "N1", &["clin.note"]).to_string()).await?;
    let id = answer.json()["context"]["chaperone"]["decision_id"].clone();
    let outcome = |id: &Json| json!({ "decision_id": id, "outcome": "success", "rows": 1 }).to_string();
    let path = "POST /access/v1/outcome";
    for _ in 0..2 {
        assert_eq!(ask(address, path, JSON, &outcome(&id)).await?.status, 200, "a repeat is harmless");
    }
    assert_eq!(ask(address, path, JSON, &outcome(&json!("unknown"))).await?.status, 404);
    Ok(())
}

/// The first questions of each scenario file that need neither preparation nor another instant.
fn scenario_questions() -> Vec<(String, Json)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut questions = Vec::new();
    for file in files.into_iter().filter(|file| file.extension().is_some_and(|ext| ext == "jsonl")) {
        let text = std::fs::read_to_string(file).unwrap();
        let cases =
            text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str::<Json>(line).unwrap());
        let plain = cases.filter(|case| {
            ["setup", "calls", "at", "endpoint"].iter().all(|key| case[*key].is_null()) && case["request"].is_object()
        });
        questions.extend(plain.take(20).map(|case| (case["id"].as_str().unwrap().to_owned(), case["request"].clone())));
    }
    questions
}

#[tokio::test]
async fn both_databases_give_the_same_answers_to_the_same_questions() -> Result<()> {
    let on_sqlite = open_shared(Arc::new(Furnished::on(World::sqlite().await, Default::default(), None).await)).await?;
    let on_postgres =
        open_shared(Arc::new(Furnished::on(World::postgres().await, Default::default(), None).await)).await?;
    let questions = scenario_questions();
    assert!(questions.len() >= 20, "{} questions", questions.len());
    let mut allowed = 0;
    for (id, question) in &questions {
        let said = async |address| -> Result<Json> {
            let answer = ask(address, POST, JSON, &question.to_string()).await?;
            let body = answer.json();
            let (context, chaperone) = (&body["context"], &body["context"]["chaperone"]);
            Ok(json!({
                "status": answer.status, "decision": body["decision"], "reason": context["reason"],
                "obligations": context["obligations"], "fields": chaperone["fields"], "policies": chaperone["policies"],
                "evidence": chaperone["evidence"], "remedies": chaperone["remedies"],
                "not_after": chaperone["not_after"],
            }))
        };
        let (sqlite, postgres) = (said(on_sqlite).await?, said(on_postgres).await?);
        assert_eq!(sqlite, postgres, "{id}");
        assert_ne!(sqlite["reason"], "data_unavailable", "{id}");
        allowed += usize::from(sqlite["decision"] == true);
    }
    println!("{} questions, {allowed} allowed, the same on both", questions.len());
    assert!(allowed > 0 && allowed < questions.len(), "both decisions occur");
    Ok(())
}
