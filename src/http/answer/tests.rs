//! Tests of `answer`.

use std::collections::BTreeMap;

use super::*;
use crate::domain::{Decision, PolicyEffect, Tier};

pub(in crate::http) fn evaluation(decision: Decision) -> Evaluation {
    Evaluation {
        decision,
        reason: None,
        fields: None,
        policies: Vec::new(),
        evidence: Vec::new(),
        obligations: Vec::new(),
        remedies: Vec::new(),
        not_after: None,
        grant: None,
        would_have_been_allowed: None,
        subject: crate::domain::evaluation::Subject::default(),
        policies_revision: "sha256:aa".into(),
        facts_revision: "7".to_owned(),
        facts_age_ms: 8,
        durability: Tier::Process,
        ignored: Vec::new(),
        asserted: Vec::new(),
        policy_errors: Vec::new(),
    }
}

pub(in crate::http) fn recorded(evaluation: Evaluation) -> Recorded<Evaluation> {
    Recorded::for_test(evaluation, Receipt { writer: "w".to_owned(), seq: 12, durability: Tier::Disk })
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn item(decision: Decision) -> Item {
    Item::Decided { recorded: Box::new(recorded(evaluation(decision))), decision_id: "B.0".to_owned() }
}

#[test]
fn an_allow_is_written_as_the_contract_shows() {
    let mut allow = evaluation(Decision::Allow);
    allow.fields = Some(Fields {
        allow: vec!["clin.note".to_owned()],
        mask: BTreeMap::new(),
        deny: [("id.gov".to_owned(), Reason::new("role"))].into(),
    });
    allow.policies = vec![PolicyRef {
        id: "therapist-reads-assigned".into(),
        effect: PolicyEffect::Permit,
        text: Some("Therapist with an active assignment to this client".into()),
        otherwise: None,
    }];
    let until = Some("2026-07-01T04:00:00Z".parse().unwrap());
    allow.evidence = vec![Evidence { kind: "assignment".into(), id: "A1".into(), until }];
    allow.obligations = vec![Obligation { id: "no_export".into(), kind: "custom".into(), properties: BTreeMap::new() }];
    allow.not_after = Some("2026-03-10T15:00:30Z".parse().unwrap());
    assert_eq!(
        text(single(&recorded(allow), "0199").unwrap()),
        concat!(
            r#"{"decision":true,"context":{"obligations":[{"id":"no_export","type":"custom","properties":{}}],"chaperone":{"#,
            r#""decision_id":"0199","fields":{"allow":["clin.note"],"mask":{},"deny":{"id.gov":"role"}},"#,
            r#""policies":[{"id":"therapist-reads-assigned","effect":"permit","text":"Therapist with an active assignment to this client"}],"#,
            r#""evidence":[{"kind":"assignment","id":"A1","until":"2026-07-01T04:00:00Z"}],"remedies":[],"not_after":"2026-03-10T15:00:30Z","#,
            r#""revisions":{"policies":"sha256:aa","facts":"7","facts_age_ms":8},"receipt":{"writer":"w","seq":12,"durability":"disk"}}}}"#,
        )
    );
}

#[test]
fn a_deny_gives_its_reason_and_remedies_and_may_not_be_kept() {
    let mut deny = evaluation(Decision::Deny);
    deny.reason = Some(Reason::new("no_assignment"));
    deny.remedies = vec![Remedy::BreakGlass { reasons: vec!["emergency".into()] }, Remedy::StateReason];
    deny.not_after = Some("2026-03-10T15:00:30Z".parse().unwrap());
    let body = text(single(&recorded(deny), "d").unwrap());
    assert!(
        body.starts_with(r#"{"decision":false,"context":{"reason":"no_assignment","obligations":[],"chaperone":{"#)
    );
    assert!(body.contains(r#""remedies":[{"kind":"break_glass","reasons":["emergency"]},{"kind":"state_reason"}]"#));
    assert!(!body.contains("fields"), "none were asked for");
    assert!(!body.contains("not_after"));
}

#[test]
fn an_allow_never_gives_a_reason() {
    let mut allow = evaluation(Decision::Allow);
    allow.reason = Some(Reason::new("no_assignment"));
    assert!(!text(single(&recorded(allow), "d").unwrap()).contains("no_assignment"));
}

#[test]
fn batch_items_are_bare_and_a_failed_one_says_why() {
    let misfit = Misfit { path: "/resource/id".to_owned(), expected: "must be a string".to_owned() };
    let items = [item(Decision::Allow), Item::Misfit(misfit), item(Decision::Deny)];
    assert_eq!(
        text(batch(&items, false).unwrap()),
        concat!(
            r#"{"evaluations":[{"decision":true},"#,
            r#"{"decision":false,"context":{"error":{"status":400,"message":"resource.id must be a string"}}},{"decision":false}]}"#,
        )
    );
}

#[test]
fn batch_items_carry_their_context_when_it_is_asked_for() {
    let body = text(batch(&[item(Decision::Allow)], true).unwrap());
    let alone = text(single(&recorded(evaluation(Decision::Allow)), "B.0").unwrap());
    assert_eq!(body, format!(r#"{{"evaluations":[{alone}]}}"#));
}
