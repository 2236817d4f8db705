//! How verdicts become an answer: fields folded, denies named, exceptional access marked.

use chaperone::domain::{Decision, Evaluation, Mode, Reason, Request};
use serde_json::json;

use crate::helpers::clinic::{Clinic, NOW, Said as _, at, fresh, request};

fn read(user: &str, kind: &str, id: &str, tenant: &str) -> Request {
    request(user, "read", kind, id).context("session", fresh(tenant)).context("access_reason", json!("because"))
}

async fn ask(clinic: &Clinic, request: &Request) -> Evaluation {
    clinic.ask(request, at(NOW)).await
}

async fn reason(clinic: &Clinic, request: &Request) -> String {
    ask(clinic, request).await.reason.map_or_else(|| "allowed".into(), |reason| reason.as_str().to_owned())
}

fn ids(evaluation: &Evaluation) -> Vec<&str> {
    evaluation.obligations.iter().map(|obligation| &*obligation.id).collect()
}

#[tokio::test]
async fn filter_keeps_what_is_left_and_strict_keeps_all_or_nothing() {
    let clinic = Clinic::demo().await;
    let asked = read("ana", "Note", "N1", "T1").fields(&["clin.note", "id.gov", "nope"]);
    let filtered = ask(&clinic, &asked).await;
    let fields = filtered.fields.unwrap();
    assert_eq!(filtered.decision, Decision::Allow);
    assert_eq!(fields.allow, ["clin.note"]);
    assert_eq!(fields.deny["id.gov"], Reason::new("role"));
    assert_eq!(fields.deny["nope"], Reason::UNKNOWN_RESOURCE);
    let strict = ask(&clinic, &asked.mode(Mode::Strict)).await;
    let fields = strict.fields.unwrap();
    assert_eq!(strict.decision, Decision::Deny);
    assert!(fields.allow.is_empty() && fields.mask.is_empty());
    assert_eq!(fields.deny.keys().collect::<Vec<_>>(), ["id.gov", "nope"], "only what failed by itself");
}

#[tokio::test]
async fn masked_is_not_denied_where_fields_are_asked_and_is_where_the_whole_record_is() {
    let clinic = Clinic::demo().await;
    let asked = read("fay3", "Appointment", "AP3", "T3");
    let strict = ask(&clinic, &asked.clone().fields(&["sched.core", "sched.reason"]).mode(Mode::Strict)).await;
    let fields = strict.fields.unwrap();
    assert_eq!((strict.decision, fields.allow), (Decision::Allow, vec!["sched.core".to_owned()]));
    assert_eq!(fields.mask["sched.reason"], "category");
    let whole = ask(&clinic, &asked).await;
    assert_eq!((whole.decision, whole.reason), (Decision::Deny, Some(Reason::new("role"))));
    assert_eq!(whole.fields, None);
}

#[tokio::test]
async fn a_column_stands_in_the_answer_as_it_was_asked() {
    let clinic = Clinic::demo().await;
    let evaluation = ask(&clinic, &read("ana", "Note", "N1", "T1").fields(&["body", "clin.note", "last_name"])).await;
    assert_eq!(evaluation.fields.unwrap().allow, ["body", "clin.note", "last_name"]);
}

#[tokio::test]
async fn the_header_is_read_on_a_record_and_written_on_the_client_alone() {
    let clinic = Clinic::demo().await;
    let header = read("ana", "Note", "N9", "T1").fields(&["id.demo"]);
    assert_eq!(reason(&clinic, &header).await, "allowed");
    let mut writing = header;
    writing.action = "write".into();
    assert_eq!(reason(&clinic, &writing).await, "role");
}

#[tokio::test]
async fn the_label_of_a_note_says_which_group_governs_it() {
    let clinic = Clinic::demo().await;
    let asked = read("adm3", "Note", "NG1", "T3").fields(&["clin.note"]);
    assert_eq!(reason(&clinic, &asked).await, "allowed");
    clinic.write("app", r#"UPDATE notes SET sensitivity = '["HIV"]' WHERE id = 'NG1'"#.into()).await;
    assert_eq!(reason(&clinic, &asked).await, "role");
}

#[tokio::test]
async fn a_default_deny_is_named_by_the_fact_that_ended_last() {
    let clinic = Clinic::demo().await;
    let chart = |user: &str, id: &str| read(user, "Client", id, "T1").fields(&["clin.plan"]);
    assert_eq!(reason(&clinic, &chart("ben", "C3")).await, "assignment_revoked");
    assert_eq!(reason(&clinic, &chart("rbt", "C3")).await, "assignment_expired");
    assert_eq!(reason(&clinic, &chart("ben", "C4")).await, "assignment_not_started");
    assert_eq!(reason(&clinic, &chart("mo", "C3")).await, "grant_revoked");
    assert_eq!(reason(&clinic, &chart("rbt", "C4")).await, "no_assignment");
    let row = "INSERT INTO assignments (id,tenant_id,client_id,user_id,scope,assigned_by,valid_from,valid_to)
               VALUES ('AX','T1','C3','ben','full','sid','2026-01-01T00:00:00Z','2026-03-10T15:00:00Z')";
    clinic.write("store", row.into()).await;
    assert_eq!(reason(&clinic, &chart("ben", "C3")).await, "assignment_expired", "it ended a second later");
}

#[tokio::test]
async fn what_an_active_grant_does_not_open_is_told_apart_from_what_it_cannot_do() {
    let clinic = Clinic::demo().await;
    let asked = read("zoe", "Client", "Z2", "T2");
    assert_eq!(reason(&clinic, &asked.clone().fields(&["clin.assess"])).await, "grant_scope");
    let mut writing = asked.fields(&["clin.plan"]);
    writing.action = "write".into();
    assert_eq!(reason(&clinic, &writing).await, "grant_action");
}

#[tokio::test]
async fn an_allow_that_needed_a_grant_carries_its_duties_and_one_that_did_not_says_so() {
    let clinic = Clinic::demo().await;
    let needed = ask(&clinic, &read("ben", "Client", "C1", "T1").fields(&["clin.alert"])).await;
    assert_eq!((needed.grant.as_deref(), needed.would_have_been_allowed), (Some("BG1"), Some(false)));
    for duty in ["emergency_banner", "no_export", "watermark", "review", "request_no_further_use"] {
        assert!(ids(&needed).contains(&duty), "{duty}: {needed:#?}");
    }
    clinic.write("store", "UPDATE grants SET user_id = 'ana' WHERE id = 'BG1'".into()).await;
    let idle = ask(&clinic, &read("ana", "Client", "C1", "T1").fields(&["clin.alert"])).await;
    assert_eq!((idle.grant.as_deref(), idle.would_have_been_allowed), (Some("BG1"), Some(true)));
    assert_eq!(ids(&idle), Vec::<&str>::new());
}

#[tokio::test]
async fn no_grant_opens_what_a_grant_may_never_open() {
    let clinic = Clinic::demo().await;
    let groups = r#"UPDATE grants SET field_groups = '["id.pseudo","id.gov","cov.ins","contact.conf","media.trans"]' WHERE id = 'BG2'"#;
    clinic.write("store", groups.into()).await;
    let asked = read("zoe", "Client", "Z2", "T2");
    for group in ["id.gov", "cov.ins", "contact.conf"] {
        let evaluation = ask(&clinic, &asked.clone().fields(&[group])).await;
        assert_eq!(evaluation.decision, Decision::Deny, "{group}");
    }
    let transcript = ask(&clinic, &read("zoe", "Note", "NZ2", "T2").fields(&["media.trans"])).await;
    assert_eq!(transcript.decision, Decision::Deny);
    assert_eq!(reason(&clinic, &asked.fields(&["id.pseudo"])).await, "allowed");
}

#[tokio::test]
async fn a_module_closed_to_editing_takes_no_new_records_either() {
    let clinic = Clinic::demo().await;
    let creating =
        |group: &str| request("ben", "create", "Client", "C4").fields(&[group]).context("session", fresh("T1"));
    let later = at("2026-03-11T00:00:00Z");
    assert_eq!(clinic.ask(&creating("doc.body"), later).await.reason, Some(Reason::new("role")));
    assert_eq!(clinic.ask(&creating("clin.note"), later).await.decision, Decision::Allow);
}

#[tokio::test]
async fn a_super_admin_whose_employment_ended_is_none_that_stays() {
    let clinic = Clinic::demo().await;
    let disabling = request("sid", "admin:disable", "User", "sid").context("session", fresh("T1"));
    let another = "INSERT INTO user_roles (id,user_id,tenant_id,role,granted_by,valid_from) VALUES ('rx','ben','T1','super_admin','pri','2025-01-01T00:00:00Z')";
    clinic.write("app", another.into()).await;
    assert_eq!(reason(&clinic, &disabling).await, "allowed");
    clinic.write("app", format!("UPDATE users SET employment_ends_at = '{NOW}' WHERE id = 'ben'")).await;
    assert_eq!(reason(&clinic, &disabling).await, "last_super_admin");
}

#[tokio::test]
async fn a_counseling_consent_opens_no_other_note_under_part_2() {
    let clinic = Clinic::demo().await;
    let consent = r#"UPDATE consents SET kind = 'sud_counseling', field_groups = '["clin.sudnote"]' WHERE id = 'CS1'"#;
    clinic.write("store", consent.into()).await;
    let note = |id: &str| read("doc", "Note", id, "T1").fields(&["clin.note"]);
    assert_eq!(reason(&clinic, &note("N2")).await, "part2_consent");
    assert_eq!(reason(&clinic, &note("N8")).await, "allowed");
}
