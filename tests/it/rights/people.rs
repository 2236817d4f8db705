//! Restrictions, consents and tickets: each changes the next decision, and ends as its rule says.

use std::sync::Arc;

use chaperone::{
    admin::{
        AdminError,
        page::Page,
        rights::{AskConsent, AskRestriction, AskTicket, RestrictionStep, TicketStep},
    },
    domain::ticket::InScope,
};
use serde_json::json;

use super::once;
use crate::{
    grants::{Clinic, person, reason_of},
    helpers::world::World,
};

fn bar(kind: &str, target: (&str, Option<&str>)) -> AskRestriction {
    AskRestriction {
        client: "C1".into(),
        kind: kind.into(),
        target: (target.0.into(), target.1.map(Into::into)),
        record: None,
        fields: vec!["clin.plan".into()],
        emergency_exception: true,
        from: None,
        to: None,
    }
}

async fn a_restriction_bars_once_it_is_agreed_and_a_notice_keeps_what_was(world: World) {
    let clinic = Clinic::on(world).await;
    let admin = &clinic.admin;
    let asked = bar("agreed", ("user", Some("ana")));
    assert!(clinic.reads("ana", "C1", "clin.plan").await);
    assert_eq!(reason_of(admin.ask_for_restriction(&person("ana"), &asked, &once()).await), "role");
    let made = admin.ask_for_restriction(&person("pri"), &asked, &once()).await.unwrap().answer;
    let id = made.row.id.clone();
    let step = |step: RestrictionStep| {
        let (admin, id) = (Arc::clone(admin), id.clone());
        async move { admin.step_restriction(&person("pri"), (&id, &step), None, &once()).await }
    };
    assert!(clinic.reads("ana", "C1", "clin.plan").await, "asked for, and no more");
    assert_eq!(&*step(RestrictionStep::Agree).await.unwrap().answer.state, "agreed");
    assert!(!clinic.reads("ana", "C1", "clin.plan").await);
    assert!(clinic.reads("ana", "C1", "clin.summary").await);
    let ended = step(RestrictionStep::Terminate("notice".into())).await.unwrap().answer;
    assert_eq!(ended.row.covers_created_before, Some("2026-03-10T15:00:00Z".parse().unwrap()));
    assert!(!clinic.reads("ana", "C1", "clin.plan").await, "the record was created before");
    let again = step(RestrictionStep::Agree).await;
    assert!(matches!(again, Err(AdminError::NotNow(_))), "{again:?}");
    let paid = bar("self_pay_health_plan", ("health_plan", None));
    let own = admin.ask_for_restriction(&person("pri"), &paid, &once()).await.unwrap().answer.row.id;
    for (step, is_done) in [
        (RestrictionStep::Decline, false),
        (RestrictionStep::Agree, true),
        (RestrictionStep::Terminate("notice".into()), false),
        (RestrictionStep::Terminate("request".into()), true),
    ] {
        let done = admin.step_restriction(&person("pri"), (&own, &step), None, &once()).await;
        assert_eq!(done.is_ok(), is_done, "{step:?}");
    }
    let elsewhere = admin.step_restriction(&person("pri2"), ("RS3", &RestrictionStep::Agree), None, &once()).await;
    assert!(matches!(elsewhere, Err(AdminError::Unknown("restriction"))), "{elsewhere:?}");
    let foreign = AskRestriction { record: Some(("Note".into(), "N4".into())), ..asked };
    assert_eq!(reason_of(admin.ask_for_restriction(&person("pri"), &foreign, &once()).await), "unknown_resource");
    let page = Page { client: Some("C1".to_owned()), ..Page::default() };
    assert_eq!(admin.restrictions(&person("pri"), "T1", &page).await.unwrap().items.len(), 4, "two are the demo's");
    assert_eq!(clinic.told("admin")[2]["detail"]["after"]["ended_how"], "notice");
}

async fn the_same_bar_is_asked_for_once_until_it_is_over(world: World) {
    let clinic = Clinic::on(world).await;
    let admin = &clinic.admin;
    let ask = |asked: AskRestriction| async move { admin.ask_for_restriction(&person("pri"), &asked, &once()).await };
    let asked = bar("agreed", ("user", Some("ana")));
    let first = ask(asked.clone()).await.unwrap().answer.row.id;
    let is_twin = |again: Result<_, AdminError>| matches!(again, Err(AdminError::Twin { id, .. }) if id == first);
    assert!(is_twin(ask(asked.clone()).await.map(drop)), "while it is asked for");
    let step = |step| {
        let id = first.clone();
        async move { admin.step_restriction(&person("pri"), (&id, &step), None, &once()).await }
    };
    step(RestrictionStep::Agree).await.unwrap();
    assert!(is_twin(ask(asked.clone()).await.map(drop)), "while it is in force");
    assert_eq!(clinic.told("admin").last().unwrap()["detail"]["existing"], json!(first));
    for apart in [
        AskRestriction { fields: Vec::new(), ..asked.clone() },
        AskRestriction { emergency_exception: false, ..asked.clone() },
        AskRestriction { record: Some(("Note".into(), "N1".into())), ..asked.clone() },
        bar("agreed", ("user", Some("ben"))),
        bar("agreed", ("all", None)),
    ] {
        ask(apart.clone()).await.unwrap();
        assert!(matches!(ask(apart.clone()).await, Err(AdminError::Twin { .. })), "{apart:?}");
    }
    step(RestrictionStep::Terminate("request".into())).await.unwrap();
    assert!(clinic.reads("ana", "C1", "clin.plan").await, "the end of one ends it");
    ask(asked).await.unwrap();
}

async fn a_consent_counts_until_it_is_revoked(world: World) {
    let clinic = Clinic::on(world).await;
    let admin = &clinic.admin;
    assert!(admin.revoke_consent(&person("pri"), "CS2", None, &once()).await.is_err(), "expired");
    let asked = AskConsent {
        client: "C2".into(),
        kind: "part2_specific".into(),
        discloser: "T1".into(),
        recipient: "bil".into(),
        purposes: vec!["HPAYMT".into()],
        fields: vec!["clin.sud".into()],
        signed_by: "C2".into(),
        signed_at: None,
        expires_at: None,
    };
    let endless = admin.enter_consent(&person("pri"), &asked, &once()).await;
    assert!(matches!(endless, Err(AdminError::Malformed { path: "/expires_at", .. })), "{endless:?}");
    let asked = AskConsent { expires_at: Some("2026-09-01T00:00:00Z".parse().unwrap()), ..asked };
    assert_eq!(reason_of(admin.enter_consent(&person("adm"), &asked, &once()).await), "role");
    let made = admin.enter_consent(&person("pri"), &asked, &once()).await.unwrap().answer;
    assert_eq!((&*made.state, made.row.entered_by.as_deref()), ("in_force", Some("pri")));
    let twin = admin.enter_consent(&person("pri"), &asked, &once()).await;
    assert!(matches!(&twin, Err(AdminError::Twin { id, .. }) if *id == made.row.id), "{twin:?}");
    let renewal = AskConsent { expires_at: Some("2027-09-01T00:00:00Z".parse().unwrap()), ..asked.clone() };
    let renewal = admin.enter_consent(&person("pri"), &renewal, &once()).await.unwrap().answer;
    admin.revoke_consent(&person("pri"), &renewal.row.id, None, &once()).await.unwrap();
    let revoked = admin.revoke_consent(&person("pri"), &made.row.id, None, &once()).await.unwrap().answer;
    assert_eq!(&*revoked.state, "revoked");
    let again = admin.revoke_consent(&person("pri"), &made.row.id, None, &once()).await;
    assert!(matches!(again, Err(AdminError::NotNow(_))), "{again:?}");
    let unknown = AskConsent { fields: vec!["clin.everything".into()], ..asked };
    let unknown = admin.enter_consent(&person("pri"), &unknown, &once()).await;
    assert!(matches!(unknown, Err(AdminError::Malformed { path: "/fields", .. })), "{unknown:?}");
    let seen = admin.consent_seen(&person("pri"), "CS1").await.unwrap();
    assert_eq!((&*seen.state, seen.row.expires_at), ("in_force", None));
}

async fn a_ticket_opens_what_it_names_until_it_is_resolved(world: World) {
    let clinic = Clinic::on(world).await;
    let admin = &clinic.admin;
    let record = |id: &str| InScope {
        resource_type: "Note".into(),
        resource_id: id.into(),
        fields: vec!["clin.note".into()],
        released_by: None,
    };
    let asked = AskTicket {
        source: "email".into(),
        engineer: "eng".into(),
        phi_needed: true,
        is_phi_approved: true,
        expires_at: None,
        scope: vec![record("N1")],
    };
    let open = |asked: AskTicket| {
        let admin = Arc::clone(admin);
        async move { admin.open_ticket(&person("adm"), "T1", &asked, &once()).await }
    };
    for (engineer, note, reason) in
        [("adm", "N1", "ticket_self"), ("nobody", "N1", "unknown_resource"), ("eng", "NZ1", "tenant_mismatch")]
    {
        let asked = AskTicket { engineer: engineer.into(), scope: vec![record(note)], ..asked.clone() };
        assert_eq!(reason_of(open(asked).await), reason, "{engineer} {note}");
    }
    let made = open(asked).await.unwrap().answer;
    assert_eq!((&*made.state, made.row.expires_at), ("open", "2026-03-13T15:00:00Z".parse().unwrap()));
    let id = made.row.id.clone();
    let step = |step: TicketStep| {
        let (admin, id) = (Arc::clone(admin), id.clone());
        async move { admin.step_ticket(&person("adm"), (&id, &step), None, &once()).await }
    };
    let scoped = step(TicketStep::Add(record("N5"))).await.unwrap().answer;
    assert_eq!(scoped.row.scope.len(), 2);
    let released = step(TicketStep::Release("Note".into(), "N5".into())).await.unwrap().answer;
    assert_eq!(released.row.scope[1].released_by.as_deref(), Some("adm"));
    let unknown = step(TicketStep::Release("Note".into(), "N6".into())).await;
    assert!(matches!(unknown, Err(AdminError::Unknown(_))), "{unknown:?}");
    assert_eq!(&*step(TicketStep::Resolve).await.unwrap().answer.state, "resolved");
    assert!(matches!(step(TicketStep::Add(record("N6"))).await, Err(AdminError::NotNow(_))));
    let reopened = step(TicketStep::Reopen).await.unwrap().answer;
    assert_eq!((&*reopened.state, reopened.row.reopened_by.as_deref()), ("open", Some("adm")));
    let seen = admin.ticket_seen(&person("adm"), &id).await.unwrap();
    assert_eq!(seen.version, reopened.version);
    let elsewhere = admin.ticket_seen(&person("sid2"), &id).await;
    assert!(matches!(elsewhere, Err(AdminError::Unknown("ticket"))), "{elsewhere:?}");
    let events: Vec<_> = clinic.told("admin").iter().map(|record| record["detail"]["event"].clone()).collect();
    let wanted = ["refused", "refused", "refused", "opened", "scoped", "released", "resolved", "refused", "reopened"];
    assert_eq!(json!(events), json!(wanted));
}

crate::on_both!(
    the_same_bar_is_asked_for_once_until_it_is_over,
    a_restriction_bars_once_it_is_agreed_and_a_notice_keeps_what_was,
    a_consent_counts_until_it_is_revoked,
    a_ticket_opens_what_it_names_until_it_is_resolved,
);
