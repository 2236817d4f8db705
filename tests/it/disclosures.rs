//! `chaperone audit disclosures` over a running demo: its store, and what callers report to it.

use std::{fs, time::Duration};

use chaperone::{disclosures::load::load, domain::mapping::Source};
use serde_json::{Value as Json, json};

use crate::helpers::{
    sidecar::{Ended, Sidecar, chaperone},
    world::World,
};

const REQUESTED: &str = "2026-03-10T15:00:00Z";

fn run(sidecar: &Sidecar, words: &[&str]) -> Ended {
    let mut command = chaperone();
    command.args(["audit", "disclosures", "--config"]).arg(sidecar.config_file()).args(words);
    Ended::of(&mut command)
}

#[track_caller]
fn said(sidecar: &Sidecar, words: &[&str]) -> String {
    let ended = run(sidecar, words);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout
}

fn report(sidecar: &Sidecar, client: &str, generated_at: &str) -> Json {
    let words = ["--client", client, "--requested-at", REQUESTED, "--generated-at", generated_at, "--format", "json"];
    serde_json::from_str(&said(sidecar, &words)).unwrap()
}

fn recipients(report: &Json) -> Vec<&str> {
    report["disclosures"].as_array().unwrap().iter().map(|line| line["recipient"].as_str().unwrap()).collect()
}

/// The privacy officer discloses for a court: an allow that asks for a report.
fn disclosing() -> Json {
    json!({
        "subject": { "type": "User", "id": "pri" },
        "action": { "name": "disclose", "properties": { "fields": ["clin.plan"] } },
        "resource": { "type": "Client", "id": "C1" },
        "context": {
            "purpose": "HLEGAL", "access_reason": "Court order",
            "session": { "mfa": true, "idle_seconds": 12, "age_seconds": 900, "tenant": "T1" },
        },
    })
}

#[test]
fn the_demo_client_learns_of_one_disclosure_and_of_two_when_the_suspension_is_over() {
    let sidecar = Sidecar::demo();
    assert_eq!(recipients(&report(&sidecar, "C1", REQUESTED)), ["County Health"]);
    let later = report(&sidecar, "C1", "2026-03-22T00:00:00Z");
    assert_eq!(recipients(&later), ["County Health", "City Police"]);
    assert_eq!((&later["header"]["fee"], &later["header"]["tenant"]), (&"0.00".into(), &"T1".into()));
    assert_eq!(later["header"]["clocks"]["due_at"], "2026-05-09T15:00:00Z");
    assert_eq!(later["disclosures"][0]["internal"]["category"], "PUBLIC_HEALTH");

    let words = ["--client", "C1", "--requested-at", REQUESTED, "--generated-at", REQUESTED];
    let page = said(&sidecar, &words);
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("County Health") && !page.contains("PUBLIC_HEALTH"));
    assert!(!page.contains("Police"));
    assert_eq!(page, said(&sidecar, &words), "the same bytes");
    let path = sidecar.folder().join("c1.html");
    let out = path.to_str().unwrap();
    assert_eq!(said(&sidecar, &[&words[..], &["--out", out]].concat()), "");
    assert_eq!(fs::read_to_string(&path).unwrap(), page);

    run(&sidecar, &["--client", "nobody"]).says(2, &["no row of this client", "--tenant"]);
    let empty =
        said(&sidecar, &["--client", "nobody", "--tenant", "T1", "--format", "json", "--requested-at", REQUESTED]);
    assert_eq!(serde_json::from_str::<Json>(&empty).unwrap()["disclosures"], json!([]));
    run(&sidecar, &["--client", "C1", "--requested-at", REQUESTED, "--fee", "cheap"])
        .says(2, &["`cheap` is no amount"]);
    let late = ["--extended-at", "2026-06-01T00:00:00Z", "--extension-reason", "x"];
    run(&sidecar, &[&words[..], &late].concat()).says(2, &["before day 60"]);
}

#[test]
fn what_callers_report_is_accounted_for_and_what_they_do_not_is_listed_after_a_day() {
    let sidecar = Sidecar::demo();
    let mut asker = sidecar.doors().tcp();
    let answer = asker.ask(&disclosing()).unwrap();
    assert_eq!(answer.json()["decision"], true, "{}", answer.body);
    let (reported, missing) = (answer.receipt().decision_id, asker.ask(&disclosing()).unwrap().receipt().decision_id);
    let mut tell = |recipient: &str| {
        let disclosure = json!({ "recipient": recipient, "description": "plan of 2026", "basis": "164.512(e)" });
        let outcome = json!({ "decision_id": reported, "outcome": "success", "disclosure": disclosure });
        let told = asker.post("/access/v1/outcome", &outcome).unwrap();
        assert_eq!(told.status, 200, "{}", told.body);
    };
    tell("County Court");
    tell("County Court");
    let once = report(&sidecar, "C1", REQUESTED);
    assert_eq!(recipients(&once), ["County Health", "County Court"]);
    let internal = &once["disclosures"][1]["internal"];
    assert_eq!((&internal["category"], &internal["maker"]), (&"JUDICIAL".into(), &"User/pri".into()));
    assert_eq!(internal["decisions"], json!([reported]));
    assert!(once["header"]["policies_revision"].as_str().unwrap().starts_with("sha256:"));
    tell("District Court");
    let corrected = report(&sidecar, "C1", REQUESTED);
    assert_eq!(recipients(&corrected), ["County Health", "District Court"]);
    assert_eq!(corrected["disclosures"][1]["corrected"][0]["recipient"], "County Court");

    let listed = |generated_at: &str| -> Json {
        serde_json::from_str(&said(&sidecar, &["--missing", "--generated-at", generated_at])).unwrap()
    };
    assert_eq!(listed("2026-03-11T14:59:59Z")["missing"], json!([]));
    let after = listed("2026-03-11T15:00:00Z");
    let rows = after["missing"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{after}");
    assert_eq!((&rows[0]["decision_id"], &rows[0]["accountable"]), (&json!(missing), &json!(true)));
    assert_eq!((&rows[0]["client"], &rows[0]["principal"]), (&json!("C1"), &json!("User/pri")));
}

#[test]
fn a_store_is_read_by_its_address_alone_and_one_that_is_away_makes_no_accounting() {
    let sidecar = Sidecar::demo();
    let store = format!("sqlite://{}/store.db", sidecar.folder().display());
    let plain = |url: &str| {
        let mut command = chaperone();
        command.args(["audit", "disclosures", "--client", "C1", "--requested-at", REQUESTED, "--format", "csv"]);
        Ended::of(command.args(["--generated-at", REQUESTED, "--store", url]))
    };
    let ended = plain(&store);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout.matches("\r\n").count(), 2);
    assert!(ended.stderr.contains("no trail is named"), "{}", ended.stderr);
    plain("sqlite:///nowhere/store.db").says(1, &["the store cannot be read", "disclosure_suspensions"]);
    plain("oracle://x").says(1, &["`sqlite://…` or `postgres://…`"]);
}

#[tokio::test]
async fn both_databases_give_the_same_rows() {
    let (sqlite, postgres) = (World::sqlite().await, World::postgres().await);
    let rows =
        async |world: &World, client| load(&world.url(Source::Store), client, Duration::from_secs(10)).await.unwrap();
    let stored = rows(&sqlite, "C1").await;
    assert_eq!((stored.rows.len(), stored.suspensions.len()), (4, 1));
    assert_eq!(stored, rows(&postgres, "C1").await);
    assert_eq!(rows(&sqlite, "C9").await.rows.len(), 0);
}
