//! Reviews: in the queue, apart from who is reviewed, closed to an end.

use chaperone::{
    admin::{
        Actor, AdminError,
        grants::End,
        page::Page,
        reviews::{ReviewStep, ReviewView},
    },
    domain::{
        mapping::Source,
        review::{Disposition, Unreviewable},
    },
    store::Sql,
};
use serde_json::json;

use super::{Clinic, person, reason_of, wish};
use crate::helpers::world::World;

fn officer(id: &str) -> Actor {
    let mut actor = person(id);
    actor.session.insert("tenant".to_owned(), "T1".into());
    actor
}

async fn step(clinic: &Clinic, who: &str, review: &str, step: ReviewStep) -> Result<ReviewView, AdminError> {
    let permit = clinic.admin.ask_to_review(&officer(who), review).await?;
    Ok(clinic.admin.review_step(&permit, review, step, None, None).await?.answer)
}

async fn ended_grant(clinic: &Clinic, user: &str, client: &str, text: &str) -> (String, String) {
    let grant = clinic.ask(user, &wish(user, client, "EMERG_TREAT", text)).await.unwrap();
    let permitted = clinic.admin.ask_to_end(&person(user), &grant.grant_id).await.unwrap();
    clinic.admin.step(&permitted, &grant.grant_id, &End, None, None).await.unwrap();
    (grant.grant_id.to_string(), grant.review.unwrap().review_id.to_string())
}

async fn a_review_is_closed_by_somebody_apart_and_leads_on(world: World) {
    let clinic = Clinic::on(world).await;
    let (grant, review) = ended_grant(&clinic, "ben", "C4", "Client unreachable and in danger").await;
    let queue = clinic.admin.reviews(&officer("pri"), "T1", &Page::default()).await.unwrap();
    let listed = queue.items.iter().find(|item| *item.review_id == *review).expect("it is in the queue");
    assert_eq!((&*listed.priority, &*listed.state, &*listed.grant.user), ("high", "pending", "ben"));
    assert!(!listed.closes_by_itself);
    let close = ReviewStep::Close(Disposition::FixAccess);
    assert_eq!(reason_of(step(&clinic, "sid", &review, close).await), "role");
    assert_eq!(reason_of(step(&clinic, "ana", &review, close).await), "role");
    let waiting = step(&clinic, "pri", &review, ReviewStep::AskForInfo).await;
    assert!(matches!(waiting, Err(AdminError::Unreviewable(Unreviewable::Untaken))), "{waiting:?}");
    assert_eq!(&*step(&clinic, "pri", &review, ReviewStep::Take).await.unwrap().state, "in_review");
    let closed = step(&clinic, "pri", &review, close).await.unwrap();
    assert_eq!((&*closed.state, closed.disposition.as_deref()), ("closed", Some("fix_access")));
    let mut transaction = clinic.store.read().await.unwrap();
    let proposed = Sql::both("SELECT user_id, client_id, proposed_by FROM assignment_proposals WHERE grant_id = $1");
    let row = transaction.row(proposed, &[(&grant).into()]).await.unwrap().expect("an assignment is proposed");
    assert_eq!(
        (row.some_text("user_id").unwrap(), row.some_text("proposed_by").unwrap()),
        ("ben".into(), "pri".into())
    );
    drop(transaction);
    let again = step(&clinic, "pri", &review, ReviewStep::Take).await;
    assert!(matches!(again, Err(AdminError::Unreviewable(Unreviewable::Closed))), "{again:?}");
    let told = clinic.told("review");
    let events: Vec<_> = told.iter().map(|record| record["detail"]["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["refused", "taken", "closed", "refused"]);
    assert_eq!(told[3]["detail"]["conflict"], "the review is closed");
    assert_eq!((&told[2]["grant"], &told[2]["detail"]["before"]["state"]), (&json!(grant), &json!("in_review")));
}

async fn an_unjustified_access_opens_an_incident(world: World) {
    let clinic = Clinic::on(world).await;
    let (grant, review) = ended_grant(&clinic, "ben", "C4", "Client unreachable and in danger").await;
    let closed = step(&clinic, "pri", &review, ReviewStep::Close(Disposition::Unjustified)).await.unwrap();
    let mut transaction = clinic.store.read().await.unwrap();
    let found = Sql::both("SELECT grant_id, state, opened_by FROM incidents WHERE id = $1");
    let row = transaction.row(found, &[closed.incident_id.as_deref().into()]).await.unwrap().expect("an incident");
    assert_eq!((row.some_text("grant_id").unwrap(), row.some_text("state").unwrap()), (grant, "open".to_owned()));
}

async fn nobody_reviews_themselves_or_their_line(world: World) {
    let clinic = Clinic::on(world).await;
    let officers = "INSERT INTO user_roles (id,user_id,tenant_id,role,granted_by,valid_from) VALUES \
        ('r_a','ana','T1','privacy_officer','pri','2025-01-01T00:00:00Z'), ('r_s','sup','T1','privacy_officer','pri','2025-01-01T00:00:00Z'), \
        ('r_b','ben','T1','privacy_officer','pri','2025-01-01T00:00:00Z')";
    clinic.authorizing.world.execute(Source::App, officers).await;
    let (_, review) = ended_grant(&clinic, "ana", "C4", "Client unreachable and in danger").await;
    let close = ReviewStep::Close(Disposition::Justified);
    assert_eq!(reason_of(step(&clinic, "ana", &review, close).await), "dual_control");
    assert_eq!(reason_of(step(&clinic, "sup", &review, close).await), "dual_control");
    assert_eq!(&*step(&clinic, "ben", &review, close).await.unwrap().state, "closed");
    let of_another = step(&clinic, "pri2", "RV1", close).await;
    assert!(of_another.is_err(), "{of_another:?}");
}

async fn a_review_waits_until_the_grant_is_over(world: World) {
    let clinic = Clinic::on(world).await;
    let grant = clinic.ask("ben", &wish("ben", "C4", "EMERG_TREAT", "Client unreachable and in danger")).await.unwrap();
    let review = grant.review.unwrap().review_id;
    let early = step(&clinic, "pri", &review, ReviewStep::Close(Disposition::Justified)).await;
    assert!(matches!(early, Err(AdminError::Unreviewable(Unreviewable::Running))), "{early:?}");
}

async fn facts_that_explain_a_grant_are_found(world: World) {
    let clinic = Clinic::on(world).await;
    let explained = |user: &'static str, client: &'static str| {
        let clinic = &clinic;
        async move {
            let (_, review) = ended_grant(clinic, user, client, "Client unreachable and in danger").await;
            let view = clinic.admin.review(&officer("pri"), &review).await.unwrap();
            (view.priority.to_string(), view.explanation.map(|words| words.to_string()))
        }
    };
    assert_eq!(explained("ana", "C2").await, ("low".to_owned(), Some("assignment supervision".to_owned())));
    assert_eq!(explained("ben", "C2").await, ("normal".to_owned(), None));
    let assigned = "INSERT INTO assignments (id,tenant_id,client_id,user_id,assigned_by,valid_from) VALUES \
        ('A_n','T1','C2','ben','sid','2026-03-11T14:00:00Z')";
    clinic.authorizing.world.execute(Source::Store, assigned).await;
    let queue = clinic.admin.reviews(&officer("pri"), "T1", &Page::default()).await.unwrap();
    let later = queue.items.iter().find(|item| &*item.grant.user == "ben" && &*item.grant.client == "C2").unwrap();
    assert_eq!((&*later.priority, later.explanation.as_deref()), ("low", Some("assignment")), "made a day later");
}

async fn a_page_leads_to_the_next_one(world: World) {
    let clinic = Clinic::on(world).await;
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let page = Page { limit: Some(1), state: Some("all".to_owned()), cursor, ..Page::default() };
        let listed = clinic.admin.reviews(&officer("pri"), "T1", &page).await.unwrap();
        found.extend(listed.items.iter().map(|item| item.review_id.to_string()));
        cursor = listed.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, ["RV0", "RV3", "RV1"], "those due first, and none of another organization");
}

crate::on_both!(
    a_review_is_closed_by_somebody_apart_and_leads_on,
    an_unjustified_access_opens_an_incident,
    nobody_reviews_themselves_or_their_line,
    a_review_waits_until_the_grant_is_over,
    facts_that_explain_a_grant_are_found,
    a_page_leads_to_the_next_one,
);
