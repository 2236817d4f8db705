//! Edited policies: the next decisions follow, whole or not at all, and everything says so.

use std::{fs, path::PathBuf};

use serde_json::{Value as Json, json};

use crate::helpers::sidecar::{Sidecar, Told, ana_reads, wait_for};

const NOBODY: &str = r#"
@id("drill-nobody-reads")
@reason("lockdown")
@text("A drill: nobody reads")
forbid (principal, action in Action::"read", resource);
"#;

fn drill(sidecar: &Sidecar) -> PathBuf {
    sidecar.folder().join("policies/drill.cedar")
}

fn ask(sidecar: &Sidecar) -> Told {
    let told = sidecar.doors().tcp().ask(&ana_reads()).unwrap();
    assert_eq!(told.status, 200, "{}", told.body);
    told
}

fn reason(told: &Told) -> Json {
    told.json()["context"]["reason"].clone()
}

fn revision(told: &Told) -> String {
    told.json()["context"]["chaperone"]["revisions"]["policies"].as_str().unwrap().to_owned()
}

fn policy_events(sidecar: &Sidecar) -> Vec<String> {
    let records = sidecar.records().into_iter().filter(|(_, record)| record["kind"] == "policy");
    records.map(|(_, record)| record["detail"]["event"].as_str().unwrap_or_default().to_owned()).collect()
}

fn metric(sidecar: &Sidecar, start: &str) -> Option<String> {
    let metrics = sidecar.doors().probe("/metrics").body;
    metrics.lines().find(|line| line.starts_with(start)).map(str::to_owned)
}

#[test]
fn decisions_follow_an_edit_and_its_undoing() {
    let sidecar = Sidecar::demo();
    let before = ask(&sidecar);
    assert_eq!(before.json()["decision"], true, "{}", before.body);
    fs::write(drill(&sidecar), NOBODY).unwrap();
    wait_for("the new bar decides", || (reason(&ask(&sidecar)) == "lockdown").then_some(()));
    let during = ask(&sidecar);
    assert_ne!(revision(&during), revision(&before));
    assert_eq!(sidecar.doors().admin("/admin/v1/status")["policies"]["revision"], json!(revision(&during)));
    fs::remove_file(drill(&sidecar)).unwrap();
    wait_for("the bar is gone", || (ask(&sidecar).json()["decision"] == true).then_some(()));
    assert_eq!(revision(&ask(&sidecar)), revision(&before), "the same files are the same bundle");
    wait_for("both changes are recorded", || (policy_events(&sidecar) == ["live", "live"]).then_some(()));
}

#[test]
fn a_broken_edit_changes_nothing_and_everything_says_so_until_it_is_mended() {
    let sidecar = Sidecar::demo();
    let before = revision(&ask(&sidecar));
    fs::write(drill(&sidecar), "forbid (principal, action, resource").unwrap();
    let failure = wait_for("the status names the failure", || {
        sidecar.doors().admin("/admin/v1/status")["policies"]["last_reload_failed"].as_str().map(str::to_owned)
    });
    assert!(failure.contains("drill.cedar:1"), "{failure}");
    let told = ask(&sidecar);
    assert_eq!((told.json()["decision"].as_bool(), revision(&told)), (Some(true), before.clone()));
    wait_for("readiness, metric and trail say so", || {
        let readiness = sidecar.doors().probe("/readyz?verbose");
        let says_so = readiness.status == 200
            && readiness.body.contains("policies: a changed bundle was refused")
            && readiness.body.contains("stays live");
        let counted = metric(&sidecar, r#"chaperone_policy_reloads_total{result="refused"#)?;
        (says_so && counted.ends_with(" 1") && policy_events(&sidecar) == ["refused"]).then_some(())
    });
    assert_eq!(sidecar.doors().admin("/admin/v1/status")["policies"]["revision"], json!(before));

    fs::write(drill(&sidecar), NOBODY).unwrap();
    wait_for("the mended edit decides", || (reason(&ask(&sidecar)) == "lockdown").then_some(()));
    wait_for("nothing speaks of the failure any more", || {
        let is_forgotten = sidecar.doors().admin("/admin/v1/status")["policies"]["last_reload_failed"].is_null();
        let readiness = sidecar.doors().probe("/readyz?verbose").body;
        (is_forgotten && !readiness.contains("refused") && policy_events(&sidecar) == ["refused", "live"]).then_some(())
    });
}

#[test]
fn a_bundle_of_schema_and_policies_changes_whole() {
    let sidecar = Sidecar::demo();
    let schemas = sidecar.folder().join("schemas");
    let edit = |name: &str, from: &str, to: &str| {
        let path = schemas.join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from} is not in {name}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    };
    let mut question = ana_reads();
    question["context"]["drill"] = json!(true);
    let mut asker = sidecar.doors().tcp();
    // Policy and mapping first: alone they do not fit the schema, so no half of the change can go live.
    fs::write(drill(&sidecar), NOBODY.replace("resource);", "resource)\nwhen { context has drill && context.drill };"))
        .unwrap();
    edit("clinic.entities.yaml", "caller: [purpose,", "caller: [drill, purpose,");
    edit("clinic.cedarschema", "type RequestContext = {", "type RequestContext = {\n  drill?: Bool,");
    let mut seen: Vec<(String, bool)> = Vec::new();
    wait_for("the changed bundle decides", || {
        let told = asker.ask(&question).unwrap();
        let pair = (revision(&told), told.json()["decision"] == true);
        if !seen.contains(&pair) {
            seen.push(pair.clone());
        }
        (!pair.1).then_some(())
    });
    let decisions: Vec<bool> = seen.iter().map(|(_, decision)| *decision).collect();
    assert_eq!(decisions, [true, false], "one revision each, the old and the new: {seen:?}");
    assert_eq!(reason(&ask(&sidecar)), Json::Null, "a question that says nothing of the drill is allowed");
}
